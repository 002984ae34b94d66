"""How nets are trained: the hyper-parameters of the papers, and those of this project's examples.

Those of SEW ResNet (Fang et al., NeurIPS 2021, arXiv 2102.04159) are what the authors' logs of their runs say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from snn2hw.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters of a training, whose loss is the cross-entropy of the mean logits unless a method says more.

    - timesteps: T of the samples and of what is measured.
    - trained_timesteps: how many of those training sees, drawn anew for each batch (random temporal delete); None: all.
    - schedule: of the learning rate: "cosine" falls to 0 over the epochs; "step" is multiplied by `gamma` each
      `step_size` epochs; "one-cycle" warms up over the first tenth of all batches and falls by a cosine.
    - freeze_norm: BatchNorm keeps its statistics in the second half of the epochs.
    - shift: each sample is moved by up to so many pixels each way.
    - amp: forward in half precision, where the device is faster so. zero_init: blocks start as models/blocks.py says.

    Raises OptionError for values out of range.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    timesteps: int
    trained_timesteps: int | None = None
    optimizer: Literal["SGD", "AdamW"] = "SGD"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["cosine", "step", "one-cycle"] = "cosine"
    step_size: int = 1
    gamma: float = 0.1
    freeze_norm: bool = False
    shift: int = 0
    amp: bool = False
    zero_init: bool = False

    def __post_init__(self) -> None:
        for name in ("timesteps", "epochs", "batch_size", "step_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise OptionError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if self.trained_timesteps is not None and not 1 <= self.trained_timesteps <= self.timesteps:
            raise OptionError(
                f"trained_timesteps is {self.trained_timesteps}; of {self.timesteps} time steps it must be 1 to "
                f"{self.timesteps}"
            )

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """What changes the weights of a model."""
        if self.optimizer == "SGD":
            return torch.optim.SGD(
                model.parameters(), self.learning_rate, self.momentum, weight_decay=self.weight_decay
            )
        return torch.optim.AdamW(model.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def make_schedule(self, optimizer: Optimizer, batches: int) -> LRScheduler:
        """What changes the learning rate: after each batch of an epoch if `per_batch`, else after the epoch."""
        if self.schedule == "one-cycle":
            return OneCycleLR(optimizer, self.learning_rate, total_steps=self.epochs * batches, pct_start=0.1)
        if self.schedule == "step":
            return StepLR(optimizer, self.step_size, self.gamma)
        return CosineAnnealingLR(optimizer, self.epochs)

    @property
    def per_batch(self) -> bool:
        """Whether the learning rate changes with every batch."""
        return self.schedule == "one-cycle"


DIGITS = Recipe(
    epochs=40,
    batch_size=64,
    learning_rate=4e-3,
    timesteps=4,
    optimizer="AdamW",
    weight_decay=0.01,
    schedule="one-cycle",
    freeze_norm=True,
    shift=1,
)

RECIPES: dict[str, Recipe] = {
    # origin_logs/imagenet/sew_resnet: 8 processes of 32 samples each
    "imagenet": Recipe(epochs=320, batch_size=256, learning_rate=0.1, timesteps=4, amp=True),
    # origin_logs/dvsgesture
    "dvs128-gesture": Recipe(
        epochs=192,
        batch_size=16,
        learning_rate=1e-3,
        timesteps=16,
        trained_timesteps=12,
        schedule="step",
        step_size=64,
        amp=True,
        zero_init=True,
    ),
    # origin_logs/cifar10dvs
    "cifar10-dvs": Recipe(epochs=64, batch_size=16, learning_rate=0.01, timesteps=16, amp=True),
    # this project's
    "digits": DIGITS,
    "moving-digits": replace(DIGITS, timesteps=8, shift=0),
}
