"""The integer arithmetic of programs: the only place that rounds, shifts, wraps or saturates.

The neuron is the fixed-point rule of Lava 0.10.0 (`PyLifModelBitAcc`); docs/program.md states it in full. All functions
take and return int64 arrays; the membrane `v` is in 1/64 of an input unit. How large anything may become is a chip's to
say (numerics.py).
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

MEMBRANE_SHIFT = 6  # inputs, thresholds and reset amounts are shifted left by this before they meet the membrane
DECAY_SHIFT = 12
NO_MEMORY = 1 << DECAY_SHIFT  # the current decay that leaves nothing


class Reset(Enum):
    """What a spike does to the membrane; docs/program.md defines each."""

    ZERO = "zero"
    SUBTRACT = "subtract"
    SUBTRACT_LATE = "subtract_late"
    NONE = "none"


def decay_state(state: Int, decay: Int) -> Int:
    """Multiply membranes or currents [N, *shape] by (4096 - decay) / 4096, truncated towards zero."""
    magnitude: Int = (np.abs(state) * ((1 << DECAY_SHIFT) - decay)) >> DECAY_SHIFT
    return np.sign(state) * magnitude


def accumulate_current(u: Int, a: Int, *, current_decay: Int, bias: Int) -> Int:
    """The current [N, *shape] in membrane units: what is left of the last step's u, the summed input a, and the bias.

    A current_decay of 4096 leaves nothing of u. `a` is in input units, bias and u in membrane units.
    """
    return decay_state(u, current_decay) + (a << MEMBRANE_SHIFT) + bias


def fires(v: Int, threshold: Int) -> Bool:
    """Which neurons spike, [N, *shape]: v in membrane units is above, not at, the threshold in input units."""
    return v > (threshold << MEMBRANE_SHIFT)


def reset_after_spike(v: Int, spike: Bool, reset: Reset, amount: Int) -> Int:
    """The membrane [N, *shape] after a spike, within the step of the spike. SUBTRACT_LATE acts in the next step."""
    if reset is Reset.ZERO:
        return np.where(spike, 0, v)
    if reset is Reset.SUBTRACT:
        return v - np.where(spike, amount << MEMBRANE_SHIFT, 0)
    return v


def step_neuron(
    v: Int, current: Int, *, threshold: Int, decay: Int, reset: Reset, amount: Int
) -> tuple[Int, Int, Bool]:
    """One step of neurons [N, *shape] that receive `current`, in membrane units. Nothing wraps here.

    Returns the membrane before the reset (what must stay below the chip's limit), the membrane of the next step, and
    the spikes.
    """
    late = np.where(fires(v, threshold), amount << MEMBRANE_SHIFT, 0) if reset is Reset.SUBTRACT_LATE else 0
    charged = decay_state(v, decay) + current - late
    spike = fires(charged, threshold)
    return charged, reset_after_spike(charged, spike, reset, amount), spike


def relay(x: Int, bias: Int, *, shift: int, low: int, high: int) -> Int:
    """The payloads of currents x [N, *shape]: (x + bias) / 2^shift rounded, halves up; saturates at low and high."""
    payload: Int = np.clip((x + bias + ((1 << shift) >> 1)) >> shift, low, high)
    return payload


def round_to_int(x: ArrayLike) -> Int:
    """Round to the nearest integers, halves to even; the same shape."""
    return np.rint(np.asarray(x, dtype=np.float64)).astype(np.int64)


def floor_to_int(x: ArrayLike) -> Int:
    """Round down; the same shape."""
    return np.floor(np.asarray(x, dtype=np.float64)).astype(np.int64)


def quantise_payload(x: ArrayLike, *, scale: float, low: int, high: int) -> Int:
    """Integer payloads of real input values, the same shape; `scale` is the real value of one unit.

    Saturates at low and high.
    """
    return np.clip(np.rint(np.asarray(x, dtype=np.float64) / scale), low, high).astype(np.int64)


def is_saturated(x: ArrayLike, *, scale: float, low: int, high: int) -> Bool:
    """Where `quantise_payload` saturates."""
    payload = np.rint(np.asarray(x, dtype=np.float64) / scale)
    return (payload < low) | (payload > high)


def quantise_decay(keep: NDArray[np.floating], *, bits: int, least: int, most: int) -> Int:
    """The decay, in 1 / 2^bits, of states that keep the share `keep` of themselves in a step; the same shape."""
    return np.clip(round_to_int((1 - keep) * (1 << bits)), least, most)


def split_bias(bias: ArrayLike, *, mantissa_max: int, exponent_max: int) -> tuple[Int, Int]:
    """Mantissa and exponent of biases in membrane units, the same shape: the smallest exponent with a legal mantissa.

    Rounds to the nearest representable value. The bias must satisfy |bias| <= mantissa_max << exponent_max.
    """
    value = np.asarray(bias, dtype=np.float64)
    exponent = np.zeros(value.shape, dtype=np.int64)
    for candidate in range(exponent_max, -1, -1):
        exponent = np.where(np.abs(np.rint(value / 2.0**candidate)) <= mantissa_max, candidate, exponent)
    return round_to_int(value / 2.0**exponent), exponent


def join_bias(mantissa: Int, exponent: Int) -> Int:
    """The biases in membrane units that mantissas and exponents stand for; the same shape."""
    return mantissa << exponent
