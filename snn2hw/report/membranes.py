"""How membranes lie to their thresholds, counted for units spread evenly over each layer, on the first samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.ir.fixed_point import MEMBRANE_SHIFT, Int, accumulate_current, join_bias, step_neuron

EDGES = (-1.0, 0.0, 0.5, 0.8, 1.0, 1.5)  # in thresholds; what lies at 1 does not fire, what lies above does
SAMPLES = 8
UNITS = 512  # of a layer


@dataclass(frozen=True, kw_only=True)
class LayerMembranes:
    """How many membranes, of so many units of a layer in every step, lay up to each edge, and above the last."""

    name: str
    units: int
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Membranes:
    """Membranes as a step leaves them, before a spike resets them, over the thresholds; of the first `samples`."""

    edges: tuple[float, ...]
    samples: int
    layers: tuple[LayerMembranes, ...]


class MembraneCounter:
    """Is handed the summed inputs of neurons, as the fast simulator makes them, and steps the units it looks at."""

    def __init__(self, program: ir.Program) -> None:
        self.neurons = {node.name: _Units(node) for node in program.graph if isinstance(node, ir.Neuron)}
        self.steps = program.schedule.timesteps
        self.done = dict.fromkeys(self.neurons, 0)

    def add(self, name: str, first_sample: int, summed: torch.Tensor) -> None:
        """Count a layer's membranes for its summed inputs [N, T or 1, H, W, C]; samples that were counted already, in a
        batch that ran out of memory, are passed over.
        """
        part = summed[max(0, self.done[name] - first_sample) : max(0, SAMPLES - first_sample)]
        if len(part):
            self.done[name] += len(part)
            self.neurons[name].add(part.flatten(2), self.steps)

    def membranes(self) -> Membranes:
        """All that was counted."""
        layers = (
            LayerMembranes(name=name, units=len(units.places), counts=tuple(units.counts.tolist()))
            for name, units in self.neurons.items()
        )
        return Membranes(edges=EDGES, samples=max(self.done.values(), default=0), layers=tuple(layers))


class _Units:
    def __init__(self, node: ir.Neuron) -> None:
        size = int(np.prod(node.shape))
        self.places = np.unique(np.linspace(0, size - 1, min(size, UNITS)).astype(np.int64))  # channels last
        self.node = node
        self.threshold = self._of_units(node.threshold)
        self.decay = self._of_units(node.decay)
        self.current_decay = self._of_units(node.current_decay)
        self.amount = self._of_units(node.reset_amount)
        self.bias = self._of_units(join_bias(node.bias_mantissa, node.bias_exponent))
        self.counts = np.zeros(len(EDGES) + 1, np.int64)

    def _of_units(self, array: Int) -> Int:
        return np.moveaxis(np.broadcast_to(array, self.node.shape), 0, -1).reshape(-1)[self.places]

    def add(self, summed: torch.Tensor, steps: int) -> None:
        x = summed[..., torch.from_numpy(self.places)].cpu().numpy().astype(np.int64)
        u = v = np.zeros((len(x), len(self.places)), np.int64)
        level = np.maximum(self.threshold << MEMBRANE_SHIFT, 1)
        for step in range(steps):
            u = accumulate_current(u, x[:, step % x.shape[1]], current_decay=self.current_decay, bias=self.bias)
            charged, v, _ = step_neuron(
                v, u, threshold=self.threshold, decay=self.decay, reset=self.node.reset, amount=self.amount
            )
            share: NDArray[np.float64] = charged / level
            self.counts += np.bincount(np.searchsorted(EDGES, share.reshape(-1)), minlength=len(self.counts))
