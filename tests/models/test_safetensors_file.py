"""Checkpoints as .safetensors: written and read, with and without what this project says beside the tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli import contents, fail, same_arrays, succeed
from conftest import tiny_config, tiny_model
from safetensors.torch import save_file

from snn2hw.models.checkpoint import save_checkpoint

EXPORT = ("--target", "lava", "--calibrate", "samples.npz", "-o")


def test_a_checkpoint_is_the_same_in_both_forms(tiny: Path) -> None:
    save_checkpoint("tiny.safetensors", tiny_model(), "sew_resnet", tiny_config())
    succeed("export", "tiny.safetensors", *EXPORT, "other.lava")
    assert same_arrays("other.lava/program.npz", "tiny.lava/program.npz")
    assert "exact" in succeed("verify", "other.lava", "--data", "samples.npz", "--without", "lava")


def test_weights_alone_serve_a_factory(tiny: Path) -> None:
    Path("nets.py").write_text("from conftest import tiny_model\n\ndef build():\n    return tiny_model(seed=2)\n")
    save_file(tiny_model().state_dict(), "weights.safetensors")
    options = ("--weights", "weights.safetensors", "--input-shape", "1,6,6", "--timesteps", "3")
    succeed("export", "nets.py:build", *options, *EXPORT, "other.lava")
    assert same_arrays("other.lava/program.npz", "tiny.lava/program.npz")


@pytest.mark.parametrize("damage", [b"", b"not one", None])
def test_a_damaged_file_is_told(damage: bytes | None, tiny: Path) -> None:
    save_checkpoint("tiny.safetensors", tiny_model(), "sew_resnet", tiny_config())
    whole = Path("tiny.safetensors").read_bytes()
    Path("tiny.safetensors").write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    before = contents(Path())
    message = fail("check", "tiny.safetensors")
    assert message.startswith("tiny.safetensors: ")
    assert contents(Path()) == before


def test_a_schema_of_another_version_is_told(tiny: Path) -> None:
    save_file({"x": torch.ones(1)}, "new.safetensors", metadata={"schema": "snn2hw.checkpoint/9"})
    assert "this version of snn2hw reads 'snn2hw.checkpoint/1'" in fail("check", "new.safetensors")
