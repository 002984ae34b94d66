"""snn2hw export: a model becomes what a target takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn2hw.cli import console
from snn2hw.cli.commands.arguments import SUFFIXES, compile_model, load, stem
from snn2hw.exporters import check_options, find_exporter
from snn2hw.exporters.lava import check_output
from snn2hw.files import check_file, check_place
from snn2hw.frontends.options import ModelOptions
from snn2hw.pipeline import Options

OUTPUT_CHECKS = {"lava": check_output, "nir": check_file}
"""What may stand where the targets of this project write: known before the work begins, not after it."""


def export(
    model: str,
    target: str,
    output: Path | None,
    calibrate: str | None,
    options: ModelOptions,
    *,
    weight_bits: int,
    input_bits: int,
    method: str,
    print_after: str | None,
    skip_corrupt: bool,
    own: dict[str, Any],
) -> None:
    """Compile a model and hand it to the target's exporter. `own` are the options that the target's exporter takes."""
    exporter = find_exporter(target)
    check_options(target, exporter, own)
    destination = output or Path(stem(model) + SUFFIXES.get(target, f".{target}"))
    check_place(destination)
    if target in OUTPUT_CHECKS:
        OUTPUT_CHECKS[target](destination)
    loaded = load(model, options)
    bits = Options(timesteps=loaded.timesteps, weight_bits=weight_bits, input_bits=input_bits, method=method)
    deployment = compile_model(loaded, calibrate, bits, print_after, skip_corrupt=skip_corrupt)
    lines = exporter(deployment, destination, **own)
    program = deployment.program
    console.say(
        f"Wrote {destination}: {len(program.graph.nodes)} nodes in {len(program.regions)} regions, "
        f"T={program.schedule.timesteps}, "
        f"pipeline {program.schedule.depth} cycles deep, calibrated on {deployment.calibration_samples} samples of "
        f"{deployment.calibrated_on}."
    )
    console.show_heads(program)
    console.show_bounds(program)
    console.show_conventions(deployment.conventions)
    for line in lines or ():
        console.say(line)
