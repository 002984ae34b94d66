"""snn2hw sweep: every cell of the table is a program that was compiled and run, and refusals are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import arrays, fail, succeed
from conftest import tiny_config, tiny_model

from snn2hw.analysis.sweep import Point, Sweep
from snn2hw.analysis.sweep_page import page_of
from snn2hw.cli.commands.sweep import parse_bits
from snn2hw.errors import OptionError
from snn2hw.models.checkpoint import save_checkpoint
from snn2hw.passes.weight_scales import METHODS

SWEEP = ("sweep", "tiny.pt", "--data", "samples.npz", "--calibrate", "samples.npz")
pytestmark = pytest.mark.usefixtures("tiny")


def swept(*options: object) -> dict[str, Any]:
    succeed(*SWEEP, *options, "--json", "sweep.json")
    document: dict[str, Any] = json.loads(Path("sweep.json").read_text())
    return document


def test_every_point_is_the_accuracy_of_the_program_that_export_makes() -> None:
    document = swept("--bits", "2,4,8")
    labels = arrays("samples.npz")["y"]
    assert [(p["method"], p["weight_bits"]) for p in document["points"]] == [(m, b) for m in METHODS for b in (2, 4, 8)]
    for point in document["points"]:
        options = ("--weight-bits", point["weight_bits"], "--calibration", point["method"])
        succeed("export", "tiny.pt", "--target", "lava", "-o", "alone.lava", "--calibrate", "samples.npz", *options)
        succeed("simulate", "alone.lava", "--data", "samples.npz", "-o", "alone.npz")
        right = int((arrays("alone.npz")["logits"].argmax(axis=1) == labels).sum())
        assert (point["correct"], point["accuracy"]) == (right, right / 5), point
    succeed("verify", "tiny.lava", "--data", "samples.npz", "--json", "verify.json")
    assert document["float_accuracy"] == json.loads(Path("verify.json").read_text())["accuracy"]["float"]
    assert (document["schema"], document["samples"], document["timesteps"]) == ("snn2hw.sweep/1", 5, 3)


def test_a_nir_file_is_swept_like_the_model_it_came_from() -> None:
    of_model = swept("--bits", "3-4")
    succeed("export", "tiny.pt", "--target", "nir", "-o", "tiny.nir", "--calibrate", "samples.npz")
    data = ("--data", "samples.npz", "--calibrate", "samples.npz")
    succeed("sweep", "tiny.nir", "--timesteps", "3", *data, "--bits", "3-4", "--json", "nir.json")
    other = json.loads(Path("nir.json").read_text())
    assert (other["points"], other["float_correct"]) == (of_model["points"], of_model["float_correct"])


def test_every_method_is_exact_in_real_lava_at_few_bits() -> None:
    """A scale for each channel is what no other test gives to Lava."""
    for method, bits in (("balanced", 4), ("mse", 3)):
        options = ("--weight-bits", bits, "--calibration", method)
        succeed("export", "tiny.pt", "--target", "lava", "-o", "alone.lava", "--calibrate", "samples.npz", *options)
        assert "Verdict: exact for these 5 samples." in succeed("verify", "alone.lava", "--data", "samples.npz")


def test_the_table_shows_accuracy_and_points_lost() -> None:
    out = succeed(*SWEEP, "--bits", "8,3", "--calibration", "mse,max")
    assert "Accuracy on 5 samples of samples.npz, T=3; float" in out
    assert re.search(r"calibration +┃ +3 bits +┃ +8 bits", out)
    assert len(re.findall(r"(mse|max) +│ +\d+\.00 \([+-]\d+\.00\) +│ +\d+\.00 \([+-]\d+\.00\) +│", out)) == 2
    assert out.index("mse") < out.index("max")


def test_the_page_holds_every_number_and_needs_no_network() -> None:
    succeed(*SWEEP, "--bits", "3-5", "-o", "sweep.html", "--json", "sweep.json")
    page, document = Path("sweep.html").read_text(), json.loads(Path("sweep.json").read_text())
    assert len(page) < 1_500_000 and "Plotly.react" in page
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    for method in METHODS:
        assert f'"name":"{method}"' in page
    assert f"Accuracy on {document['samples']} samples of samples.npz" in page


def test_a_program_that_cannot_be_is_a_point_without_accuracy() -> None:
    points = (
        Point(method="max", weight_bits=2, correct=None, refused="out: no weight"),
        Point(method="max", weight_bits=8, correct=6),
    )
    shared = dict(model="m", data="d", samples=10, timesteps=1, input_bits=8, head=None, float_correct=8)
    sweep = Sweep(points=points, **shared)  # type: ignore[arg-type]
    assert [point["accuracy"] for point in sweep.to_json()["points"]] == [None, 0.6]
    assert sweep.lost(6) == pytest.approx(20) and sweep.lost(9) == pytest.approx(-10)
    assert '"x":[8.0]' in page_of(sweep).replace(" ", "")


def test_a_shortcut_that_few_bits_do_not_hold_is_told_and_the_rest_is_swept() -> None:
    model = tiny_model("spiking_resnet", connect=None)
    model.get_submodule("layer1.0.conv2").weight.data.mul_(8)
    save_checkpoint("spiking.pt", model, "spiking_resnet", tiny_config(connect=None))
    data = ("--data", "samples.npz", "--calibrate", "samples.npz")
    out = succeed("sweep", "spiking.pt", *data, "--bits", "3,8", "--calibration", "max")
    assert "max, 3 bits: layer1.0.neuron2: the shortcut's spikes need a weight of at least 1" in out
    assert re.search(r"max +│ +none │ +\d+\.00", out)
    alone = fail("sweep", "spiking.pt", *data, "--bits", "3", "--calibration", "max")
    assert "the shortcut's spikes need a weight of at least 1" in alone


@pytest.mark.parametrize(
    ("text", "bits"), [("3-8", (3, 4, 5, 6, 7, 8)), ("4", (4,)), ("8,2-3", (2, 3, 8)), ("4-5,5", (4, 5))]
)
def test_bits_are_numbers_and_ranges(text: str, bits: tuple[int, ...]) -> None:
    assert parse_bits(text) == bits


@pytest.mark.parametrize("text", ["", "x", "3-", "8-3", "3..8", "-4", "3,,4"])
def test_bits_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match=f"--bits {re.escape(text)}: "):
        parse_bits(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bits", "9"), "--bits 9: weights have 2 to 8 bits"),
        (("--bits", "1-3"), "--bits 1: weights have 2 to 8 bits"),
        (("--calibration", "median"), "--calibration median: choose max, percentile, mse, balanced"),
        (("--input-bits", "9"), "9 input bits: choose 2 to 8"),
        (("--samples", "0"), "--samples 0: at least 1"),
        (("--device", "tpu"), "--device tpu: choose cpu or cuda"),
        (("-o", "no/folder/x.html"), "no/folder"),
    ],
)
def test_options_out_of_range_are_told(options: tuple[str, ...], message: str) -> None:
    assert message in fail(*SWEEP, *options)


def test_what_has_no_labels_no_data_or_whole_numbers_cannot_be_swept() -> None:
    np.savez("unlabelled.npz", x=arrays("samples.npz")["x"])
    ranges = ("--calibrate", "samples.npz")
    assert "accuracy needs labels" in fail("sweep", "tiny.pt", "--data", "unlabelled.npz", *ranges)
    assert "give labelled samples with --data" in fail("sweep", "tiny.pt", *ranges)
    assert "--calibrate" in fail("sweep", "tiny.pt", "--data", "samples.npz")
    succeed("export", "tiny.pt", "--target", "nir", "--quantised", "-o", "whole.nir", *ranges)
    data = ("--timesteps", "3", "--data", "samples.npz", *ranges)
    assert "whole.nir holds whole numbers already" in fail("sweep", "whole.nir", *data)
    np.savez("bright.npz", x=2 * arrays("samples.npz")["x"], y=arrays("samples.npz")["y"])
    assert "lie outside the range seen in calibration" in fail("sweep", "tiny.pt", "--data", "bright.npz", *ranges)
    assert "They saturate." in succeed("sweep", "tiny.pt", "--data", "bright.npz", *ranges, "--saturate", "--bits", "8")
    np.savez("other.npz", x=arrays("samples.npz")["x"], y=np.full(5, 7))
    assert "label 7 of sample 0 is out of range" in fail("sweep", "tiny.pt", "--data", "other.npz", *ranges)
