"""Neurons and relays of docs/program.md in ONNX: one step after the other, in 32 bits where those hold them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.exporters.onnx.writer import Type, Value, Writer, narrowest, widest_sum
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import Numerics


def write_neuron(writer: Writer, node: ir.Neuron, x: Value, bound: ir.Bound, numerics: Numerics) -> Value:
    """Write a neuron that reads x; what it emits."""
    unit, whole = 1 << numerics.membrane_shift, 1 << numerics.decay_bits
    largest = largest_in_a_step(node, bound, numerics)
    dtype = widest_sum(-largest, largest)

    def constant(values: NDArray[np.int64], what: str) -> str:
        return writer.numbers(values, dtype, what)

    def decayed(state: str, decay: NDArray[np.int64]) -> str:
        return _decayed(writer, state, whole - decay, whole, numerics.membrane_limit, dtype)

    threshold = constant(node.threshold * unit, "threshold")
    amount, zero = constant(node.reset_amount * unit, "reset_amount"), constant(np.array(0), "zero")
    wide = writer.as_type(x, dtype)
    charge = writer.apply("Mul", wide.tensor, constant(np.array(unit), "unit"))
    bias = node.bias_mantissa << node.bias_exponent
    if bias.any():
        charge = writer.apply("Add", charge, constant(bias, "bias"))
    remembers = (node.current_decay < whole).any()
    late = node.reset is Reset.SUBTRACT_LATE
    currents: list[str] = []
    membranes: list[str] = []
    spikes: list[str] = []
    u, v = "", ""
    for step, arriving in enumerate(_steps(writer, replace(wide, tensor=charge))):
        u = writer.apply("Add", decayed(u, node.current_decay), arriving) if remembers and step else arriving
        if step:
            v = writer.apply("Add", decayed(v, node.decay), u)
            v = writer.apply("Sub", v, writer.apply("Where", spikes[-1], amount, zero)) if late else v
        else:
            v = u
        currents.append(u)
        membranes.append(v)
        spikes.append(writer.apply("Greater", v, threshold))
        if step < writer.timesteps - 1:
            v = _after_spike(writer, v, spikes[-1], node.reset, amount, zero)
    fired = writer.reshape(_joined(writer, spikes), -1, *node.shape)
    if bound.kind != "proved":
        limit = numerics.membrane_limit
        if bound.accumulator >= numerics.input_limit:
            writer.watch("the summed input", numerics.input_limit, writer.by_sample(wide))
        if remembers or unit * bound.accumulator + int(np.abs(bias).max()) >= limit:
            writer.watch(f"the current (in 1/{unit})", limit, _joined(writer, currents))
        writer.watch(f"the membrane (in 1/{unit})", limit, _joined(writer, membranes))
    return Value(tensor=writer.cast(fired, np.int8), dtype=np.int8, low=0, high=1, shape=node.shape, per_step=True)


def largest_in_a_step(node: ir.Neuron, bound: ir.Bound, numerics: Numerics) -> int:
    """What no number is larger than in a step that starts from a legal current and membrane.

    A step that leaves the limits is seen where it is watched, right even then; what follows it counts no more.
    """
    unit = 1 << numerics.membrane_shift
    inputs = bound.accumulator + int(node.threshold.max()) + int(node.reset_amount.max())
    bias = int(np.abs(node.bias_mantissa << node.bias_exponent).max())
    return 2 * numerics.membrane_limit + unit * inputs + bias


def _steps(writer: Writer, value: Value) -> list[str]:
    """The tensors [samples, 1, *shape] of each step."""
    tensor = writer.by_sample(value)
    if writer.timesteps == 1:
        return [tensor]
    return writer.apply_several("Split", [tensor], writer.timesteps, axis=1, num_outputs=writer.timesteps)


def _joined(writer: Writer, steps: list[str]) -> str:
    """The tensor [samples, T, *shape] of all steps."""
    return steps[0] if len(steps) == 1 else writer.apply("Concat", *steps, axis=1)


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


def _after_spike(writer: Writer, v: str, spike: str, reset: Reset, amount: str, zero: str) -> str:
    match reset:
        case Reset.ZERO:
            return writer.apply("Where", spike, zero, v)
        case Reset.SUBTRACT:
            return writer.apply("Sub", v, writer.apply("Where", spike, amount, zero))
        case Reset.SUBTRACT_LATE | Reset.NONE:
            return v


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
        writer.watch("the summed input", numerics.membrane_limit, writer.by_sample(replace(wide, tensor=total)))
    halved = writer.apply("Add", total, writer.numbers(step // 2, dtype, "half"))
    ends = [writer.numbers(end, dtype, "end") for end in (least, most)]
    above = writer.apply("Sub", writer.apply("Clip", halved, *ends), ends[0])
    payload = writer.apply(
        "Add", writer.apply("Div", above, writer.numbers(step, dtype, "step")), writer.numbers(node.low, dtype, "low")
    )
    wide = replace(wide, tensor=payload, low=node.low, high=node.high)
    return writer.as_type(wide, narrowest(node.low, node.high))
