"""Faults injected into runs: each run ends soon with exit code 2, says why, leaves nothing, and the next one succeeds.

Each fault is injected twice; make faults does it ten times, by SNN2HW_FAULT_ROUNDS=10.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import IMPORTS, INIT, PATIENCE, STEP, Run, repair, sabotage, small_bundle, starter, wait_until

ROUNDS = int(os.environ.get("SNN2HW_FAULT_ROUNDS", "2"))
NO_MEMORY = "; if nobody did that, the system ran out of memory"

Start = Callable[..., Run]


@pytest.fixture(autouse=True, params=range(ROUNDS))
def fault_round(request: pytest.FixtureRequest) -> int:
    """The number of the round."""
    return int(request.param)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small program and samples enough for minutes."""
    return small_bundle(tmp_path)


@pytest.fixture
def start(bundle: Path) -> Iterator[Start]:
    """Starts runs. When the test is over, the same bundle, put right, must run to its end."""
    with starter(bundle) as start:
        yield start
        repair(bundle)
        again = start("--samples", "2")
        _, message = again.process.communicate(timeout=PATIENCE)
        assert (again.process.returncode, message) == (0, "")
        assert (bundle / "spikes.npz").is_file()
        assert list(again.folder.iterdir()) == []


UNPICKLABLE = """import os, sys, time
import numpy as np
class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__("sabotage")
"""


@pytest.mark.parametrize(
    ("place", "fault", "expected"),
    [
        (STEP, "if late and stem: raise ValueError('sabotage')", "'stem' failed:\nTraceback .*sabotage"),
        (STEP, "if late and stem: raise Unpicklable(1, 2)", "'stem' ended with exit code 0 .*Traceback .*sabotage"),
        (STEP, "if late and stem: os._exit(3)", "'stem' ended with exit code 3 before the run did"),
        (INIT, "raise ValueError('sabotage')", "Traceback .*sabotage"),
        (INIT, "os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        (STEP, "if late and stem: os.kill(os.getpid(), 7)", "'stem' was killed by SIGBUS .*; /dev/shm .* is full"),
        (STEP, "if late and stem: np.ones(1 << 50)", "'stem' failed:\nTraceback .*Unable to allocate 8.00 PiB"),
        (STEP, "if late and stem: time.sleep(0.1), sys.exit(0)", "'stem' ended with exit code 0 before the run did"),
    ],
)  # fmt: skip
def test_a_model_that_fails(place: str, fault: str, expected: str, bundle: Path, start: Start) -> None:
    sabotage(bundle, IMPORTS, UNPICKLABLE)
    names = "late, stem = self.engine.cycle == 5, self.engine.region.name == 'stem'"
    sabotage(bundle, place, f"{place}        {names}\n        {fault}\n")
    code, message = start().end()
    assert code == 2
    assert message.startswith("error: ")
    assert re.search(expected, message, re.DOTALL), message


def test_a_killed_lava_process(start: Start) -> None:
    run = start()
    run.wait_for_cycles()
    os.kill(run.lava_process("block"), signal.SIGKILL)
    assert run.end() == (2, f"error: the Lava process 'block' was killed by SIGKILL (Killed){NO_MEMORY}\n")


def test_a_killed_worker(start: Start) -> None:
    run = start()
    run.wait_for_cycles()
    os.kill(run.worker(), signal.SIGKILL)
    code, message = run.end()
    assert code == 2
    assert message.startswith(f"error: the Lava worker was killed by SIGKILL{NO_MEMORY}\n")


@pytest.mark.parametrize(
    ("limit", "seconds", "problem"),
    [
        ("--deadline", 8, "the run did not end within its deadline of 8 s"),
        ("--stall", 6, "no Lava process finished a cycle for 6 s"),
    ],
)
def test_a_stuck_lava_process(limit: str, seconds: int, problem: str, start: Start) -> None:
    run = start(limit, str(seconds))
    run.wait_for_cycles()
    os.kill(run.lava_process("block"), signal.SIGSTOP)
    code, message = run.end()
    assert code == 2
    assert message.startswith(f"error: {problem}. In cycle ")
    assert "block" in message.partition("the others wait for:")[2]


def test_a_model_that_never_starts(bundle: Path, start: Start) -> None:
    sabotage(bundle, INIT, INIT + "        import time; time.sleep(1000)\n")
    code, message = start("--deadline", "3").end()
    assert code == 2
    assert message == "error: the run did not end within its deadline of 3 s. Lava was still starting 4 processes.\n"


def test_a_killed_main_process(start: Start) -> None:
    run = start()
    run.wait_for_cycles()
    assert run.shared_memory()
    assert run.processes()
    run.process.kill()
    wait_until(lambda: not run.processes() and not run.shared_memory())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_main_process_alone(number: signal.Signals, start: Start) -> None:
    run = start()
    run.wait_for_cycles()
    run.process.send_signal(number)
    assert run.end() == (2, f"error: interrupted by {number.name}; nothing was written\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_of_the_start(number: signal.Signals, start: Start) -> None:
    """From the first moment at which run.py listens, until Lava works; a second signal changes nothing."""
    run = start()
    wait_until(lambda: listens(run.process.pid))
    time.sleep(random.uniform(0, 1.5))
    run.process.send_signal(number)
    time.sleep(random.uniform(0, 0.1))
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == (2, f"error: interrupted by {number.name}; nothing was written\n")


def listens(pid: int) -> bool:
    """Whether a process handles SIGTERM itself."""
    caught = int(Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_signal_while_the_spikes_are_written(bundle: Path, start: Start) -> None:
    sabotage(
        bundle,
        "                check()\n",
        "                print(0, flush=True); check(); time.sleep(2)\n",
        "files.py",
    )
    sabotage(bundle, "import glob\n", "import glob\nimport time\n", "files.py")
    run = start("--samples", "2")
    assert run.process.stdout is not None
    for line in run.process.stdout:
        if line == "0\n":
            break
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == (2, "error: interrupted by SIGTERM; nothing was written\n")


def test_full_shared_memory_is_told_before_the_start(bundle: Path, start: Start) -> None:
    sabotage(bundle, "free = shutil.disk_usage(SHARED_MEMORY).free", "free = 1000", "system.py")
    code, message = start().end()
    assert code == 2
    expected = r"error: the channels between 4 Lava processes need 0\.\d MB of shared memory, /dev/shm has 0\.0 MB free"
    assert re.match(expected, message), message


def test_shared_memory_that_fills_up_while_lava_starts(bundle: Path, start: Start) -> None:
    """In a /dev/shm of one megabyte that only this run sees; the stem fills it before the first message."""
    alone = ("unshare", "-m" if os.getuid() == 0 else "-Urm", "sh", "-c")
    small = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run([*alone, small], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of their own, so /dev/shm cannot be made small")
    fill = "with open('/dev/shm/full', 'wb', 0) as full:\n            while full.write(bytes(4096)): pass"
    sabotage(bundle, INIT, f"{INIT}        {fill}\n")
    code, message = start(prefix=(*alone, f'{small} && exec "$0" "$@"')).end()
    assert code == 2
    assert "/dev/shm or the disk of the temporary folder is full" in message, message


@pytest.mark.parametrize("megabytes", [50, 90, 200, 500])
def test_little_memory(megabytes: int, start: Start) -> None:
    """Whatever does not get its memory: numpy, Lava's modules, the processes, their threads."""
    run = start("--samples", "2", prefix=limited(f"ulimit -v {megabytes * 1024}"))
    code, message = run.end()
    assert code == 2
    assert message.startswith("error: out of memory (run fewer samples"), message


@pytest.mark.parametrize("files", [8, 40, 120])
def test_few_descriptors(files: int, start: Start) -> None:
    run = start("--samples", "2", prefix=limited(f"ulimit -n {files}"))
    code, message = run.end()
    assert code == 2
    assert f"4 Lava processes need about 144 open files, the hard limit is {files}. Raise it" in message, message


def limited(limit: str) -> tuple[str, ...]:
    """A prefix that runs a command under a limit of the shell."""
    return ("sh", "-c", f'{limit} && exec "$0" "$@"')
