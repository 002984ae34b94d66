"""Thresholds of membranes that count in whole numbers, start at 0 and fire above, not at, their threshold."""

from __future__ import annotations

import numpy as np

from snn2hw.errors import QuantisationError
from snn2hw.fixed_point import Int, floor_to_int, round_to_int
from snn2hw.neuron_rule import Float, NeuronRule


def at_rest_0(name: str, rule: NeuronRule) -> tuple[Float, Float]:
    """Threshold and drive of variables that are shifted so that the membrane starts and resets at 0.

    Raises QuantisationError where it would then fire without input, or where the shift has no integer form.
    """
    threshold = nominal(rule.threshold) - rule.reset_value
    drive = rule.drive - (1 - rule.keep) * rule.reset_value
    drive = np.where(np.abs(drive) < 1e-12 * np.abs(rule.drive), 0.0, drive)  # v_leak is v_reset, up to rounding
    if (lowest := float((rule.threshold - rule.reset_value).min())) < 0:
        raise QuantisationError.at(
            name,
            f"the threshold lies {-lowest:g} below the reset value, so the neuron fires without input",
            "Raise the threshold or lower v_reset",
        )
    if np.any(drive != 0) and np.any(rule.current_keep != 0):
        raise QuantisationError.at(
            name,
            "its current has a memory and v_leak differs from v_reset",
            "Only one of the two has an integer form; set v_leak to v_reset",
        )
    return threshold, drive


def integer_threshold(threshold: Float, rest: Float, scale: Float | float) -> Int:
    """The integer t for which, on whole numbers, v > scale * (threshold - rest) and v > t are the same.

    A threshold one float below a short decimal is read as that decimal with >=, as frameworks that fire at >= write it.
    """
    exact = nominal(threshold)
    scaled = scale * (exact - rest)
    whole = round_to_int(scaled)
    on_lattice = np.abs(scaled - whole) < 1e-6
    at_least = np.where(exact > threshold, whole - 1, whole)
    return np.where(on_lattice, at_least, floor_to_int(scale * (threshold - rest)))


def nominal(thresholds: Float) -> Float:
    """The numbers that thresholds were written as: the next float above, where that has the shorter decimal form.

    A threshold that float32 holds is taken for a float32.
    """

    def written(threshold: np.float64) -> float:
        dtype = np.float32 if np.float32(threshold) == threshold else np.float64
        own = dtype(threshold)
        above = np.nextafter(own, dtype(np.inf))
        return float(above if len(repr(above)) < len(repr(own)) else own)

    values, index = np.unique(thresholds, return_inverse=True)
    return np.array([written(value) for value in values])[index].reshape(thresholds.shape)
