"""How large the integers of a layer's weights become: the calibration methods of `quantise`.

Each method takes the real weights [O, ...] of the layers that feed one layer of neurons, and the largest integer that a
weight may be, and gives the scale: integers per real unit. A weight that the scale makes larger than that saturates.

    max         nothing saturates: the largest weight becomes the largest integer
    percentile  all but the largest 0.1 % of the weights fit
    mse         the scale whose integers are nearest to the weights, by their mean squared error
    balanced    max, for every output channel by itself; each channel's threshold is scaled with it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from snn2hw.ir.fixed_point import round_to_int
from snn2hw.network.neuron_rule import Float

Method = Callable[[Sequence[Float], int], Float]

PERCENTILE = 99.9
SHRINK = np.linspace(0.1, 1.0, 91)  # parts of the largest weight; mse tries each as the largest that fits
MSE_WEIGHTS = 100_000  # of a layer, spread evenly, are about as many as mse looks at


def by_max(weights: Sequence[Float], largest: int) -> Float:
    """The scale at which no weight saturates, []."""
    return np.asarray(largest / max(float(np.abs(layer).max()) for layer in weights))


def by_percentile(weights: Sequence[Float], largest: int) -> Float:
    """The scale at which one weight in a thousand saturates, []. Zeros do not count: they may be padding."""
    sizes = _sizes(weights)
    return np.asarray(largest / np.percentile(sizes[sizes > 0], PERCENTILE))


def by_mse(weights: Sequence[Float], largest: int) -> Float:
    """The scale [] at which the weights, rounded and saturated, have the least mean squared error.

    SHRINK lists the scales that are tried: those at which 10 % to 100 % of the largest weight becomes the largest
    integer. Where several are equally good, the smallest is taken.
    """
    sizes = _sizes(weights)
    scales = largest / (sizes.max() * SHRINK)
    sizes = sizes[:: max(1, sizes.size // MSE_WEIGHTS)]
    errors = [np.mean((sizes - np.minimum(round_to_int(scale * sizes), largest) / scale) ** 2) for scale in scales]
    return np.asarray(scales[len(scales) - 1 - int(np.argmin(errors[::-1]))])


def by_channel(weights: Sequence[Float], largest: int) -> Float:
    """The scale of each output channel at which no weight of it saturates, [O]. One of zeros takes the widest's."""
    peaks = np.max([np.abs(layer).reshape(len(layer), -1).max(axis=1) for layer in weights], axis=0)
    return np.asarray(largest / np.where(peaks > 0, peaks, peaks.max()))


METHODS: dict[str, Method] = {"max": by_max, "percentile": by_percentile, "mse": by_mse, "balanced": by_channel}
WHOLE_LAYER: dict[str, Method] = METHODS | {"balanced": by_max}
"""The methods where one scale is needed: what a shortcut of spikes joins, and read-outs, whose classes are compared."""


def on_lattice(limit: Float, step: float) -> Float:
    """The largest scale up to `limit` [] or [O] that makes `step` whole; `limit` itself where there is none above 0."""
    whole = np.floor(limit * step)
    scale: Float = np.where((whole >= 1) & (step > 0), whole / (step or 1.0), limit)
    return scale


def _sizes(weights: Sequence[Float]) -> Float:
    sizes: Float = np.abs(np.concatenate([np.ravel(layer) for layer in weights]))
    return sizes
