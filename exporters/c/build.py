"""C compilers: which there are, and what they make of the written sources."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from snn2hw.errors import BackendError

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")
ON_THE_PATH = ("cc", "gcc", "clang")
ADVICE = "install one (Debian, Ubuntu: apt-get install gcc), or the one that pip brings: pip install 'snn2hw[c]'"
MESSAGE_LINES = 12
"""Of what a compiler says, so many lines are told."""


def zig() -> list[str] | None:
    """The C compiler of the ziglang package, which needs nothing of the system; None where it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return [sys.executable, "-m", "ziglang", "cc"]


def find_compiler(wanted: str | None = None) -> list[str]:
    """The command of a C compiler: the one that is wanted, or that of the PATH, or ziglang's.

    Raises BackendError if there is none.
    """
    if wanted is not None:
        if shutil.which(wanted) is None:
            raise BackendError(f"--compiler {wanted}: there is no such command.")
        return [wanted]
    if on_path := next(filter(None, map(shutil.which, ON_THE_PATH)), None):
        return [on_path]
    if (command := zig()) is None:
        raise BackendError(f"there is no C compiler on the PATH: {ADVICE}.")
    return command


def compile_c(command: Sequence[str], folder: Path, arguments: Sequence[str]) -> None:
    """Call a compiler in a folder. Raises BackendError with what it says if it fails."""
    try:
        done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BackendError(f"{command[0]} cannot be started: {error.strerror}.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[:MESSAGE_LINES]
        raise BackendError("\n".join([f"{' '.join(command)} did not compile {folder}:", *lines]))


def make_program(command: Sequence[str], sources: Path, folder: Path, main: str, optimise: Sequence[str]) -> Path:
    """Compile the network in `sources` with the main program `main`.c into `folder`; return the program."""
    objects = []
    for name in ("network", "kernels", "parameters", main):
        flags = ["-O0"] if name == "parameters" else optimise  # constants alone: there is nothing to optimise
        compile_c(command, sources, [*STRICT, *flags, "-c", f"{name}.c", "-o", str(folder / f"{name}.o")])
        objects.append(str(folder / f"{name}.o"))
    compile_c(command, sources, [*optimise, "-o", str(folder / main), *objects])
    return folder / main
