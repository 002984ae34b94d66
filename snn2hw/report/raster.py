"""The spikes of one sample, layer by layer: sparse, and of at most so many neurons a layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn2hw import ir
from snn2hw.report.values import Values

MOST_NEURONS, FEWEST_NEURONS = 128, 16  # of a layer, in shallow networks and in the deepest
MOST_TOGETHER = 8192


@dataclass(frozen=True, kw_only=True)
class LayerRaster:
    """neurons: flat indices of the units shown, evenly spread; events: [step, place in `neurons`, value]."""

    name: str
    size: int
    neurons: tuple[int, ...]
    events: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Raster:
    """The raster of one sample of the data, with its label and the program's answer."""

    sample: int
    label: int | None
    answer: int
    layers: tuple[LayerRaster, ...]


def raster(program: ir.Program, values: Values, place: int, *, sample: int, label: int | None) -> Raster:
    """The raster of the sample at `place` in a batch."""
    layers = []
    most = max(FEWEST_NEURONS, min(MOST_NEURONS, MOST_TOGETHER // len(program.graph.recorded)))
    for node in program.graph.recorded:
        spikes = values.spikes[node.name][place].reshape(program.schedule.timesteps, -1)
        size = spikes.shape[1]
        shown = np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.int64))
        shown_spikes = spikes[:, shown]
        events = tuple((int(step), int(at), int(shown_spikes[step, at])) for step, at in np.argwhere(shown_spikes))
        layers.append(LayerRaster(name=node.name, size=size, neurons=tuple(map(int, shown)), events=events))
    logits = values.spikes["logits"][place, program.graph.readout.first]
    return Raster(sample=sample, label=label, answer=int(logits.argmax()), layers=tuple(layers))
