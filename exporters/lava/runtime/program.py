"""The integer program that a bundle carries, in memory. Shapes are [C, H, W] or [K], as in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Pair = tuple[int, int]

INPUT_LIMIT = 1 << 17  # the summed input of a neuron, in input units
MEMBRANE_LIMIT = 1 << 23  # the membrane, in 1/64 of an input unit
THRESHOLD_LIMIT = 1 << 17


class ProgramError(Exception):
    """The program, its input or the machine cannot be used as it is; the message says what to change."""


class RangeError(ProgramError):
    """A neuron left its range while a sample ran: what comes after would be wrong, so the run ends."""


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


@dataclass(frozen=True)
class Input(BaseNode):
    """The payload of the step: clip(rint(x / scale), low, high)."""

    scale: float
    low: int
    high: int


@dataclass(frozen=True)
class Conv(BaseNode):
    """2-D cross-correlation; weight [O, I/groups, kh, kw]; pairs are (vertical, horizontal)."""

    accumulator_bound: int
    weight: Array = field(repr=False)
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True)
class Linear(BaseNode):
    """weight [O, I] times the input flattened in C order."""

    accumulator_bound: int
    weight: Array = field(repr=False)


@dataclass(frozen=True)
class Scale(BaseNode):
    """factor times the input."""

    accumulator_bound: int
    factor: int


@dataclass(frozen=True)
class SumPool(BaseNode):
    """The sum of each window; pairs are (vertical, horizontal)."""

    accumulator_bound: int
    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True)
class Neuron(BaseNode):
    """The fixed-point neuron; every array broadcasts to `shape`. `reset`: zero, subtract, subtract_late or none."""

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
class Readout(BaseNode):
    """Adds input + bias over the steps of a sample. `heads`: which of the logits are whose, of several heads."""

    reset_offset: int
    bias: Array = field(repr=False)
    heads: dict[str, slice] = field(default_factory=dict)


Node = Input | Conv | Linear | Scale | SumPool | Neuron | Threshold | Merge | Readout
Synapse = Conv | Linear | Scale | SumPool
SYNAPSES = (Conv, Linear, Scale, SumPool)


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
    """All nodes by name in topological order, the regions, and the dtype of every recorded node."""

    timesteps: int
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
        """Whether every input of a node has the latency that the node's own asks for, and every state is set to 0 in
        the cycle that answers the first step of a sample. What the exporter writes is."""
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
            else:
                bounds[name] = self.input_bound(name, bounds)
        return bounds

    def input_bound(self, name: str, payload_bounds: dict[str, int]) -> int:
        """The largest absolute value of a node's summed input."""
        return sum(payload_bounds[edge.source] for edge in self.nodes[name].inputs)


def lava_order(array: Array) -> Array:
    """[C, H, W] to [W, H, C], Lava's order, or back; [K] stays. A view."""
    turned: Array = array.T
    return turned


def lava_parameter(array: Array, shape: Shape) -> Array:
    """A parameter that broadcasts to `shape`, turned into Lava's order; a 0-d array where all its values are equal."""
    if array.size and (array == array.flat[0]).all():
        return np.array(array.flat[0])
    return lava_order(array.reshape((1,) * (len(shape) - array.ndim) + array.shape))
