"""What flows through a traced model: weighted sums of what nodes emit, open until a layer takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.windows import NO_MARGIN, Margin


@dataclass(frozen=True, kw_only=True)
class Value:
    """A weighted sum of node outputs plus a constant.

    terms: (NIR node, integer coefficient) pairs. low and high bound the value where it is an integer (spikes, sums and
    negations of spikes); they are None for currents and analog input. margin: zeros around the image that the next
    window takes in; they are not part of the shape. unknown marks what follows from a blocker.
    """

    terms: tuple[tuple[str, int], ...]
    shape: Shape
    constant: int = 0
    low: int | None = None
    high: int | None = None
    margin: Margin = NO_MARGIN
    unknown: bool = False

    @property
    def is_integer(self) -> bool:
        return self.low is not None

    @property
    def is_binary(self) -> bool:
        return self.low is not None and self.low >= 0 and self.high is not None and self.high <= 1


def combine(a: Value, b: Value) -> Value:
    """a + b as an open sum; equal terms are added up."""
    terms: dict[str, int] = {}
    for source, factor in (*a.terms, *b.terms):
        terms[source] = terms.get(source, 0) + factor
    total = Value(
        terms=tuple((source, factor) for source, factor in terms.items() if factor),
        constant=a.constant + b.constant,
        shape=a.shape,
        unknown=a.unknown or b.unknown,
    )
    if a.low is None or b.low is None or a.high is None or b.high is None:
        return total
    return as_integer(total, a.low + b.low, a.high + b.high)


def times_constant(value: Value, factor: int) -> Value:
    """factor * value, still open."""
    terms = tuple((source, factor * coefficient) for source, coefficient in value.terms)
    scaled = Value(terms=terms, constant=factor * value.constant, shape=value.shape, unknown=value.unknown)
    if value.low is None or value.high is None:
        return scaled
    ends = (factor * value.low, factor * value.high)
    return as_integer(scaled, min(ends), max(ends))


def plus_constant(value: Value, constant: int) -> Value:
    """value + constant, still open."""
    moved = Value(terms=value.terms, constant=value.constant + constant, shape=value.shape, unknown=value.unknown)
    if value.low is None or value.high is None:
        return moved
    return as_integer(moved, value.low + constant, value.high + constant)


def as_integer(value: Value, low: int, high: int) -> Value:
    """The same, known to be an integer from low to high."""
    return replace(value, low=low, high=high)
