"""What a client has to say of itself."""

from __future__ import annotations

from typing import Any, Protocol

import nir
from torch import Tensor, nn

from snn2hw.network.layout import lay_out


class Client(Protocol):
    """One framework: how it reads a graph and how it is stepped.

    package: what is imported and installed. build: the client's importer, and the patches without which it computes
    another network. run: all steps [T, N, ...] from the initial state, calling the modules of build once a step or once
    for all.
    """

    package: str

    def build(self, graph: nir.NIRGraph) -> nn.Module: ...

    def run(self, module: nn.Module, x: Tensor) -> Tensor: ...


def with_state(module: nn.Module, x: Tensor) -> list[Tensor]:
    """What a module that takes and returns its state gives for each step [N, ...] of x [T, N, ...], from its start."""
    state: Any = None
    out = []
    for frame in x:
        result, state = module(frame, state)
        out.append(result)
    return out


def execute_in_order(module: Any, graph: nir.NIRGraph) -> None:
    """Let a nirtorch GraphExecutor run every node behind its sources.

    Its order is depth first: where two branches meet, it runs the meeting point before the second branch, and adds
    what that branch emitted in the step before, or nothing.
    """
    place = {name.replace(".", "_"): at for at, name in enumerate(lay_out(graph).order)}
    module.execution_order.sort(key=lambda node: place[node.name])


def batch_first(values: Tensor, steps: int) -> Tensor:
    """What all steps gave at once, [N * T, ...] sample after sample, as [T, N, ...]."""
    return values.reshape(-1, steps, *values.shape[1:]).transpose(0, 1)
