"""export --profile, simulate --engine, compare: what people type, see, and get as files."""

from __future__ import annotations

import json
from pathlib import Path

import cli
import nir
import numpy as np
import pytest

from snn2hw.exporters.nir.files import write_graph

ENGINES = ("norse", "snntorch", "spikingjelly", "reference")


@pytest.fixture
def folder(tiny: Path) -> Path:
    """The folder of `tiny` with a quantised portable file of the same model."""
    given = ("--calibrate", "samples.npz", "--target", "nir", "--profile", "portable", "--quantised")
    out = cli.succeed("export", "tiny.pt", *given, "-o", "net.nir")
    assert "float32: exact for every input in all" in out
    return tiny


@pytest.mark.parametrize("engine", ENGINES)
def test_simulate_runs_a_file_in_another_framework(folder: Path, engine: str) -> None:
    given = ("net.nir", "--engine", engine, "--data", "samples.npz", "--timesteps", 3, "-o", f"{engine}.npz")
    assert f"{engine}: " in cli.succeed("simulate", *given)
    cli.succeed("simulate", "tiny.lava", "--data", "samples.npz", "-o", "ours.npz")
    ours, theirs = cli.arrays("ours.npz"), cli.arrays(f"{engine}.npz")
    assert ours.keys() <= theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name].reshape(ours[name].shape)) for name in ours)
    assert all(ours[name].dtype == theirs[name].dtype for name in ours)


@pytest.mark.parametrize("engine", ENGINES)
def test_compare_ends_with_0_for_equal_runs(folder: Path, engine: str) -> None:
    out = cli.succeed("compare", "tiny.lava", f"net.nir@{engine}", "--data", "samples.npz", "--json", "c.json")
    assert "Equal: " in out and "rate difference" in out
    result = json.loads(Path("c.json").read_text())
    assert (result["schema"], result["equal"], result["a"]) == ("snn2hw.compare/1", True, "tiny.lava")
    assert all(
        (layer["different"], layer["first"], layer["rate_difference"]) == (0, None, 0) for layer in result["layers"]
    )
    assert all(layer["cosine"] in (1.0, None) and layer["compared"] for layer in result["layers"])


def test_compare_ends_with_1_and_names_the_first_difference(folder: Path) -> None:
    graph = nir.read("net.nir")
    node = graph.nodes["layer1.0.neuron1"]
    node.v_threshold = node.v_threshold * 0.5
    write_graph(graph, Path("wrong.nir"))
    given = ("tiny.lava", "wrong.nir@norse", "--data", "samples.npz", "--samples", 2, "--json", "c.json")
    out = cli.succeed("compare", *given, code=1)
    assert "First difference: layer layer1.0.neuron1, sample 0, step 0, index" in out
    layers = {layer["name"]: layer for layer in json.loads(Path("c.json").read_text())["layers"]}
    changed = layers["layer1.0.neuron1"]
    assert changed["different"] and changed["cosine"] < 1 and changed["rate_difference"] > 0
    assert changed["first"].keys() == {"sample", "step", "index", "a", "b"}
    assert layers["neuron1"]["different"] == 0


def test_compare_takes_files_of_spikes_and_models(folder: Path) -> None:
    cli.succeed("simulate", "tiny.lava", "--data", "samples.npz", "-o", "ours.npz")
    assert "Equal" in cli.succeed("compare", "ours.npz", "tiny.lava", "--data", "samples.npz")
    assert "Equal" in cli.succeed("compare", "ours.npz", "net.nir@snntorch", "--data", "samples.npz", "--timesteps", 3)
    given = ("tiny.pt@cycle", "ours.npz", "--data", "samples.npz", "--calibrate", "samples.npz")
    assert "Equal" in cli.succeed("compare", *given)
    assert "tiny.pt and tiny.pt@torch" in cli.succeed("compare", "tiny.pt", "tiny.pt@torch", "--data", "samples.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "net.nir", "tiny.lava@loihi"), "tiny.lava@loihi: a bundle runs in fast, cycle or lava"),
        (("compare", "net.nir@nest", "tiny.lava"), "engine 'nest': for a .nir file choose norse, sinabs"),
        (("compare", "tiny.pt@lava", "tiny.lava"), "tiny.pt@lava: a model runs in fast, cycle or torch"),
        (("compare", "samples.npz", "tiny.lava"), "samples.npz: it holds no logits"),
        (("compare", "samples.npz@norse", "tiny.lava"), "a file of spikes has no engine"),
        (("compare", "net.nir", "net.nir@norse"), "net.nir does not say it: give --timesteps T"),
        (("compare", "lost.lava", "net.nir"), "lost.lava: no manifest.json"),
        (("simulate", "tiny.pt", "--engine", "norse"), "--engine norse runs .nir files"),
        (("simulate", "net.nir", "--engine", "norse"), "net.nir does not say it: give --timesteps T"),
        (("simulate", "net.nir", "--engine", "nest"), "engine 'nest': choose fast, cycle, c, lava, onnx, norse"),
    ],
)
def test_what_cannot_be_run_is_told(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in cli.fail(*arguments, "--data", "samples.npz")


def test_runs_of_other_lengths_and_networks_are_not_compared(folder: Path) -> None:
    cli.succeed("simulate", "tiny.lava", "--data", "samples.npz", "--samples", 2, "-o", "two.npz")
    assert "the two have different shapes, [2, 3, " in cli.fail(
        "compare", "two.npz", "tiny.lava", "--data", "samples.npz"
    )
    np.savez("other.npz", logits=np.zeros((5, 4)), a=np.zeros((5, 3, 2)))
    assert "no layer in common" in cli.fail("compare", "other.npz", "tiny.lava", "--data", "samples.npz")


@pytest.mark.parametrize("option", [("--profile", "portable"), ("--quantised",), ("--allow-lossy",)])
def test_options_of_nir_are_refused_elsewhere(tiny: Path, option: tuple[str, ...]) -> None:
    message = cli.fail("export", "tiny.pt", "--target", "lava", "-o", "new.lava", *option)
    assert f"{option[0]} is not for --target lava. Leave it out" in message
