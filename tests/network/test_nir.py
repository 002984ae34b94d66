"""NIR at the waist: files keep a graph as it is, malformed graphs are refused by name, integers run as plain NIR."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from nets import GATES, NEURONS, SHAPE, Wired, compile_model, random_samples, residual_net, run_requantised
from spikingjelly.activation_based import neuron as sj_neuron
from torch import nn

from snn2hw import ir
from snn2hw.engines.cycle import input_payloads, simulate
from snn2hw.errors import ModelError, QuantisationError, UnsupportedError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.trace import trace
from snn2hw.network.nir_file import read_nir, same_network
from snn2hw.network.reference import Reference
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated, compile_network


@pytest.mark.parametrize("neuron", ["leaky-subtract", "leaky-none", "lif-reset", "if-soft", "plif"])
@pytest.mark.parametrize("gate", GATES)
def test_a_file_keeps_the_network(tmp_path: Path, gate: str, neuron: str) -> None:
    traced = trace(residual_net(gate, NEURONS[neuron]), SHAPE)
    path = tmp_path / "net.nir"
    write_graph(traced.network, path)
    again = read_nir(path)
    assert same_network(again, traced.network)
    x = torch.rand(3, 2, *SHAPE)
    for before, after in zip(Reference(traced.network).run(x), Reference(again).run(x), strict=True):
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("gate", GATES)
def test_both_graphs_pass_nirs_own_type_check(tmp_path: Path, gate: str) -> None:
    traced, program = compile_model(residual_net(gate, NEURONS["lif"]), random_samples(4), timesteps=2)
    for graph in (traced.network, integer_graph(program.graph)):
        path = tmp_path / "net.nir"
        write_graph(graph, path)
        assert same_network(nir.read(path, type_check=True), graph)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, graph: nir.NIRGraph, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    path = tmp_path / "net.nir"
    path.write_bytes(b"before")
    monkeypatch.setattr(nir, "write", full)
    with pytest.raises(OSError, match="no space"):
        write_graph(small_graph(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.nir"] and path.read_bytes() == b"before"


def full(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


def neuron_if(*shape: int, threshold: float = 1.0, **metadata: Any) -> nir.IF:
    return nir.IF(r=full(1e4, *shape), v_threshold=full(threshold, *shape), v_reset=full(0, *shape), metadata=metadata)


def neuron_lif(*shape: int, tau: float = 1e-3, leak: float = 0.0) -> nir.LIF:
    rest = full(0, *shape)
    parameters = dict(r=full(1, *shape), v_threshold=full(1, *shape), v_reset=rest)
    return nir.LIF(tau=full(tau, *shape), v_leak=full(leak, *shape), **parameters)


def small_graph(**changed: nir.NIRNode) -> nir.NIRGraph:
    """input [2, 4, 4] -> conv [3, 4, 4] -> neuron -> flat [48] -> fc [2] -> output, with some nodes replaced."""
    nodes = {
        "input": nir.Input(input_type={"input": np.array([2, 4, 4])}),
        "conv": conv_layer(),
        "neuron": neuron_if(3, 4, 4),
        "flat": nir.Flatten(input_type={"input": np.array([3, 4, 4])}, start_dim=0),
        "fc": nir.Affine(weight=full(0.5, 2, 48), bias=full(0, 2)),
        "output": nir.Output(output_type={"output": np.array([2])}),
    } | changed
    names = list(nodes)
    edges = list(pairwise(names[:6]))
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def conv_layer(weight: np.ndarray | None = None, bias: np.ndarray | None = None) -> nir.Conv2d:
    return nir.Conv2d(
        input_shape=(4, 4),
        weight=full(0.5, 3, 2, 3, 3) if weight is None else weight,
        stride=1,
        padding=1,
        dilation=1,
        groups=1,
        bias=full(0, 3) if bias is None else bias,
    )


def wired_otherwise(*added: tuple[str, str], without: tuple[str, str] = ("", ""), **nodes: nir.NIRNode) -> nir.NIRGraph:
    graph = small_graph(**nodes)
    return nir.NIRGraph(nodes=graph.nodes, edges=[*(e for e in graph.edges if e != without), *added], type_check=False)


DIFFERENT: dict[str, Callable[[], nir.NIRGraph]] = {
    "a weight": lambda: small_graph(fc=nir.Affine(weight=full(0.25, 2, 48), bias=full(0, 2))),
    "a kind": lambda: small_graph(fc=nir.Linear(weight=full(0.5, 2, 48))),
    "a name": lambda: small_graph(other=neuron_if(3, 4, 4)),
    "an edge": lambda: wired_otherwise(("input", "neuron"), without=("conv", "neuron")),
    "the shape of the input": lambda: small_graph(input=nir.Input(input_type={"input": np.array([2, 8, 2])})),
    "a reset": lambda: small_graph(neuron=neuron_if(3, 4, 4, reset="subtract")),
    "a reset's amount": lambda: small_graph(neuron=neuron_if(3, 4, 4, reset_amount=full(0.5, 3, 4, 4))),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_networks_that_differ_are_not_the_same(what: str) -> None:
    assert same_network(small_graph(), small_graph())
    assert not same_network(small_graph(), DIFFERENT[what]())
    assert not same_network(DIFFERENT[what](), small_graph())


MALFORMED: dict[str, tuple[Callable[[], nir.NIRGraph], str]] = {
    "a cycle": (lambda: wired_otherwise(("neuron", "conv")), "cycle through conv"),
    "an edge to nowhere": (lambda: wired_otherwise(("conv", "lost")), "conv -> lost: there is no node lost"),
    "an edge from nowhere": (lambda: wired_otherwise(("lost", "conv")), "lost -> conv: there is no node lost"),
    "an edge twice": (lambda: wired_otherwise(("conv", "neuron")), "edge conv -> neuron stands twice"),
    "nothing before a node": (lambda: wired_otherwise(without=("input", "conv")), "conv: nothing feeds this Conv2d"),
    "two shapes that meet": (
        lambda: wired_otherwise(("input", "neuron")),
        r"neuron: its sources have different shapes",
    ),
    "an edge behind the output": (lambda: wired_otherwise(("output", "last"), last=neuron_if(2)), "output: "),
    "two outputs": (
        lambda: wired_otherwise(("fc", "second"), second=nir.Output(output_type={"output": np.array([2])})),
        "2 Output nodes",
    ),
    "no output": (lambda: small_graph(output=nir.Scale(scale=full(1, 2))), "0 Output nodes"),
    "no input": (lambda: small_graph(input=neuron_if(2, 4, 4)), "input: nothing feeds this IF"),
    "an output of another shape": (
        lambda: small_graph(output=nir.Output(output_type={"output": np.array([7])})),
        r"output: .*\[7\].*\[2\]",
    ),
    "channels that do not fit": (
        lambda: small_graph(conv=conv_layer(full(1, 3, 5, 3, 3))),
        r"conv: takes 5 channels, but its input has shape \[2, 4, 4\]",
    ),
    "a kernel beyond the image": (
        lambda: small_graph(conv=conv_layer(full(1, 3, 2, 7, 7))),
        r"conv: its window \[7, 7\]",
    ),
    "a bias of another length": (lambda: small_graph(conv=conv_layer(bias=full(0, 4))), "conv: .*bias"),
    "a matrix that does not fit": (
        lambda: small_graph(fc=nir.Linear(weight=full(1, 2, 47))),
        r"fc: takes 47 values, but its input has shape \[48\]",
    ),
    "a matrix over an image": (lambda: small_graph(flat=nir.Scale(scale=full(1, 3, 4, 4))), r"fc: takes 48 values"),
    "neurons of another shape": (
        lambda: small_graph(neuron=neuron_if(3, 4, 5)),
        r"neuron: holds neurons of shape \[3, 4, 5\], but its input has shape \[3, 4, 4\]",
    ),
    "a threshold of another shape": (lambda: small_graph(flat=nir.Threshold(threshold=full(1, 2))), "flat: has shape"),
    "a time constant below the step": (
        lambda: small_graph(neuron=neuron_lif(3, 4, 4, tau=2e-5)),
        "neuron: the time constant 2e-05 s is shorter than the time step 0.0001 s",
    ),
    "an unknown reset": (lambda: small_graph(neuron=neuron_if(3, 4, 4, reset="soft")), "neuron: unknown reset 'soft'"),
    "a negative reset amount": (
        lambda: small_graph(neuron=neuron_if(3, 4, 4, reset="subtract", reset_amount=full(-1, 3, 4, 4))),
        "neuron: reset_amount",
    ),
    "a reset amount of another shape": (
        lambda: small_graph(neuron=neuron_if(3, 4, 4, reset="subtract", reset_amount=full(1, 5))),
        "neuron: reset_amount",
    ),
    "a threshold that is no number": (
        lambda: small_graph(neuron=neuron_if(3, 4, 4, threshold=np.nan)),
        "neuron: .*NaN",
    ),
    "an infinite leak": (lambda: small_graph(neuron=neuron_lif(3, 4, 4, leak=np.inf)), "neuron: .*infinite"),
    "a weight that is no number": (lambda: small_graph(conv=conv_layer(full(np.nan, 3, 2, 3, 3))), "conv: .*NaN"),
    "an infinite bias": (lambda: small_graph(conv=conv_layer(bias=full(np.inf, 3))), "conv: .*infinite"),
}


def deploy_file(path: Path) -> ir.Program:
    loaded = load_model(str(path), ModelOptions(timesteps=2))
    samples = random_samples(3, shape=loaded.input_shape)
    return compile_network(loaded.network, samples, Options(timesteps=2))


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_graphs_are_refused_by_name(tmp_path: Path, case: str) -> None:
    build, message = MALFORMED[case]
    path = tmp_path / "net.nir"
    write_graph(build(), path)
    with pytest.raises(ModelError, match=message):
        deploy_file(path)


def test_the_graph_that_the_malformed_ones_start_from_is_well_formed(tmp_path: Path) -> None:
    write_graph(small_graph(), tmp_path / "net.nir")
    assert deploy_file(tmp_path / "net.nir").graph.readout.shape == (2,)


def test_nodes_of_other_kinds_are_all_told(tmp_path: Path) -> None:
    leaky = nir.LI(tau=full(1, 3, 4, 4), r=full(1, 3, 4, 4), v_leak=full(0, 3, 4, 4))
    write_graph(small_graph(neuron=leaky, fc=nir.I(r=full(1, 48))), tmp_path / "net.nir")
    with pytest.raises(UnsupportedError) as raised:
        read_nir(tmp_path / "net.nir")
    assert [blocker.layer for blocker in raised.value.blockers] == ["fc", "neuron"]


LEAK_FREE = ("leaky-if-zero", "leaky-if-none", "if", "if-soft", "if-reset")


def test_no_sum_of_whole_numbers_lies_on_a_threshold() -> None:
    """So that executors that fire at the threshold agree with those that fire above it."""
    _, program = compile_model(residual_net("IAND", NEURONS["if"]), random_samples(4), timesteps=2)
    for node in integer_graph(program.graph).nodes.values():
        if isinstance(node, nir.IF):
            assert np.all(64 * node.v_threshold % 1 == 0.5)
        if isinstance(node, nir.Threshold):
            assert np.all(node.threshold % 1 == 0.5)


@pytest.mark.parametrize("neuron", LEAK_FREE)
@pytest.mark.parametrize("gate", GATES)
def test_the_integer_graph_run_as_floats_gives_the_programs_spikes(gate: str, neuron: str) -> None:
    samples = random_samples(5)
    _, program = compile_model(residual_net(gate, NEURONS[neuron]), samples, timesteps=3)
    payloads = torch.from_numpy(np.moveaxis(input_payloads(program, samples), 1, 0)).double()
    steps = list(Reference(integer_graph(program.graph), dtype=torch.float64).run(payloads))
    expected = simulate(program, samples)
    for name in expected.keys() - {"logits"}:
        assert np.array_equal(np.stack([step[name].numpy() for step in steps], axis=1), expected[name]), name
    assert np.array_equal(sum(step["output"].numpy() for step in steps), expected["logits"])
    assert all(values.any() for values in expected.values())


def test_large_biases_stay_whole() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(3), sj_neuron.LIFNode(v_threshold=2.0))
    model.extend([nn.Flatten(), nn.Linear(16, 3)])
    model[0].weight.data.mul_(0.05)
    model[0].bias.data.copy_(torch.tensor([1.3, 1.7, 1.9, 2.3]))
    model[4].weight.data.mul_(1e-7)  # then the bias of the read-out is a large number, too
    samples = random_samples(3)
    traced, program = compile_model(model, samples, timesteps=6)
    expected, requantised = simulate(program, samples), run_requantised(traced, program, samples)
    assert np.array_equal(requantised["2"], expected["2"]) and expected["2"].any()
    assert np.array_equal(np.rint(requantised["logits"]), expected["logits"])
    assert abs(expected["logits"]).min() > 1 << 24


def test_a_bias_that_no_layer_can_carry_is_refused() -> None:
    only_spikes = nir.NIRGraph(
        nodes={
            "input": nir.Input(input_type={"input": np.array([2])}),
            "neuron": neuron_lif(2, leak=0.5),
            "output": nir.Output(output_type={"output": np.array([2])}),
        },
        edges=[("input", "neuron"), ("neuron", "output")],
        type_check=False,
    )
    own_bias = neuron_lif(3, 4, 4)
    own_bias.v_leak = np.linspace(0, 0.5, 48, dtype=np.float32).reshape(3, 4, 4)
    for graph, message in (
        (only_spikes, "neuron: it has a bias, but no weighted layer"),
        (small_graph(neuron=own_bias), "neuron: its bias differs within a channel"),
    ):
        program = compile_calibrated(graph, UNCALIBRATED, Options(timesteps=2))
        with pytest.raises(QuantisationError, match=message):
            integer_graph(program.graph)


def test_layers_may_have_the_names_that_the_graph_gives_itself() -> None:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        spikes = net.neuron(net.input(x))
        return net.output((net.add(net.block(spikes)) + spikes).flatten(1))

    layers = {"input": nn.Conv2d(2, 4, 3), "block": nn.Conv2d(4, 4, 1), "output": nn.Linear(144, 3)}
    model = Wired(wire, neuron=NEURONS["if"](), add=NEURONS["leaky-zero"](), **layers)
    nested = nn.Sequential(nn.Identity(), model)
    samples = random_samples(3)
    for net in (model, nested):
        torch.manual_seed(0)
        traced, program = compile_model(net, samples, timesteps=3)
        assert {name.rpartition(".")[2] for name in traced.layers} == {*layers, "neuron", "add"}
        expected, requantised = simulate(program, samples), run_requantised(traced, program, samples)
        assert all(np.array_equal(requantised[name], expected[name]) for name in expected.keys() - {"logits"})
