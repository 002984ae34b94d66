"""Who stands beside the program in a comparison: the model as it was trained, and with the program's integers."""

from __future__ import annotations

import nir
import torch

from snn2hw.engines.torch_model import Witness
from snn2hw.frontends.nir_model import ExecutedNir
from snn2hw.frontends.source import LoadedModel
from snn2hw.frontends.torch.requantise import requantise


def float_witness(loaded: LoadedModel) -> Witness:
    """The model as it was trained: the traced PyTorch model, or a .nir file's graph executed."""
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
