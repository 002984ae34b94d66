"""Nets that end in an image: of a map of classes labels say nothing, of one pixel they do."""

from __future__ import annotations

import json
from pathlib import Path

import nir
import numpy as np
import pytest
from cli import arrays, fail, succeed
from nets import random_samples
from nir_graphs import IMAGE, STEPS, chain, conv, if_


def classes(*behind: int) -> nir.NIRGraph:
    """A net of three classes: a map of them, or one number each where `behind` is the image that it pools."""
    pooled = {"b": conv(3, 3, *behind, padding=0)} if behind else {}
    return chain(IMAGE, (3, 1, 1) if behind else (3, 6, 6), a=conv(3, 2, 3, 3), n=if_(3, 6, 6), **pooled)


def labelled(folder: Path, monkeypatch: pytest.MonkeyPatch, graph: nir.NIRGraph) -> np.ndarray:
    """The current folder gets net.nir, net.lava and samples.npz with these labels, [N]."""
    monkeypatch.chdir(folder)
    nir.write("net.nir", graph)
    y = np.arange(6) % 3
    np.savez("samples.npz", x=random_samples(6, shape=IMAGE).x, y=y)
    succeed("export", "net.nir", "--target", "lava", "--timesteps", STEPS, "--calibrate", "samples.npz")
    return y


def are_right(y: np.ndarray) -> np.ndarray:
    """Whether the logits of spikes.npz choose these labels, [N]."""
    return arrays("spikes.npz")["logits"].reshape(len(y), 3).argmax(axis=1) == y


OF_LABELLED = ("--data", "samples.npz")


@pytest.mark.parametrize("engine", ["fast", "cycle", "reference"])
def test_labels_say_nothing_of_a_net_that_ends_in_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    labelled(tmp_path, monkeypatch, classes())
    of = ("net.nir", "--timesteps", STEPS) if engine == "reference" else ("net.lava",)
    out = succeed("simulate", *of, *OF_LABELLED, "--engine", engine, "-o", "spikes.npz")
    assert "samples.npz: its labels are left out, for the model gives a map [3, 6, 6], not one number a class" in out
    assert "right" not in out and Path("spikes.npz").exists()


def test_a_report_on_a_net_that_ends_in_a_map_has_no_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path, monkeypatch, classes())
    out = succeed("report", "net.lava", *OF_LABELLED, "-o", "out")
    assert "for the model gives a map [3, 6, 6]" in out and "Accuracy" not in out


def test_a_sweep_of_a_net_that_ends_in_a_map_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path, monkeypatch, classes())
    known = ("--timesteps", STEPS, "--calibrate", "samples.npz", "--bits", "8")
    assert "samples.npz: it has labels, but the model gives a map [3, 6, 6]" in fail(
        "sweep", "net.nir", *OF_LABELLED, *known
    )


def test_a_net_that_ends_in_a_map_is_verified_without_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path, monkeypatch, classes())
    out = succeed("verify", "net.lava", *OF_LABELLED, "--json", "verify.json")
    result = json.loads(Path("verify.json").read_text())
    assert (result["verdict"], result["accuracy"]) == ("exact", None)
    assert "for the model gives a map [3, 6, 6]" in out


@pytest.mark.parametrize("engine", ["fast", "cycle", "reference"])
def test_class_scores_may_keep_the_axes_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    y = labelled(tmp_path, monkeypatch, classes(6, 6))
    of = ("net.nir", "--timesteps", STEPS) if engine == "reference" else ("net.lava",)
    out = succeed("simulate", *of, *OF_LABELLED, "--engine", engine, "-o", "spikes.npz")
    assert f"{are_right(y).sum()} of 6 samples right" in out


@pytest.fixture
def right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Whether the simulation is right, [N], of a net whose class scores keep the axes of an image."""
    y = labelled(tmp_path, monkeypatch, classes(6, 6))
    succeed("simulate", "net.lava", *OF_LABELLED, "-o", "spikes.npz")
    return are_right(y)


def test_a_report_takes_class_scores_that_keep_the_axes_of_an_image(right: np.ndarray) -> None:
    succeed("report", "net.lava", *OF_LABELLED, "-o", "out")
    report = json.loads(Path("out/report.json").read_text())
    assert [row["correct"] for row in report["waterfall"]] == [right.sum()] == [report["over_time"][-1]["correct"]]


def test_class_scores_that_keep_the_axes_of_an_image_are_verified_with_their_accuracy(right: np.ndarray) -> None:
    succeed("verify", "net.lava", *OF_LABELLED, "--json", "verify.json")
    result = json.loads(Path("verify.json").read_text())
    assert result["verdict"] == "exact" and result["accuracy"]["program"] == result["accuracy"]["lava"] == right.mean()
