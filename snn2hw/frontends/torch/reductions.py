"""Means and sums over time, which the read-out takes, over height and width, and over parts of a value."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch

from snn2hw.frontends.torch import gates
from snn2hw.frontends.torch.call import Call
from snn2hw.frontends.torch.folds import factor, fold_in
from snn2hw.frontends.torch.over_time import averaged, reduced
from snn2hw.frontends.torch.parts import refuse_margin
from snn2hw.frontends.torch.picks import in_order
from snn2hw.frontends.torch.pooling import mean_over
from snn2hw.frontends.torch.values import Value


def mean(call: Call) -> Value:
    """The mean over time, which the read-out takes, or over height and width."""
    return _reduce(call, mean=True)


def total(call: Call) -> Value:
    """The sum over time, or over height and width."""
    return _reduce(call, mean=False)


def _reduce(call: Call, *, mean: bool) -> Value:
    value = call.value
    refuse_margin(call, value)
    given, keep = call.argument(1, "dim"), bool(call.argument(2, "keepdim", False))
    rank = value.at.rank
    listed = range(rank) if given is None or given == [] else [given] if isinstance(given, int) else given
    dims = sorted(int(dim) % rank for dim in listed)
    left = dims
    for dim in reversed(dims):
        if (less := reduced(call, value, dim, mean=mean)) is not None:
            value = less
            left = [other - (other > dim) for other in left if other != dim]
            if keep:
                value = replace(value, at=value.at.moved(partial(torch.unsqueeze, dim=dim), call.path))
                left = [other + (other >= dim) for other in left]
    if not left:
        return value
    value = averaged(call, value)
    over_space = mean_over(call, value, left, keep=keep)
    if over_space is not None:
        window = math.prod(value.at.numbers.shape[dim] for dim in left)
        return over_space if mean else fold_in(call, over_space, factor(call, window))
    if len(left) == 1 and not keep and (added := _added_along(call, value, left[0])) is not None:
        return fold_in(call, added, factor(call, 1 / value.at.numbers.shape[left[0]])) if mean else added
    raise call.refuse(
        f"a {'mean' if mean else 'sum'} over dimensions {given}", "Supported are those over time and over space"
    )


def _added_along(call: Call, value: Value, dim: int) -> Value | None:
    """The sum of the parts along a dimension, as of values that were stacked; None where they are no such parts."""
    count = int(value.at.numbers.shape[dim])
    if value.at.rank < 3 or count > _MOST_PARTS:
        return None
    parts = []
    for number in range(count):
        at = value.at.moved(partial(torch.select, dim=dim, index=number), call.path)
        if (part := in_order(call, replace(value, at=at))) is None:
            return None
        parts.append(part)
    total = parts[0]
    for part in parts[1:]:
        total = gates.plus(call.builder, call.name("sum"), total, part)
    return total


_MOST_PARTS = 16  # that are added up one by one
