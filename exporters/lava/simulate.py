"""Lava as an engine: a bundle's program in real Lava, in Lava's own environment."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.exporters.lava import Processes
from snn2hw.exporters.lava.host import run_lava


def simulate(
    bundle: Path,
    samples: Samples,
    *,
    processes: Processes = "fused",
    lava_processes: int | None = None,
    models: Path | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
) -> ir.Spikes:
    """What engines/cycle.py returns, computed by the Lava processes in the directory `bundle`.

    Spikes are [N, T, *shape] by layer, logits [N, K].

    lava_processes: the most that may run; unless given, as many as keep the cores busy. models: a file of process
    models of the user's own (docs/lava.md). Raises LavaError.
    """
    with tempfile.TemporaryDirectory(prefix="snn2hw-") as folder:
        given, made = Path(folder, "x.npz"), Path(folder, "spikes.npz")
        np.savez(given, x=samples.x)
        run_lava(
            bundle,
            given,
            made,
            processes=processes,
            lava_processes=lava_processes,
            models=models,
            deadline=deadline,
            on_progress=progress,
        )
        with np.load(made, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
