"""How the command line is made of its dataclasses: each has its work, and help texts name what is installed."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from cli import fail, succeed

from snn2hw.cli.asked import COMMANDS
from snn2hw.cli.backend_names import engines, targets
from snn2hw.cli.command import Command


@pytest.mark.parametrize("arguments", COMMANDS)
def test_the_work_of_a_command_takes_its_dataclass(arguments: type[Any]) -> None:
    (parameter,) = inspect.signature(Command(arguments).work, eval_str=True).parameters.values()
    assert parameter.annotation is arguments


def words(*arguments: str) -> str:
    """What a command prints, without frames and line breaks."""
    return " ".join(succeed(*arguments).replace("│", " ").split())


def test_help_names_the_back_ends_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{engines('fast', 'cycle (the definition, slow)')}; for a .nir file also" in words("simulate", "--help")
    assert f"{targets()}, or any other exporter once it is installed." in words("export", "--help")
    assert "lava (a bundle), nir (a file)" in targets()
    monkeypatch.setattr("snn2hw.cli.backend_names.runnable_backends", lambda: {"lava": None, "flux": None})
    assert "fast, cycle (the definition, slow), lava or flux; for" in words("simulate", "--help")
    assert "Engines: torch, cycle, lava or flux; for .nir" in words("compare", "--help")
    monkeypatch.setattr("snn2hw.cli.backend_names.installed_backends", dict)
    assert "or any other exporter once it is installed." in words("export", "--help")


@pytest.mark.usefixtures("tiny")
def test_an_engine_for_nir_files_says_how_to_write_one() -> None:
    assert fail("simulate", "tiny.pt", "--data", "samples.npz", "--engine", "norse") == (
        "--engine norse runs .nir files. Write one: snn2hw export tiny.pt --target nir."
    )
