"""Exporters: what a compiled model is written as. Found through the entry-point group `snn2hw.exporters`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from snn2hw.deployment import Deployment
from snn2hw.errors import OptionError

GROUP = "snn2hw.exporters"
Exporter = Callable[[Deployment, Path], None]


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
