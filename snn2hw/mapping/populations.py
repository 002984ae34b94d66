"""What of a program needs neurons on a chip, and which of them reach which: the input of placement.

Neurons, threshold units and the read-out take room on cores. So does a synapse that another synapse reads: something
has to pass its sums on, a relay. A merge takes none: each of its inputs has axons of its own to the layers behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.ir.fixed_point import NO_MEMORY

Box = tuple[int, int, int]  # channels, rows, columns
AXES = (0, 1, 2)

# Bytes of the program's own formats (docs/program.md). How wide the words of a chip are is not public.
STATE, BIAS, THRESHOLD, DECAY = 3, 2, 3, 2


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Which of `sources` places on one axis the places 0 to `size` of another layer read.

    all: every one; same: that of the same number; group: those of its group; window: first place, stride and taps as a
    convolution has them.
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
                width, own = self.sources // self.groups, self.size // self.groups
                for offset in range(width):
                    read[part, places // own * width + offset] = True
            case "window":
                for tap in range(self.taps):
                    source = places * self.stride - self.padding + tap * self.dilation
                    inside = (source >= 0) & (source < self.sources)
                    read[part[inside], source[inside]] = True
        return read


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The connection from a population (or the input) to the one that holds it, by one synapse."""

    source: str
    synapse: str | None  # None: one-to-one, without a weight
    reach: tuple[Reach, Reach, Reach]


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
    found = []
    for node in graph:
        synapses: list[ir.Node | None]
        if node.name in relays:
            kind, synapses = "relay", [node]
        elif isinstance(node, ir.Neuron | ir.Threshold | ir.Readout):
            kind = type(node).__name__.lower()
            synapses = [graph[source] for source in node.inputs]
        else:
            continue
        own = [entry for entry in synapses if entry is not None and ir.is_synapse(entry) and entry.name not in relays]
        if kind == "relay":
            own = [node]
        stored = [_weights(entry) for entry in own]
        shape = _box(node.shape)
        found.append(
            Population(
                name=node.name,
                kind=kind,
                shape=shape,
                weights=sum(shared for shared, _, _ in stored),
                channel_weights=sum(each for _, each, _ in stored),
                weight_bits=max((bits for _, _, bits in stored), default=1),
                state_bytes=_state_bytes(node),
                payload=program.bounds[node.name].payload,
                feeds=tuple(_feeds(graph, node, own, relays)),
            )
        )
    return tuple(found)


def _feeds(graph: ir.Graph, node: ir.Node, own: list[ir.Node], relays: set[str]) -> Iterator[Feed]:
    shape = _box(node.shape)
    for synapse in own:
        for name in synapse.inputs:
            for source in _emitters(graph, name):
                reach = _reach(synapse, _box(graph[source].shape), shape)
                yield Feed(source=source, synapse=synapse.name, reach=reach)
    if node in own:
        return
    for name in node.inputs:
        if not ir.is_synapse(graph[name]) or name in relays:
            for source in _emitters(graph, name):
                same = [Reach(kind="same", size=size, sources=size) for size in shape]
                yield Feed(source=source, synapse=None, reach=(same[0], same[1], same[2]))


def _emitters(graph: ir.Graph, name: str) -> list[str]:
    """The populations (or the input) whose spikes a node's output is made of: merges taken apart."""
    node = graph[name]
    if not isinstance(node, ir.Merge):
        return [name]
    return [emitter for source in node.inputs for emitter in _emitters(graph, source)]


def _reach(synapse: ir.Node, source: Box, shape: Box) -> tuple[Reach, Reach, Reach]:
    match synapse:
        case ir.Conv():
            kernel: tuple[int, int] = (synapse.weight.shape[2], synapse.weight.shape[3])
            kind: Literal["all", "group"] = "all" if synapse.groups == 1 else "group"
            channels = Reach(kind=kind, size=shape[0], sources=source[0], groups=synapse.groups)
            dilation = synapse.dilation
        case ir.SumPool():
            kernel, dilation = synapse.kernel, (1, 1)
            channels = Reach(kind="same", size=shape[0], sources=source[0])
        case ir.Linear():
            whole = [Reach(kind="all", size=size, sources=count) for size, count in zip(shape, source, strict=True)]
            return whole[0], whole[1], whole[2]
        case _:
            same = [Reach(kind="same", size=size, sources=size) for size in shape]
            return same[0], same[1], same[2]
    rows, columns = (
        Reach(
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


def _weights(synapse: ir.Node) -> tuple[int, int, int]:
    """Weights stored once a core, weights stored for each channel on it, and the bits of the widest."""
    match synapse:
        case ir.Conv() | ir.Linear():
            largest = max(abs(int(synapse.weight.min())), abs(int(synapse.weight.max())))
            return 0, synapse.weight[0].size, largest.bit_length() + 1
        case ir.Scale():
            return 1, 0, abs(synapse.factor).bit_length() + 1
        case _:
            return 1, 0, 2


def _state_bytes(node: ir.Node) -> int:
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
        case _:
            return 0


def _varies(values: NDArray[np.int64]) -> bool:
    return bool((values != values.flat[0]).any())


def _box(shape: ir.Shape) -> Box:
    channels, rows, columns = (*shape, 1, 1)[:3]
    return channels, rows, columns
