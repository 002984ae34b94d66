"""What emits integers without a neuron: the input, pools, whole factors and thresholds over spikes."""

from __future__ import annotations

from collections.abc import Sequence

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import floor_to_int, round_to_int
from snn2hw.passes.currents import Current, Emitted, Flow, align
from snn2hw.passes.integer_nodes import IntegerNodes
from snn2hw.passes.settings import Settings


def quantise_input(name: str, shape: ir.Shape, settings: Settings, made: IntegerNodes) -> Emitted:
    """Add the input. It saturates at the range that calibration saw: bounds proved for it then hold for any input."""
    unit = input_unit(settings)
    low, high = (int(round_to_int(end / unit)) for end in settings.calibration.input_range)
    return made.add(ir.Input(name=name, shape=shape, scale=unit, low=low, high=high), unit=unit)


def input_unit(settings: Settings) -> float:
    """The real value of one unit of the input."""
    lattice = settings.calibration.lattice
    peak = max(map(abs, settings.calibration.input_range))
    if lattice is not None and peak * lattice <= settings.payload_max:
        return 1.0 / lattice  # whole multiples of 1/lattice: the payloads are exact
    return peak / settings.payload_max


def quantise_pool(
    name: str, node: nir.SumPool2d | nir.AvgPool2d, shape: ir.Shape, incoming: Sequence[Flow], made: IntegerNodes
) -> Flow:
    """Add a pool over integers; one over currents waits with them for their scale."""
    flow = align(name, incoming)
    pooled = flow.pooled(name, node, shape)
    if isinstance(pooled, Current):
        return pooled
    holds, peak = (flow.holds, flow.peak) if isinstance(flow, Emitted) else ("spikes", 0.0)
    return made.add(pooled.node(flow.sources), unit=pooled.unit, holds=holds, peak=peak)


def quantise_factor(
    name: str, node: nir.Scale, incoming: Sequence[Flow], settings: Settings, made: IntegerNodes
) -> Emitted:
    """Add a whole factor over spikes; a factor of 1 merges them. Raises QuantisationError for any other."""
    flow = align(name, incoming)
    _refuse_flat(name, flow)
    factors = np.unique(np.asarray(node.scale, np.float64))
    if (
        not isinstance(flow, Emitted)
        or _is_current(flow)
        or factors.size > 1
        or factors[0] != np.rint(factors[0])
        or factors[0] == 0
    ):
        raise QuantisationError.at(
            name,
            f"a Scale by {factors.min():g} to {factors.max():g}",
            "Only one whole factor over spikes has an integer form; fold others into the weights before or behind",
        )
    factor = int(factors[0])
    if abs(factor) > settings.largest(name):
        raise QuantisationError.at(
            name,
            f"the factor {factor} exceeds the largest weight {settings.largest(name)}",
            "Fold it into the weights behind, or use more weight bits",
        )
    if factor == 1:
        return made.add(ir.Merge(name=name, inputs=flow.sources, shape=flow.shape), unit=flow.unit)
    return made.add(ir.Scale(name=name, inputs=flow.sources, shape=flow.shape, factor=factor), unit=flow.unit)


def quantise_threshold(name: str, node: nir.Threshold, incoming: Sequence[Flow], made: IntegerNodes) -> Emitted:
    """Add a memoryless threshold over spikes. Raises QuantisationError for weighted sums and for several levels."""
    flow = align(name, incoming)
    _refuse_flat(name, flow)
    levels = np.unique(np.asarray(node.threshold, np.float64))
    if not isinstance(flow, Emitted) or _is_current(flow):
        raise QuantisationError.at(name, "a Threshold over weighted sums", "Use an IF or LIF neuron")
    if levels.size > 1 or levels[0] < 0:
        raise QuantisationError.at(
            name,
            f"thresholds from {levels.min():g} to {levels.max():g}",
            "One value of at least 0 is supported",
        )
    threshold = int(floor_to_int(levels[0] / flow.unit))
    return made.add(ir.Threshold(name=name, inputs=flow.sources, shape=flow.shape, threshold=threshold))


def _is_current(flow: Flow) -> bool:
    return isinstance(flow, Current) or flow.holds != "spikes"


def _refuse_flat(name: str, flow: Flow) -> None:
    if isinstance(flow, Emitted) and flow.flat:
        raise QuantisationError.at(name, "it joins flattened spikes", "Join them first and flatten behind")
