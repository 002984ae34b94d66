"""Sums, differences, products and quotients: of spikes, of currents, and with constants."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from snn2hw.frontends.torch import gates
from snn2hw.frontends.torch.call import Call, Given, number_of
from snn2hw.frontends.torch.folds import factor, fold_in, folded_by_channel
from snn2hw.frontends.torch.over_time import added_over_time, averaged, scaled_over_time
from snn2hw.frontends.torch.parts import refuse_margin
from snn2hw.frontends.torch.picks import aligned
from snn2hw.frontends.torch.values import Fold, State, Value, plus_constant, times_constant
from snn2hw.frontends.torch.windows import NO_MARGIN
from snn2hw.network.neuron_rule import Float


def add(call: Call) -> Value:
    """a + alpha * b."""
    a, b = call.arguments[:2]
    return _sum(call, a, _scaled(call, b, call.named.get("alpha", 1), part=isinstance(a, Value)))


def subtract(call: Call) -> Value:
    """a - alpha * b."""
    a, b = call.arguments[:2]
    return _minus(call, a, b, call.named.get("alpha", 1))


def _minus(call: Call, a: Any, b: Any, alpha: float) -> Value:
    """a - alpha * b, of which the whole is what the call computes."""
    number = None if isinstance(a, Value) else number_of(a)
    if number is not None and isinstance(b, Value) and not b.is_integer:
        refuse_margin(call, b)
        fold = replace(factor(call, -alpha, call.node.name), offset=np.array(number))
        return fold_in(call, averaged(call, _broadcast(call, b)), fold)
    return _sum(call, a, _scaled(call, b, -alpha, part=isinstance(a, Value)))


def subtract_from(call: Call) -> Value:
    """b - alpha * a."""
    a, b = call.arguments[:2]
    return _minus(call, b, a, call.named.get("alpha", 1))


def negate(call: Call) -> Any:
    """-a."""
    return _scaled(call, call.value, -1)


def multiply(call: Call) -> Any:
    """a * b: AND and IAND of spikes, or a value times constants."""
    a, b = call.arguments[:2]
    refuse_margin(call, *[part for part in (a, b) if isinstance(part, Value)])
    if isinstance(a, Value) and isinstance(b, Value):
        negated = any(coefficient < 0 for value in (a, b) for _, coefficient in value.terms)
        return gates.times(call.builder, f"{call.path}.{'iand' if negated else 'and'}", *aligned(call, a, b))
    value, constant = (a, b) if isinstance(a, Value) else (b, a)
    return _scaled(call, value, constant)


def divide(call: Call) -> Any:
    """a / c for constants c."""
    value, by = call.arguments[:2]
    if not isinstance(value, Value) or isinstance(by, Value):
        raise call.refuse("a division by values of the model", "Divide by constants alone")
    if call.named.get("rounding_mode"):
        raise call.refuse("a division that rounds", "Leave the rounding out")
    number = number_of(by)
    return _scaled(call, value, 1 / number if number is not None else Given(values=1 / by.values))


def _sum(call: Call, a: Any, b: Any) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        if (whole := added_over_time(call, a, b)) is not None:
            return whole
        refuse_margin(call, a, b)
        a, b = averaged(call, a), averaged(call, b)
        return gates.plus(call.builder, call.name("add"), *aligned(call, a, b))
    value, constant = (a, b) if isinstance(a, Value) else (b, a)
    if not isinstance(value, Value):  # what was multiplied by 0
        raise call.refuse("a sum in which nothing of the model is left", "Leave it out")
    value = _broadcast(call, value)
    number = number_of(constant)
    if number == 0:
        return value
    refuse_margin(call, value)
    value = averaged(call, value)
    if value.is_integer and number is not None and number == int(number):
        return plus_constant(value, int(number))
    if value.is_integer:
        raise call.refuse(f"spikes are combined with {_text(constant)}", "Only whole numbers have a counterpart")
    if number is not None:
        return fold_in(call, value, replace(factor(call, 1.0, call.node.name), offset=np.array(number)))
    return _by_channel(call, value, constant, offset=True)


def _broadcast(call: Call, value: Value) -> Value:
    """A value as large as the result of what combines it with a constant of more dimensions."""
    shape, given = tuple(call.node.meta["val"].shape), tuple(value.at.numbers.shape)
    if shape == given or value.margin != NO_MARGIN:
        return value
    return replace(value, at=value.at.moved(lambda numbers: numbers.expand(shape), f"{call.path}.expand"))


def _scaled(call: Call, value: Any, by: Any, *, part: bool = False) -> Any:
    """value * by. part: the call computes something of it still, so that it cannot be left out."""
    if not isinstance(value, Value):
        return _product(value, by)
    value = value if part else _broadcast(call, value)
    number = number_of(by)
    if number is not None and not math.isfinite(number):
        raise call.refuse(f"spikes are combined with {number}", "Only finite numbers have a counterpart")
    if number == 1:
        return value
    if number is not None and value.over_time is not None:
        return scaled_over_time(value, number)
    if number == 0:
        return Given(values=torch.zeros(()).expand(call.shape))
    value = averaged(call, value)
    if number is not None and number == int(number) and (value.is_integer or number == -1):
        return times_constant(value, int(number))
    if number is not None and part and any(isinstance(source, str) for source, _ in value.terms):
        raise call.refuse(
            f"spikes are multiplied by {number:g} while they are added", "Multiply them first: a + (b * c)"
        )
    if number is not None:
        return fold_in(call, value, factor(call, number, "" if part else call.node.name))
    return _by_channel(call, value, by, offset=False)


def _product(a: Any, b: Any) -> Any:
    first, second = (part.values if isinstance(part, Given) else part for part in (a, b))
    product = first * second
    return Given(values=product) if isinstance(product, torch.Tensor) else product


def _by_channel(call: Call, value: Value, constant: Any, *, offset: bool) -> Value:
    """A sum or product with a constant tensor that is one number for each channel."""
    if not isinstance(constant, Given):
        raise call.refuse(f"values are combined with {_text(constant)}", "Combine them with constants")
    shape = tuple(value.at.numbers.shape)
    tensor = constant.values.detach().double()
    if np.broadcast_shapes(shape, tensor.shape) != shape:
        raise call.refuse(
            f"values of shapes {list(shape)} and {list(tensor.shape)} are combined",
            "Both must have the same shape; broadcasting has no counterpart on the chip",
        )
    tensor = tensor.reshape((1,) * (len(shape) - tensor.dim()) + tuple(tensor.shape))
    used = [dim for dim, size in enumerate(tensor.shape) if size > 1]
    if len(used) != 1:
        raise call.refuse(
            f"values are combined with a constant of shape {list(constant.values.shape)}",
            "Give one number for each channel",
        )
    numbers: Float = tensor.flatten().numpy()
    fold = Fold(
        gain=np.ones(()) if offset else numbers,
        offset=numbers if offset else np.zeros(()),
        path=call.path,
        call=call.node.name,
    )
    return folded_by_channel(call, value, fold, used[0])


def _text(constant: Any) -> str:
    if isinstance(constant, State):
        return f"the membrane of {constant.path}"
    number = number_of(constant)
    if number is not None:
        return f"{number:g}"
    return f"a constant of shape {list(constant.values.shape)}" if isinstance(constant, Given) else str(constant)
