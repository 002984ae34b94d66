"""snn2hw check: everything that stops a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from snn2hw.cli import console
from snn2hw.cli.commands.arguments import load
from snn2hw.deployment import Convention
from snn2hw.errors import Blocker, QuantisationError, UnsupportedError
from snn2hw.exporters import find_exporter
from snn2hw.exporters.nir import integer_graph
from snn2hw.files import check_file, write_text
from snn2hw.frontends.options import ModelOptions
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated


def check(model: str, target: str, json_file: Path | None, options: ModelOptions) -> list[Blocker]:
    """Find, print and write everything that stops a model from being deployed."""
    find_exporter(target)
    check_file(json_file)
    blockers: list[Blocker] = []
    conventions: Mapping[str, Convention] = {}
    try:
        loaded = load(model, options, default_timesteps=1)
        conventions = loaded.conventions
        program = compile_calibrated(loaded.network, UNCALIBRATED, Options(timesteps=loaded.timesteps))
        integer_graph(program.graph)
    except (UnsupportedError, QuantisationError) as error:
        blockers = error.blockers
    if blockers:
        console.show_blockers(blockers)
    else:
        console.say(f"{model}: nothing stops a deployment to {target}.")
        console.show_conventions(conventions)
    if json_file is not None:
        found = {
            "schema": "snn2hw.check/1",
            "model": model,
            "target": target,
            "deployable": not blockers,
            "blockers": [vars(blocker) for blocker in blockers],
            "conventions": {name: vars(kind) for name, kind in conventions.items()},
        }
        write_text(json_file, json.dumps(found, indent=1) + "\n")
    return blockers
