"""The counted events of a network as a few totals: activity a layer, operations a sample, footprint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from snn2hw.frontends.torch.trace import Traced
from snn2hw.report.energy import weighted
from snn2hw.report.events import Events
from snn2hw.report.network import Footprint, LayerWeights, model_bytes


@dataclass(frozen=True, kw_only=True)
class LayerActivity:
    """Mean output of a layer's units: rate in non-zero outputs, value in sizes, both a unit and step. dead,
    saturated and rates: as UnitEvents has them.
    """

    name: str
    units: int
    rate: float
    value: float
    dead: int
    saturated: int
    rates: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Operations a sample: what the layers with weights do, what gates and pools do, biases, and the ANN twin's."""

    binary: float
    graded: float
    graded_by_value: float
    input: float
    gates_and_pools: float
    bias: float
    nonzero_weights: float
    ann_dense: int
    ann_dense_with_padding: int


def activity(events: Events) -> tuple[LayerActivity, ...]:
    """What every layer of units but the read-out does."""
    layers = []
    for layer in events.layers:
        if layer.unit is None or layer.kind == "readout":
            continue
        units = math.prod(layer.shape)
        places = units * events.samples * events.timesteps
        layers.append(
            LayerActivity(
                name=layer.name,
                units=units,
                rate=sum(layer.unit.spikes) / places,
                value=sum(layer.unit.values) / places,
                dead=layer.unit.dead,
                saturated=layer.unit.saturated,
                rates=layer.unit.rates,
            )
        )
    return tuple(layers)


def operations(events: Events) -> Operations:
    """The operations of one sample, by what arrives."""
    with_weights = [synapses for _, synapses in weighted(events)]
    relays = [layer.synapses for layer in events.layers if layer.synapses and layer.kind not in ("conv", "linear")]

    def each(counts: Sequence[Sequence[int]]) -> float:
        return sum(map(sum, counts)) / events.samples

    graded = [synapses for synapses in with_weights if synapses.carries == "graded"]
    return Operations(
        binary=each([synapses.operations for synapses in with_weights if synapses.carries == "binary"]),
        graded=each([synapses.operations for synapses in graded]),
        graded_by_value=each([synapses.by_value for synapses in graded]),
        input=each([synapses.operations for synapses in with_weights if synapses.carries == "input"]),
        gates_and_pools=each([synapses.operations for synapses in relays]),
        bias=each([layer.unit.bias for layer in events.layers if layer.unit]),
        nonzero_weights=each([synapses.nonzero_weights for synapses in with_weights]),
        ann_dense=sum(synapses.dense for synapses in with_weights),
        ann_dense_with_padding=sum(synapses.dense_with_padding for synapses in with_weights),
    )


def footprint(events: Events, weights: Sequence[LayerWeights], traced: Traced | None) -> Footprint:
    """Memory and sparsities, as NeuroBench defines them."""
    count = sum(layer.count for layer in weights)
    neurons = [layer for layer in events.layers if layer.kind == "neuron"]
    places = sum(math.prod(layer.shape) for layer in neurons) * events.samples * events.timesteps
    fired = sum(sum(layer.unit.spikes) for layer in neurons if layer.unit)
    return Footprint(
        program_weight_bytes=count,
        model_bytes=None if traced is None else model_bytes(traced),
        connection_sparsity=sum(layer.zeros for layer in weights) / count if count else 0.0,
        activation_sparsity=1 - fired / places if places else 0.0,
    )
