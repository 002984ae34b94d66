"""The house: folders import one way, from the command line down to the errors; no module lies loose."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    ("errors",),
    ("scratch",),
    ("documents", "files", "targets", "data", "page", "shown"),
    ("ir",),
    ("network", "models", "mapping", "deployment"),
    ("frontends", "passes", "interop"),
    ("engines", "pipeline"),
    ("exporters",),
    ("verification", "training", "analysis"),
    ("report",),
    ("api",),
    ("cli",),
)
"""From the ground up. A room imports from those below it; rooms of one floor do not know each other."""
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
LOOSE = {
    "__init__.py",
    "__main__.py",
    "deployment.py",
    "documents.py",
    "errors.py",
    "files.py",
    "pipeline.py",
    "scratch.py",
}


def modules() -> Iterator[tuple[str, Path]]:
    """The room of each module of the package, and its file. What runs in Lava's environment is not among them."""
    for top in ("snn2hw", "exporters", "targets"):
        for path in sorted((ROOT / top).rglob("*.py")):
            inside = path.relative_to(ROOT / top)
            if (
                path.is_symlink()
                or "runtime" in inside.parts
                or inside.parts[0] in ("examples", "exporters", "targets", "__main__.py")
            ):
                continue
            yield (top if top != "snn2hw" else inside.parts[0].removesuffix(".py")), path


def imported_rooms(path: Path) -> Iterator[tuple[str, int]]:
    """The rooms that a file imports from, with the line; imports for type checkers alone count too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "snn2hw":
            parts = (node.module or "").split(".")
            for name in [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]:
                if name in FLOORS:
                    yield name, node.lineno


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_from_the_floors_below_it(room: str) -> None:
    upwards = [
        f"{path.relative_to(ROOT)}:{line} imports {other}"
        for importing, path in modules()
        if importing == room
        for other, line in imported_rooms(path)
        if other != room and FLOORS[other] >= FLOORS[room]
    ]
    assert not upwards


def test_a_back_end_shares_no_arithmetic_with_the_engines() -> None:
    """But for self-tests, which hold what the program gives, and what tells whether its steps line up."""
    asking = [
        path.relative_to(ROOT)
        for room, path in modules()
        if room == "exporters" and "engines" in dict(imported_rooms(path))
    ]
    assert sorted(map(str, asking)) == ["exporters/c/vectors.py"]


def test_every_module_has_a_room() -> None:
    assert {room for room, _ in modules()} - FLOORS.keys() == {"__init__"}
    assert {path.name for path in (ROOT / "snn2hw").glob("*.py")} == LOOSE


def test_an_import_upwards_would_be_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "nodes.py"
    wrong.write_text("from snn2hw.cli import console\nfrom snn2hw import pipeline\n")
    assert list(imported_rooms(wrong)) == [("cli", 1), ("pipeline", 2)]
    assert all(FLOORS[room] > FLOORS["ir"] for room, _ in imported_rooms(wrong))


def test_only_the_command_line_parses_and_prints_and_shown_draws() -> None:
    talking = [
        str(path.relative_to(ROOT))
        for room, path in modules()
        if room not in ("cli", "shown")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("typer", "rich"))
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] in ("typer", "rich") for alias in node.names))
    ]
    assert not talking
