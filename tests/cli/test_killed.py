"""Commands that are asked to end, or killed: outputs are complete or absent, and nothing else is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cli
import pytest

from snn2hw import scratch
from snn2hw.files import beside, write_text
from snn2hw.scratch import remove_leftovers, scratch_folder

KILLS = int(os.environ.get("SNN2HW_KILLS", "0")) or (300 if "SNN2HW_ALL_TESTS" in os.environ else 0)

WAITS = """
import sys, time
from pathlib import Path
import numpy as np
from snn2hw import cli
from snn2hw.cli.commands import doctor
from snn2hw.files import arrays_on_disk, beside
from snn2hw.scratch import scratch_folder

def work(asked):
    with scratch_folder(), arrays_on_disk(Path()) as make, beside(Path("out.txt")) as part:
        make("layer", (3,), np.int8)
        part.write_text("half")
        print("waiting", flush=True)
        time.sleep(60)

doctor.doctor = work
sys.exit(cli.main(["doctor"]))
"""


@pytest.fixture
def temporary(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files: one of this test, beside the current one."""
    folder = alone / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def waiting(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that has begun its output, with folders for what is not finished, and would go on for a minute."""
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    assert len(left(temporary)) == 3
    yield process
    process.kill()
    process.communicate()


def left(temporary: Path) -> list[Path]:
    """What stands beside outputs and among temporary files that is no output."""
    return [*(path for path in Path().iterdir() if path.name.startswith(".")), *temporary.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_in_order(waiting: subprocess.Popen[str], temporary: Path, number: int) -> None:
    Path("out.txt").write_text("before")
    waiting.send_signal(number)
    _, told = waiting.communicate(timeout=60)
    assert waiting.returncode == 128 + number
    assert told.startswith("error: ") and "Traceback" not in told and told.count("\n") == 1
    assert left(temporary) == [] and Path("out.txt").read_text() == "before"


def test_what_a_killed_command_left_goes_with_the_next(waiting: subprocess.Popen[str], temporary: Path) -> None:
    Path("out.txt").write_text("before")
    assert remove_leftovers(Path()) == remove_leftovers(temporary) == [], "of one that lives nothing may go"
    waiting.kill()
    waiting.wait()
    assert len(left(temporary)) == 3
    write_text(Path("out.txt"), "after")
    assert [path.parent for path in left(temporary)] == [temporary] and Path("out.txt").read_text() == "after"
    cli.run("doctor")
    assert left(temporary) == []


def test_doctor_clean_tells_what_it_removes(waiting: subprocess.Popen[str], temporary: Path) -> None:
    waiting.kill()
    waiting.wait()
    out = cli.run("doctor", "--clean").out
    assert left(temporary) == [] and out.count("Removed .snn2hw-") == 2, out  # any command takes the temporary one


def test_what_is_no_leftover_stays(temporary: Path) -> None:
    named = [temporary / name for name in ("snn2hw-notes", f"snn2hw-{os.getpid()}-x", ".snn2hw", "other")]
    for folder in named:
        folder.mkdir()
    (temporary / "snn2hw-1.txt").write_text("a file")
    (temporary / "snn2hw-99999999-link").symlink_to(temporary / "other")
    with scratch_folder(temporary) as mine:
        assert remove_leftovers(temporary) == [] and mine.is_dir()
    assert all(folder.is_dir() for folder in named) and (temporary / "snn2hw-99999999-link").is_symlink()


def test_a_folder_takes_the_place_of_another_at_once(alone: Path) -> None:
    for name in ("new", "old"):
        Path(name).mkdir()
        Path(name, "file").write_text(name)
    scratch.replace_folder(Path("new"), Path("old"))
    assert Path("old/file").read_text() == "new" and Path("new/file").read_text() == "old"


def test_an_output_that_fails_leaves_the_one_before(alone: Path) -> None:
    Path("out.txt").write_text("before")
    with pytest.raises(ZeroDivisionError), beside(Path("out.txt")) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert cli.contents(Path()) == {"out.txt": b"before"}


@pytest.mark.skipif(not KILLS, reason="300 kills take long; the tests above kill at the moments that matter")
@pytest.mark.timeout(0)
def test_kills_at_random_moments_leave_outputs_complete_or_absent(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL and SIGTERM at random moments of each command: after the next one nothing is left."""
    temporary = tiny / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    data = ("--data", "samples.npz")
    training = ("train", "samples.npz", "--test", "samples.npz", "--net", "digits", "--connect", "ADD")
    training += ("--recipe", "digits", "--epochs", "3", "-o", "net.pt")
    commands: list[tuple[str, ...]] = [
        ("export", "tiny.pt", "--target", "lava", "--calibrate", "samples.npz", "-o", "new.lava"),
        ("verify", "tiny.lava", *data, "--json", "verify.json"),
        ("simulate", "tiny.lava", *data, "-o", "spikes.npz"),
        ("simulate", "tiny.lava", *data, "--jobs", "2", "-o", "spikes.npz"),
        ("simulate", "tiny.lava", *data, "--engine", "lava", "-o", "spikes.npz"),
        ("report", "tiny.lava", *data, "-o", "report"),
        training,
    ]
    whole, lasts = {}, {}
    before = set(cli.contents(Path()))
    for command in commands:
        start = time.monotonic()
        assert cli.run_script(*command).code == 0
        lasts[command] = time.monotonic() - start
        whole[command] = _outputs(before)
        _remove(before)
    for number in range(KILLS):
        command = commands[number % len(commands)]
        process = subprocess.Popen([cli.SCRIPT, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.Random(number).random() * 1.1 * lasts[command])
        process.send_signal(signal.SIGKILL if number % 3 else signal.SIGTERM)
        process.wait()
        cut = Path("net.pt.training").exists()
        again = cli.run_script(*command, *(["--resume"] if cut else []))
        assert again.code == 0, (number, command, again)
        assert _outputs(before).keys() == whole[command].keys(), (number, command)
        if command == training:
            assert _outputs(before) == whole[command], number
        assert list(temporary.iterdir()) == [], (number, command)
        _remove(before)


def _outputs(before: set[str]) -> dict[str, object]:
    """What a command made, with the arrays of archives, whose bytes tell the time."""
    made = {name: content for name, content in cli.contents(Path()).items() if name not in before}
    return {
        name: None if content is None or name.endswith((".json", ".html")) else content
        for name, content in made.items()
    }


def _remove(before: set[str]) -> None:
    for name in sorted(set(cli.contents(Path())) - before, reverse=True):
        path = Path(name)
        path.rmdir() if path.is_dir() else path.unlink()
