"""Grids: weights that are whole multiples k * s of one number s already, for a layer or for each of its channels.

Nets that were quantised elsewhere and nets of whole numbers have such weights. The integers k are then theirs, and the
scale is 1 / s: no weight moves, whatever that makes of thresholds and biases, which are rounded to the grid.

The test is exact. A weight w that float32 holds lies on the grid if k * s, rounded to float32, is w. Where only float64
holds the weights, such as products with what a BatchNorm multiplies by, w lies on it if |w - k * s| <= 2^-24 |w|, the
rounding of float32. One s must do for all weights of the layer, or of the channel, with k from -2^(bits-1) to
2^(bits-1) - 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from snn2hw.ir.fixed_point import Bool, Int
from snn2hw.network.neuron_rule import Float, narrow
from snn2hw.passes.currents import Current
from snn2hw.passes.settings import Settings

ROUNDING = 2.0**-24  # relative, of float32
FEW = 64  # weights of a layer that are looked at first: they tell almost every layer that lies on no grid
MANTISSA = 24  # bits of a float32
WEIGHTS_A_STEP = 2  # at least: one weight alone lies on any grid


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Some weights other than 0 that meet in one layer of neurons or in a channel of it, all [n].

    written: |w| as the network has it. narrow: whether float32 holds its layer. unit: what a weight of 1 adds to the
    membrane for one unit of what the source emits, over that of the first weight. most: the largest k that it may be.
    """

    written: Float
    narrow: Bool
    unit: Float
    most: Int

    @property
    def size(self) -> Float:
        """What they add to the membrane, in what a weight of 1 adds in the place of the first, [n]."""
        return self.written * self.unit

    @property
    def whole(self) -> bool:
        """Whether all are whole numbers of one unit, within their bits."""
        same = np.all(self.unit == 1)
        return bool(same and np.all((self.written == np.rint(self.written)) & (self.written <= self.most)))

    def lie_on(self, step: float, k: Int) -> bool:
        """Whether these are k [n] steps, within float32's rounding."""
        exact = k * (step / self.unit)
        rounded = exact.astype(np.float32).astype(np.float64) == self.written
        near = np.abs(exact - self.written) <= ROUNDING * self.written
        return bool(np.all(np.where(self.narrow, rounded, near)))


def grid_scale(currents: Sequence[Current], gain: Float, settings: Settings, *, whole_layer: bool) -> Float | None:
    """The scale, 1 / s, of the coarsest grid on which all weights lie that meet in one layer of neurons; None for none.

    [], or [C] with one for each channel where they have grids of their own, which `whole_layer` rules out. Whole
    numbers keep s = 1. A channel whose integers share a divisor takes the multiple of them whose largest is as large as
    that of the other channels, where there is one.
    """
    layers = [current for current in currents if current.layer is not None and np.any(current.weight)]
    if not layers:
        return None
    weights = [layer.gained(gain) for layer in layers]
    gains = np.broadcast_to(gain.reshape(len(gain), -1)[:, 0], len(weights[0]))
    count, channels = sum(int(np.count_nonzero(values)) for values in weights), len(weights[0])
    if count < WEIGHTS_A_STEP:
        return None
    if (step := _step_of(layers, weights, gains, settings)) is not None:
        return np.asarray(1 / step)
    if whole_layer or count < WEIGHTS_A_STEP * channels:
        return None
    steps = np.full(channels, np.inf)
    for channel in range(channels):
        rows = [values[channel : channel + 1] for values in weights]
        if any(np.any(row) for row in rows):
            step = _step_of(layers, rows, gains, settings, first=channel)
            if step is None:
                return None
            steps[channel] = step
    return _alike(layers, weights, steps, settings)


def _step_of(
    layers: Sequence[Current], weights: Sequence[Float], gains: Float, settings: Settings, *, first: int = 0
) -> float | None:
    """The step s of the coarsest grid on which these lie, or of the whole numbers that they are; None for none.

    weights: of each layer some rows [n, ...], from row `first`, times the neuron's gain for it; one is not 0.
    """
    few, _ = _gather(layers, weights, gains, settings, first, most=FEW)
    candidates = _candidates(few)
    if not few.whole and not candidates:
        return None
    every, unit = _gather(layers, weights, gains, settings, first)
    if every.whole:
        return unit
    steps = (step for largest in candidates if (step := _step_with(every, largest)) is not None)
    step = next(steps, None)
    return None if step is None else step * unit


def _gather(
    layers: Sequence[Current],
    weights: Sequence[Float],
    gains: Float,
    settings: Settings,
    first: int,
    *,
    most: int | None = None,
) -> tuple[_Weights, float]:
    """The weights other than 0; of each layer the largest, and of all others, spread evenly, at most so many. And what
    a weight of 1 adds to the membrane in the place of the first of them.
    """
    parts: list[tuple[Float, Bool, Float, Int]] = []
    for layer, values in zip(layers, weights, strict=True):
        flat, written = values.ravel(), layer.written[first : first + len(values)].ravel()
        there = np.flatnonzero(flat)
        if most is not None and len(there) > most:
            spread = there[np.linspace(0, len(there) - 1, most).astype(np.int64)]
            there = np.append(spread, there[np.argmax(np.abs(flat[there]))])
        sizes = np.abs(written[there]).astype(np.float64)
        in_float32 = np.full(len(there), narrow(written).dtype == np.float32)
        unit = np.abs(layer.unit * gains[first + there // values[0].size])  # `values` have the sign
        parts.append((sizes, in_float32, unit, settings.largest(layer.name) + (flat[there] < 0)))
    written, in_float32, unit, largest = (np.concatenate(some) for some in zip(*parts, strict=True))
    return _Weights(written=written, narrow=in_float32, unit=unit / unit[0], most=largest), float(unit[0])


def _candidates(few: _Weights) -> list[int]:
    """How many steps the largest of these weights may be, from 1 up."""
    steps = np.arange(1, int(few.most.max()) + 1)[:, None]
    k = steps * (few.size / few.size.max())
    near = np.abs(k - np.rint(k)) <= 4 * ROUNDING * k
    return [int(each) for each in steps[(near & (np.rint(k) >= 1)).all(axis=1), 0]]


def _step_with(weights: _Weights, largest: int) -> float | None:
    """A step of which the largest weight is `largest` and every weight a multiple; None where there is none."""
    k = np.rint(weights.size * (largest / weights.size.max())).astype(np.int64)
    if np.any(k < 1) or np.any(k > weights.most):
        return None
    below, above = _rounded_here(weights)
    low, high = float((below * weights.unit / k).max()), float((above * weights.unit / k).min())
    return next((step for step in _between(low, high) if weights.lie_on(step, k)), None)


def _rounded_here(weights: _Weights) -> tuple[Float, Float]:
    """The ends [n] of what rounding to float32 makes these weights."""
    values = weights.written.astype(np.float32)
    ends = (np.nextafter(values, np.float32(end)).astype(np.float64) for end in (0, np.inf))
    halfway = [(weights.written + end) / 2 for end in ends]
    near = [weights.written * (1 - ROUNDING), weights.written * (1 + ROUNDING)]
    below, above = (np.where(weights.narrow, *two) for two in zip(halfway, near, strict=True))
    return below, above


def _between(low: float, high: float) -> Iterator[float]:
    """Numbers from low to high: first, if a float32 is there, the one of the fewest binary digits.

    The ends are among them: often they are the same number, for whole multiples of a float32 lie halfway between two.
    """
    middle = low + (high - low) / 2
    fraction, exponent = np.frexp(middle)
    for digits in range(1, MANTISSA + 1):
        candidate = float(np.ldexp(np.rint(np.ldexp(fraction, digits)), int(exponent) - digits))
        if low <= candidate <= high:
            yield candidate
            break
    if low <= high:
        yield from (middle, low, high)


def _alike(layers: Sequence[Current], weights: Sequence[Float], steps: Float, settings: Settings) -> Float:
    """The scales [C] of channels with these coarsest steps [C], infinite for a channel of zeros."""
    known = np.where(np.isinf(steps), steps.min(), steps)
    k = [np.rint(values.reshape(len(steps), -1) / known[:, None]) for values in weights]
    highest = np.max([rows.max(axis=1) for rows in k], axis=0)
    lowest = np.max([-rows.min(axis=1) for rows in k], axis=0)
    most = min(settings.largest(layer.name) for layer in layers)
    below = lowest > highest  # the largest integer is a negative one
    peak, widest = (
        np.where(below, lowest, highest),
        np.where(below, min(lowest.max(), most + 1), min(highest.max(), most)),
    )
    times = np.where(peak > 0, widest / np.maximum(peak, 1), 1)
    return np.where((times >= 1) & (times == np.rint(times)), times, 1) / known
