"""A PyTorch model, or whatever runs as one, beside the engines: its spikes under the program's names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn2hw import ir
from snn2hw.data.aliases import NamedProgress

BATCH = 64


class Witness(Protocol):
    """Something that runs real inputs step by step in the arithmetic `dtype`."""

    @property
    def dtype(self) -> torch.dtype: ...

    def run(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Run x [T, N, *shape]; yield per step what each layer emits, [N, *shape], and "logits" [N, K]."""
        ...


def run_torch(
    witness: Witness, x: torch.Tensor, program: ir.Program, engine: str, tell: NamedProgress
) -> dict[str, NDArray[Any]]:
    """Spikes [N, T, *shape] of every layer the model computes too, and the summed logits in the program's units."""
    recorded = {node.name for node in program.graph.recorded}
    batches: list[dict[str, NDArray[Any]]] = []
    for start in range(0, x.shape[1], BATCH):
        batch = x[:, start : start + BATCH].to(witness.dtype)
        spikes = spikes_of(witness, batch, recorded)
        spikes["logits"] = spikes["logits"] * program.graph.readout.scales
        batches.append(spikes)
        tell(engine, min(start + BATCH, x.shape[1]), x.shape[1])
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def spikes_of(witness: Witness, x: Tensor, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Run x [T, N, *shape]: spikes [N, T, *shape] of each layer, or of those named, and `logits` [N, K] float64, summed
    over the steps.
    """
    steps = list(witness.run(x))
    layers = [name for name in steps[0] if name != "logits" and (names is None or name in names)]
    spikes: dict[str, NDArray[Any]] = {
        name: np.stack([step[name].numpy() for step in steps], axis=1) for name in layers
    }
    logits = np.stack([step["logits"].numpy() for step in steps]).sum(axis=0, dtype=np.float64)
    return spikes | {"logits": logits}
