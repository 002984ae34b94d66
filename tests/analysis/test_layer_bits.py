"""Bits by layer: what sweep --per-layer finds keeps to the loss, and is what export --weight-bits FILE makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import arrays, fail, succeed

from snn2hw.ir import Conv, Linear
from snn2hw.ir.file import read_program

PER_LAYER = ("sweep", "tiny.pt", "--data", "samples.npz", "--calibrate", "samples.npz", "--per-layer")
EXPORT = ("export", "tiny.pt", "--target", "lava", "-o", "mixed.lava", "--calibrate", "samples.npz")
pytestmark = pytest.mark.usefixtures("tiny")


def found(*options: object) -> dict[str, Any]:
    out = succeed(*PER_LAYER, *options, "--json", "bits.json")
    assert "Bits by layer on 5 samples of samples.npz, T=3, calibration max; float" in out
    document: dict[str, Any] = json.loads(Path("bits.json").read_text())
    assert document["schema"] == "snn2hw.layer_bits/1"
    return document


def test_the_bits_that_are_found_are_what_export_makes_of_the_file_and_keep_to_the_loss() -> None:
    document = found("--bits", "2,4,8", "--loss", "20")
    layers, few = document["layers"], document["float_correct"] - 1
    assert set(layers.values()) <= {2, 4, 8} and document["correct"] >= few
    assert document["bits"] == sum(document["weights"][name] * bits for name, bits in layers.items())
    assert document["bits"] < document["uniform_bits"]
    succeed(*EXPORT, "--weight-bits", "bits.json")
    sizes = {
        node.name: int(np.abs(node.weight).max())
        for node in read_program(Path("mixed.lava/program.npz")).graph
        if isinstance(node, Conv | Linear) and node.name in layers
    }
    assert sizes.keys() == layers.keys() and all(size < 1 << (layers[name] - 1) for name, size in sizes.items())
    assert json.loads(Path("mixed.lava/manifest.json").read_text())["weight_bits"] == {"default": 8, "layers": layers}
    succeed("simulate", "mixed.lava", "--data", "samples.npz", "-o", "mixed.npz")
    right = int((arrays("mixed.npz")["logits"].argmax(axis=1) == arrays("samples.npz")["y"]).sum())
    assert right == document["correct"]
    assert "Verdict: exact for these 5 samples." in succeed("verify", "mixed.lava", "--data", "samples.npz")


def test_whatever_may_be_lost_the_fewest_bits_are_found() -> None:
    assert set(found("--bits", "3,8", "--loss", "100")["layers"].values()) == {3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*PER_LAYER, "--bits", "8"), "--bits 8: give several numbers of bits"),
        ((*PER_LAYER, "--loss", "-1"), "--loss -1: give percentage points from 0 to 100"),
        ((*PER_LAYER, "-o", "page.html"), "-o page.html: --per-layer draws nothing"),
        ((*PER_LAYER, "--calibration", "max,mse"), "--calibration max,mse: --per-layer takes one"),
        ((*PER_LAYER[:-1], "--loss", "1"), "--loss is for --per-layer"),
        ((*EXPORT, "--weight-bits", "none.json"), "--weight-bits none.json: neither a number of bits nor a file"),
        ((*EXPORT, "--weight-bits", "tiny.pt"), "--weight-bits tiny.pt: no JSON"),
        ((*EXPORT, "--weight-bits", "list.json"), 'list.json: it has no "layers". Write'),
        ((*EXPORT, "--weight-bits", "words.json"), "words.json: conv1 is 'few', no number of bits"),
        (
            (*EXPORT, "--weight-bits", "other.json"),
            "weight bits of nine: the net has no such layer with weights. It has",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(options: tuple[str, ...], message: str) -> None:
    Path("list.json").write_text("[8]")
    Path("words.json").write_text('{"layers": {"conv1": "few"}}')
    Path("other.json").write_text('{"layers": {"nine": 4}}')
    assert message in fail(*options)
    assert not Path("mixed.lava").exists()
