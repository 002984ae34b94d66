"""Events, counted once and exactly: spikes, messages, synaptic operations and neuron updates of every layer and step.

All counts are whole numbers, summed over samples. A synaptic operation is one non-zero input meeting one of the outputs
that it feeds; docs/report.md defines the rest. Prices come later (energy.py) and change no count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np

from snn2hw import ir
from snn2hw.ir.file import kind_name
from snn2hw.ir.fixed_point import Bool, Int, join_bias
from snn2hw.report.fan_out import fan_out, operations_with_padding, reached
from snn2hw.report.values import Values

Carries = Literal["binary", "graded", "input"]
Steps = tuple[int, ...]
RATE_EDGES = (0.01, 0.05, 0.2, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class SynapseEvents:
    """What arrives at a layer's synapses, each tuple one number a step.

    spikes: non-zero inputs; values: sum of their sizes; messages: spikes that reach anything, and the same by value.
    operations: of every non-zero input with every output it feeds; by_value: each counted as often as its size;
    nonzero_weights: operations without those whose weight is zero. dense: operations of one sample and step if every
    input were non-zero; dense_with_padding: the same with the zeros of padding.
    """

    carries: Carries
    spikes: Steps
    values: Steps
    messages: Steps
    messages_by_value: Steps
    operations: Steps
    by_value: Steps
    nonzero_weights: Steps
    dense: int
    dense_with_padding: int


@dataclass(frozen=True, kw_only=True)
class UnitEvents:
    """What a layer of units does, each tuple one number a step.

    spikes and values: what it emits, non-zero outputs and the sum of their sizes. active: updates of units that an
    event reaches, that have a bias, or that fire; inactive: all other updates. bias: biases added. dead: units that
    never fire; saturated: units that fire in every step of every sample. rates: units whose share of steps with a spike
    is 0, above 0 and up to each of RATE_EDGES, and 1, the last and saturated: [len(RATE_EDGES) + 2].
    """

    spikes: Steps
    values: Steps
    active: Steps
    inactive: Steps
    bias: Steps
    dead: int
    saturated: int
    rates: Steps


@dataclass(frozen=True, kw_only=True)
class LayerEvents:
    """One node. `synapses` of synapses, and of units that spikes reach directly; `unit` of all that is no synapse."""

    name: str
    kind: str
    shape: ir.Shape
    synapses: SynapseEvents | None
    unit: UnitEvents | None


@dataclass(frozen=True, kw_only=True)
class Events:
    """All events of `samples` samples of `timesteps` steps, layer by layer in the order of the network."""

    samples: int
    timesteps: int
    layers: tuple[LayerEvents, ...]

    def __getitem__(self, name: str) -> LayerEvents:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def silent(self) -> bool:
        """Whether no neuron of the network fired at all."""
        return not any(sum(layer.unit.spikes) for layer in self.layers if layer.kind == "neuron" and layer.unit)


class EventCounter:
    """Counts events batch by batch; what it keeps does not grow with the number of samples."""

    def __init__(self, program: ir.Program) -> None:
        self.program, self.samples = program, 0
        graph = program.graph
        self.synapses = {
            node.name: _SynapseCount(node, program) for node in graph if ir.is_synapse(node) or _direct(program, node)
        }
        self.units = {node.name: _UnitCount(node, program) for node in graph if not ir.is_synapse(node)}

    def add(self, values: Values) -> None:
        """Count the events of a batch."""
        self.samples += len(values)
        for name, count in self.synapses.items():
            count.add(values.received(self.program.graph[name]) if not count.direct else count.direct_input(values))
        for unit in self.units.values():
            unit.add(values)

    def spikes(self) -> dict[str, Int]:
        """How often each unit of each layer that emits has done so in all samples, int64 [*the layer's shape]."""
        return {name: unit.fired for name, unit in self.units.items()}

    def events(self) -> Events:
        """All that was counted so far."""
        layers = tuple(
            LayerEvents(
                name=node.name,
                kind=kind_name(node),
                shape=node.shape,
                synapses=self.synapses[node.name].events() if node.name in self.synapses else None,
                unit=self.units[node.name].events(self.samples) if node.name in self.units else None,
            )
            for node in self.program.graph
        )
        return Events(samples=self.samples, timesteps=self.program.schedule.timesteps, layers=layers)


def carries(program: ir.Program, node: ir.Node) -> Carries:
    """Whether what a node receives is binary spikes, graded ones, or the network's graded input."""
    bounds = [program.bounds[source] for source in node.inputs]
    if len(bounds) == 1 and bounds[0].payload <= 1 and not bounds[0].signed:
        return "binary"
    return "input" if _reads_input(program.graph, node) else "graded"


def _reads_input(graph: ir.Graph, node: ir.Node) -> bool:
    sources = [graph[name] for name in node.inputs]
    return any(
        isinstance(source, ir.Input) or (ir.is_synapse(source) and _reads_input(graph, source)) for source in sources
    )


def _direct(program: ir.Program, node: ir.Node) -> list[str]:
    """The inputs of a unit that no synapse stands before: one-to-one synapses. A merge sums axons and has none."""
    if isinstance(node, ir.Merge):
        return []
    return [name for name in node.inputs if not ir.is_synapse(program.graph[name])]


class _SynapseCount:
    def __init__(self, node: ir.Node, program: ir.Program) -> None:
        steps = program.schedule.timesteps
        self.direct = [] if ir.is_synapse(node) else _direct(program, node)
        if ir.is_synapse(node):
            shape = program.graph.input_shape(node)
            self.fan = fan_out(node, shape).reshape(-1)
            self.used = fan_out(node, shape, nonzero=True).reshape(-1)
            self.padded = operations_with_padding(node)
            self.carries = carries(program, node)
        else:
            self.fan = self.used = np.ones(int(np.prod(node.shape)) * len(self.direct), np.int64)
            self.padded = int(self.fan.sum())
            bounds = [program.bounds[name] for name in self.direct]
            binary = all(bound.payload <= 1 and not bound.signed for bound in bounds)
            own_input = any(isinstance(program.graph[name], ir.Input) for name in self.direct)
            self.carries = "binary" if binary else "input" if own_input else "graded"
        self.counts = np.zeros((7, steps), np.int64)

    def direct_input(self, values: Values) -> Int:
        parts = [values.emitted(name) for name in self.direct]
        return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1).astype(np.int64)

    def add(self, x: np.ndarray) -> None:
        """Count an input [N, T, *shape]."""
        flat = x.reshape(*x.shape[:2], -1)
        spikes = np.count_nonzero(flat, axis=0).astype(np.int64)
        sizes = spikes if self.carries == "binary" else np.abs(flat).sum(axis=0, dtype=np.int64)
        reaching = (self.fan > 0).astype(np.int64)
        self.counts += np.stack(
            [
                spikes.sum(axis=1),
                sizes.sum(axis=1),
                spikes @ reaching,
                sizes @ reaching,
                spikes @ self.fan,
                sizes @ self.fan,
                spikes @ self.used,
            ]
        )

    def events(self) -> SynapseEvents:
        spikes, values, messages, messages_by_value, operations, by_value, nonzero = map(_steps, self.counts)
        return SynapseEvents(
            carries=self.carries,
            spikes=spikes,
            values=values,
            messages=messages,
            messages_by_value=messages_by_value,
            operations=operations,
            by_value=by_value,
            nonzero_weights=nonzero,
            dense=int(self.fan.sum()),
            dense_with_padding=self.padded,
        )


class _UnitCount:
    def __init__(self, node: ir.Node, program: ir.Program) -> None:
        self.node, self.program = node, program
        self.updates = ir.is_unit(node)
        self.biased = np.broadcast_to(_bias_of(node) != 0, node.shape)
        self.fired = np.zeros(node.shape, np.int64)
        self.counts = np.zeros((4, program.schedule.timesteps), np.int64)
        self.samples = 0

    def add(self, values: Values) -> None:
        count, steps = len(values), self.program.schedule.timesteps
        fires = np.zeros((count, steps, *self.node.shape), np.bool_)
        if not isinstance(self.node, ir.Readout):
            emitted = values.emitted(self.node.name)
            fires = emitted != 0
            self.counts[0] += _by_step(fires)
            self.counts[1] += np.abs(emitted.reshape(count, steps, -1)).sum(axis=(0, 2), dtype=np.int64)
            self.fired += fires.sum(axis=(0, 1))
        if self.updates:
            self.counts[2] += (
                count * int(np.prod(self.node.shape)) if self.biased.all() else self._active(values, fires)
            )
            self.counts[3] += count * int(self.biased.sum())

    def _active(self, values: Values, fires: Bool) -> Int:
        active = fires | self.biased
        for name in self.node.inputs:
            source = self.program.graph[name]
            if ir.is_synapse(source):
                x = values.received(source)
                events = reached(source, x.reshape(-1, *x.shape[2:]) != 0)
                active |= events.reshape(*x.shape[:2], *events.shape[1:])
            else:
                active |= values.emitted(name) != 0
        return _by_step(active)

    def events(self, samples: int) -> UnitEvents:
        steps = self.program.schedule.timesteps
        spikes, values, active, bias = map(_steps, self.counts)
        total = samples * int(np.prod(self.node.shape)) if self.updates else 0
        emits = not isinstance(self.node, ir.Readout)
        return UnitEvents(
            spikes=spikes,
            values=values,
            active=active,
            inactive=tuple(total - count for count in active),
            bias=bias,
            dead=int((self.fired == 0).sum()) if emits else 0,
            saturated=int((self.fired == samples * steps).sum()) if emits else 0,
            rates=_rates(self.fired, samples * steps) if emits else (),
        )


def _bias_of(node: ir.Node) -> Int:
    """What a node adds to its membrane or sum in every step; broadcasts to its shape."""
    match node:
        case ir.Neuron():
            return join_bias(node.bias_mantissa, node.bias_exponent)
        case ir.Relay() | ir.Readout():
            return node.bias
        case (
            ir.Input()
            | ir.Threshold()
            | ir.Merge()
            | ir.Conv()
            | ir.Linear()
            | ir.Scale()
            | ir.SumPool()
            | ir.MaxPool()
        ):
            return np.zeros((), np.int64)
        case _:
            assert_never(node)


def _by_step(mask: Bool) -> Int:
    """How many of [N, T, *shape] are true at each step."""
    return np.asarray(np.count_nonzero(mask.reshape(*mask.shape[:2], -1), axis=(0, 2)), np.int64)


def _rates(fired: Int, most: int) -> Steps:
    """How many of the counts are 0, up to each of RATE_EDGES as a share of `most` but below it, and `most`."""
    share = fired.reshape(-1) / most
    place = np.where(share == 0, 0, np.where(share == 1, len(RATE_EDGES) + 1, 1 + np.searchsorted(RATE_EDGES, share)))
    return _steps(np.bincount(place, minlength=len(RATE_EDGES) + 2))


def _steps(counts: Int) -> Steps:
    return tuple(int(count) for count in counts)
