"""Chips: one TOML file each, limits with their sources, no code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from snn2hw.errors import OptionError, did_you_mean

FOLDER = Path(__file__).parent
DEFAULT_CHIP = "loihi2"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A chip: what a core, a chip and the systems built from it hold.

    weight_bytes_per_core: synaptic memory. memory_bytes_per_core: weights and neuron state together. The bits of a
    weight include its sign. largest_payload: of a spike; 1 is a binary one. The mesh counts tiles of `cores_per_tile`
    cores. A limit of None is not known, and not checked. systems: chips of each. sources: of every limit and system.
    not_public: why a limit is not known.
    """

    name: str
    title: str
    systems: Mapping[str, int]
    sources: Mapping[str, str]
    not_public: Mapping[str, str]
    cores_per_chip: int
    neurons_per_core: int
    weight_bytes_per_core: int
    memory_bytes_per_core: int | None = None
    input_axons_per_core: int | None = None
    output_axons_per_core: int | None = None
    smallest_weight_bits: int
    largest_weight_bits: int
    largest_payload: int
    mesh_width: int
    mesh_height: int
    cores_per_tile: int


ABOUT = ("name", "title", "systems", "sources", "not_public")
LIMITS = {field.name: field.default is MISSING for field in fields(Target) if field.name not in ABOUT}
"""Every limit of a chip, and whether its file must have it."""


def all_chips() -> tuple[str, ...]:
    """Names of the chips that programs can be compiled for: all that have a file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def known_chips() -> tuple[str, ...]:
    """Names of the chips whose cores are known, on which programs can be placed."""
    return tuple(name for name in all_chips() if "limits" in read_document(FOLDER / f"{name}.toml"))


def chip_file(name: str) -> Path:
    """The file of a chip. Raises OptionError for one that has none."""
    if name not in all_chips():
        raise OptionError(
            f"there is no chip {name!r}. Known are {', '.join(all_chips())}.{did_you_mean(name, all_chips())}"
        )
    return FOLDER / f"{name}.toml"


def load_target(name: str) -> Target:
    """Read a chip's file. Raises OptionError for an unknown chip, and for a file that `read_target` refuses."""
    if name not in known_chips():
        problem = (
            f"the chip {name!r} has no cores to place on" if name in all_chips() else f"there is no target {name!r}"
        )
        raise OptionError(f"{problem}. Known are {', '.join(known_chips())}.")
    return read_target(FOLDER / f"{name}.toml")


def read_target(path: Path) -> Target:
    """Read a chip from a TOML file: `title`, and tables `limits`, `systems` and `not_public`. What its table `numerics`
    says of its arithmetic is read by snn2hw/ir/numerics.py.

    Raises OptionError for a file that is no TOML, and for a limit that is missing, unknown, no whole number above 0 or
    without a source; the message names it.
    """
    document = read_document(path)
    limits, systems = _table(path, document, "limits"), _table(path, document, "systems")
    if unknown := sorted(limits.keys() - LIMITS.keys()):
        raise OptionError(f"{path.name}: unknown limit {unknown[0]}. Known are {', '.join(LIMITS)}.")
    if missing := [limit for limit, needed in LIMITS.items() if needed and limit not in limits]:
        raise OptionError(f"{path.name}: the limit {missing[0]} is missing. Write {missing[0]} = {{ value, source }}.")
    values = {limit: _number(path, limit, entry, "value") for limit, entry in limits.items()}
    tiles = values["mesh_width"] * values["mesh_height"] * values["cores_per_tile"]
    if values["cores_per_chip"] > tiles:
        raise OptionError(f"{path.name}: cores_per_chip is {values['cores_per_chip']}, but its mesh holds {tiles}.")
    return Target(
        name=path.stem,
        title=str(document.get("title", path.stem)),
        systems={system: _number(path, system, entry, "chips") for system, entry in systems.items()},
        sources={name: str(entry["source"]) for name, entry in (limits | systems).items()},
        not_public={limit: str(reason) for limit, reason in _table(path, document, "not_public").items()},
        **values,
    )


def read_document(path: Path) -> dict[str, Any]:
    """All that a TOML file holds. Raises OptionError if it is none."""
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path.name}: this is not TOML ({error}).") from None


def _table(path: Path, document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise OptionError(f"{path.name}: {name} must be a table.")
    return table


def _number(path: Path, name: str, entry: Any, key: str) -> int:
    """A whole number above 0 with its source."""
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        raise OptionError(f"{path.name}: {name} has no source. Write {name} = {{ {key} = NUMBER, source = TEXT }}.")
    value = entry.get(key)
    if type(value) is not int or value < 1:
        raise OptionError(f"{path.name}: {name} is {value!r}; it must be a whole number above 0.")
    return value
