"""What training minimises: the loss of a batch and the logits that accuracy is counted from."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from snn2hw.models.neurons import run_timesteps
from snn2hw.training.trt import TemporalReversedTraining, split

Loss = Callable[[nn.Module, Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Of a model, samples x [N,C,H,W] or [N,T,C,H,W], classes y [N] and T: the loss and the logits [N,K]."""


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy, one number, of the logits [N,K] averaged over the steps; x, y and T as of a Loss."""
    logits = run_timesteps(model, x, timesteps)
    return F.cross_entropy(logits, y), logits


def temporal_reversed(method: TemporalReversedTraining) -> Loss:
    """The loss of temporal reversed training, for models that `split` knows."""

    def loss(model: nn.Module, x: Tensor, y: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        terms = method(split(model), x, y, timesteps)
        return terms.loss, terms.logits

    return loss


class Objective(nn.Module):
    """A model with its loss as one module: (x, y, T) -> loss, logits; what DistributedDataParallel wraps.

    It runs all time steps, so that a backward pass has one forward pass.
    """

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x: Tensor, y: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        """The loss, one number, and the logits [N,K] of samples x [N,C,H,W] or [N,T,C,H,W] of classes y [N]."""
        return self.loss(self.model, x, y, timesteps)
