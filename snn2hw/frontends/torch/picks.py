"""Parts of values: channels that a slice, a chunk, a shuffle or an index picks, and what is put behind one another.

Of layers the rows of their weights are picked; of spikes a node of zeros and ones picks the channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import nir
import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw.frontends.torch import joins
from snn2hw.frontends.torch.arrange import Arrangement, same_places
from snn2hw.frontends.torch.call import Call
from snn2hw.frontends.torch.forms import Average, Diagonal, Flat
from snn2hw.frontends.torch.parts import channels_of, flattened, parts_of
from snn2hw.frontends.torch.values import Fold, Layer, Source, Value
from snn2hw.frontends.torch.weighted import Convolution, Matrix
from snn2hw.network.neuron_rule import Float

Rows = NDArray[np.int64]


class _NotPicked(Exception):
    """There are layers whose weights cannot hold a part of them."""


def in_order(call: Call, value: Value) -> Value | None:
    """A value of its own for what a tensor holds, in the tensor's order: the same, or some of its channels, or places
    of a vector. None where the tensor holds something else.
    """
    lead, batch, inner = parts_of(call, value, behind=1)
    is_vector = len(inner.tensor_shape) == 1
    if inner.is_identity and (len(value.shape) == 1 or not is_vector):
        return value
    rows = inner.places if len(value.shape) == 1 else channels_of(inner)
    if is_vector and len(value.shape) > 1:
        value = flattened(call, value)
        if inner.is_identity:
            return value
        rows = inner.places
    if rows is None:
        return cropped(call, value)
    shape = (len(rows), *value.shape[1:])
    lead_shape = tuple(value.at.numbers.shape[:lead])
    at = call.model.numbering.like(batch.numbers, lead_shape, shape, None, value.at.steps)
    at = replace(at, numbers=at.numbers.view(*lead_shape, *inner.tensor_shape))
    try:
        picked = _picked(call, value, rows, at)
        return replace(picked, repeats=tuple(_picked(call, other, rows, at) for other in value.repeats))
    except _NotPicked:
        return None


def whole_images(call: Call, value: Value) -> Value:
    """A value of its own where a tensor holds a crop of images of spikes; anything else as it is."""
    inside = value.at.inner()
    if inside is None or inside[2].is_identity or channels_of(inside[2]) is not None:
        return value
    return cropped(call, value) or value


def cropped(call: Call, value: Value) -> Value | None:
    """Images of spikes of which a tensor holds every so many-th row and column from one on, by a convolution with one
    tap; None where it holds something else, or of other values.
    """
    lead, batch, inner = parts_of(call, value, behind=1)
    if len(value.shape) != 3 or len(inner.tensor_shape) not in (2, 3) or not _all_whole_numbers(call, value):
        return None
    size = inner.tensor_shape if len(inner.tensor_shape) == 3 else (inner.tensor_shape[0], 1, inner.tensor_shape[1])
    places = inner.places.reshape(size)
    channel, row, column = np.unravel_index(places, value.shape)
    channels = channel[:, 0, 0]
    rows, columns = joins.Places.of(row[0, :, 0]), joins.Places.of(column[0, 0, :])
    if rows is None or columns is None:
        return None
    grid = np.ravel_multi_index(np.ix_(channels, rows.numbers(), columns.numbers()), value.shape)
    if not np.array_equal(places, grid):
        return None
    at = call.model.numbering.like(batch.numbers, tuple(value.at.numbers.shape[:lead]), size, None, value.at.steps)
    at = replace(at, numbers=at.numbers.view(value.at.numbers.shape))
    name = f"{value.at.moved_by or call.path}.crop"
    return joins.crop(call.builder, name, replace(value, repeats=()), channels, (rows, columns), at)


def _all_whole_numbers(call: Call, value: Value) -> bool:
    return all(isinstance(source, str) and _emits_whole_numbers(call, source) for source, _ in value.terms)


def aligned(call: Call, a: Value, b: Value) -> tuple[Value, Value]:
    """Two values that are combined element by element, each in its tensor's order if they do not lie alike."""
    if a.at.numbers.shape != b.at.numbers.shape or (same_places(a.at, b.at) and a.shape == b.shape):
        return a, b
    first, second = in_order(call, a), in_order(call, b)
    return (a, b) if first is None or second is None else (first, second)


def channels_or_zeros(call: Call, value: Value, rows: Rows) -> Value:
    """The channels `rows` of a value whose tensor holds it in its order, -1 for channels of zeros."""
    lead, batch, inner = parts_of(call, value, behind=1)
    shape = (len(rows), *value.shape[1:])
    lead_shape = tuple(value.at.numbers.shape[:lead])
    at = call.model.numbering.like(batch.numbers, lead_shape, shape, None, value.at.steps)
    at = replace(at, numbers=at.numbers.view(*lead_shape, len(rows), *inner.tensor_shape[1:]))
    try:
        return replace(_picked(call, value, rows, at), margin=value.margin)
    except _NotPicked:
        raise call.refuse("puts zeros among the channels of a sum or average", "Do so behind a neuron") from None


def joined_along(call: Call, parts: Sequence[Value], dim: int, *, new: bool) -> Value | None:
    """Values put behind one another along a dimension of their tensors; None where they cannot be.

    In the value that comes of it their channels stand behind one another, whatever the tensor's order is.
    """
    if len({part.shape[1:] for part in parts}) > 1:
        parts = [replace(flattened(call, part), at=_as_vector(part.at)) for part in parts]
    if len({part.at.steps for part in parts}) > 1:
        return None
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    size, first = math.prod(shape), 0
    numbers = []
    for part in parts:
        width = part.at.size
        numbers.append(part.at.numbers // width * size + first + part.at.numbers % width)
        first += width
    whole = torch.stack(numbers, dim) if new else torch.cat(numbers, dim)
    return put_behind(call, parts, replace(parts[0].at, numbers=whole, shape=shape, moved_by=call.path))


def _as_vector(at: Arrangement) -> Arrangement:
    return replace(at, shape=(at.size,))


def put_behind(call: Call, parts: Sequence[Value], at: Arrangement) -> Value | None:
    """The channels of all parts behind one another, arranged `at`; None for layers that do not take it."""
    if all(part.is_integer for part in parts):
        return joins.concatenate(call.builder, call.name("cat"), parts, at)
    terms: list[tuple[Source, int]] = []
    first = 0
    for part in parts:
        rows = np.full(at.shape[0], -1)
        rows[first : first + part.shape[0]] = np.arange(part.shape[0])
        first += part.shape[0]
        try:
            terms += _picked(call, part, rows, at).terms
        except _NotPicked:
            return None
    return Value(terms=tuple(terms), at=at, is_mean=parts[0].is_mean)


def _picked(call: Call, value: Value, rows: Rows, at: Arrangement) -> Value:
    """The channels `rows` of a value, -1 for zeros."""
    layers: list[tuple[Source, int]] = []
    spikes: list[tuple[Source, int]] = []
    for source, times in value.terms:
        if isinstance(source, str):
            spikes.append((source, times))
        elif isinstance(source.form, Diagonal):
            layers.append((_factors_of(call, source, rows, at), times))
        elif (layer := _rows_of(source, rows)) is not None:
            layers.append((layer, times))
    if value.constant and (rows < 0).any():
        raise _NotPicked
    result = replace(value, terms=tuple(layers), at=at, repeats=())
    if (rows < 0).any() and value.low is not None and value.high is not None:
        result = replace(result, low=min(value.low, 0), high=max(value.high, 0))
    if not spikes:
        if not layers:
            raise _NotPicked
        return result
    if not all(_emits_whole_numbers(call, str(source)) for source, _ in spikes):
        raise _NotPicked
    picked = joins.pick(call.builder, f"{call.path}.pick", replace(value, terms=tuple(spikes), constant=0), rows, at)
    return replace(result, terms=(*layers, *picked.terms))


def _emits_whole_numbers(call: Call, name: str) -> bool:
    """Whether a node emits spikes or sums of them, and no averages or analog input."""
    node = call.builder.nodes[name]
    if isinstance(node, nir.Flatten):
        return all(_emits_whole_numbers(call, source) for source, target in call.builder.edges if target == name)
    return not isinstance(node, nir.Input | nir.AvgPool2d)


def _factors_of(call: Call, layer: Layer, rows: Rows, at: Arrangement) -> Layer:
    """Factors of these of their channels."""
    form = layer.form
    assert isinstance(form, Diagonal)
    if len(np.unique(rows)) < len(rows) or (rows < 0).any():
        raise _NotPicked
    channel_size = form.size // form.shape[0]
    among_picked = np.zeros(form.shape[0], np.int64)
    among_picked[rows] = np.arange(len(rows))
    places = among_picked[form.places // channel_size] * channel_size + form.places % channel_size
    fed = _picked(call, replace(layer.fed, repeats=()), rows, at)
    shape = (len(rows), *form.shape[1:])
    form = Diagonal(shape=shape, places=places, size=len(rows) * channel_size)
    return replace(
        layer, form=form, fed=fed, shape=shape, folds=tuple(_rows_of_fold(fold, rows) for fold in layer.folds)
    )


def _rows_of(layer: Layer, rows: Rows) -> Layer | None:
    """A layer that computes these of its channels; None if they are nothing but zeros."""
    form = layer.form
    folds = tuple(_rows_of_fold(fold, rows) for fold in layer.folds)
    shape = (len(rows), *layer.shape[1:])
    if isinstance(form, Convolution | Matrix):
        there = rows[rows >= 0]
        if len(np.unique(there)) < len(there):
            raise _NotPicked  # what is there twice may be multiplied by two factors, which the model's own cannot be
        if form.rows is not None:
            rows = np.where(rows < 0, -1, form.rows[rows])
        return replace(layer, form=replace(form, rows=rows), folds=folds, shape=shape) if (rows >= 0).any() else None
    if not isinstance(form, Average) and not (isinstance(form, Flat) and math.prod(form.before[1:]) == 1):
        raise _NotPicked
    terms = []
    for source, times in layer.fed.terms:
        if not isinstance(source, Layer):
            raise _NotPicked
        if (part := _rows_of(source, rows)) is not None:
            terms.append((part, times))
    if not terms:
        return None
    if isinstance(form, Flat):
        form = Flat(before=(len(rows), *form.before[1:]))
    at = replace(layer.fed.at, shape=(len(rows), *layer.fed.shape[1:]))  # nobody reads its numbers from here on
    return replace(layer, form=form, fed=replace(layer.fed, terms=tuple(terms), at=at, repeats=()), shape=shape)


def _rows_of_fold(fold: Fold, rows: Rows) -> Fold:
    """What a fold does to these channels: nothing to zeros."""
    if (rows >= 0).all() and fold.gain.size == fold.mean.size == fold.offset.size == 1:
        return fold

    def pick(values: Float, otherwise: float) -> Float:
        each = values if values.size > 1 else np.full(rows.max() + 1, float(values))
        return np.where(rows < 0, otherwise, each[rows])

    return replace(fold, gain=pick(fold.gain, 1), mean=pick(fold.mean, 0), offset=pick(fold.offset, 0))
