"""Plan: which stages a program is computed in, each with what it adds up and what it stores. Templates write it as C.

A stage makes the values of one step, pixel by pixel: it adds up its terms for all channels of a pixel and applies its
node's rule at once, so that no sum is ever stored. Only what spikes is stored, besides sums that synapses read. Values
are stored with the channels last, [H, W, C].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.exporters.c.arrays import holding

UINT16 = 1 << 16
MOST_FOR_EVENTS = 0.5
"""The activity up to which listed events are faster than products, also where a processor has instructions for those
(docs/backends.md)."""
LONGEST_EVENTS = 15
"""The largest payload that is listed as so many events."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """Values [height, width, channels] of one step, of a C type, each from `low` to `high`."""

    name: str
    height: int
    width: int
    channels: int
    low: int
    high: int

    @property
    def ctype(self) -> str:
        """The smallest C type that holds the values."""
        return holding(self.low, self.high)

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.height * self.width * self.channels


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """factor * value."""

    map: Map
    factor: int


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The sum of the values of a window."""

    map: Map
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Largest:
    """The largest value of a window; what padding adds is left out, and every window holds a value."""

    map: Map
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolved:
    """weight * values. weight [O, kh, kw, I/groups]; a dense layer is a convolution as large as the map.

    kernel: `dense` multiplies every value, `events` adds the weights of listed spikes, `nonzero` multiplies what is
    not 0.
    """

    map: Map
    weight: NDArray[np.signedinteger]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    kernel: str

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the weights."""
        return self.weight.shape[1], self.weight.shape[2]

    @property
    def taps(self) -> int:
        """How many values an output adds up where nothing is padded, those of all groups counted."""
        return self.window[0] * self.window[1] * self.map.channels

    @property
    def rows(self) -> int:
        """Of how many rows of the map events are kept, since several outputs read them; 0: each is read once."""
        (height, width), (down, right) = self.window, self.stride
        once = (height <= down and width <= right) or self.window == (self.map.height, self.map.width)
        return 0 if once or self.kernel != "events" else (height - 1) * self.dilation[0] + 1

    @property
    def pixels(self) -> int:
        """Of how many pixels of the map events are kept at a time."""
        return self.rows * self.map.width or int(self.kernel == "events")

    @property
    def listed_per_pixel(self) -> int:
        """The most events of a pixel of the map, and one place behind them."""
        return self.map.channels * self.map.high + 1


Term = Scaled | Pooled | Largest | Convolved


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What is computed at once: the sum of `terms` and on it the rule of `node`. reach: no sum or value read is larger.

    node: None where the sum itself is stored, for synapses that read it. checked: whether the sum or the membrane may
    leave the chip's range, so that the code looks. result: what is stored; None for the read-out.
    """

    name: str
    shape: tuple[int, int, int]
    node: ir.Spiking | ir.Readout | None
    terms: tuple[Term, ...]
    reach: int
    checked: bool
    result: Map | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The stages of a program in their order. input: the values of a step that the caller gives."""

    program: ir.Program
    input: Map
    stages: tuple[Stage, ...]

    @property
    def readout(self) -> Stage:
        """The stage that adds up the logits."""
        return next(stage for stage in self.stages if isinstance(stage.node, ir.Readout))

    @property
    def recorded(self) -> tuple[Stage, ...]:
        """The stages whose results are spikes, which others see."""
        return tuple(stage for stage in self.stages if stage.node is not None and ir.is_spiking(stage.node))


def plan(program: ir.Program, activity: Mapping[str, float], kernels: str = "auto") -> Plan:
    """The plan of a program.

    activity: by node the mean size of its values, as far as it was measured. kernels: `auto` takes for each layer what
    is faster at that activity, `dense` or `events` the same for all.
    """
    return _Planner(program, activity, kernels).plan()


class _Planner:
    def __init__(self, program: ir.Program, activity: Mapping[str, float], kernels: str) -> None:
        self.program, self.activity, self.kernels = program, activity, kernels
        self.readers = {
            node.name: sum(other.inputs.count(node.name) for other in program.graph) for node in program.graph
        }
        self.maps: dict[str, Map] = {}
        self.terms: dict[str, Term] = {}
        self.stages: list[Stage] = []

    def plan(self) -> Plan:
        for node in self.program.graph:
            match node:
                case ir.Input():
                    self.maps[node.name] = self._map(node.name, node.shape, node.low, node.high)
                case ir.Conv() | ir.Linear() | ir.Scale() | ir.SumPool() | ir.MaxPool():
                    self._synapse(node)
                case ir.Neuron() | ir.Threshold() | ir.Merge() | ir.Relay() | ir.Readout():
                    self._stage(node)
                case _:
                    assert_never(node)
        graph_input = self.maps[self.program.graph.input.name]
        return Plan(program=self.program, input=graph_input, stages=tuple(self.stages))

    def _synapse(self, node: ir.Synapse) -> None:
        """Keep the synapse as a term of whoever reads it; store first what it reads, and itself if many read it."""
        read = self.maps.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if read is None:
            read = self._store(f"input of {node.name}", self.program.graph.input_shape(node), node.inputs)
        activity = self.activity.get(node.inputs[0], 1.0) if len(node.inputs) == 1 else 1.0
        self.terms[node.name] = self._term(node, read, activity)
        if self.readers[node.name] > 1 and isinstance(node, ir.Conv | ir.Linear):
            self.maps[node.name] = self._store(node.name, node.shape, (node.name,))

    def _term(self, node: ir.Synapse, read: Map, activity: float) -> Term:
        match node:
            case ir.Conv():
                weight = np.moveaxis(node.weight, 1, -1)
                kernel = self._kernel(read, weight, node.groups, activity)
                down, top = _met(node, 0, read.height)
                right, left = _met(node, 1, read.width)
                return Convolved(
                    map=read,
                    weight=weight[:, down, right],
                    stride=node.stride,
                    padding=(top, left),
                    dilation=node.dilation,
                    groups=node.groups,
                    kernel=kernel,
                )
            case ir.Linear():
                shape = (len(node.weight), read.channels, read.height, read.width)
                weight = np.moveaxis(node.weight.reshape(shape), 1, -1)
                kernel = self._kernel(read, weight, 1, activity)
                one = (1, 1)
                return Convolved(
                    map=read, weight=weight, stride=one, padding=(0, 0), dilation=one, groups=1, kernel=kernel
                )
            case ir.Scale():
                return Scaled(map=read, factor=node.factor)
            case ir.SumPool():
                return Pooled(map=read, kernel=node.kernel, stride=node.stride, padding=node.padding)
            case ir.MaxPool():
                return Largest(map=read, kernel=node.kernel, stride=node.stride, padding=node.padding)
            case _:
                assert_never(node)

    def _kernel(self, read: Map, weight: NDArray[np.signedinteger], groups: int, activity: float) -> str:
        if groups > 1:
            return "nonzero"
        few = read.high <= LONGEST_EVENTS and read.channels * read.high < UINT16
        listed = read.low >= 0 and few and weight.dtype.itemsize <= 2
        if self.kernels == "dense" or (self.kernels == "auto" and activity > MOST_FOR_EVENTS):
            return "dense"
        return "events" if listed else "nonzero"

    def _stage(self, node: ir.Spiking | ir.Readout) -> None:
        bound = self.program.bounds[node.name]
        result = None
        if not isinstance(node, ir.Readout):
            low = -bound.payload if bound.signed else 0
            result = self.maps[node.name] = self._map(node.name, node.shape, low, bound.payload)
        terms = tuple(map(self._read, node.inputs))
        self.stages.append(
            Stage(
                name=node.name,
                shape=_dims(node.shape),
                node=node,
                terms=terms,
                reach=_widest(self._reach(node.inputs), terms),
                checked=isinstance(node, ir.Neuron | ir.Relay) and bound.kind != "proved",
                result=result,
            )
        )

    def _store(self, name: str, shape: ir.Shape, sources: tuple[str, ...]) -> Map:
        """A stage that stores the sum of some nodes' outputs."""
        reach = self._reach(sources)
        signed = any(self.program.bounds[source].signed for source in sources)
        result = self._map(name, shape, -reach if signed else 0, reach)
        terms = tuple(map(self._read, sources))
        widest = _widest(reach, terms)
        self.stages.append(
            Stage(name=name, shape=_dims(shape), node=None, terms=terms, reach=widest, checked=False, result=result)
        )
        return result

    def _read(self, source: str) -> Term:
        """What a node contributes to a sum: itself where it is stored, else the synapse."""
        return Scaled(map=self.maps[source], factor=1) if source in self.maps else self.terms[source]

    def _reach(self, sources: tuple[str, ...]) -> int:
        """The largest size of the sum of some nodes' outputs, or of any part of it."""
        bounds, graph = self.program.bounds, self.program.graph
        made_here = [ir.is_synapse(graph[source]) and source not in self.maps for source in sources]
        return sum(
            bounds[source].accumulator if made else bounds[source].payload
            for source, made in zip(sources, made_here, strict=True)
        )

    def _map(self, name: str, shape: ir.Shape, low: int, high: int) -> Map:
        height, width, channels = _dims(shape)
        return Map(name=name, height=height, width=width, channels=channels, low=low, high=high)


def _widest(reach: int, terms: tuple[Term, ...]) -> int:
    """The largest size of a sum and of the values it is made of: the bounds of what is read may be the wider ones."""
    return max(reach, *(max(-term.map.low, term.map.high) for term in terms))


def _dims(shape: ir.Shape) -> tuple[int, int, int]:
    """[C, H, W] or [K] as height, width, channels."""
    if len(shape) == 1:
        return 1, 1, shape[0]
    channels, height, width = shape
    return height, width, channels


def _met(node: ir.Conv, axis: int, extent: int) -> tuple[slice, int]:
    """The weights along an axis (0: height) that meet a value and not padding alone, and the padding before them."""
    size, step, outputs = node.weight.shape[2 + axis], node.dilation[axis], node.shape[1 + axis]
    places = np.arange(outputs)[:, None] * node.stride[axis] - node.padding[axis] + np.arange(size) * step
    met = np.flatnonzero(((places >= 0) & (places < extent)).any(axis=0))
    if not met.size:
        return slice(0, 1), node.padding[axis]
    first, last = int(met[0]), int(met[-1])
    return slice(first, last + 1), node.padding[axis] - first * step


def weights_of(term: Convolved) -> NDArray[np.signedinteger]:
    """The weights as the kernel reads them: dense [O, kh, kw, I], the others [kh, kw, I, O/groups]."""
    if term.kernel == "dense":
        return term.weight
    if term.groups == 1:
        return np.moveaxis(term.weight, 0, -1)
    outputs, height, width, inputs = term.weight.shape
    grouped = term.weight.reshape(term.groups, outputs // term.groups, height, width, inputs)
    return grouped.transpose(2, 3, 0, 4, 1).reshape(height, width, term.groups * inputs, -1)
