"""Adding an IR node: mypy names every place that CONTRIBUTING.md lists, and no other."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODES = "snn2hw/ir/nodes.py"
NEW_CLASSES = '''
@dataclass(frozen=True, kw_only=True, eq=False)
class NewNode(BaseNode):
    """y = x."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NewSynapse(BaseNode):
    """y = x, one cycle later."""


'''
OVERRIDES = """
[[tool.mypy.overrides]]
module = ["torch.*", "pydantic.*", "rich.*", "typer.*", "PIL.*"]
follow_imports = "skip"
"""  # for speed: no question about a node lies in them


def listed_functions() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """File and name of the functions that CONTRIBUTING.md lists for every node, and for every synapse besides."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a node")[1].split("\n## ")[0]
    of_nodes, of_synapses = section.split("Of every node:")[1].split("tests/project")[0].split("Of every synapse")
    return functions_in(of_nodes), functions_in(of_synapses)


def functions_in(text: str) -> set[tuple[str, str]]:
    """The functions that stand in back quotes: `file.py:name`, then names of the same file."""
    functions, file = set(), ""
    for before, name in re.findall(r"`(?:([\w/]+\.py):)?(\w+)`", text):
        file = before or file
        functions.add((file, name))
    return functions


def function_at(path: Path, line: int) -> str:
    """The innermost function around a line."""
    around = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno).name


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What mypy says of the package with a new node and a new synapse: the message by file and function."""
    place = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "snn2hw", place / "snn2hw", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + OVERRIDES)
    nodes = place / NODES
    text = nodes.read_text()
    for union, member in (("Node", "NewNode"), ("Synapse", "NewSynapse")):
        text, count = re.subn(rf"(?m)^{union} = (.+)$", rf"{union} = \1 | {member}", text)
        assert count == 1
    nodes.write_text(text.replace("\nSynapse = ", f"{NEW_CLASSES}Synapse = ", 1))
    command = [sys.executable, "-m", "mypy", "--no-pretty", "--no-error-summary", "--show-absolute-path"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    errors = re.findall(r"(?m)^(.+?):(\d+): error: (.*\bNew(?:Node|Synapse)\b.*)$", done.stdout)
    return {
        (str(Path(path).relative_to(place)), function_at(Path(path), int(line))): message
        for path, line, message in errors
    }


def test_mypy_names_every_function_that_is_asked_something_of_a_node(named: dict[tuple[str, str], str]) -> None:
    of_nodes, _ = listed_functions()
    assert {function for function, message in named.items() if "NewNode" in message} == of_nodes


def test_mypy_names_every_function_that_is_asked_something_of_a_synapse(named: dict[tuple[str, str], str]) -> None:
    of_nodes, of_synapses = listed_functions()
    assert {function for function, message in named.items() if "NewSynapse" in message} == of_nodes | of_synapses


def test_what_is_named_is_a_missing_answer(named: dict[tuple[str, str], str]) -> None:
    assert {message for message in named.values() if "assert_never" not in message} == set()
