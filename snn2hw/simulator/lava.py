"""Lava as an engine: a bundle's program in real Lava, in Lava's own environment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from snn2hw import ir
from snn2hw.data import Samples
from snn2hw.exporters.lava.worker import run_lava

Processes = Literal["fused", "structural"]


def simulate(
    bundle: Path,
    samples: Samples,
    *,
    processes: Processes = "fused",
    deadline: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ir.Spikes:
    """What simulator/cycle.py returns, computed by the Lava processes in the directory `bundle`. Raises LavaError."""
    with tempfile.TemporaryDirectory(prefix="snn2hw-") as folder:
        given, made = Path(folder, "x.npz"), Path(folder, "spikes.npz")
        np.savez(given, x=samples.x)
        run_lava(bundle, given, made, processes=processes, deadline=deadline, on_progress=progress)
        with np.load(made, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
