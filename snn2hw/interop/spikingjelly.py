"""SpikingJelly: no patch."""

from __future__ import annotations

from typing import Any

import nir
import torch
from spikingjelly.activation_based.nir_exchange import import_from_nir
from torch import Tensor, nn

from snn2hw.interop.client import with_state
from snn2hw.network.neuron_rule import DT

package = "spikingjelly"


def build(graph: nir.NIRGraph) -> nn.Module:
    """SpikingJelly's importer, with the time step of NIR files."""
    module: Any = import_from_nir(graph, dt=DT)
    return module.eval()  # type: ignore[no-any-return]


def run(module: nn.Module, x: Tensor) -> Tensor:
    """All steps of x [T, N, ...] one by one, and what they give, [T, N, ...]; a state of None is the initial one."""
    return torch.stack(with_state(module, x))
