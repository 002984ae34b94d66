"""Layers that quantise their weights in every forward, as Brevitas's do: the weights as they are in the author's run.

A module is run in float64 where it is compared with the network. There a weight that lies halfway between two integers
in float32 may round to the other one. So a copy computes with what its layers make of their weights in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def keep_quantised_weights(module: nn.Module) -> None:
    """Let each layer of `module`, a copy, that has Brevitas's `quant_weight` give what that gives now."""
    for layer in module.modules():
        part: Any = layer
        if callable(getattr(part, "quant_weight", None)) and getattr(part, "weight_quant", None) is not None:
            with torch.no_grad():
                part.quant_weight = _always(part.quant_weight())


def _always(weight: object) -> Callable[..., object]:
    def quant_weight(*_: object, **__: object) -> object:
        return weight

    return quant_weight
