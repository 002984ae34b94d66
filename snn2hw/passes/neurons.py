"""Neurons: the integer neuron of a float one, at the scale that the layer's weights share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snn2hw import ir
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import quantise_decay, round_to_int, split_bias
from snn2hw.network.neuron_rule import Float, NeuronRule, compact
from snn2hw.passes.currents import Emitted, Flow
from snn2hw.passes.integer_nodes import IntegerNodes
from snn2hw.passes.scales import OFF_GRID, neuron_scale, scale_of_stream
from snn2hw.passes.settings import Settings
from snn2hw.passes.thresholds import at_rest_0, integer_threshold

TINY = 1e-6  # steps of the weights: a threshold above 0 has more


def quantise_neuron(
    name: str, rule: NeuronRule, shape: ir.Shape, incoming: Sequence[Flow], settings: Settings, made: IntegerNodes
) -> Emitted:
    """Add the neurons `name` of `shape` and the synapses that feed them; returns their spikes.

    Raises QuantisationError where they have no integer form.
    """
    numerics = settings.numerics
    threshold, drive = at_rest_0(name, rule)
    currents = [flow.as_current(f"{name}.shortcut") for flow in incoming]
    bias = drive + sum(rule.gain * current.bias for current in currents)
    if any(current.relayed for current in currents):
        scale, on_grid = scale_of_stream(name, currents, rule.gain), OFF_GRID
    else:
        scale, on_grid = neuron_scale(name, currents, rule, threshold, bias, settings)
    if not on_grid.any():
        most = settings.largest
        currents = [current.brought_to(scale, rule.gain, most(current.name)) for current in currents]
    bias = drive + sum(rule.gain * current.carried_bias for current in currents)
    each = scale.reshape(-1, *[1] * (len(shape) - 1)) if scale.size > 1 else scale
    _refuse_tiny(name, threshold, each)
    sources = made.add_synapses(currents, each, rule.gain, on_grid, settings)
    amount = np.broadcast_to(rule.reset_amount, shape)  # a file may hold one number for all
    mantissa, exponent = split_bias(
        compact(each * bias) * (1 << numerics.membrane_shift),
        mantissa_max=numerics.bias_mantissa_max,
        exponent_max=numerics.bias_exponent_max,
    )
    bits, one = numerics.decay_bits, numerics.no_memory
    return made.add(
        ir.Neuron(
            name=name,
            inputs=sources,
            shape=shape,
            threshold=integer_threshold(rule, each),
            decay=quantise_decay(compact(rule.keep), bits=bits, least=0, most=one - 1),
            current_decay=quantise_decay(compact(rule.current_keep), bits=bits, least=1, most=one),
            bias_mantissa=mantissa,
            bias_exponent=exponent,
            reset=rule.reset,
            reset_amount=round_to_int(each * compact(amount)),
            scale=float(scale) if scale.size == 1 else tuple(scale.tolist()),
        )
    )


def _refuse_tiny(name: str, threshold: Float, scale: Float) -> None:
    """Raise QuantisationError for a threshold above 0 that is next to nothing beside the step of the weights."""
    above, scale = np.broadcast_arrays(threshold, scale)
    steps = np.where(above > 0, above * scale, np.inf)
    at = np.unravel_index(np.argmin(steps), steps.shape)
    if steps[at] < TINY:
        raise QuantisationError.at(
            name,
            f"its threshold of {above[at]:.3g} is {steps[at]:.2g} of the smallest step of its weights, "
            f"{1 / scale[at]:.3g}, so no integer tells it from 0",
            "Scale the weights of the layers before it down, or its threshold up",
        )
