"""The integer graph. Each node's docstring is its equation; docs/program.md tells the whole story.

`x` is the sum of a node's inputs. Shapes are [C, H, W] or [K], never with a batch dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TypeGuard, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.data.aliases import Shape
from snn2hw.ir.fixed_point import NO_MEMORY, Int, Reset

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Head:
    """Logits `start` to `stop` of a read-out; `scale` is how many units one unit of a step's logit is."""

    name: str
    start: int
    stop: int
    scale: float = 1.0


def _smallest_dtype(values: Int) -> type[np.signedinteger]:
    """The smallest signed type that also holds the negated values."""
    largest = max(int(values.max()), -int(values.min())) if values.size else 0
    return next(dtype for dtype in (np.int8, np.int16, np.int32, np.int64) if largest <= np.iinfo(dtype).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseNode:
    """What all nodes share: a name (the layer's path in the model), the nodes whose outputs are summed, a shape.

    Arrays are copied and made read-only: weights in the smallest signed type that holds them, all others int64, so that
    they can be shifted.
    """

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                copy = np.array(value, dtype=_smallest_dtype(value) if item.name == "weight" else np.int64)
                copy.flags.writeable = False
                object.__setattr__(self, item.name, copy)


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(BaseNode):
    """y = payload of the step, low <= y <= high; one unit stands for the real value `scale`."""

    inputs: tuple[str, ...] = ()
    scale: float
    low: int
    high: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(BaseNode):
    """y = weight * x (2-D cross-correlation, zero padding), one cycle later. weight [O, I/groups, kh, kw]."""

    weight: Int
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(BaseNode):
    """y = weight @ flatten(x), one cycle later. weight [O, I]; x is flattened in C order."""

    weight: Int


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale(BaseNode):
    """y = factor * x, a one-to-one synapse, one cycle later."""

    factor: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SumPool(BaseNode):
    """y = sum of x over each window, every channel by itself, zero padding, one cycle later."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(BaseNode):
    """y = largest x of each window, every channel by itself, without what padding adds to it, one cycle later."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, kw_only=True, eq=False)
class Neuron(BaseNode):
    """u = current_decay(u) + 64 x + bias; v = decay(v) + u; y = v > 64 threshold; then reset (docs/program.md).

    All arrays broadcast to `shape`. `scale` is how many input units one unit of the float membrane is, one number or
    one a channel: it is not part of the equation, but turns integers back into the model's numbers.
    """

    threshold: Int
    decay: Int
    current_decay: Int = field(default_factory=lambda: np.array(NO_MEMORY))
    bias_mantissa: Int
    bias_exponent: Int
    reset: Reset
    reset_amount: Int
    scale: float | tuple[float, ...]

    @property
    def largest_scale(self) -> float:
        """The `scale` of the channel that has the most input units."""
        return max(self.scale) if isinstance(self.scale, tuple) else self.scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold(BaseNode):
    """y = 1 if x > threshold else 0; memoryless. The gates AND and IAND and the pool OR are this node."""

    threshold: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Merge(BaseNode):
    """y = x: a sum of spikes, graded. The gate ADD."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Relay(BaseNode):
    """y = clip((x + bias + half) >> shift, low, high), half = 2^shift // 2: a current as a graded payload; memoryless.

    So y is (x + bias) / 2^shift, rounded with halves up. `bias` broadcasts to `shape`, in units of x. `scale` is how
    many units of y one unit of the model's current is; it is not part of the equation.
    """

    bias: Int
    shift: int
    low: int
    high: int
    scale: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout(BaseNode):
    """logits = sum over a sample's T steps of (x + bias); `scale` is how many units one unit of a step's logit is.

    Of a model with several heads, `heads` are their places among the logits and the scale of each; `scale` is that of
    the first, which labels and accuracy speak of.
    """

    bias: Int
    scale: float
    heads: tuple[Head, ...] = ()

    @property
    def scales(self) -> NDArray[np.float64]:
        """`scale` of each logit: one for all, or [K] of several heads."""
        if not self.heads:
            return np.array(self.scale)
        return np.repeat([head.scale for head in self.heads], [head.stop - head.start for head in self.heads])

    @property
    def first(self) -> slice:
        """The logits of the first or only head."""
        return slice(0, self.heads[0].stop if self.heads else self.shape[0])

    def results(self, logits: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """What results hold of the logits [N, K]: `logits`, and of several heads each under its name."""
        by_head = {f"logits.{head.name}": logits[:, head.start : head.stop] for head in self.heads}
        return {"logits": logits, **by_head}


Synapse = Conv | Linear | Scale | SumPool | MaxPool
Spiking = Neuron | Threshold | Merge | Relay
Unit = Neuron | Threshold | Relay | Readout
Node = Input | Synapse | Spiking | Readout


def is_synapse(node: Node) -> TypeGuard[Synapse]:
    """A synapse answers one cycle later; every other node within the cycle."""
    match node:
        case Conv() | Linear() | Scale() | SumPool() | MaxPool():
            return True
        case Input() | Neuron() | Threshold() | Merge() | Relay() | Readout():
            return False
        case _:
            assert_never(node)


def is_spiking(node: Node) -> TypeGuard[Spiking]:
    """Whether a node emits spikes, binary or graded: engines record those of every such node."""
    match node:
        case Neuron() | Threshold() | Merge() | Relay():
            return True
        case Input() | Conv() | Linear() | Scale() | SumPool() | MaxPool() | Readout():
            return False
        case _:
            assert_never(node)


def is_unit(node: Node) -> TypeGuard[Unit]:
    """Whether a node decides or adds up for each of its neurons in every step: what takes room on cores."""
    match node:
        case Neuron() | Threshold() | Relay() | Readout():
            return True
        case Input() | Conv() | Linear() | Scale() | SumPool() | MaxPool() | Merge():
            return False
        case _:
            assert_never(node)


def has_state(node: Node) -> bool:
    """Whether a node remembers anything from one step to the next, and so needs a reset between samples."""
    match node:
        case Neuron() | Readout():
            return True
        case Input() | Conv() | Linear() | Scale() | SumPool() | MaxPool() | Threshold() | Merge() | Relay():
            return False
        case _:
            assert_never(node)


def describe(node: Node) -> str:
    """One line of deterministic text: kind, shape, inputs, parameters (arrays as shape and range)."""

    def text(value: object) -> str:
        if isinstance(value, np.ndarray):
            low, high = (int(value.min()), int(value.max())) if value.size else (0, 0)
            shape = "x".join(map(str, value.shape)) or "scalar"
            return f"{shape}[{low}]" if low == high else f"{shape}[{low}..{high}]"
        if isinstance(value, Reset):
            return value.value
        if isinstance(value, float):
            return f"{value:.6g}"
        if isinstance(value, tuple) and all(isinstance(item, Head) for item in value):
            return ",".join(f"{head.name}:{head.stop - head.start}x{head.scale:.6g}" for head in value)
        if isinstance(value, tuple) and all(isinstance(item, float) for item in value):
            return f"{len(value)}[{min(value):.6g}..{max(value):.6g}]"
        return str(value).replace(" ", "")

    shown = [item.name for item in fields(node) if item.name not in ("name", "inputs", "shape")]
    shown = [name for name in shown if name != "heads" or getattr(node, name)]
    parameters = " ".join(f"{name}={text(getattr(node, name))}" for name in shown)
    inputs = ", ".join(node.inputs) or "-"
    shape = "x".join(map(str, node.shape))
    return f"{node.name} = {type(node).__name__}({inputs}) [{shape}] {parameters}".rstrip()


@dataclass(frozen=True, eq=False)
class Graph:
    """Integer nodes in topological order. Raises ValueError if they are not, or if names repeat."""

    nodes: tuple[Node, ...]
    _by_name: dict[str, Node] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_name: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in by_name:
                raise ValueError(f"two nodes are named {node.name}")
            missing = [source for source in node.inputs if source not in by_name]
            if missing:
                raise ValueError(f"{node.name} reads {missing}, which do not come before it")
            by_name[node.name] = node
        object.__setattr__(self, "_by_name", by_name)

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __str__(self) -> str:
        return "\n".join(describe(node) for node in self.nodes)

    @property
    def input(self) -> Input:
        return next(node for node in self.nodes if isinstance(node, Input))

    @property
    def readout(self) -> Readout:
        return next(node for node in self.nodes if isinstance(node, Readout))

    @property
    def recorded(self) -> tuple[Spiking, ...]:
        """Every node whose output is spikes, binary or graded, in order."""
        return tuple(node for node in self.nodes if is_spiking(node))

    def input_shape(self, node: Node) -> Shape:
        return self[node.inputs[0]].shape
