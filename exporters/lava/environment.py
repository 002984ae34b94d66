"""Lava's environment: made once in the user's cache folder with the user's own Python, and never shared with torch.

lava-nc asks for Python 3.10 and old versions of what it needs. It is installed without regard to that, in Python 3.11
and later with the pinned versions of requirements.txt; runtime/lava_import.py then lets it be imported.

`python -m snn2hw.exporters.lava.environment` makes it and prints its Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from snn2hw.data.aliases import Note
from snn2hw.errors import LavaError, Snn2hwError
from snn2hw.exporters.lava.runtime.lava_version import LAVA_VERSION

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
RUNTIME = Path(__file__).with_name("runtime")
MARKER = "snn2hw-complete.json"  # written last; an environment without it was never finished
PROBE_TIMEOUT = 60.0  # seconds
INSTALL_TIMEOUT = 1800.0
OLDEST_PYTHON = (3, 10)
OLDEST_PYTHON_TEXT = ".".join(map(str, OLDEST_PYTHON))

PYTHON_PROBE = """
import json, sys
import ensurepip, venv
print(json.dumps({"version": list(sys.version_info[:3]), "executable": sys.executable}))
"""
LAVA_PROBE = """
import importlib.metadata, importlib.util, json, sys
there = all(map(importlib.util.find_spec, ("lava.magma", "lava.proc", "numpy", "scipy", "networkx", "asteval")))
version = importlib.metadata.version("lava-nc") if there else None
print(json.dumps({"version": list(sys.version_info[:3]), "lava": version}))
"""
LAVA_IMPORT = f"""
import sys
sys.path.insert(0, {str(RUNTIME)!r})
sys.dont_write_bytecode = True
from lava_import import make_lava_importable
make_lava_importable()
import lava.proc.conv.models, lava.proc.dense.models, lava.proc.graded.models, lava.proc.lif.models
"""


@dataclass(frozen=True, kw_only=True)
class BasePython:
    """A Python that environments are made with. version: major, minor and micro."""

    executable: Path
    version: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EnvironmentStatus:
    """What `snn2hw doctor` shows. `problem` says why no environment can be made, or None."""

    python: Path | None
    problem: str | None
    environment: Path | None
    lava_version: str | None

    @property
    def ready(self) -> bool:
        """Whether Lava can run now, without installing anything."""
        return self.lava_version == LAVA_VERSION


def find_python() -> BasePython:
    """The Python that Lava's environment is made with: that of SNN2HW_LAVA_PYTHON, else the one that runs now.

    Raises LavaError if it does not run, is too old, or cannot make environments.
    """
    named = os.environ.get("SNN2HW_LAVA_PYTHON")
    candidate, origin = (named, "SNN2HW_LAVA_PYTHON") if named else (sys.executable, "this Python")
    answer = _probe(candidate, PYTHON_PROBE)
    if isinstance(answer, str):
        problem = answer
    elif tuple(answer["version"]) < OLDEST_PYTHON:
        problem = f"is Python {'.'.join(map(str, answer['version']))}"
    else:
        return BasePython(executable=Path(answer["executable"]), version=tuple(answer["version"]))
    raise LavaError(
        f"Lava's environment cannot be made with {candidate} ({origin}): {problem}. It takes Python "
        f"{OLDEST_PYTHON_TEXT} or later with its venv module (Debian, Ubuntu: apt-get install python3-venv). Set "
        "SNN2HW_LAVA_PYTHON to one."
    )


def ensure_environment(progress: Note | None = None) -> Path:
    """The Python of an environment with Lava, made now if there is none. Commands that start together make it once.

    `progress` is told in words what takes long. A Python named by SNN2HW_LAVA_PYTHON that has Lava is taken as it is.
    Raises LavaError.
    """
    if (named := os.environ.get("SNN2HW_LAVA_PYTHON")) and _lava_version(named) == LAVA_VERSION:
        return Path(named).absolute()
    base = find_python()
    folder = environment_folder(base)
    if _is_complete(folder):
        return _python_in(folder)
    tell = progress or (lambda text: None)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for another command that is making Lava's environment")
            lock.acquire()
        try:
            if not _is_complete(folder):
                _make(folder, base.executable, tell)
        finally:
            lock.release()
    except OSError as error:
        raise LavaError(
            f"Lava's environment cannot be made in {folder}: {error}. "
            "Set SNN2HW_CACHE_DIR to a folder that can be written."
        ) from error
    return _python_in(folder)


def environment_folder(base: BasePython) -> Path:
    """Where the environment is or will be: in the user's cache, named after the versions it holds."""
    cache = os.environ.get("SNN2HW_CACHE_DIR") or user_cache_dir("snn2hw")
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:8]
    python = ".".join(map(str, base.version[:2]))
    return Path(cache).expanduser().absolute() / f"lava-{LAVA_VERSION}-python{python}-{digest}"


def describe_environment() -> EnvironmentStatus:
    """What there is of Lava. Installs and changes nothing."""
    named = os.environ.get("SNN2HW_LAVA_PYTHON")
    if named and (version := _lava_version(named)) == LAVA_VERSION:
        path = Path(named).absolute()
        return EnvironmentStatus(python=path, problem=None, environment=path.parent.parent, lava_version=version)
    try:
        base = find_python()
    except LavaError as error:
        return EnvironmentStatus(python=None, problem=str(error), environment=None, lava_version=None)
    folder = environment_folder(base)
    lava_version = LAVA_VERSION if _is_complete(folder) else None
    return EnvironmentStatus(python=base.executable, problem=None, environment=folder, lava_version=lava_version)


def clean_variables() -> dict[str, str]:
    """This process's variables without those that would mix its Python into another."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if key not in dropped} | {"PYTHONNOUSERSITE": "1"}


def _run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is. Raises OSError, and TimeoutExpired after `timeout` seconds."""
    return subprocess.run(
        command,
        env=clean_variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _output(command: list[str]) -> str | LavaError:
    """What a short command prints, or an error that says why it failed."""
    try:
        done = _run(command, PROBE_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return LavaError(str(error))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return LavaError(lines[-1] if lines else f"ended with exit code {done.returncode}")
    return done.stdout.strip()


def _probe(python: str, code: str) -> dict[str, Any] | str:
    """The JSON that `code` prints when `python` runs it, or why it does not."""
    printed = _output([python, "-c", code])
    if isinstance(printed, LavaError):
        return str(printed)
    try:
        answer = json.loads(printed)
    except ValueError:
        return f"printed {printed[:80]!r} instead of its version"
    return answer if isinstance(answer, dict) else f"printed {printed[:80]!r} instead of its version"


def _lava_version(python: str) -> str | None:
    """The version of Lava that a Python has, or None."""
    answer = _probe(python, LAVA_PROBE)
    if isinstance(answer, str) or tuple(answer["version"]) < OLDEST_PYTHON:
        return None
    version = answer["lava"]
    return version if isinstance(version, str) else None


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_complete(folder: Path) -> bool:
    """Whether the environment was finished and still works."""
    return (folder / MARKER).is_file() and _lava_version(str(_python_in(folder))) == LAVA_VERSION


def _make(folder: Path, base: Path, tell: Note) -> None:
    """Make the environment anew. The marker comes last: an interrupted attempt counts as nothing."""
    if folder.exists():
        tell(f"removing an unfinished or broken environment in {folder}")
        shutil.rmtree(folder)
    tell(f"making Lava's environment in {folder} with {base}")
    _install([str(base), "-m", "venv", str(folder)], "an environment")
    tell(f"installing Lava {LAVA_VERSION} (about 200 MB, once)")
    pip = [str(_python_in(folder)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    pinned = ["--ignore-requires-python", "--no-deps", "--requirement", str(REQUIREMENTS)]
    _install([*pip, *pinned], "Lava")
    failure = _output([str(_python_in(folder)), "-c", LAVA_IMPORT])
    if isinstance(failure, LavaError):
        raise LavaError(f"Lava was installed in {folder} but does not import: {failure}")
    (folder / MARKER).write_text(json.dumps({"lava": LAVA_VERSION}), encoding="utf-8")


def _install(command: list[str], what: str) -> None:
    try:
        done = _run(command, INSTALL_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise LavaError(f"making {what} took more than {INSTALL_TIMEOUT:g} s: {' '.join(command)}") from error
    if done.returncode:
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        raise LavaError(
            f"{what} could not be made with: {' '.join(command)}\n{last}\n"
            "Check the network and pip's settings (PIP_INDEX_URL), or set SNN2HW_LAVA_PYTHON to a Python that has "
            f"lava-nc {LAVA_VERSION}."
        )


def main() -> int:
    """Make the environment and print its Python; what takes long is told on stderr."""
    try:
        print(ensure_environment(lambda text: print(text, file=sys.stderr, flush=True)))
    except Snn2hwError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
