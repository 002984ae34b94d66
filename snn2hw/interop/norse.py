"""norse: its nodes are put into an order in which no branch is left behind; the time step has to be given."""

from __future__ import annotations

import warnings
from typing import Any

import nir
import torch
from norse.torch import from_nir
from torch import Tensor, nn

from snn2hw.interop.client import execute_in_order, with_state
from snn2hw.network.neuron_rule import DT

package = "norse"


def build(graph: nir.NIRGraph) -> nn.Module:
    """norse's importer, with the time step of NIR files (norse's is 1 ms), and the order of execution."""
    with warnings.catch_warnings(action="ignore"):  # nirtorch.load is on its way out, which norse has to follow
        module: Any = from_nir(graph, dt=DT, ignore_warnings=True)
    execute_in_order(module, graph)
    return module.eval()  # type: ignore[no-any-return]


def run(module: nn.Module, x: Tensor) -> Tensor:
    """All steps of x [T, N, ...] one by one, and what they give, [T, N, ...]; a state of None is the initial one."""
    return torch.stack(with_state(module, x))
