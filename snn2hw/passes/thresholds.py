"""Thresholds of membranes that count in whole numbers, start at 0 and fire above, not at, their threshold."""

from __future__ import annotations

import numpy as np

from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import Int, floor_to_int, round_to_int
from snn2hw.network.neuron_rule import Float, NeuronRule, drive_from_rest


def at_rest_0(name: str, rule: NeuronRule) -> tuple[Float, Float]:
    """Threshold and drive, [*shape] in real units, of variables shifted so that the membrane starts and resets at 0.

    Raises QuantisationError where it would then fire without input, or where the shift has no integer form.
    """
    threshold = rule.threshold - rule.reset_value
    drive = drive_from_rest(rule)
    lowest = float(threshold.min())
    if lowest < 0 or (rule.at_least and lowest == 0):
        where = f"lies {-lowest:g} below" if lowest < 0 else "is"
        raise QuantisationError.at(
            name,
            f"the threshold {where} the reset value, so the neuron fires without input",
            "Raise the threshold or lower v_reset",
        )
    if np.any(drive != 0) and np.any(rule.current_keep != 0):
        raise QuantisationError.at(
            name,
            "its current has a memory and v_leak differs from v_reset",
            "Only one of the two has an integer form; set v_leak to v_reset",
        )
    return threshold, drive


LATTICE = 1e-12  # relative: a scale is a whole number divided by the threshold, so their product is one up to rounding


def integer_threshold(rule: NeuronRule, scale: Float | float) -> Int:
    """The integers t [*shape] for which v > t says of whole v what the rule says of scale * (threshold - rest).

    Whether the neuron fires at its threshold or above it is the rule's to say; it counts where scale * threshold is a
    whole number, which a membrane can meet.
    """
    scaled = scale * (rule.threshold - rule.reset_value)
    whole = round_to_int(scaled)
    met = np.abs(scaled - whole) <= LATTICE * np.maximum(np.abs(scaled), 1.0)
    return np.where(met, whole - 1 if rule.at_least else whole, floor_to_int(scaled))
