"""What is done to a batch before training sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snn2hw.errors import OptionError


def delete_steps(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random temporal delete: `count` of the steps of x [N,T,...], drawn once for all samples, in their order.

    SEW ResNet (Fang et al. 2021), section 4.2. Where all steps stay, nothing is drawn.
    """
    steps = x.shape[1]
    if count == steps:
        return x
    if count > steps:
        raise OptionError(f"{count} time steps are to be trained with, but the samples have {steps}")
    chosen = torch.randperm(steps, generator=generator)[:count].sort().values
    return x[:, chosen]


def shift(x: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each sample of x [N,...,H,W] by up to `pixels` along both axes; zeros move in from outside."""
    height, width = x.shape[-2:]
    padded = F.pad(x.flatten(1, -3), (pixels,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = torch.randint(2 * pixels + 1, (2, len(x)), generator=generator)
    return windows[torch.arange(len(x)), :, top, left].reshape(x.shape)
