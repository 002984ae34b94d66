"""Sums over time steps: what a read-out does with them is a mean of the logits, and what lies before it is linear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snn2hw.frontends.torch.call import Call
from snn2hw.frontends.torch.folds import factor as times
from snn2hw.frontends.torch.folds import fold_in
from snn2hw.frontends.torch.values import Value, times_constant

_ROUNDING = 1e-9  # relative: of factors such as 1/T


def averaged(call: Call, value: Value) -> Value:
    """A sum over all steps as the mean over them of a multiple; anything else as it is.

    Raises Refused where steps count differently, or not all of them.
    """
    if value.over_time is None:
        return value
    factors = np.array(value.over_time)
    if not np.allclose(factors, factors[0], rtol=_ROUNDING, atol=0) or not factors[0]:
        used = np.flatnonzero(factors).tolist()
        what = f"step {used[0]} alone" if len(used) == 1 else f"the steps with factors {factors.round(6).tolist()}"
        raise call.refuse(
            f"reads {what} of {len(factors)}",
            "A read-out takes the mean or the sum over all steps, use x.mean(0); or the last membrane of a neuron that "
            "neither leaks nor resets",
        )
    factor = float(factors[0]) * len(factors)
    value = replace(value, over_time=None, is_mean=True)
    if abs(factor - 1) <= _ROUNDING:
        return value
    if value.is_integer and abs(factor - round(factor)) <= _ROUNDING:
        return times_constant(value, round(factor))
    return fold_in(call, value, times(call, factor))


def one_step(call: Call, value: Value) -> Value:
    """What stands for one step of T, as a sum over steps in which the others count 0."""
    if value.over_time is not None or value.is_mean:
        return value
    inner = value.at.inner()
    step = None if inner is None else inner[1].step()
    steps = call.model.steps
    if step is None or value.at.steps != steps or steps == 1:
        return value
    whole = value.at.samples * value.at.size
    at = replace(value.at, numbers=value.at.numbers % whole, steps=1)
    return replace(value, at=at, over_time=tuple(float(n == step) for n in range(steps)))


def added_over_time(call: Call, a: Value, b: Value) -> Value | None:
    """a + b where both are sums over different steps of the same; else None."""
    if a.at.numbers.shape != b.at.numbers.shape or a.key != b.key:
        return None
    first, second = one_step(call, a), one_step(call, b)
    if first.over_time is None or second.over_time is None:
        return None
    total = tuple(x + y for x, y in zip(first.over_time, second.over_time, strict=True))
    return replace(first, over_time=total, repeats=(*first.repeats, second, *second.repeats))


def scaled_over_time(value: Value, factor: float) -> Value:
    """A sum over steps, multiplied."""
    assert value.over_time is not None
    return replace(value, over_time=tuple(factor * part for part in value.over_time))


def reduced(call: Call, value: Value, dim: int, *, mean: bool) -> Value | None:
    """The sum or mean over a dimension of the tensor that holds time steps alone; None where it holds anything else."""
    numbers = value.at.numbers.movedim(dim, 0)
    whole = value.at.samples * value.at.size
    offsets = (numbers - numbers[:1]).reshape(len(numbers), -1)
    if value.is_mean or value.over_time is not None or bool((offsets != offsets[:, :1]).any()):
        return None
    first = int(numbers.reshape(-1)[0]) // whole
    moves = offsets[:, 0]
    if bool((moves % whole != 0).any()):
        return None
    steps = call.model.steps
    factor = 1 / len(numbers) if mean else 1.0
    if value.at.steps == 1 and steps > 1:  # the same in every step
        at = replace(value.at, numbers=numbers[0], moved_by=value.at.moved_by)
        return _times(call, replace(value, at=at), factor * len(numbers))
    if steps == 1:
        return None
    factors = np.zeros(steps)
    np.add.at(factors, first + (moves // whole).numpy(), factor)
    at = replace(value.at, numbers=numbers[0] % whole, steps=1)
    return replace(value, at=at, over_time=tuple(factors.tolist()))


def _times(call: Call, value: Value, factor: float) -> Value:
    if factor == 1:
        return value
    return fold_in(call, value, times(call, factor))
