"""Runs of run.py to which something is done: starting one, finding what belongs to it, asserting that all is gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from programs import Builder, make_bundle

from snn2hw.exporters.lava.environment import clean_variables, ensure_environment
from snn2hw.exporters.lava.run_time import copy_run_time

MANY = 100_000  # samples: minutes of work
PATIENCE = 20.0  # seconds within which a run must end
IMPORTS = "import numpy as np\n"  # of the fused model, and where it starts and takes its steps
INIT = '        self.engine = RegionEngine(proc_params["job"], proc_params["region"])\n'
STEP = "        self.engine.begin()\n"


def small_bundle(folder: Path) -> Path:
    """A small program and samples enough for minutes."""
    builder = Builder(timesteps=2, shape=(1, 4, 4))
    builder.readout(builder.sew_block("block", builder.layer("stem", "x", 2), 2, gate="ADD"))
    make_bundle(builder, folder)
    np.savez(folder / "x.npz", x=np.ones((MANY, 1, 4, 4), np.uint8))
    return folder


class Run:
    """A run of run.py with its own folder of temporary files, which marks everything that belongs to it."""

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
        """Shared memory and semaphores of this run."""
        return [path for mark in ("", "sem.") for path in Path("/dev/shm").glob(f"{mark}s2h{self.process.pid}_*")]

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
        mark, numbers = f"TMPDIR={self.folder}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes() and int(path.name) != self.process.pid:
                    numbers.append(int(path.name))
            except OSError:
                continue
        return numbers

    def end(self) -> tuple[int, str]:
        """Wait for the run to end by itself; its exit code and message. Everything must be gone with it."""
        _, message = self.process.communicate(timeout=PATIENCE)
        assert self.processes() == []
        assert self.shared_memory() == []
        assert list(self.folder.iterdir()) == []
        assert not (self.bundle / "spikes.npz").exists()
        assert list(self.bundle.glob(".spikes*")) == []
        return self.process.returncode, message


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def starter(bundle: Path) -> Iterator[Callable[..., Run]]:
    """A function that starts runs of a bundle; what is left of them is ended afterwards."""
    runs: list[Run] = []

    def start(*options: str, **keywords: Any) -> Run:
        runs.append(Run(bundle, *options, **keywords))
        return runs[-1]

    try:
        yield start
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


def repair(bundle: Path) -> None:
    """Undo sabotage."""
    copy_run_time(bundle / "lava")


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
