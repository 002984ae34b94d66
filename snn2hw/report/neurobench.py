"""The report's counts under the names of NeuroBench 2.3 (Yik et al., Nature Communications 16, 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snn2hw.report.energy import weighted
from snn2hw.report.events import Events, SynapseEvents
from snn2hw.report.network import Footprint
from snn2hw.report.shares import Accuracy


@dataclass(frozen=True, kw_only=True)
class NeuroBench:
    """NeuroBench's metrics, a sample where it gives them a sample. Synaptic operations are those on weights that are
    not zero: accumulates in steps in which only ones arrive, else multiplications.
    """

    Footprint: int | None
    ConnectionSparsity: float
    ClassificationAccuracy: float | None
    ActivationSparsity: float
    Effective_MACs: float
    Effective_ACs: float
    Dense: int


def neurobench(events: Events, footprint: Footprint, waterfall: Sequence[Accuracy]) -> NeuroBench:
    """The metrics of a run; the accuracy is the program's, the footprint the float model's."""
    layers = [synapses for _, synapses in weighted(events)]
    steps = [step for synapses in layers for step in _by_step(synapses)]
    return NeuroBench(
        Footprint=footprint.model_bytes,
        ConnectionSparsity=footprint.connection_sparsity,
        ClassificationAccuracy=waterfall[-1].accuracy if waterfall else None,
        ActivationSparsity=footprint.activation_sparsity,
        Effective_MACs=sum(count for count, binary in steps if not binary) / events.samples,
        Effective_ACs=sum(count for count, binary in steps if binary) / events.samples,
        Dense=events.timesteps * sum(synapses.dense for synapses in layers),
    )


def _by_step(synapses: SynapseEvents) -> list[tuple[int, bool]]:
    """Operations of each step, and whether nothing but ones arrived in it."""
    counts = zip(synapses.nonzero_weights, synapses.spikes, synapses.values, strict=True)
    return [(count, synapses.carries != "input" and spikes == values) for count, spikes, values in counts]
