"""Writing a deployment for one target or several: one file, or one bundle that holds them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn2hw import files
from snn2hw.deployment import Deployment
from snn2hw.errors import Blocker, OptionError, QuantisationError, UnsupportedError
from snn2hw.exporters import find_backend
from snn2hw.exporters.bundle import Choice, check_output, write_bundle
from snn2hw.network.write_integers import integer_graph

SUFFIX_OF_SEVERAL = ".bundle"


def choose(name: str, **options: Any) -> Choice:
    """The back end of this name with these options and the defaults of the others. Raises OptionError."""
    backend = find_backend(name)
    return Choice(backend=backend, options=backend.options(**options))


def makes_bundle(choices: Sequence[Choice]) -> bool:
    """Whether these targets are written as a bundle: several are, and one that says so."""
    return len(choices) > 1 or choices[0].backend.bundled


def default_place(stem: str, choices: Sequence[Choice]) -> Path:
    """Where a model of this name is written unless the user says so."""
    bundled = [choice.backend.suffix for choice in choices if choice.backend.bundled]
    alone = choices[0].backend.suffix if len(choices) == 1 else SUFFIX_OF_SEVERAL
    return Path(stem + (bundled[0] if bundled else alone))


def check_place(place: Path, choices: Sequence[Choice], *, force: bool = False) -> None:
    """Raise OptionError if these targets cannot be written to `place`, or one is named twice: before the work.

    A bundle takes the place of an older one, known by what it holds. force: a file takes the place of any other.
    """
    names = [choice.backend.name for choice in choices]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"--target {twice}: it is named twice. Leave one out.")
    files.check_place(place)
    if len(choices) == 1:
        choices[0].backend.check_place(place)
    else:
        check_output(place)
    if not makes_bundle(choices) and not force and os.path.lexists(place):
        raise OptionError(f"{place} exists. Replace it with --force, or name another place.")


def blockers_of(deployment: Deployment, choices: Sequence[Choice]) -> list[Blocker]:
    """Everything that keeps these targets from being written, once each."""
    blockers = [blocker for choice in choices for blocker in choice.backend.blockers(deployment, choice.options)]
    if makes_bundle(choices):
        try:
            integer_graph(deployment.program.graph)  # every bundle holds it
        except (UnsupportedError, QuantisationError) as error:
            blockers += error.blockers
    return list({str(blocker): blocker for blocker in blockers}.values())


def export(deployment: Deployment, place: Path, choices: Sequence[Choice]) -> list[str]:
    """Write these targets to `place`, complete or not at all. Returns what people should know, line by line.

    Raises UnsupportedError with everything that keeps them from being written, OptionError as `check_place` does.
    """
    blockers = [blocker for choice in choices for blocker in choice.backend.blockers(deployment, choice.options)]
    if blockers:
        raise UnsupportedError(blockers)
    if makes_bundle(choices):
        return write_bundle(deployment, place, choices)
    (choice,) = choices
    return list(choice.backend.write(deployment, place, choice.options))
