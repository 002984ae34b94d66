"""A bundle is code: what no known version wrote does not run, whatever its manifest says, unless the user trusts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cli
import pytest

from snn2hw.exporters.lava import run_time
from snn2hw.exporters.manifest import write_manifest
from snn2hw.exporters.trust import code_in, digest_of

LAVA = Path("tiny.lava/lava")
DATA = ("--data", "samples.npz")
RAN = Path("ran.txt")

pytestmark = pytest.mark.usefixtures("tiny")


def sealed(change: Callable[[], object]) -> None:
    """Change the bundle, and make its manifest fit, as whoever changes it can."""
    change()
    write_manifest(LAVA.parent, json.loads((LAVA.parent / "manifest.json").read_text()))


def hostile() -> None:
    (LAVA / "run.py").write_text(f"open({str(RAN.resolve())!r}, 'w').close()\nraise SystemExit('it ran')\n")


def one_byte() -> None:
    content = bytearray((LAVA / "neuron.py").read_bytes())
    content[-2] ^= 1
    (LAVA / "neuron.py").write_bytes(content)


def elsewhere() -> None:
    """The files that are checked are those that run, not what the manifest calls the artefact."""
    (LAVA.parent / "other").mkdir()
    for name in ("run.py", "neuron.py"):
        (LAVA.parent / "other" / name).write_bytes((LAVA / name).read_bytes())
    manifest = json.loads((LAVA.parent / "manifest.json").read_text())
    manifest["backends"]["lava"]["artefact"] = "other"
    (LAVA.parent / "manifest.json").write_text(json.dumps(manifest))
    hostile()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (one_byte, "neuron.py"),
        (hostile, "run.py"),
        (elsewhere, "run.py"),
        (lambda: (LAVA / "program_npz/fields.py").unlink(), "program_npz/fields.py"),
        (lambda: (LAVA / "numpy.pyc").write_bytes(b""), "numpy.pyc"),
        (lambda: (LAVA / "json.so").write_bytes(b""), "json.so"),
    ],
)
@pytest.mark.parametrize("command", [("verify", "tiny.lava"), ("simulate", "tiny.lava", "--engine", "lava")])
def test_code_that_no_known_version_wrote_does_not_run(
    change: Callable[[], object], named: str, command: tuple[str, ...]
) -> None:
    sealed(change)
    told = cli.fail(*command, *DATA, "--samples", 1)
    assert f"no known version of snn2hw wrote this code: '{named}'" in told and "--trust-bundle" in told
    assert not RAN.exists()


def test_it_runs_if_the_user_trusts_the_bundle() -> None:
    sealed(hostile)
    assert "it ran" in cli.run("simulate", "tiny.lava", "--engine", "lava", *DATA, "--trust-bundle").err
    assert RAN.exists()


def test_what_a_former_version_wrote_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(hostile)
    former = tmp_path / "former.txt"
    former.write_text(f"# a line each\n{digest_of(code_in(LAVA))} 0.0.9\n")
    monkeypatch.setattr(run_time, "FORMER", former)
    assert "it ran" in cli.run("simulate", "tiny.lava", "--engine", "lava", *DATA).err
    sealed(one_byte)
    assert "no known version" in cli.run("simulate", "tiny.lava", "--engine", "lava", *DATA).err


def test_what_this_version_wrote_is_its_own() -> None:
    run_time.check_run_time(LAVA, trusted=False)
