"""Exporters: what a compiled model is written as. Found through the entry-point group `snn2hw.exporters`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from snn2hw.deployment import Deployment
from snn2hw.errors import OptionError

GROUP = "snn2hw.exporters"


class Exporter(Protocol):
    """Writes a deployment to a path. Keywords are its own options; what it returns is told to people."""

    def __call__(self, deployment: Deployment, output: Path, /, **options: Any) -> Sequence[str] | None: ...


def known_targets() -> tuple[str, ...]:
    """Names of the installed exporters."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def find_exporter(target: str) -> Exporter:
    """The exporter of a target, loaded now. Raises OptionError if none can be, or if two packages claim the name."""
    entries = list(entry_points(group=GROUP, name=target))
    distinct = {entry.value for entry in entries}
    if not entries:
        known = ", ".join(known_targets()) or "none: install the package with pip install -e ."
        raise OptionError(f"there is no exporter for {target!r}. Installed are {known}.")
    if len(distinct) > 1:
        raise OptionError(
            f"two exporters are named {target!r}: {' and '.join(sorted(distinct))}. Uninstall one of the packages."
        )
    try:
        exporter: Exporter = entries[0].load()
    except Exception as error:  # another package's code
        raise OptionError(
            f"the exporter {target!r} ({entries[0].value}) cannot be loaded ({type(error).__name__}: {error}). "
            "Install its package again."
        ) from error
    return exporter


def check_options(target: str, exporter: Exporter, options: dict[str, Any]) -> None:
    """Raise OptionError for an option that this target's exporter does not take."""
    taken = [p.name for p in inspect.signature(exporter).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in taken:
            raise OptionError(f"--{name.replace('_', '-')} is not for --target {target}. Leave it out.")
