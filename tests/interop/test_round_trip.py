"""What is written is what is read: graphs through files, integers through NIR and back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from interop_nets import NETS, deployed_net, write
from nets import NEURONS, compile_model, random_samples, residual_net

from snn2hw import ir
from snn2hw.engines.cycle import simulate
from snn2hw.errors import QuantisationError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.exporters.nir.profiles import PROFILES
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.adopt import adopt, is_quantised
from snn2hw.network.nir_file import metadata_of_nodes, read_nir, same_network
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated, compile_network


def assert_same_integers(a: ir.Graph, b: ir.Graph) -> None:
    assert {node.name for node in a} == {node.name for node in b}
    for node in a:
        other = b[node.name]
        assert type(node) is type(other)
        for item in fields(node):
            before, after = getattr(node, item.name), getattr(other, item.name)
            if isinstance(before, np.ndarray):
                shape = before.shape if item.name == "weight" else node.shape
                assert np.array_equal(np.broadcast_to(before, shape), np.broadcast_to(after, shape)), (
                    node.name,
                    item.name,
                )
            elif item.name == "inputs":
                assert sorted(before) == sorted(after), node.name
            else:
                assert before == after, (node.name, item.name)


@pytest.mark.parametrize("net", NETS)
def test_a_quantised_file_compiles_to_the_same_program(tmp_path: Path, net: str) -> None:
    compiled, samples, expected = deployed_net(net)
    program, path = compiled.program, tmp_path / "net.nir"
    write(compiled, path, "plain", quantised=True)
    steps = program.schedule.timesteps
    loaded = load_model(str(path), ModelOptions(timesteps=steps))
    again = compile_network(loaded.network, samples, Options(timesteps=steps))
    assert_same_integers(program.graph, again.graph)
    assert again.schedule.latency == program.schedule.latency
    assert again.schedule.reset_offset == program.schedule.reset_offset
    assert {name: bound.kind for name, bound in again.bounds.items()} == {
        name: bound.kind for name, bound in program.bounds.items()
    }
    spikes = simulate(again, samples)
    assert spikes.keys() == expected.keys()
    assert all(np.array_equal(spikes[name], expected[name]) for name in expected)


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_survives_the_round_trip(tmp_path: Path, neuron: str) -> None:
    _, program = compile_model(residual_net("IAND", NEURONS[neuron]), random_samples(4), timesteps=3)
    write_graph(integer_graph(program.graph), tmp_path / "net.nir")
    assert_same_integers(program.graph, adopt(read_nir(tmp_path / "net.nir"), load_numerics()))


def test_a_number_that_is_not_whole_is_refused() -> None:
    _, program = compile_model(residual_net("ADD", NEURONS["if"]), random_samples(4), timesteps=2)
    graph = integer_graph(program.graph)
    graph.nodes["block0.conv1"].weight[0, 0, 0, 0] += 0.5
    with pytest.raises(QuantisationError, match=r"block0\.conv1: its weight holds .*\.5, but the input says"):
        compile_calibrated(graph, UNCALIBRATED, Options(timesteps=2))


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_model_in_a_file_is_read_as_it_was_written(tmp_path: Path, profile: str, quantised: bool) -> None:
    compiled, _, _ = deployed_net("digits add")
    write(compiled, tmp_path / "net.nir", profile, quantised=quantised)
    source = integer_graph(compiled.program.graph) if quantised else compiled.network
    encoded = PROFILES[profile](source, whole=quantised)
    assert same_network(nir.read(tmp_path / "net.nir"), encoded)
    read = read_nir(tmp_path / "net.nir")
    assert same_network(read, metadata_of_nodes(encoded))
    assert is_quantised(read) == quantised
    write_graph(read, tmp_path / "again.nir")
    assert same_network(read_nir(tmp_path / "again.nir"), read)


def test_a_legacy_file_holds_nothing_that_nir_1_0_4_does_not_know(tmp_path: Path) -> None:
    compiled, _, _ = deployed_net("digits add")
    for profile, known in (("plain", True), ("legacy", False)):
        write(compiled, tmp_path / "net.nir", profile)
        names: list[str] = []
        with h5py.File(tmp_path / "net.nir") as file:
            file["node"].visit(names.append)
        assert any(name.endswith("/v_reset") for name in names) == known
