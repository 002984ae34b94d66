"""Relays: currents as graded payloads, where a layer or a residual stream reads them and no neuron stands between.

A stream hands its currents on as they are, in its scale (streams.py). A layer takes payloads of a few bits alone, as
many as the network's input has: for it the current is divided by the power of two that calibration asks for, rounded,
and saturated at the largest payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snn2hw import ir
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import round_to_int
from snn2hw.passes.currents import Emitted, Flow
from snn2hw.passes.integer_nodes import IntegerNodes
from snn2hw.passes.scales import OFF_GRID
from snn2hw.passes.settings import Settings

LARGEST_SHIFT = 20


def quantise_relay(
    name: str,
    shape: ir.Shape,
    incoming: Sequence[Flow],
    settings: Settings,
    made: IntegerNodes,
    *,
    scale: float,
    for_layers: bool,
) -> Emitted:
    """Add a relay and the synapses that feed it, at the scale of its stream; returns its payloads.

    for_layers: only layers read it, so that it gives payloads of few bits at once.
    """
    currents = [flow.as_current(f"{name}.shortcut") for flow in incoming]
    one, each = np.ones(1), np.asarray(scale)
    if any(current.relayed and abs(float(current.weight) * scale - 1) > 1e-9 for current in currents):
        raise QuantisationError.at(
            name,
            "it adds up an average of currents and others, which have different units",
            "Put a 1x1 convolution behind the average",
        )
    currents = [current.brought_to(each, one, settings.largest(current.name)) for current in currents]
    sources = made.add_synapses(currents, each, one, OFF_GRID, settings)
    bias = sum((current.carried_bias for current in currents), start=np.zeros((1,) * len(shape)))
    peak = settings.calibration.current.get(name, 0.0)
    shift = _shift(peak * scale, settings.payload_max) if for_layers else 0
    most = settings.payload_max if for_layers else settings.numerics.largest_current
    return made.add(
        ir.Relay(
            name=name,
            inputs=sources,
            shape=shape,
            bias=round_to_int(scale * bias),
            shift=shift,
            low=-most,
            high=most,
            scale=scale / (1 << shift),
        ),
        unit=(1 << shift) / scale,
        holds="payloads" if for_layers else "current",
        peak=peak,
    )


def as_payloads(flow: Emitted, settings: Settings, made: IntegerNodes) -> Emitted:
    """The payloads, of few bits, of what relays hand on as it is; the same nodes for all layers that read it."""
    known = made.payloads.get(flow.sources)
    if known is None:
        name = made.free(f"{flow.sources[0]}.payload")
        shape = made.shape(flow.sources[0])
        current = replace(flow, flat=False, shape=shape).as_current(f"{name}.shortcut")
        sources = made.add_synapses([current], np.asarray(1 / flow.unit), np.ones(1), OFF_GRID, settings)
        shift = _shift(flow.peak / flow.unit, settings.payload_max)
        most = settings.payload_max
        known = made.payloads[flow.sources] = made.add(
            ir.Relay(
                name=name,
                inputs=sources,
                shape=shape,
                bias=np.zeros((1,) * len(shape), np.int64),
                shift=shift,
                low=-most,
                high=most,
                scale=1 / (flow.unit * (1 << shift)),
            ),
            unit=flow.unit * (1 << shift),
            holds="payloads",
            peak=flow.peak,
        )
    return replace(known, shape=flow.shape, flat=flow.flat)


def _shift(largest: float, payload_max: int) -> int:
    """By which power of two integers of up to `largest` must be divided to be payloads."""
    shift = 0
    while largest / (1 << shift) > payload_max + 0.5 and shift < LARGEST_SHIFT:
        shift += 1
    return shift
