"""Neurons and relays of docs/program.md in ONNX, in 32 bits where those hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.exporters.onnx.steps import run_steps
from snn2hw.exporters.onnx.writer import Type, Value, Writer, narrowest, widest_sum
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import Numerics

CURRENT, MEMBRANE, SPIKE = "current", "membrane", "spike"


def write_neuron(writer: Writer, node: ir.Neuron, x: Value, bound: ir.Bound, numerics: Numerics) -> Value:
    """Write a neuron that reads x; what it emits."""
    largest, unit, limit = (
        largest_in_a_step(node, bound, numerics),
        1 << numerics.membrane_shift,
        numerics.membrane_limit,
    )
    rule = _Rule(writer=writer, node=node, numerics=numerics, dtype=widest_sum(-largest, largest))
    wide = writer.as_type(x, rule.dtype)
    charge = writer.apply("Mul", wide.tensor, rule.constant(np.array(unit), "unit"))
    bias = node.bias_mantissa << node.bias_exponent
    if bias.any():
        charge = writer.apply("Add", charge, rule.constant(bias, "bias"))
    watched = {}
    if bound.kind != "proved":
        if bound.accumulator >= numerics.input_limit:
            writer.watch("the summed input", numerics.input_limit, writer.by_sample(wide), rule.dtype)
        if rule.remembers or unit * bound.accumulator + int(np.abs(bias).max()) >= limit:
            watched[CURRENT] = f"the current (in 1/{unit})"
        watched[MEMBRANE] = f"the membrane (in 1/{unit})"
    states: dict[str, Any] = {MEMBRANE: rule.dtype} | ({CURRENT: rule.dtype} if rule.remembers else {})
    states |= {SPIKE: np.bool_} if node.reset is Reset.SUBTRACT_LATE else {}
    wanted: dict[str, Any] = {SPIKE: np.bool_} | dict.fromkeys(watched, rule.dtype)
    made = run_steps(writer, replace(wide, tensor=charge), rule.step, states, wanted)
    for name, what in watched.items():
        writer.watch(what, limit, made[name], rule.dtype)
    fired = writer.cast(writer.reshape(made[SPIKE], -1, *node.shape), np.int8)
    return Value(tensor=fired, dtype=np.int8, low=0, high=1, shape=node.shape, per_step=True)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A neuron's rule with its numbers in the type that holds all of a step."""

    writer: Writer
    node: ir.Neuron
    numerics: Numerics
    dtype: Type

    @property
    def remembers(self) -> bool:
        """Whether anything is left of the last step's current."""
        return bool((self.node.current_decay < 1 << self.numerics.decay_bits).any())

    def constant(self, values: NDArray[np.int64], what: str) -> str:
        return self.writer.numbers(values, self.dtype, what)

    def step(self, before: dict[str, str], charge: str, is_last: bool) -> tuple[dict[str, str], dict[str, str]]:
        """The states that the next step begins with, and what this one reached; `before` is empty in a first step."""
        node, apply, unit = self.node, self.writer.apply, 1 << self.numerics.membrane_shift
        amount, zero = self.constant(node.reset_amount * unit, "reset_amount"), self.constant(np.array(0), "zero")
        u = v = charge
        if before:
            if self.remembers:
                u = apply("Add", self._decayed(before[CURRENT], node.current_decay), charge)
            v = apply("Add", self._decayed(before[MEMBRANE], node.decay), u)
            if node.reset is Reset.SUBTRACT_LATE:
                v = apply("Sub", v, apply("Where", before[SPIKE], amount, zero))
        spike = apply("Greater", v, self.constant(node.threshold * unit, "threshold"))
        reached = {CURRENT: u, MEMBRANE: v, SPIKE: spike}
        if is_last:
            return reached, reached
        return reached | {MEMBRANE: self._after_spike(v, spike, amount, zero)}, reached

    def _after_spike(self, v: str, spike: str, amount: str, zero: str) -> str:
        match self.node.reset:
            case Reset.ZERO:
                return self.writer.apply("Where", spike, zero, v)
            case Reset.SUBTRACT:
                return self.writer.apply("Sub", v, self.writer.apply("Where", spike, amount, zero))
            case Reset.SUBTRACT_LATE | Reset.NONE:
                return v

    def _decayed(self, state: str, decay: NDArray[np.int64]) -> str:
        whole = 1 << self.numerics.decay_bits
        return _decayed(self.writer, state, whole - decay, whole, self.numerics.membrane_limit, self.dtype)


def largest_in_a_step(node: ir.Neuron, bound: ir.Bound, numerics: Numerics) -> int:
    """What no number is larger than in a step that starts from a legal current and membrane.

    A step that leaves the limits is seen where it is watched, right even then; what follows it counts no more.
    """
    unit = 1 << numerics.membrane_shift
    inputs = bound.accumulator + int(node.threshold.max()) + int(node.reset_amount.max())
    bias = int(np.abs(node.bias_mantissa << node.bias_exponent).max())
    return 2 * numerics.membrane_limit + unit * inputs + bias


def _decayed(writer: Writer, state: str, keep: NDArray[np.int64], whole: int, limit: int, dtype: Type) -> str:
    """keep / whole of a state below `limit`, towards zero, as ONNX divides integers. Common factors are left out."""
    shared = math.gcd(whole, *keep.ravel().tolist())
    keep, whole = keep // shared, whole // shared
    most = limit * int(keep.max())
    wide = widest_sum(-most, most) if dtype is np.int32 else np.int64
    if (keep != 1).any():
        state = state if wide is dtype else writer.cast(state, wide)
        state = writer.apply("Mul", state, writer.numbers(keep, wide, "keep"))
    if whole > 1:
        state = writer.apply("Div", state, writer.numbers(whole, wide, "whole"))
    return state if wide is dtype else writer.cast(state, dtype)


def write_relay(writer: Writer, node: ir.Relay, x: Value, bound: ir.Bound, numerics: Numerics) -> Value:
    """Write a relay that reads x; what it emits.

    ONNX divides towards zero, which rounds down where nothing is negative: so the sum is saturated first, and moved.
    """
    step = 1 << node.shift
    least, most = node.low * step, node.high * step + step - 1
    dtype = widest_sum(min(-bound.accumulator, least), max(bound.accumulator, most) - min(least, 0))
    wide = writer.as_type(x, dtype)
    total = writer.apply("Add", wide.tensor, writer.numbers(node.bias, dtype, "bias"))
    if bound.kind != "proved":
        summed = writer.by_sample(replace(wide, tensor=total))
        writer.watch("the summed input", numerics.membrane_limit, summed, dtype)
    halved = writer.apply("Add", total, writer.numbers(step // 2, dtype, "half"))
    saturated = writer.saturate(halved, least, most, dtype)
    above = writer.apply("Sub", saturated, writer.numbers(least, dtype, "low"))
    whole = writer.apply("Div", above, writer.numbers(step, dtype, "step"))
    payload = writer.apply("Add", whole, writer.numbers(node.low, dtype, "low"))
    wide = replace(wide, tensor=payload, low=node.low, high=node.high)
    return writer.as_type(wide, narrowest(node.low, node.high))
