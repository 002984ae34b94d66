"""Machines that lack something: room on the disk, a folder that can be written, a home, descriptors, memory.

A command then works, or ends with one message that names what it lacks; what stood there before is as it was.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import cli
import pytest

DATA = ("--data", "samples.npz")
OUTPUTS = {
    "export": ("export", "tiny.pt", "--target", "lava", "--calibrate", "samples.npz", "-o", "tiny.lava"),
    "simulate": ("simulate", "tiny.lava", *DATA, "-o", "out.npz"),
    "report": ("report", "tiny.lava", *DATA, "-o", "report"),
    "verify": ("verify", "tiny.lava", *DATA, "--samples", "1", "--without", "lava", "--json", "verify.json"),
    "train": (
        "train", "samples.npz", "--test", "samples.npz", "--net", "digits", "--connect", "ADD", "--recipe", "digits",
        "--epochs", "1", "-o", "net.pt",
    ),
}  # fmt: skip
SLOW = pytest.mark.skipif("SNN2HW_ALL_TESTS" not in os.environ, reason="each starts a process; export runs always")
COMMANDS = [name if name == "export" else pytest.param(name, marks=SLOW) for name in OUTPUTS]
NO_ROOM = 400  # bytes that a file may have: whatever is larger does not fit

pytestmark = pytest.mark.usefixtures("tiny")


def limited(command: tuple[str, ...], limit: Callable[[], object], **variables: str | None) -> cli.Ended:
    """Run a command in a process of its own under a limit, with some variables, or without those that are None."""
    environment = {key: value for key, value in (os.environ | variables).items() if value is not None}
    done = subprocess.run(
        [cli.SCRIPT, *command], capture_output=True, text=True, check=False, env=environment, preexec_fn=limit
    )
    return cli.Ended(done.returncode, done.stdout, done.stderr)


def limit_to(kind: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (most, most))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_told_with_the_place_and_leaves_the_older_output(name: str) -> None:
    command = OUTPUTS[name]
    place = Path(command[-1])
    if not place.exists():
        place.write_text("older") if place.suffix else place.mkdir()
    before = cli.contents(Path())
    ended = limited(command, limit_to(resource.RLIMIT_FSIZE, NO_ROOM))
    assert ended.code == 2 and ended.err.count("error: ") == 1 and "Traceback" not in ended.err, ended
    assert (
        "went wrong inside" not in ended.err
        and (str(place) in ended.err or str(place.resolve().parent) in ended.err)
        and "File too large" in ended.err
    ), ended
    assert cli.contents(Path()) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_without_a_home_and_with_few_descriptors_it_works(name: str) -> None:
    ended = limited(OUTPUTS[name], limit_to(resource.RLIMIT_NOFILE, 64), HOME=None, XDG_CACHE_HOME=None)
    assert ended.code in (0, 3) and "error" not in ended.err, ended  # 3: verify, without Lava


@SLOW
@pytest.mark.parametrize("name", list(OUTPUTS))
def test_in_little_memory_it_works_or_says_so(name: str) -> None:
    before = cli.contents(Path())
    ended = limited(OUTPUTS[name], limit_to(resource.RLIMIT_AS, 2 << 30))
    assert ended.code in (0, 2, 3) and "Traceback" not in ended.err and "went wrong inside" not in ended.err, ended
    if ended.code == 2:
        assert cli.contents(Path()) == before


def test_a_folder_that_cannot_be_written_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("closed").write_text("a file, so that nothing can be made in it: even root cannot")
    monkeypatch.delattr("snn2hw.cli.commands.export.load")
    told = cli.fail(*OUTPUTS["export"][:-1], "closed/net.lava")
    assert "closed" in told and "nothing can be written" in told
