"""NIR's neurons in discrete time: one rule for every consumer of a NIR graph.

NIR gives differential equations without a time step. snn2hw, like snnTorch and SpikingJelly's NIR back ends, steps them
by forward Euler with DT:

    v = v + dt R I                                                  IF
    v = (1 - dt/tau) v + (dt/tau) (v_leak + R I)                    LIF
    i = (1 - dt/tau_syn) i + (dt/tau_syn) w_in I                    CubaLIF, with i for I in the line above

fires at v > v_threshold in the same step, then resets; the membrane starts at v_reset. NIR knows the hard reset alone;
the other resets travel in the node's metadata (metadata.py), which NIR files keep. So does the rule of
frameworks that fire at v >= threshold: their node's v_threshold is the next number below the threshold, which says the
same to whoever reads NIR alone, and its metadata `fires` is ">=", so that the threshold itself can be had back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import nir
import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn2hw.errors import ModelError
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.metadata import FIRES, RESET, RESET_AMOUNT

DT = 1e-4
Float = NDArray[np.floating]
Neuron: TypeAlias = nir.IF | nir.LIF | nir.CubaLIF


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronRule:
    """u = current_keep u + gain I; v = keep v + drive + u; spike = v > threshold; then `reset`.

    u is the current in units of the membrane. Every array broadcasts to the neurons' shape. at_least: the neuron fires
    at v >= threshold instead.

    reset_value is the membrane after a hard reset and at the start; reset_amount is what a soft reset subtracts.
    """

    keep: Float
    current_keep: Float
    gain: Float
    drive: Float
    threshold: Float
    at_least: bool
    reset: Reset
    reset_value: Float
    reset_amount: Float


def rule_of(name: str, node: Neuron, *, dt: float = DT) -> NeuronRule:
    """The discrete-time rule of NIR node `name` with a time step of `dt` seconds.

    Raises ModelError for parameters that no such step can follow.
    """
    at_least = fires_at_threshold(name, node)
    written, resistance, reset_value = (compact(values) for values in (node.v_threshold, node.r, node.v_reset))
    threshold = just_above(compact_as_written(node.v_threshold)) if at_least else written
    amount = compact(node.metadata[RESET_AMOUNT]) if RESET_AMOUNT in node.metadata else threshold
    keep, gain, drive = np.ones_like(resistance), dt * resistance, np.zeros_like(resistance)
    current_keep = np.zeros_like(resistance)
    if isinstance(node, nir.LIF | nir.CubaLIF):
        share = _share(name, node.tau if isinstance(node, nir.LIF) else node.tau_mem, dt)
        keep, gain, drive = 1 - share, share * resistance, share * compact(node.v_leak)
    if isinstance(node, nir.CubaLIF):
        share = _share(name, node.tau_syn, dt)
        current_keep, gain = 1 - share, gain * share * compact(node.w_in)
    for label, values in (
        ("v_threshold", threshold),
        ("gain", gain),
        ("v_leak", drive),
        ("v_reset", reset_value),
        (RESET_AMOUNT, amount),
    ):
        if not np.all(np.isfinite(values)):
            raise ModelError(f"{name}: {label} holds a value that is not finite. Repair the model's parameters.")
    if np.shape(node.metadata.get(RESET_AMOUNT, 0)) not in ((), node.v_threshold.shape) or not np.all(amount >= 0):
        raise ModelError(f"{name}: {RESET_AMOUNT} must be one number of at least 0 for each neuron.")
    return NeuronRule(
        keep=keep,
        current_keep=current_keep,
        gain=gain,
        drive=drive,
        threshold=threshold,
        at_least=at_least,
        reset=reset_of(name, node),
        reset_value=reset_value,
        reset_amount=amount,
    )


def drive_from_rest(rule: NeuronRule) -> Float:
    """The drive of membranes that count from their reset value, which broadcasts to [*shape].

    It is 0 where v_leak is v_reset, up to rounding.
    """
    drive = rule.drive - (1 - rule.keep) * rule.reset_value
    return np.where(np.abs(drive) < 1e-12 * np.abs(rule.drive), 0.0, drive)


def _share(name: str, tau: ArrayLike, dt: float) -> Float:
    """The share dt/tau of a state that one step replaces; within rounding of 1, a state without memory."""
    seconds = compact(tau)
    if not np.all(seconds >= dt * (1 - 1e-6)):
        raise ModelError(
            f"{name}: the time constant {seconds.min():g} s is shorter than the time step {dt:g} s. "
            f"Express tau in seconds for a step of {1000 * dt:g} ms."
        )
    share = dt / seconds
    return np.where(np.abs(share - 1) < 1e-6, 1.0, share)


AT_LEAST = ">="


def fires_at_threshold(name: str, node: Neuron) -> bool:
    """Whether a NIR node stands for neurons that fire at v >= threshold. Raises ModelError for another word."""
    written = node.metadata.get(FIRES, ">")
    if written not in (">", AT_LEAST):
        raise ModelError(f"{name}: unknown firing rule {written!r} in the metadata; known are '>' and '>='.")
    return bool(written == AT_LEAST)


def just_below(threshold: Float) -> Float:
    """The v_threshold with which NIR's v > v_threshold says v >= threshold, same shape.

    float32 where that holds the thresholds themselves, as most clients compute in float32; else float64.
    """
    values = narrow(threshold)
    return np.nextafter(values, values.dtype.type(-np.inf))


def narrow(values: ArrayLike) -> Float:
    """The same numbers in float32 where that holds every one of them, else in float64; same shape."""
    wide = np.asarray(values, np.float64)
    with np.errstate(over="ignore"):
        small = wide.astype(np.float32)
    return small if np.array_equal(small, wide) else wide


def just_above(v_threshold: Float) -> Float:
    """The threshold in float64 of which `just_below` made these, same shape."""
    dtype = v_threshold.dtype.type
    return np.nextafter(v_threshold, dtype(np.inf)).astype(np.float64)


def compact(values: ArrayLike) -> Float:
    """The smallest float64 array that broadcasts to values [*shape]: axes along which nothing changes become 1."""
    return compact_as_written(values).astype(np.float64)


def compact_as_written(values: ArrayLike) -> Float:
    """`compact` of values [*shape], in the type that they have."""
    array = np.asarray(values)
    for axis in range(array.ndim):
        first = array.take([0], axis=axis)
        if array.strides[axis] == 0 or np.array_equal(np.broadcast_to(first, array.shape), array):
            array = first
    return array


def reset_of(name: str, node: Neuron) -> Reset:
    """What a spike does to the membrane of a node's neurons. Raises ModelError for an unknown word."""
    written = node.metadata.get(RESET, Reset.ZERO.value)
    try:
        return Reset(written)
    except ValueError:
        known = ", ".join(reset.value for reset in Reset)
        raise ModelError(f"{name}: unknown reset {written!r} in the metadata; known are {known}.") from None
