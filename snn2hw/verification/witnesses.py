"""Who stands beside the program in a comparison: the model with its own numbers, and with the program's integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import nir
import torch
from torch import Tensor

from snn2hw.frontends.nir_model import ExecutedNir
from snn2hw.frontends.source import LoadedModel
from snn2hw.requantise import requantise


class Witness(Protocol):
    """Something that runs real inputs step by step in the arithmetic `dtype`."""

    @property
    def dtype(self) -> torch.dtype: ...

    def run(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Run x [T, N, *shape]; yield per step what each layer emits, [N, *shape], and "logits" [N, K]."""
        ...


def float_witness(loaded: LoadedModel) -> Witness:
    """The model with its own numbers: the traced PyTorch model, or a .nir file's graph executed."""
    if loaded.traced is not None:
        return loaded.traced
    return ExecutedNir(graph=loaded.network, dtype=torch.float32)


def integer_witness(loaded: LoadedModel, integers: nir.NIRGraph) -> Witness:
    """The model with the integers of quantised.nir: put into the PyTorch model, or that graph itself executed.

    Raises BundleError if the integers do not belong to the model.
    """
    if loaded.traced is not None:
        return requantise(loaded.traced, integers)
    return ExecutedNir(graph=integers, dtype=torch.float64)
