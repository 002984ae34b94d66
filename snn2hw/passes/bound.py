"""Bound: what every accumulator, membrane and payload can reach in the worst case.

Interval arithmetic over the integer graph. Lava enforces no limit, so this is where a wrap is excluded; where the worst
case breaks a limit of the chip, calibration decides, the bound says so, and every engine checks at run time.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np

from snn2hw import ir
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import Reset, decay_state, join_bias, relay
from snn2hw.ir.numerics import Numerics
from snn2hw.passes.calibrate import Calibration

Interval = tuple[int, int]
CHANNEL = 1 << 31  # what a message or a sum of a relay cannot hold, on any chip


def bound(graph: ir.Graph, calibration: Calibration, numerics: Numerics, *, timesteps: int) -> dict[str, ir.Bound]:
    """Bounds of every node for samples of `timesteps` steps, held against the limits of a chip.

    Raises QuantisationError for a sum of spikes that is larger than what a graded spike of the chip carries, and for a
    relay that may receive more than 32 bits hold.
    """
    emits: dict[str, Interval] = {}
    bounds: dict[str, ir.Bound] = {}
    for node in graph:
        low = sum(emits[source][0] for source in node.inputs)
        high = sum(emits[source][1] for source in node.inputs)
        reach, membrane = _largest(node, low, high), 0
        match node:
            case ir.Input():
                emits[node.name] = node.low, node.high
                reach = max(abs(node.low), node.high)
            case ir.Conv() | ir.Linear():
                emits[node.name] = _weighted(node.weight, low, high)
            case ir.Scale():
                ends = (node.factor * low, node.factor * high)
                emits[node.name] = min(ends), max(ends)
            case ir.SumPool():
                window = node.kernel[0] * node.kernel[1]
                emits[node.name] = window * min(low, 0), window * max(high, 0)
            case ir.MaxPool():
                emits[node.name] = low, high
            case ir.Neuron():
                membrane = _membrane(node, low, high, timesteps, numerics.membrane_shift)
                emits[node.name] = 0, 1
            case ir.Threshold():
                emits[node.name] = 0, 1
            case ir.Merge():
                emits[node.name] = low, high
            case ir.Relay():
                emits[node.name] = _relayed(node, low, high)
            case ir.Readout():
                reach = timesteps * (reach + int(np.abs(node.bias).max()))
                emits[node.name] = 0, 0
            case _:
                assert_never(node)
        proved = membrane < numerics.membrane_limit and reach < _limit(node, numerics)
        bounds[node.name] = ir.Bound(
            kind="proved" if proved else "calibrated",
            accumulator=reach,
            membrane=membrane,
            payload=max(map(abs, emits[node.name])),
            signed=emits[node.name][0] < 0,
            observed=_observed(node, calibration, numerics) if isinstance(node, ir.Neuron | ir.Relay) else None,
        )
        if isinstance(node, ir.Merge):
            _check_payload(node, bounds[node.name].payload, numerics)
    return bounds


def _largest(node: ir.Node, low: int, high: int) -> int:
    """Largest absolute value of a node's result and of any partial sum of it."""
    largest = max(abs(low), abs(high))
    match node:
        case ir.Conv() | ir.Linear():
            return int(np.abs(node.weight).reshape(len(node.weight), -1).sum(axis=1).max()) * largest
        case ir.Scale():
            return abs(node.factor) * largest
        case ir.SumPool():
            return node.kernel[0] * node.kernel[1] * largest
        case ir.Relay():
            largest += int(np.abs(node.bias).max()) + ((1 << node.shift) >> 1)
            if largest >= CHANNEL:
                raise QuantisationError.at(
                    node.name, f"its sum may reach {largest}, more than 32 bits hold", "Use fewer weight bits"
                )
            return largest
        case ir.Input() | ir.MaxPool() | ir.Neuron() | ir.Threshold() | ir.Merge() | ir.Readout():
            return largest
        case _:
            assert_never(node)


def _limit(node: ir.Node, numerics: Numerics) -> float:
    """The smallest size of a node's sum that its chip cannot hold. That of synapses is what reads them to tell."""
    if isinstance(node, ir.Neuron):
        return numerics.input_limit
    return numerics.membrane_limit if isinstance(node, ir.Relay) else np.inf


def _relayed(node: ir.Relay, low: int, high: int) -> Interval:
    """Range of the payloads of a relay whose inputs add up to values in [low, high]."""
    ends = np.array([low + int(node.bias.min()), high + int(node.bias.max())])
    least, most = relay(ends, np.zeros(2, np.int64), shift=node.shift, low=node.low, high=node.high)
    return int(least), int(most)


def _weighted(weight: np.ndarray, low: int, high: int) -> Interval:
    """Range of sums of weight times values in [low, high], or 0 where padding stands."""
    rows = weight.reshape(len(weight), -1)
    positive, negative = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    low, high = min(low, 0), max(high, 0)
    return int((positive * low + negative * high).min()), int((positive * high + negative * low).max())


def _check_payload(node: ir.Merge, payload: int, numerics: Numerics) -> None:
    """Raise QuantisationError for a payload beyond the chip's. That one has no graded spikes, placing a net tells."""
    if numerics.graded_spikes and payload > numerics.largest_payload:
        raise QuantisationError.at(
            node.name,
            f"it adds up to {payload}, and a spike of {numerics.chip} carries at most {numerics.largest_payload}",
            "Put a neuron before the sum",
        )


def _membrane(node: ir.Neuron, low: int, high: int, timesteps: int, shift: int) -> int:
    """Largest absolute current or membrane before a reset, over the steps of one sample."""
    bias = join_bias(node.bias_mantissa, node.bias_exponent)
    most, least = int(bias.max()), int(bias.min())
    ceiling = int(node.threshold.max()) << shift  # the most that remains without a spike
    amount = node.reset_amount << shift
    slowest, slowest_current = int(node.decay.min()), int(node.current_decay.min())
    highest = lowest = reach = up = down = 0
    for _ in range(timesteps):
        up = max(_decayed(up, slowest_current), 0) + (high << shift) + most
        down = min(_decayed(down, slowest_current), 0) + (low << shift) + least
        highest = max(_decayed(highest, slowest), 0) + up
        lowest = min(_decayed(lowest, slowest), 0) + down
        if node.reset is Reset.SUBTRACT_LATE:
            lowest -= int(amount.max())
        reach = max(reach, abs(highest), abs(lowest), abs(up), abs(down))
        if node.reset is Reset.ZERO:
            highest = min(highest, ceiling)
        elif node.reset is Reset.SUBTRACT:
            lowest = min(lowest, int((node.threshold << shift).min()) - int(amount.max()))
            highest = max(min(highest, ceiling), highest - int(amount.min()))
    return reach


def _decayed(state: int, decay: int) -> int:
    return int(decay_state(np.array(state), np.array(decay)))


def _observed(node: ir.Neuron | ir.Relay, calibration: Calibration, numerics: Numerics) -> float:
    """The largest share of a limit that calibration saw."""
    if isinstance(node, ir.Relay):
        seen = calibration.current.get(node.name, 0.0) * node.scale * (1 << node.shift)
        return round(seen / numerics.membrane_limit, 6)
    current = calibration.current.get(node.name, 0.0) * node.largest_scale / numerics.input_limit
    reached = calibration.membrane.get(node.name, 0.0) * node.largest_scale * (1 << numerics.membrane_shift)
    membrane = reached / numerics.membrane_limit
    return round(max(current, membrane), 6)
