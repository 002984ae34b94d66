"""snnTorch: no patch; its neurons keep their state, which is taken back before a run."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import nir
import torch
from snntorch import Leaky, Synaptic
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn

from snn2hw.interop.client import with_state

package = "snntorch"


def build(graph: nir.NIRGraph) -> nn.Module:
    """snnTorch's importer, which is talkative."""
    with contextlib.redirect_stdout(io.StringIO()):
        module: Any = import_from_nir(graph)
    return module.eval()  # type: ignore[no-any-return]


def run(module: nn.Module, x: Tensor) -> Tensor:
    """All steps of x [T, N, ...] one by one, from neurons at rest, and what they give, [T, N, ...]."""
    for neuron in module.modules():
        if isinstance(neuron, Leaky | Synaptic):
            neuron.reset_mem()
    return torch.stack(with_state(module, x))
