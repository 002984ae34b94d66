"""How a bundle is run in Lava by hand: its part of the bundle's README.md."""

from __future__ import annotations

from pathlib import Path

from snn2hw import ir
from snn2hw.exporters.lava.runtime.lava_version import LAVA_VERSION
from snn2hw.files import VERSION


def readme(program: ir.Program, runtime: Path) -> str:
    """The text for people who have the bundle alone. runtime: the folder of run.py, relative to the bundle."""
    node, steps = program.graph.input, program.schedule.timesteps
    shape = ", ".join(map(str, node.shape))
    lava = LAVA_VERSION
    return f"""# A spiking network for Lava

Made by snn2hw {VERSION}. It runs in Python 3.10 or later with lava-nc {lava} and numpy; snn2hw is not needed:

    python -m pip install --ignore-requires-python --no-deps lava-nc=={lava}
    python -m pip install asteval networkx numpy scipy
    python {runtime}/run.py --input x.npz --output spikes.npz

lava-nc asks for Python 3.10 and numpy below 2, and runs without them: the first line installs it without regard to
that, and {runtime}/lava_import.py puts right what newer ones do not take.

- x.npz holds `x`: real values [N, {shape}], shown at each of {steps} steps, or
  [N, {steps}, {shape}], one frame a step. Each becomes the payload clip(rint(x / {node.scale:.9g}),
  {node.low}, {node.high}); values outside that range are refused, or clipped with `--saturate`.
- spikes.npz gets `logits` [N, {program.graph.readout.shape[0]}] as integers and the spikes of every layer [N, T, ...],
  aligned to the input steps; of a model with several heads also each head's own logits as `logits.<head>`.
- `--processes structural` runs the same network, slowly, with one process for each node, Lava's own where they are
  exact; `--stock-only` with Lava's own alone; `--help` lists the rest.
- `--models FILE.py` puts process models of your own, such as ones for hardware, in the place of those in
  {runtime}/processes/fused.py. The file lists them as MODELS; each implements a Process of
  {runtime}/processes/regions.py. docs/lava.md of snn2hw says what a model must do, and has an example.
- If a run fails, exit code 2 and stderr say so, and nothing is left of it.
"""
