"""The commands of docs/worked-example.md and what they print, as blocks of ```console."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKED_EXAMPLE = ROOT / "docs/worked-example.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<printed>.*?)```\n", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """(command, what the page says it prints), in order."""
    return [(block["command"], block["printed"]) for block in BLOCK.finditer(WORKED_EXAMPLE.read_text())]


def run_blocks(folder: Path) -> list[str]:
    """Run the page's commands one after the other in a copy of what they need; return what each prints on stdout."""
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = []
    for command, _ in blocks():
        if command.startswith(". "):  # activating the environment in which this already runs
            printed.append("")
            continue
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"`{command}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        printed.append(done.stdout)
    return printed


def rewrite(printed: list[str]) -> None:
    """Put what the commands print into the page."""
    outputs = iter(printed)
    text = WORKED_EXAMPLE.read_text()
    WORKED_EXAMPLE.write_text(BLOCK.sub(lambda m: f"```console\n$ {m['command']}\n{next(outputs)}```\n", text))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rewrite(run_blocks(Path(folder)))
