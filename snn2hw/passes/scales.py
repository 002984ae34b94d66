"""Scales: how many integer units one real unit becomes, for each layer of neurons and for the read-out.

The scale is what the calibration method asks for (weight_scales.py), and at most what keeps biases, thresholds and
calibrated currents within what the chip holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import Bool, round_to_int
from snn2hw.network.neuron_rule import Float, NeuronRule
from snn2hw.passes.currents import Current
from snn2hw.passes.grids import grid_scale
from snn2hw.passes.settings import Settings, largest_weight
from snn2hw.passes.weight_scales import METHODS, WHOLE_LAYER, on_lattice

MARGIN = 2.0  # how many times the currents and membranes seen in calibration must fit; where a grid is kept, once
OFF_GRID = np.array(False)


def neuron_scale(
    name: str, currents: Sequence[Current], rule: NeuronRule, threshold: Float, bias: Float, settings: Settings
) -> tuple[Float, Bool]:
    """Input units per unit of the float membrane, and whether that is a grid of the weights: [] or one a channel, [C].

    threshold and bias are real, of a membrane that rests at 0, and broadcast to the neurons' shape. Raises
    QuantisationError if a shortcut's spikes get no whole weight.
    """
    steps = [abs(step) for current in currents if (step := current.identity_step(rule.gain)) is not None]
    most = min(_limits(name, rule, threshold, bias, settings, margin=1.0).values(), default=np.inf)
    grid = grid_scale(currents, rule.gain, settings, whole_layer=bool(steps))
    if grid is not None and grid.min() <= most and keeps_shortcuts(grid, steps, settings):
        scale = np.minimum(grid, most)
        return scale, scale == grid
    weights = weight_scale(name, currents, rule.gain, settings)
    limits = {"weights": float(weights.min())} | _limits(name, rule, threshold, bias, settings, margin=MARGIN)
    limited_by = min(limits, key=lambda key: limits[key])
    limit = np.minimum(weights, min((value for key, value in limits.items() if key != "weights"), default=np.inf))
    lowest = float(threshold.min())
    if np.all(np.isinf(weights)):
        return _scale_of_bias(limit, lowest), OFF_GRID
    if steps and limit * steps[0] < 1:
        raise QuantisationError.at(
            name,
            f"the shortcut's spikes need a weight of at least 1, but the {limited_by} of its other inputs allow "
            f"{float(limit) * steps[0]:.3g}",
            "Scale the layer's weights down",
        )
    return on_lattice(limit, steps[0] if steps else lowest), OFF_GRID


def _limits(
    name: str, rule: NeuronRule, threshold: Float, bias: Float, settings: Settings, *, margin: float
) -> dict[str, float]:
    """The largest scales at which thresholds, biases and `margin` times what calibration saw fit the chip's formats."""
    calibration, numerics = settings.calibration, settings.numerics
    limits = {}
    bias_peak = float(np.abs(bias).max())
    highest = max(float(threshold.max()), float(rule.reset_amount.max()))
    reach = highest + margin * calibration.current.get(name, 0.0) + bias_peak
    if reach > 0:
        limits["threshold"] = (numerics.input_limit - 1) / reach
    if seen := calibration.membrane.get(name, 0.0):
        limits["membrane"] = (numerics.input_limit - 1) / (margin * seen + float(np.abs(rule.reset_value).max()))
    if bias_peak > 0:
        limits["bias"] = (numerics.bias_max >> numerics.membrane_shift) / bias_peak
    return limits


def keeps_shortcuts(grid: Float, steps: Sequence[float], settings: Settings) -> bool:
    """Whether shortcuts of these steps, rounded to a grid of the scale [], have weights of at least 1 and fit."""
    largest = largest_weight(settings.weight_bits)
    return all(1 <= int(round_to_int(grid * step)) <= largest for step in steps)


def scale_of_stream(name: str, currents: Sequence[Current], gain: Float) -> Float:
    """The scale of neurons that read the currents of relays, whose unit they take over: [], or one a channel, [C].

    Raises QuantisationError if these have several units.
    """
    units = [float(current.weight) for current in currents if current.relayed]
    if max(units) - min(units) > 1e-9 * max(units):
        raise QuantisationError.at(
            name,
            "it adds up an average of currents and others, which have different units",
            "Put a 1x1 convolution behind the average",
        )
    per_channel = gain.reshape(gain.shape[0], -1) if gain.ndim else gain.reshape(1, 1)
    if np.any(per_channel != per_channel[:, :1]):
        raise QuantisationError.at(
            name,
            "it reads a residual stream, and its time constants differ within a channel",
            "Give the neurons of a channel one time constant",
        )
    scale: Float = 1 / (units[0] * per_channel[:, 0])
    return scale[0].reshape(()) if np.all(scale == scale[0]) else scale


def weight_scale(
    name: str, currents: Sequence[Current], gain: Float, settings: Settings, *, whole_layer: bool = False
) -> Float:
    """The scale that the calibration method asks for, of the weights that meet in one layer; a shortcut's fits.

    [], or [C] with one for each channel, which `whole_layer` rules out. Infinite for a neuron whose layers hold
    nothing but zeros, such as BatchNorm's at the start of a training: its bias may fire it all the same.
    """
    layers: dict[int, list[Float]] = {}  # by the largest weight that their bits hold
    for current in currents:
        if current.layer is not None and np.any(weights := current.gained(gain)):
            layers.setdefault(settings.largest(current.name), []).append(weights)
    steps = [abs(step) for current in currents if (step := current.identity_step(gain))]
    if not layers and not steps:
        if not whole_layer and all(current.layer is not None for current in currents):
            return np.asarray(np.inf)
        raise QuantisationError.at(name, "all weights that feed it are 0", "The layer is dead; remove or retrain it")
    method = (WHOLE_LAYER if steps or whole_layer else METHODS)[settings.method]
    asked = [method(weights, largest) for largest, weights in layers.items()]
    largest = largest_weight(settings.weight_bits)
    scale: Float = np.minimum.reduce([*asked, *(np.asarray(largest / step) for step in steps)])
    return scale


def _scale_of_bias(limit: Float, threshold: float) -> Float:
    """The largest scale up to `limit` at which `threshold` is a power of two: the binary parts of it, as which biases
    meet it, then are whole numbers of few bits. 1 where nothing limits it: such neurons do nothing.
    """
    if np.all(np.isinf(limit)):
        return np.ones(())
    step = threshold or 1.0
    return np.asarray(2.0 ** np.floor(np.log2(limit * step)) / step)
