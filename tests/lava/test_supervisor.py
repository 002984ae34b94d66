"""Whatever happens to a run: it ends soon, says why, and leaves no process, shared memory, folder or output behind.

SNN2HW_FAULT_ROUNDS=10 runs each fault ten times.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import RUNTIME, Builder, make_bundle, save_samples

import snn2hw
from snn2hw.errors import BundleError, LavaError
from snn2hw.exporters.lava.environment import clean_variables, ensure_environment
from snn2hw.exporters.lava.worker import run_lava

MANY = 100_000  # samples: minutes of work
PATIENCE = 20.0  # seconds within which a run must end
ROUNDS = int(os.environ.get("SNN2HW_FAULT_ROUNDS", "1"))
NO_MEMORY = "; if nobody did that, the system ran out of memory"


@pytest.fixture(autouse=True, params=range(ROUNDS))
def fault_round(request: pytest.FixtureRequest) -> int:
    """The number of the round."""
    return int(request.param)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small program and samples enough for minutes."""
    builder = Builder(timesteps=2, shape=(1, 4, 4))
    builder.readout(builder.sew_block("block", builder.layer("stem", "x", 2), 2, gate="ADD"))
    make_bundle(builder, tmp_path)
    np.savez(tmp_path / "x.npz", x=np.ones((MANY, 1, 4, 4), np.uint8))
    return tmp_path


class Run:
    """A run of run.py with temporary files of its own, by which everything that belongs to it is found."""

    def __init__(self, bundle: Path, *options: str, folder: Path | None = None, prefix: tuple[str, ...] = ()) -> None:
        self.bundle = bundle
        self.folder = folder or Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # short: sockets have short names
        command = [ensure_environment(), "lava/run.py", "--input", "x.npz", "--output", "spikes.npz", "--json-progress"]
        self.process = subprocess.Popen(
            [*prefix, *command, *options],
            cwd=bundle,
            env={**clean_variables(), "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_cycles(self) -> None:
        """Until Lava works."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if json.loads(line)["cycles"] > 2:
                return

    def shared_memory(self) -> list[Path]:
        prefixes = [json.loads(path.read_text())["shared_memory"] for path in self.folder.glob("*/job.json")]
        return [path for prefix in prefixes for path in Path("/dev/shm").glob(f"{prefix}*")]

    def worker(self) -> int:
        return next(pid for pid in self.processes() if os.getsid(pid) == pid)

    def lava_process(self, name: str) -> int:
        """The process that runs a model. Lava forks them in the order of processes.json, then its runtime service."""
        (path,) = self.folder.glob("*/processes.json")
        names, worker = json.loads(path.read_text()), self.worker()
        forked = sorted(pid for pid in self.processes() if parent(pid) == worker)
        return forked[-len(names) - 1 :][names.index(name)]

    def processes(self) -> list[int]:
        """All processes of this run but its first, zombies not counted."""
        mark, found = f"TMPDIR={self.folder}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes() and int(path.name) != self.process.pid:
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def end(self) -> tuple[int, str]:
        """Wait for the run to end by itself; its exit code and message. Everything must be gone with it."""
        memory = self.shared_memory()
        _, message = self.process.communicate(timeout=PATIENCE)
        assert self.processes() == []
        assert [path for path in memory if path.exists()] == []
        assert list(self.folder.iterdir()) == []
        assert not (self.bundle / "spikes.npz").exists()
        assert list(self.bundle.glob(".spikes*")) == []
        return self.process.returncode, message


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def start(bundle: Path) -> Iterator[Callable[..., Run]]:
    """Starts runs. When the test is over, the same bundle, put right, must run to its end."""
    runs: list[Run] = []

    def start(*options: str, **keywords: Any) -> Run:
        runs.append(Run(bundle, *options, **keywords))
        return runs[-1]

    yield start
    try:
        for name in ("processes/fused.py", "system.py", "files.py"):
            (bundle / "lava" / name).write_bytes((RUNTIME / name).read_bytes())
        again = start("--samples", "2")
        _, message = again.process.communicate(timeout=PATIENCE)
        assert (again.process.returncode, message) == (0, "")
        assert (bundle / "spikes.npz").is_file()
        assert list(again.folder.iterdir()) == []
    finally:
        for run in runs:
            for pid in [run.process.pid, *run.processes()] if run.process.poll() is None else run.processes():
                os.kill(pid, signal.SIGKILL)
            run.process.communicate()
            shutil.rmtree(run.folder, ignore_errors=True)


def sabotage(bundle: Path, old: str, new: str, file: str = "processes/fused.py") -> None:
    """Change the bundle's copy of the fused model, or of another file."""
    path = bundle / "lava" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


UNPICKLABLE = """import os, sys, time
import numpy as np
class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__("sabotage")
"""
STEP = "        self.engine.begin()\n"
INIT = '        self.engine = RegionEngine(proc_params["job"], proc_params["region"])\n'


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
def test_a_model_that_fails(place: str, fault: str, expected: str, bundle: Path, start: Callable[..., Run]) -> None:
    sabotage(bundle, "import numpy as np\n", UNPICKLABLE)
    names = "late, stem = self.engine.cycle == 5, self.engine.region.name == 'stem'"
    sabotage(bundle, place, f"{place}        {names}\n        {fault}\n")
    code, message = start().end()
    assert code == 2
    assert message.startswith("error: ")
    assert re.search(expected, message, re.DOTALL), message


def test_a_killed_lava_process(start: Callable[..., Run]) -> None:
    run = start()
    run.wait_for_cycles()
    os.kill(run.lava_process("block"), signal.SIGKILL)
    assert run.end() == (2, f"error: the Lava process 'block' was killed by SIGKILL (Killed){NO_MEMORY}\n")


def test_a_stuck_lava_process_and_a_deadline(start: Callable[..., Run]) -> None:
    run = start("--deadline", "5")
    run.wait_for_cycles()
    os.kill(run.lava_process("block"), signal.SIGSTOP)
    code, message = run.end()
    assert code == 2
    assert message.startswith("error: the run did not end within its deadline of 5 s. In cycle ")
    assert "block" in message.partition("the others wait for:")[2]


def test_a_stuck_lava_process_and_no_deadline(start: Callable[..., Run]) -> None:
    run = start("--stall", "2")
    run.wait_for_cycles()
    os.kill(run.lava_process("block"), signal.SIGSTOP)
    code, message = run.end()
    assert code == 2
    assert message.startswith("error: no Lava process finished a cycle for 2 s. In cycle ")
    assert "block" in message.partition("the others wait for:")[2]


def test_a_model_that_never_starts(bundle: Path, start: Callable[..., Run]) -> None:
    sabotage(bundle, INIT, INIT + "        import time; time.sleep(1000)\n")
    code, message = start("--deadline", "3").end()
    assert code == 2
    assert message == "error: the run did not end within its deadline of 3 s. Lava was still starting 4 processes.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_main_process_alone(number: signal.Signals, start: Callable[..., Run]) -> None:
    run = start()
    run.wait_for_cycles()
    run.process.send_signal(number)
    assert run.end() == (2, f"error: interrupted by {number.name}; nothing was written\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("third", range(3))
def test_a_signal_at_any_moment(third: int, number: signal.Signals, start: Callable[..., Run]) -> None:
    """From the first moment at which run.py listens, to seconds after Lava works; a second signal changes nothing."""
    run = start()
    wait_until(lambda: listens(run.process.pid))
    time.sleep(random.uniform(0.8 * third, 0.8 * third + 0.8))
    run.process.send_signal(number)
    time.sleep(random.uniform(0, 0.1))
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == (2, f"error: interrupted by {number.name}; nothing was written\n")


def listens(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGTERM."""
    caught = int(Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_signal_while_the_spikes_are_written(bundle: Path, start: Callable[..., Run]) -> None:
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


def test_a_killed_worker(start: Callable[..., Run]) -> None:
    run = start()
    run.wait_for_cycles()
    os.kill(run.worker(), signal.SIGKILL)
    code, message = run.end()
    assert code == 2
    assert message.startswith(f"error: the Lava worker was killed by SIGKILL{NO_MEMORY}\n")


def test_a_killed_main_process(start: Callable[..., Run]) -> None:
    run = start()
    run.wait_for_cycles()
    memory = run.shared_memory()
    assert memory
    assert run.processes()
    run.process.kill()
    wait_until(lambda: not run.processes() and not any(path.exists() for path in memory))


def test_the_next_run_removes_what_killed_ones_left(bundle: Path, start: Callable[..., Run]) -> None:
    """All of a run is killed at once, Python's own tracker of shared memory too."""
    living = start()
    living.wait_for_cycles()
    killed = start(folder=living.folder)
    killed.wait_for_cycles()
    (left,) = {path for path in killed.folder.iterdir() if (path / "job.json").is_file()} - {
        path
        for path in living.folder.iterdir()
        if json.loads((path / "job.json").read_text())["supervisor"] == living.process.pid
    }
    memory = list(Path("/dev/shm").glob(json.loads((left / "job.json").read_text())["shared_memory"] + "*"))
    own = [pid for pid in killed.processes() if str(left).encode() in Path(f"/proc/{pid}/environ").read_bytes()]
    for pid in (killed.process.pid, *own):
        os.kill(pid, signal.SIGSTOP)
    for pid in (killed.process.pid, *own):
        os.kill(pid, signal.SIGKILL)
    killed.process.wait(PATIENCE)
    partial = bundle / f".spikes.npz.{killed.process.pid}"
    partial.write_bytes(b"half")
    assert left.is_dir() and memory and all(path.exists() for path in memory)
    after = start("--samples", "2", folder=living.folder)
    assert after.process.wait(PATIENCE) == 0
    assert not left.exists() and not any(path.exists() for path in memory) and not partial.exists()
    (bundle / "spikes.npz").unlink()
    assert living.shared_memory() and living.process.poll() is None  # a run that lives is left alone
    living.process.terminate()
    assert living.end()[0] == 2


def test_full_shared_memory_is_told_before_the_start(bundle: Path, start: Callable[..., Run]) -> None:
    sabotage(bundle, "free = shutil.disk_usage(SHARED_MEMORY).free", "free = 1000", "system.py")
    code, message = start().end()
    assert code == 2
    assert re.match(
        r"error: the channels between 4 Lava processes need 0 MB of shared memory, /dev/shm has 0 MB", message
    )


def test_shared_memory_that_fills_up_while_lava_starts(bundle: Path, start: Callable[..., Run]) -> None:
    """In a /dev/shm of one megabyte that only this run sees; the stem fills it before the first message."""
    alone = ("unshare", "-m" if os.getuid() == 0 else "-Urm", "sh", "-c")
    small = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run([*alone, small], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of their own, so /dev/shm cannot be made small")
    fill = "import time\n        with open(f'/dev/shm/{os.getpid()}', 'wb', 0) as f:\n            while f.write(bytes(4096)): pass"
    sabotage(bundle, INIT, f"{INIT}        {fill}\n")
    sabotage(bundle, "import numpy as np\n", UNPICKLABLE)
    run = start(prefix=(*alone, small + ' && exec "$0" "$@"'))
    code, message = run.end()
    assert code == 2
    assert "No space left on device" in message or "SIGBUS" in message, message


@pytest.mark.parametrize("megabytes", [120, 400, 700, 1000, 1500])
def test_little_memory(megabytes: int, bundle: Path, start: Callable[..., Run]) -> None:
    """Whatever does not get its memory, and wherever: the run ends with a message, or, with enough of it, well."""
    limit = ("sh", "-c", f'ulimit -v {megabytes * 1024} && exec "$0" "$@"')
    run = start("--samples", "2", "--deadline", "60", prefix=limit)
    _, message = run.process.communicate(timeout=60 + PATIENCE)
    if run.process.returncode == 0:
        (bundle / "spikes.npz").unlink()
        return
    assert run.process.returncode in (1, 2, 127), message
    assert message
    assert run.processes() == []
    assert list(run.folder.iterdir()) == []


def test_the_host_ends_a_run_that_it_is_interrupted_in(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", on_progress=interrupt)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    assert not (bundle / "spikes.npz").exists()


def test_the_host_passes_on_the_message_of_a_deadline(bundle: Path) -> None:
    with pytest.raises(LavaError, match="did not end within its deadline of 2 s"):
        run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", deadline=2)
    assert not (bundle / "spikes.npz").exists()


def test_a_run_ends_with_the_host_that_started_it(bundle: Path) -> None:
    script = """
import sys
from pathlib import Path
from snn2hw.exporters.lava.worker import run_lava
bundle = Path(sys.argv[1])
run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", on_progress=lambda done, total: print(done, flush=True))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(snn2hw.__file__).parent.parent)}
    command = [sys.executable, "-c", script, str(bundle)]
    host = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert host.stdout is not None
    host.stdout.readline()
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    assert len(children) == 1
    host.kill()
    host.communicate()
    wait_until(lambda: not Path(f"/proc/{children[0]}").exists() or state(children[0]) == "Z")
    assert not (bundle / "spikes.npz").exists()


def state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no lava/run\.py"):
        run_lava(tmp_path, tmp_path / "x.npz", tmp_path / "spikes.npz")


def test_progress_is_for_terminals(tmp_path: Path) -> None:
    builder = Builder(timesteps=1, shape=(1, 4, 4))
    builder.readout(builder.layer("stem", "x", 2))
    make_bundle(builder, tmp_path)
    save_samples(builder, tmp_path, 2)
    command = f"{ensure_environment()} lava/run.py --input x.npz --output spikes.npz"
    typescript = ["script", "--quiet", "--return", "--command", command, "/dev/null"]
    shown = subprocess.run(typescript, cwd=tmp_path, env=clean_variables(), capture_output=True, check=True).stdout
    assert shown.replace(b"\r", b"").rstrip().endswith(b"cycle 4 of 4")
