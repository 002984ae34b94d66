"""Lava as an engine: a bundle's program in real Lava, in Lava's environment."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.exporters.lava import Processes
from snn2hw.exporters.lava.host import run_lava
from snn2hw.scratch import scratch_folder


class RunOptions(TypedDict, total=False):
    """Of the options of `run_lava`, those of a simulation."""

    processes: Processes
    lava_processes: int | None
    models: Path | None
    deadline: float | None


def simulate(
    bundle: Path, samples: Samples, *, progress: Progress | None = None, **options: Unpack[RunOptions]
) -> ir.Spikes:
    """What engines/cycle.py returns, computed by the Lava processes in the directory `bundle`.

    Spikes are [N, T, *shape] by layer, logits [N, K]. Raises LavaError.
    """
    with scratch_folder() as folder:
        given, made = folder / "x.npz", folder / "spikes.npz"
        np.savez(given, x=samples.x)
        run_lava(bundle, given, made, on_progress=progress, **options)
        with np.load(made, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
