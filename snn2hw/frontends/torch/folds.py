"""Factors and offsets: those of currents go into the layer before them, whatever lies between; those of spikes into the
layer behind them, or into a node of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snn2hw.frontends.torch.arrange import Arrangement, Inner
from snn2hw.frontends.torch.call import Call
from snn2hw.frontends.torch.forms import Average, Diagonal, Flat, Largest
from snn2hw.frontends.torch.parts import MIXED, flattened
from snn2hw.frontends.torch.streams import readable
from snn2hw.frontends.torch.values import Fold, Layer, Value
from snn2hw.frontends.torch.weighted import Inputs, Matrix
from snn2hw.network.neuron_rule import Float


def folded_by_channel(call: Call, value: Value, fold: Fold, dim: int) -> Value:
    """A value with what a fold does to the tensor's dimension `dim`."""
    lead, parts = dim, value.at.split(dim)
    if parts is not None and parts[1].is_identity and parts[1].tensor_shape[0] == value.shape[0]:
        return fold_in(call, value, fold)
    if (inside := value.at.inner()) is not None and inside[0] < dim:
        lead, parts = inside[0], inside[1:]
    if parts is None:
        raise call.refuse(*MIXED)
    batch, inner = parts
    if (by_channel := _for_values(fold, inner, dim - lead, value.shape[0])) is not None:
        return fold_in(call, value, by_channel)
    if inner.is_identity and len(value.shape) > 1 and len(inner.tensor_shape) == 1:
        lead_shape = tuple(value.at.numbers.shape[:lead])
        flat = flattened(call, value)
        at = call.model.numbering.like(batch.numbers, lead_shape, flat.shape, None, value.at.steps)
        return fold_in(call, replace(flat, at=at), fold)
    raise call.refuse("factors for other dimensions than channels", "Give one factor for each channel")


def _for_values(fold: Fold, inner: Inner, axis: int, channels: int) -> Fold | None:
    """The fold of one tensor axis for each channel that the tensor holds; None where it differs within one."""
    rest = math.prod(inner.shape) // channels
    places = inner.places.reshape(inner.tensor_shape)
    sizes = [1] * places.ndim
    sizes[axis] = -1
    changed: dict[str, Any] = {}
    for name, otherwise in (("gain", 1.0), ("mean", 0.0), ("offset", 0.0)):
        values: Float = getattr(fold, name)
        if values.size == 1:
            continue
        spread = np.broadcast_to(values.reshape(sizes), places.shape)
        each = np.full(channels, otherwise)
        each[places // rest] = spread
        if (each[places // rest] != spread).any():
            return None
        changed[name] = each
    return replace(fold, **changed)


def fold_in(call: Call, value: Value, fold: Fold) -> Value:
    """gain * x + offset of a value, one number or one for each channel: in its layers, or in a node behind it."""
    layers = [source for source, _ in value.terms if isinstance(source, Layer)]
    if layers and len(layers) < len(value.terms):
        raise call.refuse(
            "multiplies a sum of spikes and the currents of layers",
            "Multiply each by itself, before they are added: a * c + b * c",
        )
    if any(isinstance(layer.form, Matrix) and not _takes(layer, fold) for layer in layers):
        raise call.refuse(
            "different factors for the parts that one Linear computes",
            "Give one factor for each of its outputs, or each part a Linear of its own",
        )
    if not layers or not all(_takes(layer, fold) for layer in layers):
        layer = Layer(
            path=call.name("scale"),
            form=diagonal(call, value.at),
            fed=readable(call.builder, call.path, value),
            shape=value.shape,
            call=call.node.name,
            folds=(fold,),
        )
        return replace(value, terms=((layer, 1),), constant=0, low=None, high=None, repeats=())
    terms = []
    for number, (source, times) in enumerate(value.terms):
        assert isinstance(source, Layer)
        here = fold if number == 0 else replace(fold, mean=np.zeros(()), offset=np.zeros(()))
        terms.append((_pushed(call, source, times, here), 1))
    return replace(value, terms=tuple(terms), repeats=tuple(fold_in(call, other, fold) for other in value.repeats))


def diagonal(call: Call, at: Arrangement) -> Diagonal:
    """The form of factors of a tensor that is arranged `at`."""
    inside = at.inner()
    if inside is None:
        raise call.refuse(*MIXED)
    inner = inside[2]
    return Diagonal(shape=at.shape, places=inner.places.reshape(inner.tensor_shape), size=at.size)


def _takes(layer: Layer, fold: Fold) -> bool:
    """Whether a fold can go into a layer, through averages and flattening into what stands before them."""
    if isinstance(layer.form, Largest) and not np.all(fold.gain > 0):
        return False
    if isinstance(layer.form, Average | Largest | Flat):
        per_channel = fold.gain.size > 1 or fold.mean.size > 1 or fold.offset.size > 1
        if isinstance(layer.form, Average) and layer.form.padding != (0, 0) and fold.shifts:
            return False
        if isinstance(layer.form, Flat) and per_channel and math.prod(layer.form.before[1:]) > 1:
            return False
        sources = [source for source, _ in layer.fed.terms]
        return all(isinstance(source, Layer) and _takes(source, fold) for source in sources)
    if isinstance(layer.form, Matrix):
        return all(layer.form.is_same_for_parts(values) for values in (fold.gain, fold.mean, fold.offset))
    return True


def _pushed(call: Call, layer: Layer, times: int, fold: Fold) -> Layer:
    if isinstance(layer.form, Average | Largest | Flat):
        fed = layer.fed
        if times != 1:
            fed = fold_in(call, fed, factor(call, times))
        return replace(layer, fed=fold_in(call, fed, fold))
    folds = layer.folds if times == 1 else (*layer.folds, factor(call, times))
    return replace(layer, folds=(*folds, fold))


def factor(call: Call, number: float, by: str = "") -> Fold:
    """A multiplication by one number, which the call `by` does and nothing else; "" for one that does more."""
    return Fold(gain=np.array(float(number)), path=call.path, call=by)


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """What spikes are multiplied by before a layer takes them. folds: these, and those of the same in other steps."""

    layer: Layer
    times: int
    repeats: tuple[Layer, ...] = ()

    @property
    def shifts(self) -> bool:
        return bool(np.any(self.gains[1]))

    @property
    def gains(self) -> Inputs:
        """Gain and offset, each one number or one a channel."""
        gain, shift = np.ones(()), np.zeros(())
        for fold in self.layer.folds:
            gain, shift = gain * fold.gain, (shift - fold.mean) * fold.gain + fold.offset
        return gain * self.times, shift * self.times

    @property
    def folded(self) -> frozenset[str]:
        """The calls that compute them."""
        return frozenset(fold.call for layer in (self.layer, *self.repeats) for fold in layer.folds if fold.call)

    @property
    def left(self) -> float:
        """The part that the model computes in calls that do something else too."""
        return self.times * math.prod(float(fold.gain) for fold in self.layer.folds if not fold.call)

    def behind(self, call: Call, value: Value) -> Value:
        """The same factors behind an operator that computes as well without them."""
        form = diagonal(call, value.at)
        folds = self.layer.folds if self.times == 1 else (*self.layer.folds, factor(call, self.times))
        layer = replace(self.layer, form=form, fed=value, shape=value.shape, call=call.node.name, folds=folds)
        return replace(value, terms=((layer, 1),), constant=0, low=None, high=None, repeats=())


def without_factors(value: Value) -> tuple[Value, Factors | None]:
    """Spikes that are multiplied by constants as the spikes, and the constants; anything else as it is."""
    taken = _factors(value)
    if taken is None:
        return value, None
    repeats = [_factors(other) for other in value.repeats]
    spikes = replace(
        taken.layer.fed, at=value.at, margin=value.margin, over_time=value.over_time, is_mean=value.is_mean
    )
    more = tuple(other.layer for other in repeats if other is not None)
    again = tuple(replace(layer.fed, at=other.at) for layer, other in zip(more, value.repeats, strict=False))
    return replace(spikes, repeats=again), replace(taken, repeats=more)


def _factors(value: Value) -> Factors | None:
    if len(value.terms) != 1:
        return None
    source, times = value.terms[0]
    if not isinstance(source, Layer) or not isinstance(source.form, Diagonal):
        return None
    if any(isinstance(before, Layer) for before, _ in source.fed.terms):
        return None
    return Factors(layer=source, times=times)
