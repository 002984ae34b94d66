"""What flows through a captured model: weighted sums of what NIR nodes emit and of layers, open until a neuron takes
them.

A layer is not written where the model computes it but where a neuron or read-out takes its current: on a chip every
synapse feeds one neuron, in units of that neuron, so a layer that two neurons read becomes two.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.arrange import Arrangement
from snn2hw.frontends.torch.forms import Form
from snn2hw.frontends.torch.windows import NO_MARGIN, Margin
from snn2hw.network.neuron_rule import Float


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """y = (x - mean) * gain + offset behind a layer, each one number or one a channel [C].

    norm: the path of the BatchNorm that this is, "" for anything else. path, call: where the model computes it.
    """

    gain: Float
    mean: Float = field(default_factory=lambda: np.zeros(()))
    offset: Float = field(default_factory=lambda: np.zeros(()))
    path: str
    call: str
    norm: str = ""

    @property
    def key(self) -> Hashable:
        return self.gain.tobytes(), self.mean.tobytes(), self.offset.tobytes()

    @property
    def shifts(self) -> bool:
        """Whether it moves 0 to something else."""
        return bool(np.any(self.mean) or np.any(self.offset))


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer with weights, or an average: what it computes of `fed`, whose places stand in their order.

    path: the name of its NIR node. call: the call in the captured graph. shape: of what it computes.
    """

    path: str
    form: Form
    fed: Value
    shape: Shape
    call: str
    folds: tuple[Fold, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for layers that compute the same of the same, in whichever step."""
        return self.path, self.form.key, self.fed.key, tuple(fold.key for fold in self.folds)


Source: TypeAlias = "str | Layer"


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """A weighted sum of NIR nodes' outputs and of layers, plus a constant.

    terms: (NIR node or layer, whole factor) pairs. low and high bound the value where it is an integer (spikes, sums
    and negations of spikes); they are None for currents and analog input. at: where its elements stand in the model's
    tensor. margin: zeros around the image that the next window takes in; they are no part of the shape. over_time: the
    factors [T] with which the steps are summed, once they are. is_mean: it is the mean over time. repeats: the same,
    computed by other calls for other steps.
    """

    terms: tuple[tuple[Source, int], ...]
    at: Arrangement
    constant: int = 0
    low: int | None = None
    high: int | None = None
    margin: Margin = NO_MARGIN
    over_time: tuple[float, ...] | None = None
    is_mean: bool = False
    repeats: tuple[Value, ...] = ()

    @property
    def shape(self) -> Shape:
        return self.at.shape

    @property
    def is_integer(self) -> bool:
        return self.low is not None

    @property
    def is_binary(self) -> bool:
        return self.low is not None and self.low >= 0 and self.high is not None and self.high <= 1

    @property
    def key(self) -> Hashable:
        terms = [(source if isinstance(source, str) else source.key, factor) for source, factor in self.terms]
        return tuple(terms), self.constant, self.shape, self.margin


@dataclass(frozen=True, kw_only=True)
class State:
    """A membrane or current that a neuron returned to its caller in one of its calls."""

    path: str
    call: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """What follows from a blocker; shape: of the model's tensor."""

    shape: Shape


def combine(a: Value, b: Value) -> Value:
    """a + b as an open sum, in the arrangement of a; equal terms are added up."""
    terms: dict[Source, int] = {}
    for source, factor in (*a.terms, *b.terms):
        terms[source] = terms.get(source, 0) + factor
    static = a if a.at.steps >= b.at.steps else b
    total = replace(
        a,
        terms=tuple((source, factor) for source, factor in terms.items() if factor),
        constant=a.constant + b.constant,
        at=static.at,
        low=None,
        high=None,
    )
    if a.low is None or b.low is None or a.high is None or b.high is None:
        return total
    return as_integer(total, a.low + b.low, a.high + b.high)


def times_constant(value: Value, factor: int) -> Value:
    """factor * value, still open."""
    terms = tuple((source, factor * coefficient) for source, coefficient in value.terms)
    scaled = replace(value, terms=terms, constant=factor * value.constant, low=None, high=None)
    if value.low is None or value.high is None:
        return scaled
    ends = (factor * value.low, factor * value.high)
    return as_integer(scaled, min(ends), max(ends))


def plus_constant(value: Value, constant: int) -> Value:
    """value + constant, still open."""
    moved = replace(value, constant=value.constant + constant)
    if value.low is None or value.high is None:
        return moved
    return as_integer(moved, value.low + constant, value.high + constant)


def as_integer(value: Value, low: int, high: int) -> Value:
    """The same, known to be an integer from low to high."""
    return replace(value, low=low, high=high)
