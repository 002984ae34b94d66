"""Verify: exact on the trained nets, fused and structural; where one number of a program is wrong, it says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cli
import nir
import numpy as np
import pytest
import torch
from cli import arrays, succeed
from conftest import TIMESTEPS
from trained_nets import NETS, PROCESSES, TRAINED, exported, verified

from snn2hw.data.named import digits_test
from snn2hw.exporters.bundle import write_manifest
from snn2hw.exporters.lava import simulate as lava_engine
from snn2hw.exporters.lava.host import run_lava
from snn2hw.models.checkpoint import build_model
from snn2hw.training.trainer import accuracy
from snn2hw.verification import verify
from snn2hw.verification.comparison import Comparison, LayerComparison
from snn2hw.verification.verdict import Verification

BUNDLE = Path("tiny.lava")
VERIFY = ("verify", BUNDLE, "--data", "samples.npz", "--json", "verify.json")
Text = dict[str, Any]
Arrays = dict[str, np.ndarray[Any, Any]]


def read_program() -> tuple[Text, Arrays]:
    """The JSON and the arrays of program.npz."""
    entries = arrays(BUNDLE / "program.npz")
    return json.loads(str(entries.pop("program"))), entries


def seal() -> None:
    """Write the sha256 of every file anew: only running it shows what is wrong now."""
    write_manifest(BUNDLE, json.loads((BUNDLE / "manifest.json").read_text()))


def node(text: Text, name: str) -> dict[str, Any]:
    return next(entry for entry in text["nodes"] if entry["name"] == name)


# One number each, and the layer that shows it first.


def change_weight(text: Text, values: Arrays) -> str:
    weight = values["layer1.0.conv1:weight"]
    weight[1, 2, 1, 1] = 100 if weight[1, 2, 1, 1] < 0 else -100
    return "layer1.0.neuron1"


def change_threshold(text: Text, values: Arrays) -> str:
    values["layer1.0.neuron2:threshold"] //= 2
    return "layer1.0.neuron2"


def change_delay(text: Text, values: Arrays) -> str:
    shortcut = next(edge for edge in node(text, "layer1.0.add")["inputs"] if edge["delay"])
    shortcut["delay"] += 1
    return "layer1.0.add"


def change_reset_offset(text: Text, values: Arrays) -> str:
    neuron = node(text, "layer2.0.neuron1")
    neuron["reset_offset"] = (neuron["reset_offset"] + 1) % TIMESTEPS
    return "layer2.0.neuron1"


CHANGES: tuple[Callable[[Text, Arrays], str], ...] = (
    change_weight,
    change_threshold,
    change_delay,
    change_reset_offset,
)


def latencies(text: Text) -> dict[str, int]:
    """Synapses on the longest path to each node."""
    latency: dict[str, int] = {}
    for entry in text["nodes"]:
        arrival = max((latency[edge["source"]] for edge in entry["inputs"]), default=0)
        latency[entry["name"]] = arrival + (entry["kind"] in ("conv", "linear", "scale", "sum_pool"))
    return latency | {"logits": latency["output"]}


def differences(expected: Arrays, actual: Arrays, text: Text) -> dict[str, dict[str, Any]]:
    """What verify has to say of each layer: one value after the other."""
    layers = {}
    for name, latency in latencies(text).items():
        if name not in expected:
            continue
        first, mismatches = None, 0
        for place in np.ndindex(expected[name].shape):
            wanted, given = int(expected[name][place]), int(actual[name][place])
            if wanted == given:
                continue
            mismatches += 1
            if first is None:
                sample, step, index = place[0], place[1], place[2:]
                if name == "logits":
                    step, index = TIMESTEPS - 1, place[1:]
                first = {
                    "sample": sample,
                    "step": step,
                    "cycle": sample * TIMESTEPS + step + latency + 1,
                    "index": list(index),
                    "expected": wanted,
                    "actual": given,
                    "detail": "",
                }
        layers[name] = {"name": name, "compared": expected[name].size, "mismatches": mismatches, "first": first}
    return layers


def simulated() -> Arrays:
    succeed("simulate", BUNDLE, "--data", "samples.npz", "--engine", "cycle", "-o", "spikes.npz")
    return arrays("spikes.npz")


def diverged() -> tuple[dict[str, Any], str]:
    """Verify, which must find something; return its comparisons by name, and what it printed."""
    out = succeed(*VERIFY, code=1)
    result = json.loads(Path("verify.json").read_text())
    assert result["verdict"] == "diverged"
    assert "Verdict: diverged for these 5 samples." in out
    return {comparison["name"]: comparison for comparison in result["comparisons"]}, out


def check_first(comparison: dict[str, Any], wanted: dict[str, dict[str, Any]], layer: str, out: str) -> None:
    """Every layer's first difference is the right one, and the first of all, in `layer`, is printed."""
    assert {entry["name"]: entry for entry in comparison["layers"]} == wanted
    assert comparison["mismatches"] == sum(entry["mismatches"] for entry in wanted.values()) > 0
    changed = [entry for entry in wanted.values() if entry["first"]]
    first = min(changed, key=lambda entry: entry["first"]["cycle"])
    assert first["name"] == layer
    actual, expected = comparison["name"].split("-vs-")
    where = first["first"]
    assert (
        f"First difference of {comparison['name']}: layer {layer}, sample {where['sample']}, step {where['step']}, "
        f"cycle {where['cycle']}, index {where['index']}: {expected} gives {where['expected']}, {actual} gives "
        f"{where['actual']}."
    ) in out


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("change", CHANGES)
def test_one_wrong_number_in_a_program_is_found_where_it_first_shows(change: Callable[[Text, Arrays], str]) -> None:
    right = simulated()
    text, values = read_program()
    layer = change(text, values)
    np.savez(BUNDLE / "program.npz", program=np.array(json.dumps(text)), **values)
    seal()
    wanted = differences(right, simulated(), text)
    comparisons, out = diverged()
    check_first(comparisons["program-vs-requantised-torch"], wanted, layer, out)
    assert comparisons["lava-vs-program"]["mismatches"] == 0  # both run the wrong program, and run it alike


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("change", CHANGES)
def test_one_wrong_number_in_lava_alone_is_found_where_it_first_shows(
    change: Callable[[Text, Arrays], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = simulated()
    text, values = read_program()
    layer = change(text, values)
    Path("wrong").mkdir()
    np.savez("wrong/program.npz", program=np.array(json.dumps(text)), **values)
    monkeypatch.setattr(lava_engine, "run_lava", partial(run_lava, program=Path("wrong/program.npz")))
    comparisons, out = diverged()
    run_lava(BUNDLE, Path("samples.npz"), Path("lava.npz"), program=Path("wrong/program.npz"))
    check_first(comparisons["lava-vs-program"], differences(right, arrays("lava.npz"), text), layer, out)
    assert comparisons["program-vs-requantised-torch"]["mismatches"] == 0


@pytest.mark.usefixtures("tiny")
def test_a_layer_that_falls_silent_differs_first_where_it_first_fired() -> None:
    spikes = simulated()["neuron1"]
    sample, step, *index = (int(i) for i in np.argwhere(spikes)[0])
    text, values = read_program()
    values["neuron1:threshold"] = np.full_like(values["neuron1:threshold"], (1 << 17) - 1)
    np.savez(BUNDLE / "program.npz", program=np.array(json.dumps(text)), **values)
    seal()
    comparisons, _ = diverged()
    assert comparisons["integers-vs-network"]["mismatches"] > 0  # it stands in the program alone
    layer = comparisons["program-vs-requantised-torch"]["layers"][0]
    cycle = sample * TIMESTEPS + step + 2  # a convolution stands before it
    first = {"sample": sample, "step": step, "cycle": cycle, "index": index, "expected": 1, "actual": 0, "detail": ""}
    assert (layer["name"], layer["mismatches"], layer["first"]) == ("neuron1", int(spikes.sum()), first)


@pytest.mark.usefixtures("tiny")
def test_a_wrong_integer_graph_is_found_by_the_model_with_its_integers() -> None:
    path = BUNDLE / "quantised.nir"
    graph = nir.read(path, type_check=False)
    graph.nodes["layer2.0.conv1"].weight[0] = 0
    nir.write(path, graph)
    seal()
    comparisons, out = diverged()
    assert "First difference of program-vs-requantised-torch: layer layer2.0.neuron1, " in out
    assert comparisons["lava-vs-program"]["mismatches"] == 0


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("chunk", [1, 2])
def test_what_is_compared_a_few_samples_at_a_time_is_the_same_as_at_once(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, values = read_program()
    change_threshold(text, values)
    np.savez(BUNDLE / "program.npz", program=np.array(json.dumps(text)), **values)
    seal()
    at_once = diverged()
    monkeypatch.setattr(verify, "_chunk_size", lambda program: chunk)
    assert diverged() == at_once


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("layer", ["layer1.0.add", "logits"])
def test_a_layer_that_lava_does_not_return_is_no_exact_result(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(bundle: Path, given: Path, made: Path, **options: Any) -> None:
        run_lava(bundle, given, made, **options)
        np.savez(made, **{name: values for name, values in arrays(made).items() if name != layer})

    monkeypatch.setattr(lava_engine, "run_lava", forgetful)
    ended = cli.run(*VERIFY)
    assert ended.code == 2
    assert ended.err.startswith(f"error: lava-vs-program: {layer} ")
    assert not Path("verify.json").exists()


def compared(name: str, *, compared: int = 10, mismatches: int = 0, exact: bool = True) -> Comparison:
    layer = LayerComparison(name="neuron1", compared=compared, mismatches=mismatches, first=None)
    actual, expected = name.split("-vs-")
    return Comparison(sides=(actual, expected), exact_required=exact, layers=(layer,))


NETWORK, INTEGERS, TORCH, FLOAT = verify.NETWORK, verify.INTEGERS, verify.REQUANTISED, verify.FLOAT
LAVA = "lava-vs-program"
ALL = tuple(compared(name) for name in (NETWORK, INTEGERS, LAVA, TORCH))


def without(name: str) -> tuple[Comparison, ...]:
    """All required comparisons but one."""
    return tuple(comparison for comparison in ALL if comparison.name != name)


@pytest.mark.parametrize(
    ("comparisons", "skipped", "verdict"),
    [
        (ALL, {}, "exact"),
        ((*ALL, compared(FLOAT, mismatches=3, exact=False)), {}, "exact"),
        *(
            ((*without(name), compared(name, mismatches=1)), {}, "diverged")
            for name in (NETWORK, INTEGERS, LAVA, TORCH)
        ),
        *(
            ((*without(name), compared(name, compared=0)), {}, "incomplete")
            for name in (NETWORK, INTEGERS, LAVA, TORCH)
        ),
        *((without(name), {name: "gone"}, "incomplete") for name in (NETWORK, INTEGERS, LAVA, TORCH)),
        *((without(name), {}, "incomplete") for name in (NETWORK, INTEGERS, LAVA, TORCH)),
        (ALL, {TORCH: "gone"}, "incomplete"),
        ((compared(LAVA, mismatches=1),), {TORCH: "gone"}, "diverged"),
        ((), {}, "incomplete"),
    ],
)
def test_only_required_comparisons_that_ran_and_agree_make_a_verdict_exact(
    comparisons: tuple[Comparison, ...], skipped: dict[str, str], verdict: str
) -> None:
    result = Verification(
        samples=1,
        timesteps=1,
        comparisons=comparisons,
        skipped=skipped,
        required=(NETWORK, INTEGERS, LAVA, TORCH),
        correct=None,
    )
    assert result.verdict == verdict


# The trained nets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize("timesteps", [1, 4, 8])
@pytest.mark.parametrize("net", NETS)
@PROCESSES
def test_a_trained_net_is_exact(net: str, timesteps: int, processes: str, samples: int, folder: Path) -> None:
    bundle = exported(folder, net, timesteps=timesteps)
    result = verified(bundle, processes=processes, samples=samples)
    assert (result["verdict"], result["samples"], result["timesteps"]) == ("exact", samples, timesteps)
    by_name = {comparison["name"]: comparison for comparison in result["comparisons"]}
    assert list(by_name) == [NETWORK, INTEGERS, LAVA, TORCH, FLOAT]
    for comparison in (by_name[LAVA], by_name[TORCH]):
        layers = {layer["name"]: layer["compared"] for layer in comparison["layers"]}
        program = json.loads(str(arrays(bundle / "program.npz")["program"]))
        shapes = {entry["name"]: entry["shape"] for entry in program["nodes"]}
        sizes = {entry["name"]: int(np.prod(shapes[entry["name"]])) for entry in program["recorded"]}
        wanted = {name: samples * timesteps * size for name, size in sizes.items()} | {"logits": samples * 10}
        assert layers == wanted  # every layer, neuron and step
    silent = [name for name, count in result["spikes"].items() if not count]
    assert not silent


@pytest.mark.parametrize("net", NETS)
def test_quantising_costs_at_most_one_percentage_point_of_accuracy(net: str, folder: Path, tmp_path: Path) -> None:
    content = torch.load(TRAINED / f"{net}.pt", weights_only=True)
    model = build_model(content["arch"], content["config"])
    model.load_state_dict(content["state_dict"])
    test = digits_test()
    float_accuracy = accuracy(model, test, 4)
    assert float_accuracy > 0.95
    succeed("simulate", exported(folder, net, timesteps=4), "--data", "digits", "-o", tmp_path / "spikes.npz")
    classes = arrays(tmp_path / "spikes.npz")["logits"].argmax(axis=1)
    assert len(classes) == len(test.y) == 359
    assert (classes == test.y.numpy()).mean() >= float_accuracy - 0.01
