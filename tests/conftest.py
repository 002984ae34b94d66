"""A small net and everything made from it once a session; each test gets a copy in a new folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli
import nir_graphs
import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

from snn2hw.models.checkpoint import build_model, save_checkpoint

# `make test` draws the same examples every time, `make test-all` others. The first example of a test may read a model.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("others", deadline=None)
ALL = "SNN2HW_ALL_TESTS" in os.environ
settings.load_profile("others" if ALL else "same")

TIMESTEPS, SAMPLES, CLASSES, SHAPE = 3, 5, 4, (1, 6, 6)


def pytest_collectstart() -> None:
    """The random weights of nets that a test file makes where it is read do not depend on the files before it."""
    torch.manual_seed(0)


def pytest_runtest_setup() -> None:
    """The random weights of a test's nets and graphs do not depend on the tests before it."""
    torch.manual_seed(0)
    nir_graphs.RANDOM.bit_generator.state = nir_graphs.START


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` leaves out what is marked slow: more of what other tests cover in small. `make test-all` runs it."""
    if not ALL:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow")])
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Two residual blocks: one whose shortcut is the identity, one whose shortcut has a convolution."""
    stage = {"blocks": 1, "transition": False, "max_pool": False}
    return {
        "connect": "ADD",
        "input_shape": list(SHAPE),
        "timesteps": TIMESTEPS,
        "neuron": {"kind": "Leaky", "beta": 1.0, "threshold": 1.0},
        "stem": {"kernel": 3, "channels": 3},
        "block": "basic",
        "stages": [stage | {"channels": 3, "stride": 1}, stage | {"channels": 4, "stride": 2}],
        "global_pool": True,
        "classes": CLASSES,
    } | changes


def tiny_model(arch: str = "sew_resnet", *, seed: int = 1, **changes: Any) -> nn.Module:
    """An untrained net whose BatchNorms are more than a copy, so that spikes flow in every layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(arch, tiny_config(**changes))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = 0.1 * torch.randn(size, generator=generator)
            module.running_var = 0.02 * (0.5 + torch.rand(size, generator=generator))
            with torch.no_grad():
                module.weight.copy_(1 + 0.5 * torch.rand(size, generator=generator))
                module.bias.copy_(0.5 + 0.2 * torch.randn(size, generator=generator))
    return model


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.pt, samples.npz (x and y), and tiny.lava, the bundle made from them. Not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    save_checkpoint(folder / "tiny.pt", tiny_model(), "sew_resnet", tiny_config())
    random = np.random.default_rng(0)
    x = random.random((SAMPLES, *SHAPE), dtype=np.float32)
    np.savez(folder / "samples.npz", x=x, y=random.integers(0, CLASSES, SAMPLES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cli.succeed("export", "tiny.pt", "--target", "lava", "--calibrate", "samples.npz")
    return folder


@pytest.fixture
def tiny(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: an empty one with a copy of tiny.pt, samples.npz and tiny.lava; its modules go with it."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
