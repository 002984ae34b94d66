"""Calibrate: run the float network on real samples and note the ranges that quantisation has to hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import nir
import torch
from torch import Tensor

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.errors import DataError
from snn2hw.network.layout import only
from snn2hw.network.neuron_rule import Neuron
from snn2hw.network.reference import Reference
from snn2hw.network.relays import relays_of

CALIBRATION_SAMPLES = 512  # more change the ranges little and cost time
BATCH = 64
FINEST_LATTICE = 64


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the float network did on the calibration samples.

    input_range: smallest (at most 0) and largest (at least 0) input. lattice: the smallest power of two that makes
    every input a whole number when multiplied by it, None if there is none up to FINEST_LATTICE. current and membrane:
    per neuron layer the largest absolute current and membrane, both in units of the membrane (current times
    gain); current also of each relay, in its own unit.
    """

    input_range: tuple[float, float]
    lattice: int | None
    current: dict[str, float]
    membrane: dict[str, float]
    samples: int


UNCALIBRATED = Calibration(input_range=(-1.0, 1.0), lattice=None, current={}, membrane={}, samples=0)
"""Stands in where only the structure of a network is of interest (inspect, check)."""


def calibrate(
    network: nir.NIRGraph, samples: Samples, *, timesteps: int, progress: Progress | None = None
) -> Calibration:
    """Run `network` on the samples and note ranges.

    Raises DataError if the samples are all zero: they would calibrate nothing.
    """
    samples.check_shape(tuple(int(n) for n in network.nodes[only(network, nir.Input)].input_type["input"]))
    reference = Reference(network)
    neurons = [name for name, node in network.nodes.items() if isinstance(node, Neuron)]
    relays = relays_of(network, reference.layout)
    current = dict.fromkeys((*neurons, *relays), 0.0)
    membrane = dict.fromkeys(neurons, 0.0)
    low, high, lattice = 0.0, 0.0, 1

    def note(name: str, u: Tensor, v: Tensor) -> None:
        current[name] = max(current[name], float(u.abs().max()))
        membrane[name] = max(membrane[name], float(v.abs().max()))

    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        x = torch.from_numpy(batch.steps(timesteps))
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        lattice = _lattice(x, lattice)
        for values in reference.run(x, on_state=note, wanted=relays):
            for name in relays:
                current[name] = max(current[name], float(values[name].abs().max()))
        if progress:
            progress(min(start + BATCH, len(samples)), len(samples))
    if low == high:
        raise DataError("every calibration input is 0: nothing can be calibrated. Give real samples with --calibrate.")
    return Calibration(
        input_range=(low, high),
        lattice=lattice if lattice <= FINEST_LATTICE else None,
        current=current,
        membrane=membrane,
        samples=len(samples),
    )


def _lattice(x: Tensor, lattice: int) -> int:
    """The smallest power of two, from `lattice` up, that makes all of x whole; above FINEST_LATTICE if none does."""
    while lattice <= FINEST_LATTICE and not bool((x * lattice == (x * lattice).round()).all()):
        lattice *= 2
    return lattice


def in_model_units(calibration: Calibration, graph: ir.Graph) -> Calibration:
    """Ranges that were seen in integers, in the units of the model that the integers came from."""
    scale = {node.name: node.largest_scale for node in graph if isinstance(node, ir.Neuron)}
    scale |= {node.name: node.scale * (1 << node.shift) for node in graph if isinstance(node, ir.Relay)}
    return replace(
        calibration,
        current={name: value / scale.get(name, 1.0) for name, value in calibration.current.items()},
        membrane={name: value / scale[name] for name, value in calibration.membrane.items()},
    )
