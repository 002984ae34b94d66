"""Models with several heads: one read-out of all logits, each head with its scale, its rows written into NIR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from cli import arrays, fail, run, succeed
from nets import (
    SHAPE,
    Wire,
    Wired,
    compile_model,
    leaky,
    random_samples,
    run_requantised,
    two,
    with_heads,
)
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.engines import fast
from snn2hw.engines.cycle import simulate
from snn2hw.errors import ModelError, QuantisationError, UnsupportedError
from snn2hw.exporters.bundle import write_manifest
from snn2hw.exporters.nir.files import write_graph
from snn2hw.frontends.torch.trace import trace
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.nir_file import read_nir, same_network
from snn2hw.network.reference import Reference
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.passes.quantise import quantise
from snn2hw.pipeline import Options, compile_network

STEPS = 3


def by_name(self: Any, middle: Tensor, end: Tensor) -> Any:
    logits, extra = two(self, middle, end)
    return {"digits": logits, "parts": [extra, self.more(end.flatten(1))]}


FORMS: dict[str, tuple[Wire, dict[str, nn.Module], dict[str, int]]] = {
    "a tuple": (two, {}, {"0": 3, "1": 5}),
    "a list": (lambda self, middle, end: list(two(self, middle, end)), {}, {"0": 3, "1": 5}),
    "names within": (by_name, {"more": nn.Linear(96, 2)}, {"digits": 3, "parts.0": 5, "parts.1": 2}),
    "spikes": (
        lambda self, middle, end: (self.fire(two(self, middle, end)[1]), middle.flatten(1)),
        {"fire": sj_neuron.IFNode(v_threshold=0.2)},
        {"0": 5, "1": 256},
    ),
    "averages": (lambda self, middle, end: [self.pool(x).flatten(1) for x in (end, middle)], {}, {"0": 6, "1": 4}),
    "a sum of layers": (
        lambda self, middle, end: (two(self, middle, end)[0], two(self, middle, end)[1] + self.b(end.flatten(1))),
        {"b": nn.Linear(96, 5)},
        {"0": 3, "1": 5},
    ),
    "a convolution and its mean": (
        lambda self, middle, end: (self.pool(self.conv(end)).flatten(1), self.pool(self.grouped(middle)).flatten(1)),
        {"conv": nn.Conv2d(6, 3, 1), "grouped": nn.Conv2d(4, 6, 3, groups=2)},
        {"0": 3, "1": 6},
    ),
    "one head twice": (lambda self, middle, end: (two(self, middle, end)[0],) * 2, {}, {"0": 3, "1": 3}),
    "logits that are read on": (
        lambda self, middle, end: (two(self, middle, end)[0], self.next(self.fire(two(self, middle, end)[1]))),
        {"fire": sj_neuron.IFNode(v_threshold=0.2), "next": nn.Linear(5, 4)},
        {"0": 3, "1": 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_several_heads_is_deployed_exactly(form: str, tmp_path: Path) -> None:
    wire, layers, sizes = FORMS[form]
    model = with_heads(wire, **layers).double()
    samples = random_samples(4, steps=STEPS)
    traced, program = compile_model(model, samples, timesteps=STEPS)
    x = torch.from_numpy(samples.steps(STEPS)).double()
    for step, ours in zip(traced.run(x), Reference(traced.network, dtype=torch.float64).run(x), strict=True):
        torch.testing.assert_close(step["logits"], ours["output"])
    readout = program.graph.readout
    assert {head.name: head.stop - head.start for head in readout.heads} == sizes
    assert readout.shape == (sum(sizes.values()),)
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    quick = fast.simulate(program, samples, batch=3)
    assert quick.keys() == spikes.keys() and all(np.array_equal(quick[name], spikes[name]) for name in spikes)
    for name in traced.origin.keys() & spikes.keys():
        assert np.array_equal(spikes[name], expected[name]), name
    assert np.array_equal(spikes["logits"], np.rint(expected["logits"]))
    for head in readout.heads:
        step = spikes[f"logits.{head.name}"]
        assert np.array_equal(step, spikes["logits"][:, head.start : head.stop]) and step.any()
    for graph in (traced.network, integer_graph(program.graph)):
        write_graph(graph, tmp_path / "net.nir")
        assert same_network(read_nir(tmp_path / "net.nir"), graph)


def test_the_logits_are_those_of_the_users_model() -> None:
    model = with_heads(by_name, more=nn.Linear(96, 2))
    x = torch.rand(STEPS, 4, *SHAPE)
    expected = []
    for frame in x:
        heads = model(frame)
        expected.append(torch.cat([heads["digits"], *heads["parts"]], 1).detach())
    for step, logits in zip(trace(model, SHAPE).run(x), expected, strict=True):
        assert torch.equal(step["logits"], logits)


def test_heads_of_a_multi_step_model() -> None:
    """One head for each step, one averaged over them: their sums over the steps are the same."""
    layers: dict[str, Any] = {
        "conv": sj_layer.Conv2d(2, 4, 3, step_mode="m"),
        "fire": sj_neuron.IFNode(v_threshold=0.3, step_mode="m"),
        "fc": nn.Linear(144, 3),
        "aux": nn.Linear(144, 2),
    }

    def wire(self: Any, x: Tensor) -> Any:
        spikes = self.fire(self.conv(x)).flatten(2)
        return self.fc(spikes).mean(0), self.aux(spikes)

    torch.manual_seed(0)
    samples = random_samples(4, steps=STEPS)
    traced, program = compile_model(Wired(wire, **layers).double(), samples, timesteps=STEPS)
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    assert np.array_equal(spikes["logits"], np.rint(expected["logits"])) and spikes["logits"].any(axis=0).all()


def test_a_head_of_small_weights_keeps_its_precision() -> None:
    """Each head has its scale: with a common one, the small weights would all become 0."""
    model = with_heads(two)
    model.aux.weight.data *= 1e-4
    model.aux.bias.data *= 1e-4
    samples = random_samples(8, steps=STEPS)
    traced, program = compile_model(model, samples, timesteps=STEPS)
    first, second = program.graph.readout.heads
    assert second.scale > 1000 * first.scale
    assert [int(abs(program.graph[name].weight).max()) for name in ("fc", "aux")] == [127, 127]
    x = torch.from_numpy(samples.steps(STEPS))
    floats = sum(step["logits"] for step in traced.run(x)).numpy()[:, second.start : second.stop]
    integers = simulate(program, samples)["logits.1"] / second.scale
    assert np.corrcoef(floats.ravel(), integers.ravel())[0, 1] > 0.99


def test_a_head_costs_no_cycle_and_no_layer() -> None:
    _, program = compile_model(with_heads(two), random_samples(4), timesteps=STEPS)
    latency = program.schedule.latency
    assert latency["output"] == latency["fc"]
    assert {node.name for node in program.graph} & {"output.0", "output.1"} == set()
    assert program.graph["aux"].shape == (8,) and not program.graph["aux"].weight[:3].any()


def test_an_integer_graph_from_a_file_compiles_to_the_same_logits(tmp_path: Path) -> None:
    """The file alone holds the heads: quantised.nir is a network like any other."""
    samples = random_samples(4)
    _, program = compile_model(with_heads(two), samples, timesteps=STEPS)
    write_graph(integer_graph(program.graph), tmp_path / "net.nir")
    again = read_nir(tmp_path / "net.nir")
    heads = compile_network(again, samples, Options(timesteps=STEPS)).graph.readout.heads
    assert [(head.name, head.start, head.stop) for head in heads] == [("0", 0, 3), ("1", 3, 8)]


@pytest.mark.parametrize(
    "heads",
    ["no json", "3", "[]", '[["a", 3]]', '[["a", 3], ["a", 5]]', '[["a", 3], ["b", 4]]', '[["a", 0], ["b", 8]]', 4],
)
def test_heads_that_do_not_fit_the_output_are_refused(heads: object, tmp_path: Path) -> None:
    network = trace(with_heads(two), SHAPE).network
    network.nodes["output"].metadata["heads"] = heads
    write_graph(network, tmp_path / "net.nir")
    with pytest.raises(
        ModelError, match=r"output: its metadata name the heads .*, but must be a list of \[name, size\]"
    ):
        read_nir(tmp_path / "net.nir")


def test_a_dead_head_is_named() -> None:
    model = with_heads(two)
    model.aux.weight.data.zero_()
    with pytest.raises(QuantisationError, match=r"output: all weights of head 1 are 0"):
        quantise(trace(model, SHAPE).network, UNCALIBRATED, load_numerics())


def test_heads_need_a_layer_in_front_of_the_output() -> None:
    """A foreign file may let spikes go right into an output with heads: no weight could take up their scales."""
    nodes = {
        "input": nir.Input(input_type={"input": np.array([2])}),
        "output": nir.Output(output_type={"output": np.array([2])}, metadata={"heads": '[["a", 1], ["b", 1]]'}),
    }
    graph = nir.NIRGraph(nodes=nodes, edges=[("input", "output")], type_check=False)
    with pytest.raises(QuantisationError, match=r"output: input goes right into an output with several heads\. Put a"):
        quantise(graph, UNCALIBRATED, load_numerics())


REFUSED: dict[str, tuple[Wire, str]] = {
    "an image": (lambda self, middle, end: (two(self, middle, end)[0], end), r"head 1 has shape \[6, 4, 4\].* Pool"),
    "the input": (lambda self, middle, end: {"a": self.fc(self.pool(end).flatten(1)), "b": 3}, "head b is no tensor"),
    "nothing": (lambda self, middle, end: (), "does not return a tensor"),
    "a membrane": (lambda self, middle, end: {"a": self.leaky(middle)[1]}, "returns the state of leaky alone"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_head_is_refused(case: str) -> None:
    wire, message = REFUSED[case]
    with pytest.raises(UnsupportedError, match=message):
        trace(with_heads(wire, leaky=leaky(0.9, "zero", output=True)()), SHAPE)


def test_a_blocker_in_one_head_hides_none_in_the_other() -> None:
    model = with_heads(
        lambda self, middle, end: {
            "a": self.t(self.fc(self.pool(end).flatten(1))),
            "b": self.g(self.pool(middle).flatten(1)),
        },
        t=nn.Tanh(),
        g=nn.GELU(),
    )
    with pytest.raises(UnsupportedError) as raised:
        trace(model, SHAPE)
    assert [blocker.layer for blocker in raised.value.blockers] == ["t", "g"]


def test_one_head_in_a_container_is_the_model() -> None:
    network = trace(with_heads(lambda self, middle, end: {"logits": two(self, middle, end)[0]}), SHAPE).network
    assert network.nodes["output"].metadata == {} and "output.logits" not in network.nodes


def test_a_neuron_of_the_name_of_a_head_is_refused() -> None:
    """Its spikes and the head's logits would be one array of the results."""
    traced = trace(with_heads(two), SHAPE)
    nodes = {{"stem.2": "logits.0"}.get(name, name): node for name, node in traced.network.nodes.items()}
    edges = [tuple({"stem.2": "logits.0"}.get(end, end) for end in edge) for edge in traced.network.edges]
    graph = nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)
    with pytest.raises(QuantisationError, match=r"logits\.0: results keep this name"):
        quantise(graph, UNCALIBRATED, load_numerics())


NETS = """
import torch
from torch import nn
from spikingjelly.activation_based import neuron

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.fire1 = nn.Conv2d(1, 4, 3), neuron.IFNode(v_threshold=0.3)
        self.conv2, self.fire2 = nn.Conv2d(4, 4, 3), neuron.LIFNode(v_threshold=0.2)
        self.pool, self.fc, self.aux = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = self.fire1(self.conv1(x))
        aux = self.aux(self.pool(x).flatten(1))
        return {"digit": self.fc(self.fire2(self.conv2(x)).flatten(1)), "aux": aux}

def build():
    torch.manual_seed(0)
    return Net()
"""


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with heads.lava and data for it, whose labels are those of the first head."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("two_heads.py").write_text(NETS)
    x = np.random.default_rng(0).random((6, 1, 6, 6), dtype=np.float32)
    np.savez("data.npz", x=x, y=np.arange(6) % 3)
    np.savez("other.npz", x=x, y=np.full(6, 4))
    command = ("export", "two_heads:build", "--target", "lava", "-o", "heads.lava", "--calibrate", "data.npz")
    told = succeed(*command, "--input-shape", "1,6,6", "--timesteps", STEPS)
    assert "Heads: digit (3 logits), aux (5 logits); accuracy is that of digit." in told
    return tmp_path / "heads.lava"


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_two_at_different_depths_are_exact_in_lava(bundle: Path, processes: str) -> None:
    told = succeed("verify", bundle, "--data", "data.npz", "--json", "verified.json", "--processes", processes)
    verified = json.loads(Path("verified.json").read_text())
    assert verified["verdict"] == "exact" and verified["head"] == "digit"
    assert "Accuracy of head digit on 6 samples" in told
    lava = next(comparison for comparison in verified["comparisons"] if comparison["name"] == "lava-vs-program")
    assert {layer["compared"] for layer in lava["layers"] if layer["name"] == "logits"} == {6 * 8}


def test_every_engine_writes_each_head_and_scores_the_first(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    heads = manifest["heads"]
    assert [(head["name"], head["start"], head["stop"]) for head in heads] == [("digit", 0, 3), ("aux", 3, 8)]
    written = []
    for engine in ("cycle", "fast", "lava"):
        told = succeed("simulate", bundle, "--data", "data.npz", "--engine", engine, "-o", "spikes.npz")
        spikes = arrays("spikes.npz")
        right = int((spikes["logits"][:, :3].argmax(axis=1) == np.arange(6) % 3).sum())
        assert "logits and the spikes of 2 layers" in told
        assert f"{engine}: {right} of 6 samples right" in told and "by head digit" in told
        for head in heads:
            logits = spikes[f"logits.{head['name']}"]
            assert logits.dtype == np.int64 and np.array_equal(
                logits, spikes["logits"][:, head["start"] : head["stop"]]
            )
        written.append(spikes)
    for arrays_of_engine in written[1:]:
        assert arrays_of_engine.keys() == written[0].keys()
        assert all(np.array_equal(values, written[0][name]) for name, values in arrays_of_engine.items())


def test_labels_are_those_of_the_first_head(bundle: Path) -> None:
    assert "the model has 3 classes" in fail("verify", bundle, "--data", "other.npz")


def test_a_wrong_weight_of_the_second_head_is_found(bundle: Path) -> None:
    program = arrays(bundle / "program.npz")
    program["aux:weight"][6] //= 2
    np.savez(bundle / "program.npz", **program)
    write_manifest(bundle, json.loads((bundle / "manifest.json").read_text()))
    ended = run("verify", bundle, "--data", "data.npz")
    assert ended.code == 1 and "First difference of program-vs-requantised-torch: layer logits" in ended.out
    assert ", index [6]:" in ended.out
