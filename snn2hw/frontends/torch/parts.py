"""How an operator's input lies: what of it are steps and samples, and what one sample's places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.errors import DataError
from snn2hw.frontends.torch.arrange import Arrangement, Batch, Inner
from snn2hw.frontends.torch.call import Call, pair
from snn2hw.frontends.torch.forms import Diagonal, Flat, Form
from snn2hw.frontends.torch.values import Layer, Value
from snn2hw.frontends.torch.windows import NO_MARGIN, Pair
from snn2hw.network.neuron_rule import Float


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """How an operator's input lies: its leading dimensions, the steps and samples in them, and whose channels it takes
    (None for all, in their order). is_line: the tensor is [..., C, L], of images of height 1.
    """

    lead_shape: Shape
    batch: Batch
    channels: NDArray[np.int64] | None = None
    is_line: bool = False

    def arrangement(self, call: Call, shape: Shape, steps: int) -> Arrangement:
        """How what an operator makes of it lies."""
        at = call.model.numbering.like(self.batch.numbers, self.lead_shape, shape, None, steps)
        return replace(at, numbers=at.numbers.squeeze(-2)) if self.is_line else at


MIXED = (
    "steps, samples and places of one sample stand mixed in one dimension",
    "Keep the batch and the time steps in dimensions of their own, or together in the first: x.flatten(1)",
)


def has_flat_images(value: Value) -> bool:
    """Whether a tensor [..., C, H W] holds images pixel behind pixel, as tokens."""
    parts = value.at.split(value.at.rank - 2) if value.at.rank > 2 else None
    return (
        parts is not None
        and len(value.shape) == 3
        and value.shape[1] > 1
        and parts[1].tensor_shape[1] == math.prod(value.shape[1:])
    )


def as_image(call: Call, value: Value, dims: int = 2, *, flat: bool = False) -> Image:
    """A value as the images [..., C, H, W], or with one of `dims` the lines [..., C, L], that an operator takes; `flat`
    for the images [..., C, H W] of an operator that looks at each pixel by itself.
    """
    lead = value.at.rank - dims - 1
    parts = value.at.split(lead) if lead > 0 else None
    inside = value.at.inner() if parts is None else None
    what, order = ("images", "[C, H, W]") if dims == 2 else ("lines", "[C, L]")
    if lead <= 0 or (inside is not None and len(inside[2].tensor_shape) <= dims):
        if not _is_input(call, value):
            advice = f"Feed it {what} {order} of each sample and step"
            raise call.refuse(f"takes the batch of {list(value.at.numbers.shape)} for channels of {what}", advice)
        raise DataError(
            f"the model does not accept an input of shape {list(value.shape)}: {call.path} takes its batch for "
            f"channels. Give the shape of one step of one sample with --input-shape {'C,H,W' if dims == 2 else 'C,L'}."
        )
    if parts is None:
        raise call.refuse(*MIXED)
    batch, inner = parts
    lead_shape = tuple(value.at.numbers.shape[:lead])
    channels = channels_of(inner) if len(value.shape) == 3 else None
    size = value.shape[1:] if dims == 2 else value.shape[2:]
    if channels is None or (inner.tensor_shape[1:] != size and not flat):
        raise call.refuse(
            f"values of shape {list(value.shape)} are taken for {what} of {list(inner.tensor_shape)}",
            f"Keep the order {order}; only channels may be moved or picked",
        )
    return Image(
        lead_shape=lead_shape,
        batch=batch,
        channels=None if inner.is_identity else channels,
        is_line=dims == 1 and not flat,
    )


def _is_input(call: Call, value: Value) -> bool:
    return all(isinstance(call.builder.nodes.get(str(source)), nir.Input) for source, _ in value.terms)


def channels_of(inner: Inner) -> NDArray[np.int64] | None:
    """The channel that each element of the first dimension holds, [C], where whole channels moved; else None."""
    rest = math.prod(inner.shape[1:])
    if not inner.tensor_shape or math.prod(inner.tensor_shape[1:]) != rest:
        return None
    if inner.is_identity:
        return np.arange(inner.shape[0])
    by_channel = inner.places.reshape(inner.tensor_shape[0], rest)
    whole = bool((by_channel == (by_channel[:, :1] // rest) * rest + np.arange(rest)).all())
    return by_channel[:, 0] // rest if whole else None


def parts_of(call: Call, value: Value, *, behind: int) -> tuple[int, Batch, Inner]:
    """The leading dimensions with steps and samples, which leave at least `behind` dimensions, and what is in both."""
    for lead in range(value.at.rank - behind, 0, -1):
        if (parts := value.at.split(lead)) is not None:
            return lead, *parts
    raise call.refuse(*MIXED)


def flattened(call: Call, value: Value) -> Value:
    """A value as a vector, which is a node of its own where it is an image."""
    refuse_margin(call, value)
    if len(value.shape) == 1:
        return value
    if (scaled := _flattened_factors(call, value)) is not None:
        return scaled
    lead, batch, _ = parts_of(call, value, behind=1)
    lead_shape, size = tuple(value.at.numbers.shape[:lead]), math.prod(value.shape)
    at = call.model.numbering.like(batch.numbers, lead_shape, (size,), None, value.at.steps)
    name = value.at.moved_by or f"{call.path}.flatten"
    return written(call, name, Flat(before=value.shape), value, at)


def _flattened_factors(call: Call, value: Value) -> Value | None:
    """Factors of spikes, one a channel, as factors of the flattened spikes; None for anything else."""
    source, times = value.terms[0]
    if len(value.terms) > 1 or not isinstance(source, Layer) or not isinstance(source.form, Diagonal):
        return None
    if any(isinstance(before, Layer) for before, _ in source.fed.terms):
        return None
    rest = math.prod(value.shape[1:])

    def spread(values: Float) -> Float:
        return np.repeat(values, rest) if values.size > 1 else values

    folds = tuple(
        replace(fold, gain=spread(fold.gain), mean=spread(fold.mean), offset=spread(fold.offset))
        for fold in source.folds
    )
    flat = flattened(call, replace(source.fed, at=value.at, repeats=()))
    form = replace(source.form, shape=flat.shape)
    layer = replace(source, form=form, fed=flat, shape=flat.shape, folds=folds)
    others = (_flattened_factors(call, replace(other, at=value.at, repeats=())) for other in value.repeats)
    repeats = tuple(other for other in others if other is not None)
    return replace(flat, terms=((layer, times),), low=None, high=None, repeats=repeats)


def written(call: Call, path: str, form: Form, fed: Value, at: Arrangement) -> Value:
    """A node without weights: at once behind spikes, with the current behind layers."""
    if any(isinstance(source, Layer) for source, _ in fed.terms):
        layer = Layer(path=path, form=form, fed=fed, shape=at.shape, call="")
        return Value(terms=((layer, 1),), at=at, over_time=fed.over_time, is_mean=fed.is_mean)
    written = call.builder.add(path, form.node(()), fed, at, form.key)
    keeps = isinstance(form, Flat)
    return replace(written, low=fed.low if keeps else None, high=fed.high if keeps else None)


def repeated(numbers: Tensor, copies: Sequence[int]) -> Tensor:
    """Numbers [..., *sizes] of which each stands so often along the last dimensions: [..., *sizes * copies]."""
    for dim, count in zip(range(-len(copies), 0), copies, strict=True):
        numbers = numbers.repeat_interleave(count, dim)
    return numbers


def refuse_margin(call: Call, *values: Value) -> None:
    """Refuse zero padding in front of anything but a window."""
    if any(value.margin != NO_MARGIN for value in values):
        raise call.refuse(
            "reads zero padding, which NIR knows only as a part of a convolution or pool",
            "Put the padding directly before a Conv2d or MaxPool2d",
        )


def window_sizes(value: Any, dims: int, across: int, default: Any = None) -> Pair:
    """Height and width of what an operator on images or, with one of `dims`, on lines takes; `across` lines."""
    height, width = pair(value, default)
    return (height, width) if dims == 2 else (across, width)
