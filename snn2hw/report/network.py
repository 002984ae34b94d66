"""What a report says of the network itself: the graph, room in the accumulators, weights, approximations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.frontends.torch.trace import Traced
from snn2hw.ir.file import kind_name
from snn2hw.ir.fixed_point import DECAY_SHIFT, NO_MEMORY, Reset
from snn2hw.ir.gates import gate_of
from snn2hw.mapping.summary import weight_count


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """A node of the graph; gate: ADD, AND, IAND or OR where spikes meet; region: the process it belongs to."""

    name: str
    kind: str
    gate: str | None
    shape: ir.Shape
    weights: int
    latency: int
    region: str | None


@dataclass(frozen=True, kw_only=True)
class GraphEdge:
    """An edge and its delay in cycles."""

    source: str
    target: str
    delay: int


def graph_of(program: ir.Program) -> tuple[tuple[GraphNode, ...], tuple[GraphEdge, ...]]:
    """The nodes and edges of a program."""
    region = {name: region.name for region in program.regions for name in region.nodes}
    nodes = tuple(
        GraphNode(
            name=node.name,
            kind=kind_name(node),
            gate=gate_of(program.graph, node),
            shape=node.shape,
            weights=weight_count(node),
            latency=program.schedule.latency[node.name],
            region=region.get(node.name),
        )
        for node in program.graph
    )
    edges = tuple(
        GraphEdge(source=source, target=node.name, delay=delay)
        for node in program.graph
        for source, delay in zip(node.inputs, program.schedule.delays[node.name], strict=True)
    )
    return nodes, edges


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """How far a layer's accumulator and membrane stay from their limits, in bits; bound: proved or calibrated.

    observed: of a calibrated bound the largest share of the limit that calibration saw.
    """

    name: str
    bound: str
    accumulator: int
    accumulator_limit: int
    accumulator_bits_free: float | None
    membrane: int
    membrane_limit: int
    membrane_bits_free: float | None
    observed: float | None


def headroom(program: ir.Program) -> tuple[Headroom, ...]:
    """The room of every neuron layer."""
    layers = []
    input_limit, membrane_limit = program.numerics.input_limit, program.numerics.membrane_limit
    for node in program.graph:
        if isinstance(node, ir.Neuron):
            bound = program.bounds[node.name]
            layers.append(
                Headroom(
                    name=node.name,
                    bound=bound.kind,
                    accumulator=bound.accumulator,
                    accumulator_limit=input_limit,
                    accumulator_bits_free=_bits(input_limit, bound.accumulator),
                    membrane=bound.membrane,
                    membrane_limit=membrane_limit,
                    membrane_bits_free=_bits(membrane_limit, bound.membrane),
                    observed=bound.observed,
                )
            )
    return tuple(layers)


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """A layer's weights: how many, how many are zero, and float to integer in decibels (None: no difference).

    sqnr_db: float weights squared over the differences squared, each output's integers scaled to fit best.
    """

    name: str
    count: int
    zeros: int
    sqnr_db: float | None


def layer_weights(program: ir.Program, network: nir.NIRGraph) -> tuple[LayerWeights, ...]:
    """The weights of every layer that has a matrix of them, beside those of the float network."""
    return tuple(
        LayerWeights(
            name=node.name,
            count=int(node.weight.size),
            zeros=int((node.weight == 0).sum()),
            sqnr_db=_weight_sqnr(node.weight, getattr(network.nodes.get(node.name), "weight", None)),
        )
        for node in program.graph
        if isinstance(node, ir.Conv | ir.Linear)
    )


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes: the program's weights, the float model's parameters and buffers; and the shares of zero weights and
    of silent neurons (over neurons, steps and samples).
    """

    program_weight_bytes: int
    model_bytes: int | None
    connection_sparsity: float
    activation_sparsity: float


def model_bytes(traced: Traced) -> int:
    """Bytes of a model's parameters and buffers."""
    tensors = [*traced.module.parameters(), *traced.module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class InputCounter:
    """How many inputs were rounded or clipped on their way to payloads."""

    def __init__(self, node: ir.Input) -> None:
        self.node, self.values, self.rounded, self.clipped = node, 0, 0, 0

    def add(self, samples: Samples) -> None:
        """Count a batch."""
        exact = samples.x.astype(np.float64) / self.node.scale
        whole = np.rint(exact)
        self.values += exact.size
        self.rounded += int((exact != whole).sum())
        self.clipped += int(((whole < self.node.low) | (whole > self.node.high)).sum())


@dataclass(frozen=True, kw_only=True)
class Approximation:
    """Where the integers are not the float network: the place, what differs, and why."""

    where: str
    what: str
    reason: str


def approximations(program: ir.Program, inputs: InputCounter) -> tuple[Approximation, ...]:
    """Everything in which the integer network differs from the float one, by rule and not by accident."""
    differences = []

    def add(where: str, what: str, reason: str) -> None:
        differences.append(Approximation(where=where, what=what, reason=reason))

    numerics = program.numerics
    rule, formats = f"the rule of {numerics.chip}", f"the formats of {numerics.chip}"
    stored = "thresholds and biases are whole numbers"
    if numerics.bias_exponent_max:
        stored = "thresholds are whole numbers, biases a mantissa and an exponent"
    share = f"of {inputs.values:,} input values"
    if inputs.rounded:
        add(program.graph.input.name, f"{inputs.rounded:,} {share} were rounded", "payloads are whole numbers")
    if inputs.clipped:
        add(program.graph.input.name, f"{inputs.clipped:,} {share} were clipped", "calibration saw no such values")
    for node in program.graph:
        if isinstance(node, ir.Conv | ir.Linear):
            bits = max(int(np.abs(node.weight.astype(np.int64)).max()).bit_length() + 1, 2)
            add(node.name, f"weights are whole numbers of {bits} bits with the sign", "the target's weights are")
        if isinstance(node, ir.Neuron):
            leaks = np.unique(node.decay)
            if leaks.any():
                add(node.name, f"leak of {_fraction(leaks)}, truncated towards 0 each step", rule)
            memories = np.unique(node.current_decay)
            if (memories != NO_MEMORY).any():
                add(node.name, f"current's leak of {_fraction(memories)}, truncated each step", rule)
            add(node.name, stored, formats)
            if node.reset in (Reset.SUBTRACT, Reset.SUBTRACT_LATE):
                add(node.name, "what a spike subtracts is a whole number", formats)
            if program.bounds[node.name].kind != "proved":
                bits = numerics.membrane_limit.bit_length()
                add(node.name, "its range rests on calibration", f"the worst case of all inputs exceeds {bits} bits")
    return tuple(differences)


def _bits(limit: int, reach: int) -> float | None:
    return math.log2(limit / reach) if reach else None


def _fraction(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low}/{1 << DECAY_SHIFT}" if low == high else f"{low} to {high} of {1 << DECAY_SHIFT}"


def _weight_sqnr(integers: np.ndarray, given: Any) -> float | None:
    floats = None if given is None else np.asarray(given, np.float64)
    if floats is None or floats.shape != integers.shape:
        return None
    q, w = integers.reshape(len(integers), -1).astype(np.float64), floats.reshape(len(floats), -1)
    norm = (q * q).sum(axis=1)
    fitted = np.divide((q * w).sum(axis=1), norm, out=np.zeros(len(q)), where=norm > 0)
    noise = float(((w - fitted[:, None] * q) ** 2).sum())
    signal = float((w * w).sum())
    return 10 * math.log10(signal / noise) if signal and noise else None
