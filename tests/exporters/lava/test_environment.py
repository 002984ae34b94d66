"""Lava's environment: which Python it is made with, that it is made once, and the message when it cannot be."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from snn2hw.errors import LavaError
from snn2hw.exporters.lava import environment
from snn2hw.exporters.lava.environment import describe_environment, ensure_environment

# Stands in for Python: it answers the probes, makes an "environment" by copying itself and notes every installation.
FAKE = """#!/bin/bash
here=$(dirname "$0")
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"-m pip install"*) echo "$*" >> "{log}"; sleep 0.3; {pip}; touch "$here/installed" ;;
    *ensurepip*) echo '{{"version": [{version}, 7], "executable": "'"$0"'"}}' ;;
    *find_spec*) [ -e "$here/installed" ] && lava='"0.10.0"' || lava=null
                 echo '{{"version": [{version}, 7], "lava": '"$lava"'}}' ;;
    *) [ -e "$here/installed" ] ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with an empty home, an empty cache, and a Python of which a test makes a fake: bin/python3."""
    monkeypatch.delenv("SNN2HW_LAVA_PYTHON", raising=False)
    monkeypatch.setattr(environment.sys, "executable", str(tmp_path / "bin/python3"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setenv("SNN2HW_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def fake_python(path: Path, *, version: str = "3, 12", pip: str = "true", log: Path | str = "/dev/null") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE.format(version=version, pip=pip, log=log))
    path.chmod(0o755)
    return path


def test_the_environment_has_lava_and_no_torch() -> None:
    python = ensure_environment()
    code = f"{environment.LAVA_IMPORT}\nimport importlib.util as u; print(*sys.version_info[:2], u.find_spec('torch'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{sys.version_info[0]} {sys.version_info[1]} None\n"
    status = describe_environment()
    assert status.ready
    assert (status.lava_version, status.problem) == ("0.10.0", None)


def test_a_named_python_is_never_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(home / "bin/python3")
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", str(fake_python(home / "named", version="3, 9")))
    with pytest.raises(LavaError, match=r"named \(SNN2HW_LAVA_PYTHON\): is Python 3.9.7"):
        ensure_environment()
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", "/no/such/python")
    with pytest.raises(LavaError, match=r"/no/such/python \(SNN2HW_LAVA_PYTHON\): .*No such file"):
        ensure_environment()


def test_a_python_that_makes_no_environments_is_told_with_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for python, reason in (("/bin/false", "ended with exit code 1"), ("/bin/echo", "printed")):
        monkeypatch.setattr(environment.sys, "executable", python)
        with pytest.raises(LavaError, match=rf"{python} \(this Python\): {reason}.*Set SNN2HW_LAVA_PYTHON") as caught:
            ensure_environment()
        status = describe_environment()
        assert (status.ready, status.python, status.problem) == (False, None, str(caught.value))


def test_each_version_of_python_has_an_environment_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pythons = []
    for version in ("3, 12", "3, 13", "3, 12"):
        fake_python(home / "bin/python3", version=version)
        pythons.append(ensure_environment())
    assert pythons[0] == pythons[2] != pythons[1]
    assert "python3.13" in str(pythons[1])


def test_a_named_python_that_has_lava_is_used_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fake_python(home / "bin/python")
    (home / "bin/installed").touch()
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", str(named))
    assert ensure_environment() == named
    assert describe_environment().ready
    assert not (home / "cache").exists()


def test_describing_makes_nothing(home: Path) -> None:
    python = fake_python(home / "bin/python3")
    status = describe_environment()
    assert (status.python, status.problem, status.ready) == (python, None, False)
    assert status.environment.parent == home / "cache"
    assert not (home / "cache").exists()


def test_commands_that_start_together_make_one_environment(home: Path) -> None:
    log = home / "log"
    fake_python(home / "bin/python3", log=log)
    pythons: list[Path] = []
    told: list[str] = []
    threads = [threading.Thread(target=lambda: pythons.append(ensure_environment(told.append))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.read_text().splitlines()) == 1
    assert len(set(pythons)) == 1 and len(pythons) == 3
    assert pythons[0].is_relative_to(home / "cache")
    assert sum("installing Lava 0.10.0" in text for text in told) == 1
    assert any("waiting for another command" in text for text in told)


def test_a_half_made_or_broken_environment_is_made_anew(home: Path) -> None:
    log = home / "log"
    fake_python(home / "bin/python3", log=log)
    python = ensure_environment()
    assert ensure_environment() == python
    assert len(log.read_text().splitlines()) == 1
    (python.parent.parent / environment.MARKER).unlink()  # as after a Ctrl-C
    (python.parent.parent / "rubbish").touch()
    assert ensure_environment() == python
    assert not (python.parent.parent / "rubbish").exists()
    (python.parent / "installed").unlink()  # as after packages were removed
    assert ensure_environment() == python
    python.unlink()
    assert ensure_environment() == python
    assert len(log.read_text().splitlines()) == 4


def test_a_failed_installation_says_what_to_do_and_is_not_kept(home: Path) -> None:
    base = fake_python(home / "bin/python3", pip="echo 'ERROR: No matching distribution' >&2; exit 1")
    with pytest.raises(
        LavaError, match=r"(?s)pip install .*No matching distribution.*PIP_INDEX_URL.*SNN2HW_LAVA_PYTHON"
    ):
        ensure_environment()
    assert not describe_environment().ready
    fake_python(base)
    assert ensure_environment().is_relative_to(home / "cache")


def test_an_unwritable_cache_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(home / "bin/python3")
    (home / "file").touch()
    monkeypatch.setenv("SNN2HW_CACHE_DIR", str(home / "file"))
    with pytest.raises(LavaError, match="Set SNN2HW_CACHE_DIR to a folder that can be written"):
        ensure_environment()


def test_the_command_prints_the_python_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_python(home / "bin/python3")
    assert environment.main() == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).is_relative_to(home / "cache")
    assert "installing Lava" in err


def test_requirements_are_pinned() -> None:
    lines = [line for line in environment.REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert f"lava-nc=={environment.LAVA_VERSION}" in lines
