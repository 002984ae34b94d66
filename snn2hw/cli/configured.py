"""Options that a project sets for all its calls: the table [tool.snn2hw] of pyproject.toml, or snn2hw.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn2hw.errors import OptionError, did_you_mean

FILE, PROJECT_FILE = "snn2hw.toml", "pyproject.toml"


def configured(options: Mapping[str, set[str]]) -> dict[str, dict[str, Any]]:
    """The defaults that the current folder's file sets, by command and option.

    options: the options of each command. A key on top is for every command that has it; a table of a command's name is
    for that one. Raises OptionError for a file that is no TOML, and for names that no command has.
    """
    name, table = _table()
    defaults: dict[str, dict[str, Any]] = {command: {} for command in options}
    every = sorted(set().union(*options.values()))
    for key, value in table.items():
        option = key.replace("-", "_")
        if isinstance(value, dict):
            if key not in options:
                raise OptionError(f"{name}: there is no command {key!r}.{did_you_mean(key, options)}")
            _check(f"{name}, table {key}", value, options[key])
            defaults[key] |= {inner.replace("-", "_"): setting for inner, setting in value.items()}
        else:
            _check(name, {key: value}, set(every))
            for command, known in options.items():
                if option in known:
                    defaults[command] = {option: value} | defaults[command]
    return defaults


def _check(place: str, values: Mapping[str, Any], known: set[str]) -> None:
    for key in values:
        if key.replace("-", "_") not in known:
            raise OptionError(f"{place}: there is no option {key!r}.{did_you_mean(key.replace('-', '_'), known)}")


def _table() -> tuple[str, dict[str, Any]]:
    """The name of the file that sets options, and what it sets; snn2hw.toml goes before pyproject.toml."""
    for name in (FILE, PROJECT_FILE):
        path = Path(name)
        if not path.is_file():
            continue
        try:
            document = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            if name == PROJECT_FILE:  # of another tool's making, whose tests tell it
                return name, {}
            raise OptionError(f"{name}: this is not TOML ({error}).") from None
        if name == FILE:
            return name, document
        table = document.get("tool", {}).get("snn2hw", {})
        return f"{name}, [tool.snn2hw]", table if isinstance(table, dict) else {}
    return FILE, {}
