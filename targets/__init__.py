"""Chips: one TOML file each, limits with their sources, no code."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from snn2hw.errors import OptionError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Target:
    """A chip's limits: neurons and bytes of synaptic memory a core, cores a chip, and where the figures come from."""

    name: str
    title: str
    neurons_per_core: int
    weight_bytes_per_core: int
    cores_per_chip: int
    source: str


def known_chips() -> tuple[str, ...]:
    """Names of the chips that have a file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_target(name: str) -> Target:
    """Read a chip's file. Raises OptionError for an unknown chip."""
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        raise OptionError(f"there is no target {name!r}. Known are {', '.join(known_chips())}.")
    return Target(name=name, **tomllib.loads(path.read_text()))
