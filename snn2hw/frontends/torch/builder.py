"""Building a NIR graph from values: sums stay open until a layer takes them, products become threshold units.

SEW ResNet's connect functions need nothing special: ADD is a sum of spikes; AND and IAND are products of binary values,
and a product of k binary values is the threshold unit "their sum exceeds k - 1/2" (Fang et al. 2021, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import nir
import numpy as np

from snn2hw.errors import Blocker
from snn2hw.frontends.torch.values import Shape, Value, as_integer, combine
from snn2hw.frontends.torch.windows import NO_MARGIN, Margin, enlarge, even_window, is_even
from snn2hw.network.heads import heads_metadata, placement


class Refused(Exception):
    """An operation that cannot be expressed; carries its blocker."""

    def __init__(self, layer: str, problem: str, advice: str) -> None:
        self.blocker = Blocker(layer=layer, problem=problem, advice=advice)
        super().__init__(str(self.blocker))


class Builder:
    """Collects NIR nodes and edges under unique names; those in `reserved` are kept for layers."""

    def __init__(self, reserved: frozenset[str] = frozenset()) -> None:
        self.reserved = reserved
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []

    def graph(self) -> nir.NIRGraph:
        return nir.NIRGraph(nodes=self.nodes, edges=self.edges, type_check=False)

    def add(self, name: str, node: nir.NIRNode, value: Value | None, shape: Shape, *, is_layer: bool = False) -> Value:
        """Add a node fed by `value`; what it emits is a current, not an integer."""
        name = name if is_layer else self._unique(name)
        self.nodes[name] = node
        if value is not None:
            for source in self._sources(name, value):
                self.edges.append((source, name))
        return Value(terms=((name, 1),), shape=shape)

    def add_spiking(self, name: str, node: nir.NIRNode, value: Value, *, is_layer: bool = False) -> Value:
        """Add a neuron or threshold unit: what it emits is 0 or 1."""
        return as_integer(self.add(name, node, value, value.shape, is_layer=is_layer), 0, 1)

    def plus(self, name: str, a: Value, b: Value) -> Value:
        """a + b. Sums of spikes get a node of their own (a Scale of 1, which sums its sources); currents stay open."""
        _same_shape(name, a, b)
        total = combine(a, b)
        plain = all(factor == 1 for _, factor in total.terms) and total.constant == 0
        if total.is_integer and plain and len(total.terms) > 1:
            return self.merge(name, total)
        return total

    def merge(self, name: str, value: Value) -> Value:
        low, high = value.low, value.high
        merged = self.add(name, nir.Scale(scale=_everywhere(1, value.shape)), value, value.shape)
        return merged if low is None or high is None else as_integer(merged, low, high)

    def times(self, name: str, a: Value, b: Value) -> Value:
        """a * b for spikes, of which one at least is binary: a threshold unit on their sum, one for each level."""
        _same_shape(name, a, b)
        binary, other = (a, b) if a.is_binary else (b, a)
        if not binary.is_binary or not other.is_integer or (other.low or 0) < 0:
            what = f"values from {other.low} to {other.high}" if other.is_integer else "analog values"
            raise Refused(
                name,
                f"a product with {what}",
                "Of a product (AND, IAND) one factor must be binary and the other spikes; use ADD, or a neuron before",
            )
        levels = []
        for suffix, reached in self._levels(name, other):
            total = combine(binary, reached)
            if not total.terms:
                raise Refused(name, "the product of spikes and their negation, which is always 0", "Leave it out")
            levels.append(self._exceeds(name, f"{name}{suffix}", total, 1.5))
        return self._sum_of_levels(name, levels)

    def _exceeds(self, place: str, name: str, value: Value, level: float) -> Value:
        """The threshold unit `value > level`."""
        if level < value.constant:
            raise Refused(
                place,
                "a product of negations (as NOR), which is positive where nothing spikes",
                "Threshold units answer spikes: multiply by a factor that is no negation, or put a neuron with a bias "
                "in its place",
            )
        unit = nir.Threshold(threshold=_everywhere(level - value.constant, value.shape))
        terms = Value(terms=value.terms, shape=value.shape, low=value.low, high=value.high)
        return self.add_spiking(name, unit, terms)

    def _levels(self, name: str, value: Value) -> list[tuple[str, Value]]:
        """Graded spikes as the binary ones value >= 1, value >= 2, ... that add up to them, with suffixes for names."""
        if value.is_binary or value.high is None:
            return [("", value)]
        levels = []
        for level in range(1, value.high + 1):
            unit = self._exceeds(name, f"{name}.level{level}.reached", value, level - 0.5)
            levels.append((f".level{level}", unit))
        return levels

    def _sum_of_levels(self, name: str, levels: list[Value]) -> Value:
        total = levels[0]
        for level in levels[1:]:
            total = combine(total, level)
        return total if len(levels) == 1 else self.merge(name, total)

    def max_pool(
        self, name: str, value: Value, kernel: tuple[int, int], stride: tuple[int, int], margin: Margin
    ) -> Value:
        """Maximum over windows of spikes: max(x) = sum over levels k of OR(x >= k), OR(x) = "the window's sum > 0"."""
        if not value.is_integer or value.low is None or value.low < 0 or value.high is None:
            raise Refused(name, "MaxPool2d over values that are not spikes", "Put the pool behind a neuron")
        levels = []
        for suffix, reached in self._levels(name, replace(value, margin=NO_MARGIN)):
            count = self._window_sum(f"{name}{suffix}.count", reached, kernel, stride, margin)
            either = nir.Threshold(threshold=_everywhere(0.5, count.shape))
            levels.append(self.add_spiking(f"{name}{suffix}", either, count))
        return self._sum_of_levels(name, levels)

    def _window_sum(
        self, name: str, value: Value, kernel: tuple[int, int], stride: tuple[int, int], margin: Margin
    ) -> Value:
        """A sum pool; where a pool cannot be padded like that, a convolution of ones, channel by channel."""
        channels, *size = value.shape
        axes = even_window(kernel, margin, (1, 1))
        padding = (axes[0].padding, axes[1].padding)
        if is_even(margin) and all(2 * p <= k for p, k in zip(padding, kernel, strict=True)):
            pool = nir.SumPool2d(kernel_size=np.array(kernel), stride=np.array(stride), padding=np.array(padding))
            return self.add(name, pool, value, (channels, *pooled(tuple(size), kernel, stride, padding)))
        ones = np.zeros((channels, channels, *kernel), np.float32)
        ones[np.arange(channels), np.arange(channels)] = 1
        conv = nir.Conv2d(
            input_shape=(size[0], size[1]),
            weight=enlarge(ones, axes),
            stride=stride,
            padding=padding,
            dilation=(1, 1),
            groups=1,
            bias=np.zeros(channels, np.float32),
        )
        larger = (axes[0].size, axes[1].size)
        return self.add(name, conv, value, (channels, *pooled(tuple(size), larger, stride, padding)))

    def rectify(self, name: str, value: Value) -> Value:
        """max(x, 0) over spikes and their differences: the sum over levels k >= 1 of x >= k."""
        if not value.is_integer or value.low is None or value.high is None:
            raise Refused(name, "ReLU over values that are not spikes", "Put a spiking neuron in its place")
        if value.low >= 0:
            return value
        if value.high <= 0:
            raise Refused(name, "ReLU over values that are never positive, which is always 0", "Leave it out")
        if value.constant > 0:
            problem = f"ReLU over {value.constant} minus spikes, which is positive without any spike"
            raise Refused(name, problem, "Use products with 1 - x (IAND)")
        return self._sum_of_levels(name, [level for _, level in self._levels(name, value)])

    def concatenate(self, name: str, parts: Sequence[Value]) -> Value:
        """Spikes one behind the other along their channels.

        NIR has no node for that. Each part is put in its place among all channels by a 1x1 convolution (for vectors a
        matrix) of zeros and ones, and the sum is the concatenation: exact, and whatever reads it next.
        """
        sizes = [part.shape[1:] for part in parts]
        if len(set(sizes)) > 1:
            raise Refused(name, f"images of sizes {[list(size) for size in sizes]} are joined", "Give them one size")
        lows = [part.low for part in parts if part.low is not None]
        highs = [part.high for part in parts if part.high is not None]
        if len(lows) < len(parts) or len(highs) < len(parts):
            raise Refused(name, "values that are not spikes are joined", "Put a neuron behind each part, then join")
        shape = (sum(part.shape[0] for part in parts), *sizes[0])
        first = 0
        terms: list[tuple[str, int]] = []
        for number, part in enumerate(parts):
            last = first + part.shape[0]
            place = placement(slice(first, last), shape[0])
            terms += self.add(f"{name}.part{number}", _matrix(place, sizes[0]), part, shape).terms
            first = last
        joined = Value(terms=tuple(terms), shape=shape, low=min(lows), high=max(highs))
        return self.merge(name, joined)

    def output(self, name: str, value: Value, metadata: dict[str, str] | None = None) -> Value:
        """The Output node, which sums what feeds it."""
        node = nir.Output(output_type={"output": np.array(value.shape)}, metadata=metadata or {})
        return self.add(name, node, value, value.shape)

    def heads(self, name: str, heads: Mapping[str, Value]) -> Value:
        """Several vectors as one output (heads.py): each in its rows, spikes and currents alike."""
        width = sum(value.shape[0] for value in heads.values())
        first = 0
        terms: list[tuple[str, int]] = []
        for own, value in heads.items():
            place = placement(slice(first, first + value.shape[0]), width)
            parts = [value] if value.is_integer else [replace(value, terms=(term,)) for term in value.terms]
            for part in parts:
                terms += self.add(f"{name}.{own}", nir.Linear(weight=place), part, (width,)).terms
            first += value.shape[0]
        sizes = {own: value.shape[0] for own, value in heads.items()}
        return self.output(name, Value(terms=tuple(terms), shape=(width,)), heads_metadata(sizes))

    def _sources(self, name: str, value: Value) -> list[str]:
        if value.constant:
            raise Refused(name, f"the constant {value.constant} is added to spikes", "Move it into a bias")
        return [source if factor == 1 else self._scaled(source, factor, value.shape) for source, factor in value.terms]

    def _scaled(self, source: str, factor: int, shape: Shape) -> str:
        name = f"{source}.negated" if factor == -1 else f"{source}.times{factor}"
        if name not in self.nodes:
            self.nodes[name] = nir.Scale(scale=_everywhere(factor, shape))
            self.edges.append((source, name))
        return name

    def _unique(self, name: str) -> str:
        name = name.replace("/", "_")
        candidate, count = name, 1
        while candidate in self.nodes or candidate in self.reserved:
            count += 1
            candidate = f"{name}@{count}"
        return candidate


def pooled(size: Shape, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int]:
    """Height and width after a pool, rounding down."""
    height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    return height, width


def _matrix(weight: np.ndarray, size: Shape) -> nir.NIRNode:
    """A matrix over the channels of images of `size`, or over a vector."""
    if not size:
        return nir.Linear(weight=weight)
    return nir.Conv2d(
        input_shape=(size[0], size[1]),
        weight=weight[:, :, None, None],
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        bias=np.zeros(len(weight), np.float32),
    )


def _everywhere(value: float, shape: Shape) -> np.ndarray:
    """An array that stores one number: NIR wants full shapes, and a deep net has tens of millions of neurons."""
    return np.broadcast_to(np.float32(value), shape)


def _same_shape(name: str, a: Value, b: Value) -> None:
    if a.shape != b.shape:
        raise Refused(
            name,
            f"values of shapes {list(a.shape)} and {list(b.shape)} are combined",
            "Both branches must have the same shape; broadcasting has no counterpart on the chip",
        )
