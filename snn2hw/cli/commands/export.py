"""snn2hw export: a model becomes what a target takes."""

from __future__ import annotations

import os

from snn2hw.cli import console
from snn2hw.cli.asked import Export
from snn2hw.cli.commands.arguments import compile_model, load, stem
from snn2hw.cli.weight_bits import parse_weight_bits
from snn2hw.exporters import find_backend
from snn2hw.exporters.bundle import Choice
from snn2hw.exporters.export import check_place, default_place
from snn2hw.exporters.export import export as write
from snn2hw.pipeline import Options
from snn2hw.verification.integers import moved_weights


def export(asked: Export) -> None:
    """Compile a model and hand it to the targets' back ends."""
    backends = [find_backend(target) for target in asked.target]
    asked.target_options.refuse_unused(asked.target)
    choices = [Choice(backend=backend, options=asked.target_options.of(backend)) for backend in backends]
    place = asked.output or default_place(stem(asked.model), choices)
    check_place(place, choices, force=asked.force)
    instead = " in place of what was there" if os.path.lexists(place) else ""
    bits = parse_weight_bits(asked.weight_bits)
    loaded = load(asked.model, asked.options)
    options = Options(
        timesteps=loaded.timesteps,
        weight_bits=bits.weight_bits,
        layer_bits=bits.layer_bits,
        input_bits=asked.input_bits,
        method=asked.calibration,
        chip=asked.chip,
    )
    deployment = compile_model(loaded, asked.calibrate, options, asked.print_after, skip_corrupt=asked.skip_corrupt)
    lines = write(deployment, place, choices)
    program = deployment.program
    console.say(
        f"Wrote {place}{instead}: {len(program.graph.nodes)} nodes in {len(program.regions)} regions, "
        f"T={program.schedule.timesteps}, "
        f"pipeline {program.schedule.depth} cycles deep, calibrated on {deployment.calibration_samples} samples of "
        f"{deployment.calibrated_on}."
    )
    console.show_heads(program)
    console.show_grids(moved_weights(program, deployment.network))
    console.show_bounds(program)
    console.show_conventions(deployment.conventions)
    for line in lines:
        console.say(line)
