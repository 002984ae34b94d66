"""Every count is what plain loops over neurons, synapses and steps give, and what Lava's recorder saw."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_nets import count
from hand_made_graphs import program_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import GEOMETRIES, SNNTORCH, compile_model, geometry_net, random_samples, residual_net
from test_cycle import residual_nets
from torch import nn

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.engines.cycle import input_payloads
from snn2hw.exporters.bundle import read_bundle
from snn2hw.exporters.lava.simulate import simulate as simulate_in_lava
from snn2hw.ir.fixed_point import Reset, join_bias
from snn2hw.ir.numerics import load_numerics
from snn2hw.report.energy import baseline, paper_formula, price_events
from snn2hw.report.events import EventCounter, Events
from snn2hw.report.fan_out import fan_out, operations_with_padding
from snn2hw.report.prices import load_profiles
from snn2hw.report.values import Values

LEAKY = SNNTORCH["leaky-zero"]
Synapses = dict[tuple[int, ...], list[tuple[tuple[int, ...], int]]]
"""The outputs that each input position feeds, with the weights: one entry a connection."""


def connections(node: ir.Synapse, shape: ir.Shape) -> Synapses:
    """All connections of a synapse, written out one by one."""
    synapses: Synapses = {index: [] for index in np.ndindex(*shape)}
    if isinstance(node, ir.Scale):
        return {index: [(index, node.factor)] for index in synapses}
    if isinstance(node, ir.Linear):
        for column, index in enumerate(np.ndindex(*shape)):
            synapses[index] = [((row,), int(weight)) for row, weight in enumerate(node.weight[:, column])]
        return synapses
    pool = isinstance(node, ir.SumPool)
    kernel = node.kernel if isinstance(node, ir.SumPool) else node.weight.shape[2:]
    dilation = (1, 1) if isinstance(node, ir.SumPool) else node.dilation
    per_group = 1 if isinstance(node, ir.SumPool) else node.weight.shape[1]
    outputs = 1 if isinstance(node, ir.SumPool) else node.shape[0] // node.groups
    for out in np.ndindex(*node.shape):
        for channel_of_group, a, b in product(range(per_group), range(kernel[0]), range(kernel[1])):
            y = out[1] * node.stride[0] - node.padding[0] + a * dilation[0]
            x = out[2] * node.stride[1] - node.padding[1] + b * dilation[1]
            if 0 <= y < shape[1] and 0 <= x < shape[2]:
                channel = out[0] if pool else out[0] // outputs * per_group + channel_of_group
                weight = 1 if isinstance(node, ir.SumPool) else int(node.weight[out[0], channel_of_group, a, b])
                synapses[channel, y, x].append((out, weight))
    return synapses


def counted_by_hand(program: ir.Program, samples: Samples) -> dict[str, dict[str, Any]]:
    """The counts of every layer from the cycle simulator's spikes, in loops."""
    graph, steps = program.graph, program.schedule.timesteps
    emitted: dict[str, Any] = {graph.input.name: input_payloads(program, samples)}
    emitted |= cycle.simulate(program, samples)
    counts_of_nodes: dict[str, dict[str, Any]] = {}
    for node in graph:
        if isinstance(node, ir.Input):
            continue
        x = sum(np.asarray(emitted[source], np.int64) for source in node.inputs)
        counts = {key: [0] * steps for key in ("spikes", "operations", "by_value", "nonzero_weights", "messages")}
        if ir.is_synapse(node):
            wires = connections(node, graph.input_shape(node))
            result = np.zeros((len(samples), steps, *node.shape), np.int64)
            arrivals = np.zeros((len(samples), steps, *node.shape), np.bool_)
            for sample, step in np.ndindex(len(samples), steps):
                for index, wired in wires.items():
                    value = int(x[(sample, step, *index)])
                    counts["spikes"][step] += value != 0
                    counts["messages"][step] += value != 0 and bool(wired)
                    counts["operations"][step] += (value != 0) * len(wired)
                    counts["by_value"][step] += abs(value) * len(wired)
                    counts["nonzero_weights"][step] += (value != 0) * sum(weight != 0 for _, weight in wired)
                    for target, weight in wired:
                        result[(sample, step, *target)] += weight * value
                        arrivals[(sample, step, *target)] |= value != 0
            emitted[node.name] = result
            counts |= {"arrivals": arrivals, "dense": sum(map(len, wires.values()))}
        else:
            counts = {"active": [0] * steps, "inactive": [0] * steps, "fires": [0] * steps, "values": [0] * steps}
            bias = np.zeros((), np.int64)
            if isinstance(node, ir.Neuron):
                bias = join_bias(node.bias_mantissa, node.bias_exponent)
            elif isinstance(node, ir.Readout):
                bias = node.bias
            biased = np.broadcast_to(bias != 0, node.shape)
            for sample, step in np.ndindex(len(samples), steps):
                for index in np.ndindex(*node.shape):
                    at = (sample, step, *index)
                    out = 0 if isinstance(node, ir.Readout) else int(emitted[node.name][at])
                    arrives = any(
                        bool(counts_of_nodes[source]["arrivals"][at])
                        if ir.is_synapse(graph[source])
                        else emitted[source][at] != 0
                        for source in node.inputs
                    )
                    active = arrives or bool(biased[index]) or out != 0
                    counts["active" if active else "inactive"][step] += 1
                    counts["fires"][step] += out != 0
                    counts["values"][step] += abs(out)
        counts_of_nodes[node.name] = counts
    return counts_of_nodes


def assert_as_by_hand(program: ir.Program, samples: Samples, events: Events) -> None:
    expected = counted_by_hand(program, samples)
    assert {layer.name for layer in events.layers} == {*expected, program.graph.input.name}
    for layer in events.layers:
        counts = expected.get(layer.name, {})
        if layer.kind in ("conv", "linear", "scale", "sum_pool"):
            assert layer.synapses is not None and layer.unit is None
            for key in ("spikes", "messages", "operations", "by_value", "nonzero_weights"):
                assert list(getattr(layer.synapses, key)) == counts[key], (layer.name, key)
            assert layer.synapses.dense == counts["dense"], layer.name
        elif counts:
            assert layer.unit is not None
            assert list(layer.unit.spikes) == counts["fires"], layer.name
            assert list(layer.unit.values) == counts["values"], layer.name
            if layer.kind == "merge":
                assert not any((*layer.unit.active, *layer.unit.inactive)), layer.name  # a sum of axons is no unit
            else:
                assert list(layer.unit.active) == counts["active"], layer.name
                assert list(layer.unit.inactive) == counts["inactive"], layer.name


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(residual_nets(), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1000))
def test_drawn_nets_are_counted_as_loops_count_them(model: nn.Module, steps: int, samples: int, seed: int) -> None:
    data = random_samples(samples, steps=steps, seed=seed)
    _, program = compile_model(model, data, timesteps=steps)
    assert_as_by_hand(program, data, count(program, data))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_borders_strides_groups_and_dilation_are_counted_as_loops_count_them(geometry: str) -> None:
    data = random_samples(2)
    _, program = compile_model(geometry_net(geometry), data, timesteps=2)
    events = count(program, data)
    assert_as_by_hand(program, data, events)
    assert not events.silent


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_fan_out_is_the_number_of_connections(data: st.DataObject) -> None:
    """Of convolutions whose windows leave gaps, overlap, or miss the last rows."""
    draw = data.draw
    groups, size = draw(st.integers(1, 2)), st.integers(1, 3)
    kernel, stride, dilation = ((draw(size), draw(size)) for _ in range(3))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    shape = (2 * groups, draw(st.integers(7, 9)), draw(st.integers(7, 9)))
    weight = np.random.default_rng(draw(st.integers(0, 99))).integers(-1, 2, (3 * groups, 2, *kernel))
    sites = [
        (shape[1 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    node = ir.Conv(
        name="conv",
        inputs=("x",),
        shape=(3 * groups, *sites),
        weight=weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    wires = connections(node, shape)
    every, nonzero = fan_out(node, shape), fan_out(node, shape, nonzero=True)
    for index, wired in wires.items():
        assert every[index] == len(wired)
        assert nonzero[index] == sum(weight != 0 for _, weight in wired)
    assert operations_with_padding(node) == int(np.prod(node.shape)) * weight[0].size >= every.sum()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_counts_do_not_depend_on_the_batches(batch: int) -> None:
    data = random_samples(5)
    _, program = compile_model(residual_net(["ADD", "IAND"], LEAKY), data, timesteps=3)
    whole = count(program, data)
    assert asdict(count(program, data, batch=batch)) == asdict(whole)
    assert whole.samples == 5


def test_the_recorder_of_lava_saw_the_spikes_that_are_counted(tiny: Path) -> None:
    bundle = read_bundle(Path("tiny.lava"))
    data = load_samples("samples.npz", bundle.program.graph.input.shape)
    lava = simulate_in_lava(bundle.path, data, processes="fused")
    events = count(bundle.program, data)
    for node in bundle.program.graph.recorded:
        unit = events[node.name].unit
        assert unit is not None
        recorded = lava[node.name].reshape(len(data), bundle.program.schedule.timesteps, -1)
        assert list(unit.spikes) == np.count_nonzero(recorded, axis=(0, 2)).tolist(), node.name
        assert list(unit.values) == recorded.sum(axis=(0, 2), dtype=np.int64).tolist(), node.name
    assert not events.silent
    counter = EventCounter(bundle.program)
    counter.add(Values(bundle.program, data, lava))
    assert counter.events() == events


def test_add_gates_feed_the_next_convolution_by_count_and_by_value() -> None:
    """Two branches that both fire reach a synapse as one event of value 2."""
    data = random_samples(3)
    _, program = compile_model(residual_net("ADD", LEAKY, max_pool=()), data, timesteps=3)
    gate = next(node.name for node in program.graph if isinstance(node, ir.Merge))
    events = count(program, data)
    reader = next(node.name for node in program.graph if gate in node.inputs and isinstance(node, ir.Conv))
    unit, synapses = events[gate].unit, events[reader].synapses
    assert unit is not None and synapses is not None
    assert (synapses.carries, synapses.spikes, synapses.values) == ("graded", unit.spikes, unit.values)
    branches = [events[name].unit for name in program.graph[gate].inputs]
    assert sum(unit.values) == sum(sum(branch.values) for branch in branches if branch) > sum(unit.spikes)
    assert sum(synapses.by_value) > sum(synapses.operations) > 0


def test_dead_and_saturated_units_are_told() -> None:
    """One neuron fires at every input, one always through its bias, one never."""
    program = one_layer(threshold=[0, 0, 100], bias=[0, 4095, 0])
    events = count(program, Samples(np.array([[1.0], [0.0]], np.float32), None, False))
    unit = events["neuron"].unit
    assert unit is not None
    assert (unit.dead, unit.saturated) == (1, 1)
    assert unit.spikes == (3, 3)
    assert (unit.active, unit.inactive, unit.bias) == ((4, 4), (2, 2), (2, 2))


def test_a_silent_network_is_told_and_priced() -> None:
    program = one_layer(threshold=[100, 100, 100], bias=[0, 0, 0])
    events = count(program, Samples(np.zeros((2, 1), np.float32), None, False))
    assert events.silent
    for profile in load_profiles(()):
        energy = price_events(events, profile)
        assert energy.total is None or energy.total >= 0
    (fp32,) = load_profiles(("45nm-fp32",))
    assert baseline(events, fp32).rate == 0.0
    assert paper_formula(events, fp32).synaptic_operations == 0.0


def one_layer(*, threshold: list[int], bias: list[int]) -> ir.Program:
    """An input, a matrix of ones, three neurons, a read-out; two steps."""
    zero = np.array(0)
    graph = ir.Graph(
        (
            ir.Input(name="x", shape=(1,), scale=1.0, low=0, high=3),
            ir.Linear(name="in", inputs=("x",), shape=(3,), weight=np.ones((3, 1), np.int64)),
            ir.Neuron(
                name="neuron",
                inputs=("in",),
                shape=(3,),
                threshold=np.array(threshold),
                decay=zero,
                bias_mantissa=np.array(bias),
                bias_exponent=zero,
                reset=Reset.ZERO,
                reset_amount=zero,
                scale=1.0,
            ),
            ir.Linear(name="out", inputs=("neuron",), shape=(2,), weight=np.ones((2, 3), np.int64)),
            ir.Readout(name="logits", inputs=("out",), shape=(2,), bias=np.zeros(2, np.int64), scale=1.0),
        )
    )
    return program_of(graph, load_numerics(), timesteps=2)


def test_counting_keeps_no_more_for_more_samples() -> None:
    """What the counter keeps is a few numbers a neuron, however many samples were added."""
    data = random_samples(4)
    _, program = compile_model(residual_net("ADD", LEAKY), data, timesteps=2)
    counter = EventCounter(program)
    sizes = []
    for part, spikes in fast.stream(program, data, batch=2):
        counter.add(Values(program, data[part], spikes))
        arrays = [
            array for count in (*counter.synapses.values(), *counter.units.values()) for array in arrays_of(count)
        ]
        sizes.append(sum(array.nbytes for array in arrays))
    assert sizes[0] == sizes[1] > 0


def arrays_of(count: object) -> list[np.ndarray[Any, Any]]:
    return [value for value in vars(count).values() if isinstance(value, np.ndarray)]
