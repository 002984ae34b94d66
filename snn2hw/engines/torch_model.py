"""A PyTorch model, or whatever runs as one, beside the engines: its spikes under the program's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn2hw import ir

BATCH = 64
Progress = Callable[[str, int, int], None]


class Witness(Protocol):
    """Something that runs real inputs step by step in the arithmetic `dtype`."""

    @property
    def dtype(self) -> torch.dtype: ...

    def run(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Run x [T, N, *shape]; yield per step what each layer emits, [N, *shape], and "logits" [N, K]."""
        ...


def run_torch(
    witness: Witness, x: torch.Tensor, program: ir.Program, engine: str, tell: Progress
) -> dict[str, NDArray[Any]]:
    """Spikes [N, T, *shape] of every layer the model computes too, and the summed logits in the program's units."""
    recorded = {node.name for node in program.graph.recorded}
    batches: list[dict[str, NDArray[Any]]] = []
    for start in range(0, x.shape[1], BATCH):
        batch = x[:, start : start + BATCH].to(witness.dtype)
        steps = list(witness.run(batch))
        spikes: dict[str, NDArray[Any]] = {
            name: np.stack([step[name].numpy() for step in steps], axis=1) for name in steps[0] if name in recorded
        }
        logits = np.stack([step["logits"].numpy() for step in steps]).astype(np.float64).sum(axis=0)
        spikes["logits"] = logits * program.graph.readout.scales
        batches.append(spikes)
        tell(engine, min(start + BATCH, x.shape[1]), x.shape[1])
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
