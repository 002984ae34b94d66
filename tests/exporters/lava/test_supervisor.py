"""What the supervisor leaves to the next run and to the host that starts runs; faults are in test_faults.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import Builder, make_bundle, save_samples
from runs import PATIENCE, Run, small_bundle, starter, wait_until

import snn2hw
from snn2hw.errors import BundleError, LavaError
from snn2hw.exporters.lava.environment import clean_variables, ensure_environment
from snn2hw.exporters.lava.host import run_lava


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small program and samples enough for minutes."""
    return small_bundle(tmp_path)


@pytest.fixture
def start(bundle: Path) -> Iterator[Callable[..., Run]]:
    """Starts runs."""
    with starter(bundle) as start:
        yield start


def test_the_next_run_removes_what_killed_ones_left(bundle: Path, start: Callable[..., Run]) -> None:
    """All of a run is killed at once, Python's tracker of shared memory too. A run that lives is left alone."""
    living = start()
    living.wait_for_cycles()
    for pid in living.processes():  # they would take the time of the others
        os.kill(pid, signal.SIGSTOP)
    before = set(living.folder.iterdir())
    killed = start(folder=living.folder)
    killed.wait_for_cycles()
    (left,) = set(living.folder.iterdir()) - before
    descendants = [pid for pid in killed.processes() if str(left).encode() in Path(f"/proc/{pid}/environ").read_bytes()]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in (killed.process.pid, *descendants):
            os.kill(pid, number)
    killed.process.wait(PATIENCE)
    partial = bundle / f".spikes.npz.{killed.process.pid}"
    partial.write_bytes(b"half")
    assert left.is_dir()
    assert killed.shared_memory()
    after = start("--samples", "2", folder=living.folder)
    assert after.process.wait(PATIENCE) == 0
    assert not left.exists()
    assert not killed.shared_memory()
    assert not partial.exists()
    (bundle / "spikes.npz").unlink()
    assert living.shared_memory()
    assert living.process.poll() is None
    living.process.terminate()
    assert living.end()[0] == 2


def test_runs_in_a_row_leave_nothing_in_the_host(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """benchmarks/lava.py --runs 50 measures the same, and memory too."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    states = []
    for _ in range(5):
        run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", samples=1)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        states.append((len(os.listdir("/proc/self/fd")), children, list(folder.iterdir()), own_shared_memory()))
    assert states == states[:1] * 5
    assert states[0][2:] == ([], [])
    folder.rmdir()


def own_shared_memory() -> list[Path]:
    """Shared memory and semaphores of runs whose supervisor is gone: other tests run at the same time."""
    marks = re.compile(r"(?:sem\.)?s2h(\d+)_")
    marked = ((path, marks.match(path.name)) for path in Path("/dev/shm").iterdir())
    return [path for path, mark in marked if mark and not Path("/proc", mark[1]).exists()]


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
from snn2hw.exporters.lava.host import run_lava
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


def test_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no lava/run\.py"):
        run_lava(tmp_path, tmp_path / "x.npz", tmp_path / "spikes.npz")


def test_progress_is_for_terminals(tmp_path: Path) -> None:
    builder = Builder(timesteps=1, shape=(1, 4, 4))
    builder.readout(builder.layer("stem", "x", 2))
    make_bundle(builder, tmp_path)
    save_samples(builder, tmp_path, 2)
    command = f"{ensure_environment()} lava/run.py --input x.npz --output spikes.npz --saturate"
    typescript = ["script", "--quiet", "--return", "--command", command, "/dev/null"]
    shown = subprocess.run(typescript, cwd=tmp_path, env=clean_variables(), capture_output=True, check=True).stdout
    assert shown.replace(b"\r", b"").rstrip().endswith(b"cycle 4 of 4")
