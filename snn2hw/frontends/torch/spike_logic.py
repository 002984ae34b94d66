"""Logic, maxima and comparisons of spikes, as threshold units."""

from __future__ import annotations

import math
from typing import Any

from snn2hw.frontends.torch import gates
from snn2hw.frontends.torch.call import Call, number_of
from snn2hw.frontends.torch.over_time import averaged
from snn2hw.frontends.torch.parts import refuse_margin
from snn2hw.frontends.torch.picks import aligned
from snn2hw.frontends.torch.pooling import maximum_over, refuse_places
from snn2hw.frontends.torch.values import Value, as_integer, plus_constant, times_constant


def either(call: Call) -> Value:
    """max(a, b) and logical_or of spikes."""
    a, b = _two(call)
    return gates.either(call.builder, f"{call.path}.or", a, b)


def both(call: Call) -> Value:
    """min(a, b) and logical_and of spikes."""
    a, b = _two(call)
    return gates.both(call.builder, f"{call.path}.and", a, b)


def one_of(call: Call) -> Value:
    """logical_xor of spikes, and a != b."""
    a, b = _two(call)
    return gates.one_of(call.builder, f"{call.path}.xor", a, b)


def invert(call: Call) -> Value:
    """1 - a, logical_not of spikes."""
    if not call.value.is_binary:
        raise call.refuse("a negation of values that are not binary spikes", "Put a neuron before it")
    return _inverted(call.value)


def _inverted(value: Value) -> Value:
    return plus_constant(times_constant(value, -1), 1)


def maximum(call: Call) -> Any:
    """max(a, b), and the maximum over height and width of spikes."""
    if isinstance(call.argument(1, "other"), Value):
        return either(call)
    given, keep = call.argument(1, "dim"), bool(call.argument(2, "keepdim", False))
    value = averaged(call, call.value)
    refuse_margin(call, value)
    if call.operator == "max":
        refuse_places(call)
    rank = value.at.rank
    listed = range(rank) if given is None or given == [] else [given] if isinstance(given, int) else given
    most = maximum_over(call, value, sorted(int(dim) % rank for dim in listed), keep=keep)
    if most is None:
        where = "" if given is None or given == [] else f" over dimensions {given}"
        raise call.refuse(
            f"the operation {call.operator}{where} looks for the largest value of what is no image of spikes",
            "Over space use MaxPool2d, of two layers torch.maximum; compare logits behind the model",
        )
    return most if call.operator == "amax" else (most, None)


def above(call: Call) -> Value:
    """a > c and a >= c for spikes."""
    return _above(call, call.value, "gt" in call.operator)


def below(call: Call) -> Value:
    """a < c and a <= c for spikes: NOT a >= c and NOT a > c."""
    return _inverted(_above(call, call.value, "le" in call.operator))


def equal(call: Call) -> Value:
    """a == c for spikes: a >= c without a > c."""
    value, bound = call.value, number_of(call.arguments[1])
    if not value.is_integer or value.low is None or value.high is None or bound is None or bound != int(bound):
        raise call.refuse("compares values that are not spikes, or not with a whole number", _FIRES)
    if bound == value.high:
        return _above(call, value, strict=False)
    if bound == value.low:
        return _inverted(_above(call, value, strict=True))
    more = times_constant(_above(call, value, strict=True), -1)
    exactly = gates.plus(call.builder, call.path, _above(call, value, strict=False), more)
    return as_integer(exactly, 0, 1)


_FIRES = "Let a spiking neuron do it: it fires above its threshold"


def _above(call: Call, value: Value, strict: bool) -> Value:
    bound = number_of(call.arguments[1])
    if not value.is_integer or value.low is None or value.high is None or bound is None:
        raise call.refuse("compares values that are not spikes with each other or with a constant", _FIRES)
    refuse_margin(call, value)
    limit = math.floor(bound) + 0.5 if strict else math.ceil(bound) - 0.5
    if not value.low < limit < value.high:
        always = "true" if limit < value.low else "false"
        raise call.refuse(
            f"compares spikes from {value.low} to {value.high} with {bound:g}, which is always {always}", "Leave it out"
        )
    name = f"{call.path}.{'gt' if strict else 'ge'}"
    return gates.exceeds(call.builder, call.path, name, value, limit)


def clamp(call: Call) -> Value:
    """Spikes between two constants: what lies below 0 becomes 0, what lies above 1 becomes 1."""
    if call.operator.startswith("clamp_m"):
        low, high = (None, call.arguments[1]) if "max" in call.operator else (call.arguments[1], None)
    else:
        low, high = call.argument(1, "min"), call.argument(2, "max")
    return _limited(call, None if low is None else number_of(low), None if high is None else number_of(high))


def hardtanh(call: Call) -> Value:
    """The same, from -1 to 1 if nothing else is said."""
    return _limited(call, call.argument(1, "min_val", -1), call.argument(2, "max_val", 1))


def relu6(call: Call) -> Value:
    """The same, from 0 to 6."""
    return _limited(call, 0, 6)


def _limited(call: Call, low: float | None, high: float | None) -> Value:
    value = call.value
    if not value.is_integer or value.low is None or value.high is None:
        raise call.refuse("limits values that are not spikes", "Put a spiking neuron in its place")
    refuse_margin(call, value)
    if low is not None and value.low < low:
        if low != 0:
            raise call.refuse(f"limits spikes to at least {low:g}", "Use 0")
        value = gates.rectify(call.builder, f"{call.path}.clamp", value)
    if high is not None and value.high is not None and value.high > high:
        if high != 1 or (value.low or 0) < 0:
            raise call.refuse(f"limits spikes to at most {high:g}", "Use 1, and 0 for the least")
        value = gates.exceeds(call.builder, call.path, f"{call.path}.clamp.one", value, 0.5)
    return value


def _two(call: Call) -> tuple[Value, Value]:
    a, b = call.arguments[:2]
    if not isinstance(a, Value) or not isinstance(b, Value):
        raise call.refuse(f"{call.operator} of spikes and a constant", "Combine spikes with spikes")
    refuse_margin(call, a, b)
    return aligned(call, a, b)


def rectify(call: Call) -> Value:
    """relu over spikes, which changes nothing, or over differences of spikes."""
    refuse_margin(call, call.value)
    return gates.rectify(call.builder, call.name("relu"), call.value)
