"""What program.npz holds, in memory. Shapes are [C, H, W] or [K], as in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Pair = tuple[int, int]


class ProgramError(Exception):
    """The program, its input or the machine cannot be used as it is; the message says what to change."""


@dataclass(frozen=True)
class Limits:
    """How large a program's numbers may be on its chip: the smallest sizes that are too large.

    Of inputs and thresholds in input units, of membranes in 1/64 of one. A bias is a mantissa of at most
    bias_mantissa_max in size, shifted left by at most bias_exponent_max. Decays count in 1 / 2^decay_bits. What is
    written here holds for Loihi, which files mean that say nothing.
    """

    input_limit: int = 1 << 17
    membrane_limit: int = 1 << 23
    threshold_limit: int = 1 << 17
    bias_mantissa_max: int = 4095
    bias_exponent_max: int = 7
    decay_bits: int = 12

    @property
    def int32_sees_overflow(self) -> bool:
        """Whether int32 holds whatever one step makes of states within the limits, so that a check sees all beyond."""
        bias = self.bias_mantissa_max << self.bias_exponent_max
        return 2 * self.membrane_limit + 64 * (self.input_limit + self.threshold_limit) + bias < 1 << 31


@dataclass(frozen=True)
class Bound:
    """Largest absolute values at a node; docs/program.md says what each is. observed: a share, or None if proved."""

    kind: str
    accumulator: int
    membrane: int
    payload: int
    signed: bool
    observed: float | None


@dataclass(frozen=True)
class Head:
    """Logits `start` to `stop` of a read-out; `scale` is how many units one unit of a step's logit is."""

    name: str
    start: int
    stop: int
    scale: float


@dataclass(frozen=True)
class Edge:
    """One input of a node: the node it reads and how many cycles late."""

    source: str
    delay: int


@dataclass(frozen=True)
class BaseNode:
    """What all nodes share. `latency` is in cycles."""

    name: str
    shape: Shape
    latency: int
    inputs: tuple[Edge, ...]
    bound: Bound


@dataclass(frozen=True)
class BaseSynapse(BaseNode):
    """What all synapses share: the largest absolute value that a sum, or a part of it, can take."""

    accumulator_bound: int


@dataclass(frozen=True)
class Conv(BaseSynapse):
    """2-D cross-correlation; weight [O, I/groups, kh, kw]; pairs are (vertical, horizontal)."""

    weight: Array = field(repr=False)
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True)
class Linear(BaseSynapse):
    """weight [O, I] times the input flattened in C order."""

    weight: Array = field(repr=False)


@dataclass(frozen=True)
class Scale(BaseSynapse):
    """factor times the input."""

    factor: int


@dataclass(frozen=True)
class SumPool(BaseSynapse):
    """The sum of each window; pairs are (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True)
class MaxPool(BaseSynapse):
    """The largest value of each window, without what padding adds; pairs are (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True)
class Input(BaseNode):
    """The payload of the step: clip(rint(x / scale), low, high)."""

    scale: float
    low: int
    high: int


@dataclass(frozen=True)
class Neuron(BaseNode):
    """The fixed-point neuron; every array broadcasts to `shape`. `reset`: zero, subtract, subtract_late or none.

    scale: how many input units one unit of the float membrane is, one number or one a channel.
    """

    scale: float | tuple[float, ...]
    reset: str
    reset_offset: int
    threshold: Array = field(repr=False)
    decay: Array = field(repr=False)
    current_decay: Array = field(repr=False)
    bias_mantissa: Array = field(repr=False)
    bias_exponent: Array = field(repr=False)
    reset_amount: Array = field(repr=False)

    @property
    def bias(self) -> Array:
        """mantissa << exponent, int32."""
        bias: Array = np.left_shift(self.bias_mantissa.astype(np.int32), self.bias_exponent.astype(np.int32))
        return bias


@dataclass(frozen=True)
class Threshold(BaseNode):
    """1 where the input is above the threshold, else 0."""

    threshold: int


@dataclass(frozen=True)
class Merge(BaseNode):
    """The sum of the inputs."""


@dataclass(frozen=True)
class Relay(BaseNode):
    """clip((x + bias + half) >> shift, low, high), half = 2^shift // 2; `bias` broadcasts to `shape`.

    scale: how many units of what it emits one unit of the model's current is.
    """

    shift: int
    low: int
    high: int
    scale: float
    bias: Array = field(repr=False)


@dataclass(frozen=True)
class Readout(BaseNode):
    """Adds input + bias over the steps of a sample. `heads`: which of the logits are whose, of several heads.

    scale: how many units one unit of a step's logit is, of the first head.
    """

    scale: float
    reset_offset: int
    bias: Array = field(repr=False)
    heads: tuple[Head, ...] = ()


Node = Input | Conv | Linear | Scale | SumPool | MaxPool | Neuron | Threshold | Merge | Relay | Readout
Synapse = Conv | Linear | Scale | SumPool | MaxPool
SYNAPSES = (Conv, Linear, Scale, SumPool, MaxPool)


@dataclass(frozen=True)
class Region:
    """Nodes that become one Lava Process. They read one node outside, `entry`; their last node is the exit."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    entry: str

    @property
    def exit(self) -> str:
        """The only node that others read."""
        return self.nodes[-1]


@dataclass(frozen=True)
class Program:
    """All nodes by name in topological order, the regions, and the dtype of every recorded node.

    numerics: what the file says of the arithmetic of its chip, word for word; None if nothing. limits: read from it.
    """

    timesteps: int
    numerics: dict[str, Any] | None
    limits: Limits
    nodes: dict[str, Node]
    regions: tuple[Region, ...]
    recorded: dict[str, str]

    @property
    def input(self) -> Input:
        """The one input node."""
        return next(node for node in self.nodes.values() if isinstance(node, Input))

    @property
    def readout(self) -> Readout:
        """The one read-out node."""
        return next(node for node in self.nodes.values() if isinstance(node, Readout))

    def cycles(self, samples: int) -> int:
        """How many cycles `samples` samples need, the filling of the pipeline included."""
        return samples * self.timesteps + max(node.latency for node in self.nodes.values())

    def is_aligned(self) -> bool:
        """Whether every input of a node has the latency that the node's latency asks for, and every state is set to
        0 in the cycle that answers the first step of a sample. What the exporter writes is."""
        for node in self.nodes.values():
            arrival = node.latency - isinstance(node, SYNAPSES)
            if any(self.nodes[edge.source].latency + edge.delay != arrival for edge in node.inputs):
                return False
            if isinstance(node, (Neuron, Readout)) and node.reset_offset != (node.latency + 1) % self.timesteps:
                return False
        return self.input.latency == 0

    def payload_bounds(self) -> dict[str, int]:
        """The largest absolute value that each node can emit."""
        bounds: dict[str, int] = {}
        for name, node in self.nodes.items():
            if isinstance(node, Input):
                bounds[name] = max(abs(node.low), abs(node.high))
            elif isinstance(node, SYNAPSES):
                bounds[name] = node.accumulator_bound
            elif isinstance(node, (Neuron, Threshold)):
                bounds[name] = 1
            elif isinstance(node, Relay):
                bounds[name] = min(node.bound.payload, max(abs(node.low), abs(node.high)))
            else:
                bounds[name] = self.input_bound(name, bounds)
        return bounds

    def input_bound(self, name: str, payload_bounds: dict[str, int]) -> int:
        """The largest absolute value of a node's summed input."""
        return sum(payload_bounds[edge.source] for edge in self.nodes[name].inputs)
