"""Tensors that a forward fills part by part: out = torch.zeros(...); out[step] = f(x). What is captured of that is, for
each part, what it held (select), what is put there (copy), and the tensor with it (select_scatter, slice_scatter).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.call import Call, Given
from snn2hw.frontends.torch.moves import put_together
from snn2hw.frontends.torch.parts import parts_of, refuse_margin
from snn2hw.frontends.torch.picks import channels_or_zeros, in_order
from snn2hw.frontends.torch.values import Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Pieces:
    """A constant tensor, of which the parts at some places along dimension `dim` have been replaced."""

    base: Given
    dim: int
    parts: Mapping[int, Value]


def read(call: Call) -> Any:
    """What is read of a tensor that is not filled yet: one place, to fill it; all else is refused."""
    filled: Pieces = call.arguments[0]
    if call.operator == "select_scatter":
        return select_scatter(call)
    if call.operator == "select":
        dim, index = _place(filled.base, call.argument(1, "dim", 0), call.argument(2, "index", 0))
        if dim == filled.dim:
            return filled.parts.get(index, Given(values=filled.base.values.select(dim, index)))
    raise call.refuse(*_PARTLY)


_PARTLY = ("reads a tensor of which the forward has filled some parts only", "Fill it whole first, or use torch.stack")


def select_scatter(call: Call) -> Any:
    """A tensor in which one place along a dimension is replaced."""
    before, part = call.arguments[:2]
    dim, index = (call.argument(place, name, 0) for place, name in ((2, "dim"), (3, "index")))
    if isinstance(before, Value):
        return _replaced(call, before, part)
    if not isinstance(part, Value):
        raise call.refuse(*_PARTLY)
    pieces = before if isinstance(before, Pieces) else Pieces(base=before, dim=-1, parts={})
    dim, index = _place(pieces.base, dim, index)
    if pieces.parts and dim != pieces.dim:
        raise call.refuse("fills a tensor along two dimensions", "Fill it along one, or use torch.stack")
    parts = {**pieces.parts, index: part}
    if len(parts) < pieces.base.values.shape[dim]:
        return Pieces(base=pieces.base, dim=dim, parts=parts)
    return put_together(call, [parts[place] for place in sorted(parts)], dim, new=True)


def slice_scatter(call: Call) -> Any:
    """A tensor in which a range along a dimension is replaced."""
    before, part = call.arguments[:2]
    if isinstance(before, Value):
        return _replaced(call, before, part)
    if isinstance(part, Value) and tuple(part.at.numbers.shape) == tuple(call.shape):
        return part
    raise call.refuse(*_PARTLY)


def _replaced(call: Call, before: Value, part: Any) -> Value:
    """A value of which some places are now `part`: all of it, or zeros in whole channels."""
    operation: Any = call.node.target
    shape: Shape = tuple(call.shape)
    ones = torch.ones(tuple(before.at.numbers.shape), dtype=torch.bool)
    part_shape = tuple(part.at.numbers.shape) if isinstance(part, Value) else tuple(part.values.shape)
    kept: Tensor = operation(ones, torch.zeros(part_shape, dtype=torch.bool), *call.arguments[2:], **call.named)
    if isinstance(part, Value):
        if not kept.any() and part_shape == shape:
            return part
        raise call.refuse("puts values in the place of others", "Compute each part by a layer, and join them with cat")
    refuse_margin(call, before)
    if (ordered := in_order(call, before)) is None:
        raise call.refuse("puts 0 in the place of values in another order", "Do so before they are moved")
    before = ordered
    if part.values.any():
        raise call.refuse("puts constants other than 0 in the place of values", "Use 0")
    lead, _, inner = parts_of(call, before, behind=1)
    whole = kept.reshape(-1, *kept.shape[lead:]).flatten(1)
    left = np.unique(inner.places[~whole[0].numpy()] // (before.at.size // before.shape[0]))
    dropped = np.isin(inner.places // (before.at.size // before.shape[0]), left)
    if not bool((whole == whole[:1]).all()) or not np.array_equal(dropped, ~whole[0].numpy()):
        raise call.refuse("puts 0 in the place of a part of a channel, or of some steps", "Replace whole channels")
    rows = np.arange(before.shape[0])
    rows[left] = -1
    return channels_or_zeros(call, before, rows)


def _place(base: Given, dim: int, index: int) -> tuple[int, int]:
    dim %= base.values.dim()
    return dim, int(index) % int(base.values.shape[dim])
