"""snn2hw check: everything that stops a model."""

from __future__ import annotations

from collections.abc import Mapping

from snn2hw.cli import console
from snn2hw.cli.asked import Check
from snn2hw.cli.commands.arguments import load, uncalibrated
from snn2hw.deployment import Convention
from snn2hw.errors import Blocker, QuantisationError, UnsupportedError
from snn2hw.exporters.export import blockers_of, choose


def check(asked: Check) -> int:
    """Find, print and write everything that stops a model from being deployed; return 1 if anything does."""
    target = choose(asked.target)
    console.check_json(asked.json_file)
    blockers: list[Blocker] = []
    conventions: Mapping[str, Convention] = {}
    try:
        loaded = load(asked.model, asked.options, default_timesteps=1)
        conventions = loaded.conventions
        blockers = blockers_of(uncalibrated(loaded, asked.chip), [target])
    except (UnsupportedError, QuantisationError) as error:
        blockers = error.blockers
    if blockers:
        console.show_blockers(blockers)
    else:
        console.say(f"{asked.model}: nothing stops a deployment to {asked.target}.")
        console.show_conventions(conventions)
    if asked.json_file is not None:
        document = {
            "schema": "snn2hw.check/1",
            "model": asked.model,
            "target": asked.target,
            "deployable": not blockers,
            "blockers": [vars(blocker) for blocker in blockers],
            "conventions": {name: vars(kind) for name, kind in conventions.items()},
        }
        console.write_json(asked.json_file, document)
    return 1 if blockers else 0
