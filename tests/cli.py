"""The command line as tests see it: what a command printed, how it ended, and what it left in the folder."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw.cli import main

SCRIPT = Path(sysconfig.get_path("scripts"), "snn2hw")


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Ended:
    """Run `snn2hw ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


def run_script(*arguments: object, **variables: str) -> Ended:
    """Run the installed script in another process, in pipes."""
    command = [str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)
    return Ended(done.returncode, done.stdout, done.stderr)


def succeed(*arguments: object, code: int = 0) -> str:
    """Run a command that must end with `code` and without a word on stderr; return what it printed."""
    ended = run(*arguments)
    assert (ended.code, ended.err) == (code, ""), ended
    return ended.out


def fail(*arguments: object) -> str:
    """Run a command that must blame its input, in one message, and leave the folder as it is; return the message.

    The folder must be the test's alone: into that of the repository other workers and tools write too.
    """
    assert not Path("pyproject.toml").exists(), "use the fixture `alone` or `tiny`"
    before = contents(Path())
    ended = run(*arguments)
    assert ended.code == 2, ended
    assert ended.err.startswith("error: ") and ended.err.count("error: ") == 1, ended.err
    assert "Traceback" not in ended.err and "went wrong inside" not in ended.err, ended.err
    assert ended.out == "", ended.out
    assert contents(Path()) == before
    return ended.err.removeprefix("error: ").rstrip("\n")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder with what the file holds; None for a folder. Compiled modules do not count."""
    paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in paths}


def arrays(path: Path | str) -> dict[str, np.ndarray[Any, Any]]:
    """What an .npz holds."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def same_arrays(one: Path | str, other: Path | str) -> bool:
    """Whether two .npz hold equal arrays under the same names."""
    first, second = arrays(one), arrays(other)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@contextlib.contextmanager
def byte_changed(path: Path, position: int, value: int) -> Iterator[None]:
    """A file with one byte replaced, for a while."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[position] = value
    path.write_bytes(changed)
    try:
        yield
    finally:
        path.write_bytes(content)
