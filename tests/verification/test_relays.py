"""Relays end to end: membrane shortcuts and layers behind layers in Lava and in verify, and what verify finds there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from nets import compile_model, random_samples, run_requantised, trained_ms_resnet
from onnx_files import run_onnx
from spikingjelly.activation_based.model import ms_resnet
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.engines.torch_model import spikes_of
from snn2hw.errors import QuantisationError, UnsupportedError
from snn2hw.exporters.lava.host import run_lava
from snn2hw.exporters.lava.run_time import copy_run_time
from snn2hw.exporters.nir.losses import find_losses
from snn2hw.exporters.nir.profiles import find_profile
from snn2hw.frontends.nir_model import ExecutedNir
from snn2hw.ir.file import read_program, write_program
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.adopt import adopt
from snn2hw.network.layout import lay_out
from snn2hw.network.nir_file import same_network
from snn2hw.network.normalise import normalise
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.bound import bound
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.integers import compare_integers
from snn2hw.verification.network_vs_torch import compare_network

STEPS, SHAPE = 3, (3, 16, 16)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return random_samples(2, shape=SHAPE)


@pytest.fixture(scope="module")
def compiled(samples: Samples) -> tuple[Any, ir.Program]:
    return compile_model(trained_ms_resnet((2, 2, 1)), samples, timesteps=STEPS)


@pytest.fixture(scope="module")
def spikes(compiled: tuple[Any, ir.Program], samples: Samples) -> ir.Spikes:
    return cycle.simulate(compiled[1], samples)


def assert_equal(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, name)


@pytest.mark.parametrize("kind", [ms_resnet.MSResNet, ms_resnet.MaxResNet])
def test_a_net_with_membrane_shortcuts_is_the_same_everywhere(
    kind: type[nn.Module], samples: Samples, tmp_path: Path
) -> None:
    """Cycle and fast simulator, the program read back, Lava, ONNX, and the model with the integers."""
    traced, program = compile_model(trained_ms_resnet((2, 2, 1), kind=kind), samples, timesteps=STEPS)
    assert any(isinstance(node, ir.MaxPool) for node in program.graph) == (kind is ms_resnet.MaxResNet)
    spikes = cycle.simulate(program, samples)
    for name, node in traced.network.nodes.items():
        if isinstance(node, nir.LIF):
            assert 0 < spikes[name].mean() < 1, name
    assert_equal(fast.simulate(program, samples), spikes)
    model = run_requantised(traced, program, samples)
    assert_equal({**model, "logits": np.rint(model["logits"])}, {name: spikes[name] for name in model})
    compared = compare_network(traced.network, traced.user_model, torch.from_numpy(samples.steps(STEPS)).double())
    assert compared.compared and not compared.mismatches
    assert not compare_integers(program, traced.network, integer_graph(program.graph)).mismatches
    assert_equal(run_onnx(program, samples, spikes=True), spikes)
    copy_run_time(tmp_path / "lava")
    write_program(program, tmp_path / "program.npz")
    assert_equal(cycle.simulate(read_program(tmp_path / "program.npz"), samples), spikes)
    np.savez(tmp_path / "x.npz", x=samples.x)
    for processes in ("fused", "structural"):
        run_lava(tmp_path, tmp_path / "x.npz", tmp_path / "spikes.npz", processes=processes, deadline=300)  # type: ignore[arg-type]
        with np.load(tmp_path / "spikes.npz") as made:
            assert_equal(dict(made), spikes)


def test_a_maximum_of_currents_is_told_where_nir_has_none(samples: Samples) -> None:
    model = trained_ms_resnet((1, 1, 1), kind=ms_resnet.MaxResNet)
    traced, program = compile_model(model, samples, timesteps=1)
    pools = {node.name for node in program.graph if isinstance(node, ir.MaxPool)}
    for graph in (traced.network, integer_graph(program.graph)):
        assert pools == {loss.layer for loss in find_losses(graph) if "largest" in loss.differs}
        with pytest.raises(UnsupportedError, match="a maximum of currents, which NIR does not have"):
            find_profile("portable")(graph, whole=graph is not traced.network)
    again = adopt(normalise(integer_graph(program.graph)), program.numerics)
    assert sorted(str(again).splitlines()) == sorted(str(program.graph).splitlines())


def test_the_integers_as_nir_run_and_compile_to_the_same_program(
    compiled: tuple[Any, ir.Program], samples: Samples, spikes: ir.Spikes
) -> None:
    program = compiled[1]
    integers = integer_graph(program.graph)
    again = adopt(normalise(integers), program.numerics)
    assert sorted(str(again).splitlines()) == sorted(str(program.graph).splitlines())  # their order is free
    payloads = cycle.input_payloads(program, samples) * program.graph.input.scale
    run = spikes_of(ExecutedNir(graph=integers, dtype=torch.float64), torch.from_numpy(np.moveaxis(payloads, 1, 0)))
    for node in program.graph:
        if isinstance(node, ir.Relay):
            np.testing.assert_array_equal(run[node.name], spikes[node.name], node.name)


def test_a_stream_grows_by_one_block_with_each_block() -> None:
    """Two convolutions and one relay a block: no layer is made twice."""
    for blocks in (1, 2, 3):
        model = trained_ms_resnet((blocks, 1, 1))
        graph = compile_model(model, random_samples(1, shape=SHAPE), timesteps=1)[1].graph
        assert sum(isinstance(node, ir.Conv) for node in graph) == 2 * blocks + 8
        assert sum(node.name.endswith(".current") for node in graph) == blocks + 2


def test_a_stream_keeps_one_scale_and_layers_read_few_bits(compiled: tuple[Any, ir.Program]) -> None:
    graph = compiled[1].graph
    stage = {
        node.scale
        for node in graph
        if isinstance(node, ir.Relay) and node.name in ("layer1.0.current", "layer1.1.current")
    }
    assert len(stage) == 1
    payload = graph["layer1.1.current.payload"]
    assert isinstance(payload, ir.Relay) and payload.shift > 0 and (payload.low, payload.high) == (-127, 127)
    assert {graph[name].inputs for name in ("layer2.0.downsample.0",)} == {("layer1.1.current.payload",)}


FAULTS: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "a bias": ("layer1.0.current", lambda node: {"bias": node.bias + 1}),
    "a shift of a stream": ("layer1.0.current", lambda node: {"shift": 1}),
    "a scale of a stream": ("layer1.1.current", lambda node: {"scale": node.scale * 1.001}),
    "a stream that saturates": ("layer1.1.current", lambda node: {"high": 100}),
    "a shift of payloads": ("layer1.1.current.payload", lambda node: {"shift": node.shift + 1}),
    "a bias of payloads": ("layer1.1.current.payload", lambda node: {"bias": node.bias + 1}),
    "payloads of another unit": ("layer1.1.current.payload", lambda node: {"scale": node.scale * 2}),
    "a finer relay's bias": (".relay", lambda node: {"bias": node.bias - 1}),
    "a finer relay's shift": (".relay", lambda node: {"shift": node.shift + 1}),
    "a finer relay's scale": (".relay", lambda node: {"scale": node.scale * 2}),
    "a stream handed on doubled": ("layer1.1.current.shortcut", lambda node: {"factor": 2}),
    "a stream read doubled": ("layer2.0.spike1.shortcut", lambda node: {"factor": 2}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_number_of_a_relay_is_found(fault: str, compiled: tuple[Any, ir.Program]) -> None:
    traced, program = compiled
    place, change = FAULTS[fault]
    spoilt = next(node for node in program.graph if node.name.endswith(place))
    nodes = [replace(node, **change(node)) if node is spoilt else node for node in program.graph]
    spoiled = replace(program, graph=ir.Graph(tuple(nodes)))
    right = compare_integers(program, traced.network, integer_graph(program.graph))
    assert right.compared and not right.mismatches, right.first()
    written = integer_graph(
        program.graph if fault == "a bias of payloads" else spoiled.graph
    )  # NIR cannot say that one
    wrong = compare_integers(spoiled, traced.network, written)
    assert wrong.mismatches and {layer.name for layer in wrong.layers if layer.mismatches} & {spoilt.name}
    assert compare_integers(spoiled, traced.network, integer_graph(program.graph)).mismatches > wrong.mismatches - 1


def test_layers_behind_layers_in_a_nir_file_get_a_relay() -> None:
    """A graph as other tools write it, in which one matrix reads the other."""

    def matrix(rows: int, columns: int) -> nir.Affine:
        draw = np.random.default_rng(rows)
        return nir.Affine(weight=draw.normal(size=(rows, columns)).astype(np.float32), bias=draw.normal(size=rows))

    neurons = nir.IF(r=np.full(5, 1e4), v_threshold=np.ones(5), v_reset=np.zeros(5))
    ends = (nir.Input(input_type={"input": np.array([4])}), nir.Output(output_type={"output": np.array([3])}))
    nodes = {"input": ends[0], "one": matrix(6, 4), "two": matrix(5, 6), "n": neurons, "fc": matrix(3, 5)}
    nodes["output"] = ends[1]
    names = list(nodes)
    written = nir.NIRGraph(nodes=nodes, edges=list(pairwise(names)), type_check=False)
    given = random_samples(3, shape=(4,))
    program = compile_network(written, given, Options(timesteps=4), dt=1e-4)
    network = normalise(written)
    assert lay_out(network).sources["two"] == ("two.current",) and isinstance(program.graph["two.current"], ir.Relay)
    assert not compare_integers(program, network, integer_graph(program.graph)).mismatches
    assert same_network(normalise(network), network)
    made = fast.simulate(program, given)
    assert_equal(made, cycle.simulate(program, given))
    assert 0 < made["n"].mean() < 1


def test_a_sum_that_32_bits_do_not_hold_is_refused() -> None:
    x = ir.Input(name="x", shape=(1,), scale=1.0, low=0, high=(1 << 31) - 1)
    wide = {"bias": np.array(1), "shift": 0, "low": 0, "high": 1, "scale": 1.0}
    graph = ir.Graph((x, ir.Relay(name="r", inputs=("x",), shape=(1,), **wide)))
    with pytest.raises(QuantisationError, match="r: its sum may reach 2147483648, more than 32 bits hold"):
        bound(graph, UNCALIBRATED, load_numerics(), timesteps=1)


def test_what_nir_does_not_round_is_told(compiled: tuple[Any, ir.Program]) -> None:
    """A relay that divides is told; one that hands a stream on as it is means the same in every NIR tool."""
    program = compiled[1]
    told = {loss.layer for loss in find_losses(integer_graph(program.graph)) if "rounded" in loss.differs}
    assert told == {node.name for node in program.graph if isinstance(node, ir.Relay) and node.shift}
    assert "layer1.0.current" not in told and "layer1.1.current.payload" in told
