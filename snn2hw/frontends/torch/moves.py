"""What moves values or lets them pass: layout, concatenation, padding, dropout, other types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch import joins
from snn2hw.frontends.torch.arrange import Batch, joined
from snn2hw.frontends.torch.call import Call, Given
from snn2hw.frontends.torch.over_time import averaged
from snn2hw.frontends.torch.parts import as_image, flattened, parts_of, refuse_margin
from snn2hw.frontends.torch.picks import channels_or_zeros, joined_along, put_behind, whole_images
from snn2hw.frontends.torch.values import Value
from snn2hw.frontends.torch.windows import NO_MARGIN, add_margins


def concatenate(call: Call) -> Value:
    """cat and stack: of the steps of one layer, or of different spikes along their channels."""
    parts, dim = call.arguments[0], int(call.argument(1, "dim", 0))
    if not parts or not all(isinstance(part, Value) for part in parts):
        raise call.refuse("a concatenation with what is not a tensor of the model", "Join values of the model only")
    return put_together(call, parts, dim, new=call.operator == "stack")


def put_together(call: Call, parts: Sequence[Value], dim: int, *, new: bool) -> Value:
    """Tensors behind one another along a dimension; `new`: along a new one."""
    refuse_margin(call, *parts)
    at = joined([part.at for part in parts], dim, call.path, new=new)
    static = new and all(part.at.steps == 1 for part in parts) and call.model.steps > 1
    if len({(part.key, part.over_time) for part in parts}) == 1 and (static or at.is_single()):
        first: Value = parts[0]
        others = [other for part in parts[1:] for other in (part, *part.repeats)]
        return replace(first, at=at, repeats=(*first.repeats, *others))
    return _along_channels(call, [averaged(call, part) for part in parts], dim, new=new)


def _along_channels(call: Call, parts: Sequence[Value], dim: int, *, new: bool) -> Value:
    along = dim % (parts[0].at.rank + new)
    if not new and (joined_parts := _in_their_order(call, parts, along)) is not None:
        return joined_parts
    apart = new or all(part.at.split(along) is not None for part in parts)  # no samples are put behind others
    if apart and (whole := joined_along(call, parts, along, new=new)) is not None:
        return whole
    raise call.refuse(f"the operation {call.operator} over dimension {dim}", "Join spikes along their channels")


def _in_their_order(call: Call, parts: Sequence[Value], along: int) -> Value | None:
    """Images or vectors that are whole, joined to a larger one; None where they are no such thing."""
    parts = [_as_vector(call, part) for part in parts]
    first = parts[0]
    lead, batch, inner = parts_of(call, first, behind=min(len(first.shape), first.at.rank - 1))
    if not all(_is_whole(part, lead, batch) for part in parts):
        return None
    axis = along - lead + (along > lead) * (len(first.shape) - len(inner.tensor_shape))
    shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    if not 0 <= axis < len(shape) or any(
        part.shape[:axis] + part.shape[axis + 1 :] != (*shape[:axis], *shape[axis + 1 :]) for part in parts
    ):
        return None
    shape[axis] = sum(part.shape[axis] for part in parts)
    steps = max(part.at.steps for part in parts)
    lead_shape = tuple(first.at.numbers.shape[:lead])
    at = call.model.numbering.like(batch.numbers, lead_shape, tuple(shape), None, steps)
    if len(inner.tensor_shape) < len(shape):
        at = replace(at, numbers=at.numbers.squeeze(-2))
    if axis == 0:
        return put_behind(call, parts, at)
    if not all(part.is_integer for part in parts):
        return None
    return joins.beside(call.builder, call.name("cat"), parts, axis, at)


def _is_whole(part: Value, lead: int, batch: Batch) -> bool:
    """Whether a tensor holds all of a value in its order, for these steps and samples; a line is an image."""
    cut = part.at.split(lead)
    if cut is None or not np.array_equal(cut[0].numbers, batch.numbers):
        return False
    line = (part.shape[0], *part.shape[2:]) if len(part.shape) == 3 and part.shape[1] == 1 else part.shape
    return cut[1].is_identity and cut[1].tensor_shape in (part.shape, line)


def _as_vector(call: Call, value: Value) -> Value:
    """Spikes of an image that was flattened as a vector; anything else stays."""
    _, _, inner = parts_of(call, value, behind=1)
    is_vector = inner.is_identity and len(inner.tensor_shape) == 1 and value.is_integer
    return flattened(call, value) if is_vector else value


def pad(call: Call) -> Value:
    """Zeros around an image, in torch's order: left, right, top, bottom. The window behind takes them in."""
    sides, mode, fill = (
        list(call.argument(1, "pad", ())),
        call.argument(2, "mode", "constant"),
        call.argument(3, "value"),
    )
    if call.operator == "constant_pad_nd":
        mode, fill = "constant", call.argument(2, "value", 0)
    value = call.value
    if not any(sides):
        return value
    if mode != "constant" or fill not in (None, 0, 0.0):
        raise call.refuse(f"padding with {mode if mode != 'constant' else fill}", "Pad with 0")
    if value.margin != NO_MARGIN and min(sides) < 0:
        raise call.refuse(f"negative padding {sides} of what is padded", "Add up what is padded and cropped")
    for dim, (first, last) in enumerate(zip(sides[::2], sides[1::2], strict=True), 1):
        size = int(value.at.numbers.shape[-dim])
        kept = partial(torch.narrow, dim=-dim, start=max(-first, 0), length=size + min(first, 0) + min(last, 0))
        value = replace(value, at=value.at.moved(kept, call.path)) if min(first, last) < 0 else value
    value = whole_images(call, value)
    sides = [max(side, 0) for side in sides]
    is_line = len(parts_of(call, value, behind=1)[2].tensor_shape) == 2
    if is_line:
        sides[2:2] = [0, 0]
    left, right, top, bottom, before, behind = (sides + [0] * 6)[:6]
    if len(value.shape) != 3 or any(sides[6:]):
        raise call.refuse("padding of dimensions other than channels, height and width", "Pad those only")
    as_image(call, value, 1 if is_line else 2)
    value = replace(value, margin=add_margins(value.margin, (top, bottom, left, right)))
    if not before and not behind:
        return value
    rows = np.concatenate([np.full(before, -1), np.arange(value.shape[0]), np.full(behind, -1)])
    return channels_or_zeros(call, value, rows)


def broadcast(call: Call) -> tuple[Value | Given, ...]:
    """broadcast_tensors: each in the shape of all together."""
    tensors, shapes = call.arguments[0], [tuple(tensor.shape) for tensor in call.node.meta["val"]]
    return tuple(
        _expanded(call, tensor, shape) if isinstance(tensor, Value) else Given(values=tensor.values.expand(shape))
        for tensor, shape in zip(tensors, shapes, strict=True)
    )


def copied(call: Call) -> Any:
    """copy: the second tensor in the shape of the first."""
    source = call.arguments[1]
    if isinstance(source, Given):
        return Given(values=source.values.expand(call.shape))
    return _expanded(call, source, tuple(call.shape)) if isinstance(source, Value) else source


def _expanded(call: Call, value: Value, shape: Shape) -> Value:
    refuse_margin(call, value)
    return replace(value, at=value.at.moved(lambda numbers: numbers.expand(shape), call.path))


def dropout(call: Call) -> Value:
    """Dropout, which ends with the training."""
    if call.argument(2, "train", True):
        raise call.refuse("dropout with training=True never ends", "Write training=self.training, or nn.Dropout")
    return call.value


def same(call: Call) -> Any:
    """An operator that changes neither values nor shape."""
    return call.arguments[0]


def convert(call: Call) -> Value:
    """Another type: any for spikes, which every type holds; another type of real numbers for currents."""
    wanted = next((a for a in (*call.arguments[1:], *call.named.values()) if isinstance(a, torch.dtype)), None)
    if call.value.is_integer or wanted is None or wanted.is_floating_point:
        return call.value
    raise call.refuse("analog values change their type", "Convert the data and the model instead")


def layout(call: Call) -> Any:
    """An operator that moves elements: it is run on their numbers."""
    value = call.value
    if call.operator in _LIKE_ANOTHER:
        shape, is_view = tuple(call.shape), call.operator != "expand_as"
        at = value.at.moved(lambda numbers: numbers.reshape(shape) if is_view else numbers.expand(shape), call.path)
        refuse_margin(call, value)
        return replace(value, at=at)
    rest = [_plain(argument) for argument in call.arguments[1:]]
    named = {key: _plain(argument) for key, argument in call.named.items()}
    if any(isinstance(argument, Value) for argument in rest):
        raise call.refuse(f"the operation {call.operator} with indices that the model computes", "Use constant indices")
    moved_by = call.name("flatten") if call.is_layer else f"{call.path}.flatten"
    if value.margin != NO_MARGIN and not _keeps_margin(call, value):
        refuse_margin(call, value)
    # What is a view of the model's tensor need not be one of its numbers, which may be strided.
    operation: Any = torch.reshape if call.operator in _VIEWS else call.node.target
    moved = value.at.moved(lambda numbers: operation(numbers, *rest, **named), moved_by)
    if isinstance(moved, tuple):
        return tuple(replace(value, at=part) for part in moved)
    return replace(value, at=moved)


def resized(call: Call) -> Value:
    """interpolate by nearest neighbours to an image that is not larger, which picks rows and columns."""
    value = call.value
    refuse_margin(call, value)
    size = tuple(value.at.numbers.shape[-2:])
    pixels = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, 1, *size)
    operation: Any = call.node.target
    picked = operation(pixels, *call.arguments[1:], **call.named).long().flatten()
    shape = tuple(call.shape)
    return replace(value, at=value.at.moved(lambda numbers: numbers.flatten(-2)[..., picked].reshape(shape), call.path))


_VIEWS = ("view", "_unsafe_view")
_LIKE_ANOTHER = ("view_as", "reshape_as", "expand_as")  # whose shape is all that they read of the other


def _keeps_margin(call: Call, value: Value) -> bool:
    """Whether a layout operator leaves height and width of a padded image as they are."""
    if call.operator not in _LEAVES_SPACE:
        return False
    top, bottom, left, right = value.margin
    size = (value.shape[1] + top + bottom, value.shape[2] + left + right)
    return len(call.shape) > 2 and tuple(call.shape[-2:]) == size


_LEAVES_SPACE = ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "unsafe_view", "_unsafe_view")


def _plain(argument: Any) -> Any:
    if isinstance(argument, list | tuple):
        return [_plain(part) for part in argument]
    return argument.values if isinstance(argument, Given) else argument
