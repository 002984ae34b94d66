"""Placement: every neuron on one core, within every limit, counted as a plain search counts, near the lower bound."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import GATES, GEOMETRIES, NEURONS, compile_model, geometry_net, random_samples, residual_net
from test_cycle import respond

from snn2hw import ir
from snn2hw.errors import DataError, DoesNotFit
from snn2hw.frontends.torch.trace import trace
from snn2hw.mapping.place import place
from snn2hw.mapping.placement import Core, PlacedLayer, Placement, limits_of, useful_parts
from snn2hw.mapping.populations import Feed, populations_of
from snn2hw.mapping.traffic import Link, traffic
from snn2hw.models.neurons import IFNode
from snn2hw.models.sew_resnet import SEWResNet, Stage, imagenet_net
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated
from snn2hw.targets import Target, load_target

LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")
TINY = replace(
    LOIHI1,
    cores_per_chip=7,
    neurons_per_core=40,
    weight_bytes_per_core=500,
    memory_bytes_per_core=700,
    input_axons_per_core=100,
    output_axons_per_core=400,
    mesh_width=2,
    mesh_height=2,
    cores_per_tile=2,
    largest_payload=1 << 20,
)
"""A chip so small that the nets of the tests fill several chips."""


@cache
def small_program(kind: str, option: str) -> ir.Program:
    if kind == "geometry":
        model = geometry_net(option)
    else:
        model = residual_net(kind, NEURONS[option])
    return compile_model(model, random_samples(2), timesteps=2)[1]


programs = st.one_of(
    st.builds(small_program, st.sampled_from(GATES), st.sampled_from(["if", "lif-soft", "leaky-none"])),
    st.builds(small_program, st.just("geometry"), st.sampled_from(list(GEOMETRIES))),
)
chips = st.builds(
    lambda neurons, weights, axons, cores: replace(
        TINY,
        neurons_per_core=neurons,
        weight_bytes_per_core=weights,
        output_axons_per_core=axons,
        cores_per_chip=cores,
    ),
    st.integers(8, 200),
    st.integers(500, 2000),
    st.one_of(st.none(), st.integers(600, 3000)),
    st.integers(1, 8),
)


# The slow count: one neuron at a time


def reads(program: ir.Program, feed: Feed) -> np.ndarray:
    """[source neurons, target neurons]: which reads which, seen by one spike at a time through weights of 1."""
    shape = program.graph[feed.source].shape
    synapse = None if feed.synapse is None else program.graph[feed.synapse]
    if isinstance(synapse, ir.Conv | ir.Linear):
        synapse = replace(synapse, weight=np.ones_like(synapse.weight))
    rows = []
    for index in range(math.prod(shape)):
        spike = np.zeros(math.prod(shape), np.int64)
        spike[index] = 1
        spike = spike.reshape(shape)
        rows.append((spike if synapse is None else respond(synapse, spike, {})).ravel() != 0)
    return np.array(rows)


def owner(layer: PlacedLayer) -> np.ndarray:
    """The number of the core that holds each neuron of a layer, from a look through all boxes."""
    numbers = np.full(layer.population.shape, -1)
    for offset, core in enumerate(layer.cores):
        inside = tuple(slice(start, end) for start, end in core.box)
        assert (numbers[inside] == -1).all()
        numbers[inside] = layer.first_core + offset
    return numbers.ravel()


def every_feed(placement: Placement) -> Iterator[tuple[PlacedLayer, Feed]]:
    for layer in placement.layers:
        for feed in layer.population.feeds:
            yield layer, feed


@settings(max_examples=25, deadline=None)
@given(programs, chips)
def test_every_neuron_has_one_core_and_every_core_keeps_its_limits(program: ir.Program, chip: Target) -> None:
    placement = place(program, chip)
    for layer in placement.layers:
        assert (owner(layer) >= 0).all()
        assert sum(core.neurons for core in layer.cores) == layer.population.neurons
        for core in layer.cores:
            for name, limit in limits_of(chip).items():
                assert limit is None or core.needs[name] <= limit, (core, name)
    assert placement.cores >= placement.lower_bound


@settings(max_examples=10, deadline=None)
@given(programs, chips)
def test_axons_are_those_of_a_search_neuron_by_neuron(program: ir.Program, chip: Target) -> None:
    placement = place(program, chip)
    cores = [core for layer in placement.layers for core in layer.cores]
    axons_in, axons_out = [0] * len(cores), [0] * len(cores)
    for layer, feed in every_feed(placement):
        connected, owners = reads(program, feed), owner(layer)
        source = placement.by_name.get(feed.source)
        size = math.prod((*program.graph[feed.source].shape, 1, 1)[1:3])
        for number in sorted(set(owners)):
            sources = np.flatnonzero(connected[:, owners == number].any(axis=1))
            axons_in[number] += len({int(index) % size for index in sources})  # one a pixel, its channels share it
            if source is not None:
                for index in sources:
                    axons_out[owner(source)[index]] += 1
    assert [core.input_axons for core in cores] == axons_in
    assert [core.output_axons for core in cores] == axons_out


@settings(max_examples=12, deadline=None)
@given(programs, chips, st.integers(0, 1000))
def test_traffic_is_that_of_a_count_spike_by_spike(program: ir.Program, chip: Target, seed: int) -> None:
    placement = place(program, chip)
    random = np.random.default_rng(seed)
    spikes = {layer.name: random.integers(0, 4, program.graph[layer.name].shape) for layer in placement.layers}
    counted = traffic(placement, spikes)
    cores = [core for layer in placement.layers for core in layer.cores]
    received, links = [0] * len(cores), []
    for layer, feed in every_feed(placement):
        if feed.source not in placement.by_name:
            continue
        sources = owner(placement.by_name[feed.source])
        sums = dict.fromkeys(("messages", "within_tile", "between_chips", "hops_x", "hops_y"), 0)
        for index, connected in enumerate(reads(program, feed)):
            count, start = int(spikes[feed.source].flat[index]), cores[sources[index]]
            for number in set(owner(layer)[connected]):
                add_message(sums, start, cores[number], count)
                received[number] += count
        links.append(Link(source=feed.source, target=layer.name, **sums))
    assert counted.links == tuple(links)
    assert counted.received == tuple(received)
    assert counted.total("messages") == sum(received)
    assert counted.uncounted == ()


def add_message(sums: dict[str, int], start: Core, end: Core, count: int) -> None:
    sums["messages"] += count
    if start.chip != end.chip:
        sums["between_chips"] += count
        return
    x, y = start.x, start.y
    while x != end.x:
        x += 1 if x < end.x else -1
        sums["hops_x"] += count
    while y != end.y:
        y += 1 if y < end.y else -1
        sums["hops_y"] += count
    if (start.x, start.y) == (end.x, end.y):
        sums["within_tile"] += count


# What is placed


def test_a_merge_takes_no_core_but_axons_of_each_of_its_inputs() -> None:
    program = small_program("ADD", "if")
    kinds = {population.name: population.kind for population in populations_of(program)}
    merges = [node.name for node in program.graph if isinstance(node, ir.Merge)]
    assert merges and not set(merges) & kinds.keys()
    readers = [
        population
        for population in populations_of(program)
        if any(feed.synapse is not None for feed in population.feeds)
    ]
    behind = [p for p in readers if len({feed.source for feed in p.feeds}) < len(p.feeds) or len(p.feeds) > 1]
    assert behind
    assert {"neuron", "threshold", "relay", "readout"} <= set(kinds.values())


def test_the_state_of_a_neuron_is_what_differs_from_neuron_to_neuron() -> None:
    sizes = {
        option: {p.state_bytes for p in populations_of(small_program("ADD", option)) if p.kind == "neuron"}
        for option in ("if", "leaky-none")
    }
    assert sizes == {"if": {5}, "leaky-none": {5}}  # membrane 3, bias 2
    assert {p.state_bytes for p in populations_of(small_program("ADD", "if")) if p.kind in ("threshold", "relay")} == {
        0
    }


def test_cutting_the_image_copies_the_kernels_and_cutting_channels_does_not() -> None:
    program = small_program("ADD", "if")
    layer = next(node for node in program.graph if isinstance(node, ir.Conv) and node.weight.shape[1] == 4)
    name = next(node.name for node in program.graph if layer.name in node.inputs)
    wide = place(program, replace(TINY, neurons_per_core=64, weight_bytes_per_core=10**6, memory_bytes_per_core=None))
    for placed in wide.layers:
        _, rows, columns = placed.parts
        if placed.name == name:
            assert sum(core.weight_bytes for core in placed.cores) == rows * columns * layer.weight.size
    assert wide.costs["weight_bytes"] >= sum(p.channel_weights * p.shape[0] for p in populations_of(program))


def test_the_parts_worth_trying_hold_every_size_of_a_largest_part() -> None:
    for size in range(1, 40):
        sizes = {-(-size // int(parts)) for parts in useful_parts(size)}
        assert sizes == {-(-size // parts) for parts in range(1, size + 1)}
        assert useful_parts(size)[0] == 1 and useful_parts(size)[-1] == size


def test_cores_follow_each_other_on_the_mesh_and_from_chip_to_chip() -> None:
    placement = place(small_program("ADD", "if"), TINY)
    cores = [core for layer in placement.layers for core in layer.cores]
    assert placement.chips == math.ceil(len(cores) / 7) > 1
    places = [(core.chip, core.y, core.x) for core in cores]
    assert places == sorted(places)
    assert places[:8] == [(0, 0, 0)] * 2 + [(0, 0, 1)] * 2 + [(0, 1, 0)] * 2 + [(0, 1, 1)] + [(1, 0, 0)]


def test_a_placement_is_plain_numbers_for_json() -> None:
    placement = place(small_program("IAND", "if"), LOIHI2)
    document = json.loads(json.dumps(placement.as_dict()))
    assert document["schema"] == "snn2hw.mapping/1"
    assert document["cores"] == len(document["core_list"]) == placement.cores
    assert document["limits"]["input axons"] is None and "input_axons_per_core" in document["not_public"]
    assert sum(core["neurons"] for core in document["core_list"]) == sum(
        p.neurons for p in populations_of(small_program("IAND", "if"))
    )
    assert document["systems"] == ["Oheo Gulch", "Kapoho Point", "Hala Point"]


# What does not fit


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("weight_bytes_per_core", 20, r"takes \d+ bytes of weights, \d+ more than the 20 there are. Give the layer"),
        ("memory_bytes_per_core", 20, r"takes \d+ bytes of weights and state, \d+ more than the 20"),
        ("input_axons_per_core", 3, r"takes \d+ input axons, \d+ more than the 3 there are. Give the layer a smaller"),
        ("output_axons_per_core", 1, r"takes \d+ output axons, \d+ more than the 1 there are. Make the layers"),
        ("largest_weight_bits", 4, r"take 8 bits, but Loihi 1 has at most 4. Export with fewer --weight-bits"),
    ],
)
def test_a_layer_that_fits_no_core_is_named_with_by_how_much_and_what_helps(
    limit: str, value: int, message: str
) -> None:
    program = small_program("ADD", "if")
    with pytest.raises(DoesNotFit, match=message) as raised:
        place(program, replace(TINY, **{limit: value}))
    assert str(raised.value).split(":")[0] in {population.name for population in populations_of(program)}
    if told := re.search(r"takes ([\d,]+) .*, ([\d,]+) more than the ([\d,]+)", str(raised.value)):
        takes, more, there = (int(text.replace(",", "")) for text in told.groups())
        assert takes - there == more > 0


def test_graded_spikes_are_noted_where_a_chip_has_none() -> None:
    program = small_program("ADD", "if")
    assert place(program, LOIHI2).notes == ()
    (note,) = place(program, LOIHI1).notes
    assert "Loihi 1 has spikes of at most 1" in note and program.graph.input.name in note


def test_a_net_larger_than_every_system_has_no_system() -> None:
    chip = replace(TINY, systems={"small": 1, "large": 10**6})
    assert place(small_program("ADD", "if"), chip).systems == ("large",)


# Spikes that traffic cannot count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda counts: counts.astype(float), "spike counts must be whole numbers, not float64"),
        (lambda counts: counts - 9, "a spike count is -8; counts go from 0"),
        (lambda counts: counts[:1], "spike counts of shape"),
    ],
)
def test_counts_that_are_none_are_refused(change: Callable[[Any], Any], message: str) -> None:
    program = small_program("ADD", "if")
    placement = place(program, TINY)
    spikes = {layer.name: np.ones(layer.population.shape, np.int64) for layer in placement.layers}
    name = placement.layers[0].name
    with pytest.raises(DataError, match=f"{name}: {message}"):
        traffic(placement, spikes | {name: change(spikes[name])})
    del spikes[name]
    with pytest.raises(DataError, match=f"{name}: no spike counts"):
        traffic(placement, spikes)


def test_relays_that_nobody_recorded_are_named_and_not_counted() -> None:
    program = small_program("ADD", "if")
    placement = place(program, TINY)
    relays = {layer.name for layer in placement.layers if layer.population.kind == "relay"}
    spikes = {layer.name: np.ones(layer.population.shape, np.int64) for layer in placement.layers}
    counted = traffic(placement, {name: counts for name, counts in spikes.items() if name not in relays})
    assert set(counted.uncounted) == relays != set()
    assert counted.total("messages") < traffic(placement, spikes).total("messages")


# The nets of the paper


def imagenet_program(depth: int) -> ir.Program:
    return structure(imagenet_net(depth, "ADD", IFNode))


def cifar_program() -> ir.Program:
    stages = [Stage(channels=64 * 2**i, blocks=2, stride=1 if i == 0 else 2) for i in range(4)]
    return structure(
        SEWResNet(
            connect="ADD", input_shape=(3, 32, 32), stem_kernel=3, stem_channels=64, stages=stages, classes=10,
            neuron=IFNode,
        )
    )  # fmt: skip


def structure(model: SEWResNet) -> ir.Program:
    network = trace(model.eval(), model.input_shape).network
    return compile_calibrated(network, UNCALIBRATED, Options(timesteps=4))


@pytest.mark.parametrize(
    ("build", "neurons", "shared", "bound", "cores", "chips"),
    [
        (lambda: imagenet_program(18), 2_483_712, 377, 369, 404, 4),
        (lambda: imagenet_program(50), 11_113_984, 1466, 1456, 1493, 13),
        (lambda: imagenet_program(152), 22_554_112, 2936, 2926, 2963, 25),
        (cifar_program, 614_400, 149, 145, 150, 2),
    ],
    ids=["18 at 224", "50 at 224", "152 at 224", "18 at 32"],
)
def test_sew_resnets_take_few_more_cores_than_they_must(
    build: Callable[[], ir.Program], neurons: int, shared: int, bound: int, cores: int, chips: int
) -> None:
    """shared: the published lower bounds, which count neurons and read-out alone, kernels shared, boxes whole."""
    placement = place(build(), LOIHI2)
    units = [layer for layer in placement.layers if layer.population.kind in ("neuron", "readout")]
    assert sum(layer.population.neurons for layer in units if layer.population.kind == "neuron") == neurons
    assert sum(len(layer.cores) for layer in units) == shared
    assert (placement.lower_bound, placement.cores, placement.chips) == (bound, cores, chips)
    assert shared <= placement.cores <= 1.3 * shared
