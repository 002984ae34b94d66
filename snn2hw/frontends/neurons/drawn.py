"""Currents that try a neuron: drawn while its rule is stepped, so that they find the places where mistakes show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from snn2hw.data.aliases import Shape
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Float, NeuronRule

Bool = NDArray[np.bool_]

STEPS = 16
_MOST = 2**17  # neurons times samples, so that large layers stay cheap
_ABOVE, _BELOW, _ANY = np.inf, -np.inf, np.nan
_PATTERNS: tuple[tuple[float, ...], ...] = (
    (1,),
    (0, 0, 0, 1),
    (1 + 1e-6,),
    (1 - 1e-6,),
    (1 + 2.0**-40,),
    (1 - 2.0**-40,),
    (0.5, 0.5, 0.5, 0.5),
    (0.25, 0.25, 0.25, 0.25, 0.25),
    (0.4,) * 6,
    (0.9,) * 8,
    (0,) * 10,
    (-0.5, -2, -10, _ABOVE, _ABOVE),
    (-100, 60, 60, _BELOW),
    (100, 0, 0, _BELOW, _ABOVE),
    (1e4, 0, 0, 0, _ABOVE, _BELOW),
    (-1e4, 1e4, _BELOW, _ABOVE),
    (1.5, _BELOW, _ANY, _ABOVE),
    (_ANY, _BELOW, _ABOVE, _BELOW),
    (_ANY, _ANY, _ABOVE, _ANY, _BELOW),
    (_ANY,) * 8,
)
"""The first steps of each sequence, in currents that take a neuron from its start to its threshold in one step, or the
current that takes it just above or below its threshold from where it is, or any; behind them these three by chance."""


class Stepping:
    """A layer's rule, one step at a time, in float64. Everything has the shape of the currents, [N, *shape]."""

    def __init__(self, rule: NeuronRule) -> None:
        self.rule = rule
        self.u: Float = np.zeros(())
        self.v: Float = rule.reset_value
        self.late: Float = np.zeros(())

    def charge(self, current: Float) -> Float:
        """The membrane after a step's current, before it may fire."""
        rule = self.rule
        self.u = rule.current_keep * self.u + rule.gain * current
        self.v = rule.keep * self.v + (rule.drive + self.u) - self.late
        return self.v

    def current_for(self, membrane: Float) -> Float:
        """The current with which the next step brings the membrane to this value."""
        rule = self.rule
        rest = rule.keep * self.v + rule.drive + rule.current_keep * self.u - self.late
        return np.asarray((membrane - rest) / np.where(rule.gain == 0, 1, rule.gain))

    def fires(self) -> Bool:
        """Which neurons fire by their rule."""
        return np.asarray(self.v >= self.rule.threshold if self.rule.at_least else self.v > self.rule.threshold)

    def reset(self, spikes: Bool) -> None:
        """Reset the neurons that fired."""
        rule = self.rule
        if rule.reset is Reset.ZERO:
            self.v = np.where(spikes, rule.reset_value, self.v)
        elif rule.reset is Reset.SUBTRACT:
            self.v = self.v - spikes * rule.reset_amount
        elif rule.reset is Reset.SUBTRACT_LATE:
            self.late = spikes * rule.reset_amount


def draw_currents(rule: NeuronRule, shape: Shape, *, nearness: float) -> Float:
    """Currents [T, N, *shape] for neurons of a rule, the same in every call.

    They hold exact ties and near ones, from rest, behind sums below the threshold and behind spikes; nothing; negative
    currents; up to 10,000 times what is needed to fire; and random ones. nearness: how near, relative to the threshold.
    """
    random = np.random.default_rng(0)
    neurons = math.prod(shape)
    count = min(len(_PATTERNS), max(_MOST // max(1, neurons), 2 if neurons <= _MOST else 1))
    size = (count, *shape)
    which = ((np.arange(count)[:, None] + count * np.arange(neurons)) % len(_PATTERNS)).reshape(size)
    stepping = Stepping(rule)
    unit = stepping.current_for(rule.threshold)
    unit = np.where(unit > 0, unit, 1.0)
    near = {_ABOVE: rule.threshold * (1 + nearness), _BELOW: rule.threshold * (1 - nearness)}
    currents = np.empty((STEPS, *size))
    for step in range(STEPS):
        behind = np.array([step >= len(pattern) for pattern in _PATTERNS])[which]
        listed = np.array([pattern[step] if step < len(pattern) else _ANY for pattern in _PATTERNS])[which]
        codes = np.where(behind, random.choice([_ABOVE, _BELOW, _ANY, _ANY], size), listed)
        multiples = np.where(np.isnan(codes), 0.4 + 0.8 * random.standard_normal(size), codes)
        current = np.where(np.isinf(multiples), 0, multiples) * unit
        for code, membrane in near.items():
            current = np.where(codes == code, stepping.current_for(membrane), current)
        currents[step] = current
        stepping.charge(current)
        stepping.reset(stepping.fires())
    return currents


def without_rounding(rule: NeuronRule, currents: Float, spikes: Bool) -> Bool:
    """Where no step so far has rounded a membrane [T, N, *shape], given what the neurons emitted.

    A product counts as exact where the factor is a power of two, whose module may divide instead of multiply; a sum
    where no bit of it is lost.
    """
    current_keep, keep, gain = (_is_power_of_two(values) for values in (rule.current_keep, rule.keep, rule.gain))
    stepping = Stepping(rule)
    sure_u: Bool = np.ones(currents.shape[1:], bool)
    sure_v = sure_u
    sure = np.empty(currents.shape, bool)
    for step, current in enumerate(currents):
        before_u, before_v, late = stepping.u, stepping.v, stepping.late
        stepping.charge(current)
        old, new = rule.current_keep * before_u, rule.gain * current
        sure_u = sure_u & (current_keep | (before_u == 0)) & (gain | (current == 0)) & _is_exact_sum(old, new)
        held, driven = rule.keep * before_v, rule.drive + stepping.u
        sure_v = sure_v & (keep | (before_v == 0) & (rule.drive == 0)) & _is_exact_sum(rule.drive, stepping.u)
        sure_v = sure_v & _is_exact_sum(held, driven) & _is_exact_sum(held + driven, -late)
        sure[step] = sure_u & sure_v
        if rule.reset is Reset.ZERO:
            sure_v = sure[step] | spikes[step]
        elif rule.reset is Reset.SUBTRACT:
            sure_v = sure[step] & _is_exact_sum(stepping.v, -(spikes[step] * rule.reset_amount))
        else:
            sure_v = sure[step]
        stepping.reset(spikes[step])
    return sure


def _is_power_of_two(values: Float) -> Bool:
    mantissa, _ = np.frexp(values)
    return np.asarray((np.abs(mantissa) == 0.5) | (values == 0))


def _is_exact_sum(a: Float, b: Float) -> Bool:
    """Where float64 loses nothing of a + b (Knuth's error term is 0)."""
    total = a + b
    part = total - a
    return np.asarray((a - (total - part)) + (b - part) == 0)
