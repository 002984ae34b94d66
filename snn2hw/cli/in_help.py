"""Where --help lists each command, and the example that its own --help ends with."""

from __future__ import annotations

from typing import Any

from snn2hw.cli import asked

DEPLOY, RUN, LOOK, BEGIN = "Deploy", "Run and compare", "Look into", "Begin and train"

GROUP_AND_EXAMPLE: dict[type[Any], tuple[str, str]] = {
    asked.Check: (DEPLOY, "snn2hw check nets.py:build --input-shape 3,32,32"),
    asked.Export: (DEPLOY, "snn2hw export net.pt --target lava --calibrate samples.npz -o net.lava"),
    asked.Simulate: (RUN, "snn2hw simulate net.lava --data samples.npz -o spikes.npz"),
    asked.Verify: (RUN, "snn2hw verify net.lava --data samples.npz --json verify.json"),
    asked.Compare: (RUN, "snn2hw compare net.pt@torch net.lava@fast --data samples.npz"),
    asked.Inspect: (LOOK, "snn2hw inspect net.lava --cores"),
    asked.Report: (LOOK, "snn2hw report net.lava --data samples.npz -o report"),
    asked.Sweep: (LOOK, "snn2hw sweep net.pt --bits 3-8 -o sweep.html"),
    asked.Analyse: (LOOK, "snn2hw analyse net.pt -o analysis.html"),
    asked.Doctor: (BEGIN, "snn2hw doctor"),
    asked.Examples: (BEGIN, "snn2hw examples"),
    asked.Train: (BEGIN, "snn2hw train digits --connect ADD -o add.pt"),
}
