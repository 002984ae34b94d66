"""What of a program needs neurons on a chip, and which of them reach which: the input of placement.

Neurons, threshold units and the read-out take room on cores. So does a synapse that another synapse reads: something
has to pass its sums on, a relay. A merge takes none: each of its inputs has axons to the layers behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.ir.file import kind_name
from snn2hw.ir.fixed_point import NO_MEMORY

Box = tuple[int, int, int]  # channels, rows, columns
AXES = (0, 1, 2)

# Bytes of the program's formats (docs/program.md). How wide the words of a chip are is not public.
STATE, BIAS, THRESHOLD, DECAY = 3, 2, 3, 2


@dataclass(frozen=True, kw_only=True)
class AxisReads:
    """On one axis, which of the `sources` places of the layer before each of the `size` places of a layer reads.

    all: every one. same: the one of the same number. group: those of its group, of `groups` of one size. window: as a
    convolution's window has them, `taps` places, `dilation` apart, the first at place * stride - padding.
    """

    kind: Literal["all", "same", "group", "window"]
    size: int
    sources: int
    groups: int = 1
    taps: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def of_parts(self, edges: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[parts, sources]: whether the part from edges[i] to edges[i + 1] reads the place."""
        parts = len(edges) - 1
        if self.kind == "all":
            return np.ones((parts, self.sources), np.bool_)
        read = np.zeros((parts, self.sources), np.bool_)
        places = np.arange(self.size)
        part = np.searchsorted(edges, places, side="right") - 1
        match self.kind:
            case "same":
                read[part, places] = True
            case "group":
                width, members = self.sources // self.groups, self.size // self.groups
                for offset in range(width):
                    read[part, places // members * width + offset] = True
            case "window":
                for tap in range(self.taps):
                    source = places * self.stride - self.padding + tap * self.dilation
                    inside = (source >= 0) & (source < self.sources)
                    read[part[inside], source[inside]] = True
        return read


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The connection from a population (or the input) to the one that holds it, by one synapse.

    reads: which places are read, on the axes of channels, rows and columns.
    """

    source: str
    synapse: str | None  # None: one-to-one, without a weight
    reads: tuple[AxisReads, AxisReads, AxisReads]


@dataclass(frozen=True, kw_only=True)
class Population:
    """A layer that takes room on cores.

    shape: [C, H, W], of a vector [K, 1, 1]. weights: stored once for a whole core; channel_weights: stored for every
    channel on it; weight_bits: of the widest, with sign. state_bytes: what one neuron keeps for itself. payload: the
    largest absolute value that it emits.
    """

    name: str
    kind: str
    shape: Box
    weights: int
    channel_weights: int
    weight_bits: int
    state_bytes: int
    payload: int
    feeds: tuple[Feed, ...]

    @property
    def neurons(self) -> int:
        return math.prod(self.shape)


def populations_of(program: ir.Program) -> tuple[Population, ...]:
    """Every population of a program, in the order of its nodes."""
    graph = program.graph
    relays = {source for node in graph if ir.is_synapse(node) for source in node.inputs if ir.is_synapse(graph[source])}
    populations = []
    for node in graph:
        if ir.is_synapse(node) and node.name in relays:
            kind, synapses = "relay", [node]
        elif ir.is_unit(node):
            kind = kind_name(node)
            sources = [graph[source] for source in node.inputs]
            synapses = [source for source in sources if ir.is_synapse(source) and source.name not in relays]
        else:
            continue
        stored = [_weights(synapse) for synapse in synapses]
        populations.append(
            Population(
                name=node.name,
                kind=kind,
                shape=_box(node.shape),
                weights=sum(shared for shared, _, _ in stored),
                channel_weights=sum(each for _, each, _ in stored),
                weight_bits=max((bits for _, _, bits in stored), default=1),
                state_bytes=_state_bytes(node),
                payload=program.bounds[node.name].payload,
                feeds=tuple(_feeds(graph, node, synapses, relays)),
            )
        )
    return tuple(populations)


def _feeds(graph: ir.Graph, node: ir.Node, synapses: list[ir.Synapse], relays: set[str]) -> Iterator[Feed]:
    shape = _box(node.shape)
    for synapse in synapses:
        for name in synapse.inputs:
            for source in _emitters(graph, name):
                reads = _reads(synapse, _box(graph[source].shape), shape)
                yield Feed(source=source, synapse=synapse.name, reads=reads)
    if node in synapses:
        return
    for name in node.inputs:
        if not ir.is_synapse(graph[name]) or name in relays:
            for source in _emitters(graph, name):
                same = [AxisReads(kind="same", size=size, sources=size) for size in shape]
                yield Feed(source=source, synapse=None, reads=(same[0], same[1], same[2]))


def _emitters(graph: ir.Graph, name: str) -> list[str]:
    """The populations (or the input) whose spikes a node's output is made of: merges taken apart."""
    node = graph[name]
    if not isinstance(node, ir.Merge):
        return [name]
    return [emitter for source in node.inputs for emitter in _emitters(graph, source)]


def _reads(synapse: ir.Synapse, source: Box, shape: Box) -> tuple[AxisReads, AxisReads, AxisReads]:
    match synapse:
        case ir.Conv():
            kernel: tuple[int, int] = (synapse.weight.shape[2], synapse.weight.shape[3])
            kind: Literal["all", "group"] = "all" if synapse.groups == 1 else "group"
            channels = AxisReads(kind=kind, size=shape[0], sources=source[0], groups=synapse.groups)
            dilation = synapse.dilation
        case ir.SumPool() | ir.MaxPool():
            kernel, dilation = synapse.kernel, (1, 1)
            channels = AxisReads(kind="same", size=shape[0], sources=source[0])
        case ir.Linear():
            whole = [AxisReads(kind="all", size=size, sources=count) for size, count in zip(shape, source, strict=True)]
            return whole[0], whole[1], whole[2]
        case ir.Scale():
            same = [AxisReads(kind="same", size=size, sources=size) for size in shape]
            return same[0], same[1], same[2]
        case _:
            assert_never(synapse)
    rows, columns = (
        AxisReads(
            kind="window",
            size=shape[axis + 1],
            sources=source[axis + 1],
            taps=kernel[axis],
            stride=synapse.stride[axis],
            padding=synapse.padding[axis],
            dilation=dilation[axis],
        )
        for axis in (0, 1)
    )
    return channels, rows, columns


def _weights(synapse: ir.Synapse) -> tuple[int, int, int]:
    """Weights stored once a core, weights stored for each channel on it, and the bits of the widest."""
    match synapse:
        case ir.Conv() | ir.Linear():
            largest = max(-1 - int(synapse.weight.min()), int(synapse.weight.max()), 0)  # 8 bits hold -128 to 127
            return 0, synapse.weight[0].size, largest.bit_length() + 1
        case ir.Scale():
            return 1, 0, abs(synapse.factor).bit_length() + 1
        case ir.SumPool() | ir.MaxPool():
            return 1, 0, 2
        case _:
            assert_never(synapse)


def _state_bytes(node: ir.Node) -> int:
    """Bytes that one neuron keeps for itself: its state, and the parameters that differ between neurons."""
    match node:
        case ir.Neuron():
            remembers_current = bool((node.current_decay < NO_MEMORY).any())
            return (
                STATE * (1 + remembers_current)
                + BIAS * bool(node.bias_mantissa.any())
                + THRESHOLD * _varies(node.threshold)
                + THRESHOLD * _varies(node.reset_amount)
                + DECAY * (_varies(node.decay) + _varies(node.current_decay))
            )
        case ir.Readout():
            return STATE + BIAS * bool(node.bias.any())
        case ir.Relay():
            return BIAS * bool(node.bias.any())
        case ir.Input() | ir.Threshold() | ir.Merge():
            return 0
        case ir.Conv() | ir.Linear() | ir.Scale() | ir.SumPool() | ir.MaxPool():
            return 0
        case _:
            assert_never(node)


def _varies(values: NDArray[np.int64]) -> bool:
    return bool((values != values.flat[0]).any())


def _box(shape: ir.Shape) -> Box:
    channels, rows, columns = (*shape, 1, 1)[:3]
    return channels, rows, columns
