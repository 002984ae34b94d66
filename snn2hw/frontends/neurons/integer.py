"""The integer rule as a torch module, for models whose neurons cannot compute it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.errors import FixedPointOverflow
from snn2hw.ir.fixed_point import MEMBRANE_SHIFT, round_to_int
from snn2hw.network.integer_neuron import IntegerRule, IntegerStep
from snn2hw.network.neuron_rule import Float

OFF_LATTICE = 1e-3  # membrane units; float64 stays within 1e-7, so anything near this is another layer's mistake


class IntegerNeuron(nn.Module):
    """Takes the real currents of the model's layers and answers with the spikes of an integer neuron.

    The currents of layers with whole weights, and biases in 1/64, are whole numbers of membrane units once multiplied
    by 64 * `lattice` (input units per real unit; broadcasts to the neurons' shape). Rounding recovers them exactly, and
    forward refuses currents that lie between. Input [N, *shape] or, for multi-step models, [T, N, *shape]; the same
    out.
    """

    def __init__(
        self,
        name: str,
        rule: IntegerRule,
        *,
        lattice: Float,
        multi_step: bool,
        returns_state: bool,
    ) -> None:
        super().__init__()
        self.name, self.neurons = name, IntegerStep(rule)
        self.lattice, self.multi_step, self.returns_state = lattice, multi_step, returns_state

    def reset_state(self) -> None:
        """Back to a current and membrane of 0."""
        self.neurons.reset()

    def forward(self, current: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The spikes of one step, or of all steps. Raises FixedPointOverflow for a current off the lattice."""
        if self.multi_step:
            return torch.stack([self._step(frame) for frame in current])
        spikes = self._step(current)
        return (spikes, torch.from_numpy(self.neurons.v.astype(np.float64))) if self.returns_state else spikes

    def _step(self, current: Tensor) -> Tensor:
        scaled = current.detach().double().numpy() * self.lattice * (1 << MEMBRANE_SHIFT)
        drawn = round_to_int(scaled)
        off = np.abs(scaled - drawn)
        if float(off.max()) > OFF_LATTICE:
            raise FixedPointOverflow(
                f"{self.name}: a current of {scaled.ravel()[off.argmax()]:.6f} membrane units is not a whole number, "
                "so the model does not hold the integer weights. Please report this with the model."
            )
        return torch.from_numpy(self.neurons.step(drawn).astype(np.float64))
