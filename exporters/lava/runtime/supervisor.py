"""The supervisor: starts the worker, follows it, and leaves nothing behind, however the run ends.

Lava waits for ever when one of its processes fails, is killed or hangs. So all of Lava runs in a worker with a session
of its own, and this process, which never blocks, decides when it is over.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digest import check_digest
from files import create_recordings, read_payloads, write_spikes
from program import ProgramError
from program_npz.reader import read_program
from run_folder import new_prefix, run_folder
from signals import Signals
from system import adopt_orphans, end_group, unlink_shared_memory

POLL_INTERVAL = 0.05  # seconds
LOG_LINES = 20


@dataclass(frozen=True)
class Request:
    """One run: files, number of samples, kind of process models (fused, structural, stock), and limits in seconds.

    `deadline` is for the whole run; `stall` is the longest time in which no process finishes a cycle. `parent` is a
    process whose end ends the run. `lava_processes` limits the fused processes; `models` is a file of the user;
    `saturate` lets values outside the input's range be clipped.
    """

    input: Path
    output: Path
    program: Path
    samples: int | None
    saturate: bool
    processes: str
    lava_processes: int | None
    models: Path | None
    deadline: float | None
    stall: float
    parent: int | None


def supervise(request: Request, signals: Signals, on_progress: Callable[[int, int], None]) -> None:
    """Run a program in Lava. `on_progress(cycles done, cycles in all)` is called as they grow.

    Raises ProgramError, Interrupted, OSError and MemoryError; nothing is left of a run that raises.
    """
    check_digest(request.program)
    program = read_program(request.program)
    payloads = read_payloads(request.input, program, request.samples, saturate=request.saturate)
    if not request.output.parent.is_dir():
        raise ProgramError(f"the folder of {request.output} does not exist")
    adopt_orphans()
    signals.held = True  # from here on there is something to clean up
    with run_folder() as folder:
        create_recordings(folder, program, len(payloads))
        np.save(folder / "input.npy", payloads)
        _Run(request, folder, signals, program.cycles(len(payloads)), on_progress).run(len(payloads))
        write_spikes(folder, program, request.output, signals.check)


class _Run:
    """The worker's life."""

    def __init__(
        self, request: Request, folder: Path, signals: Signals, cycles: int, on_progress: Callable[[int, int], None]
    ) -> None:
        self.request, self.folder, self.signals, self.cycles = request, folder, signals, cycles
        self.on_progress = on_progress
        self.start = self.last_change = time.monotonic()
        self.shown = self.total = -1

    def run(self, samples: int) -> None:
        """Start the worker and wait for it. Raises ProgramError; the worker and all it made is gone afterwards."""
        shared_memory = new_prefix()
        job = {
            "program": str(self.request.program),
            "processes": self.request.processes,
            "samples": samples,
            "lava_processes": self.request.lava_processes,
            "models": self.request.models and str(self.request.models),
            "supervisor": os.getpid(),
            "shared_memory": shared_memory,
        }
        (self.folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        # One thread each: the Lava processes already keep the cores busy. TMPDIR catches multiprocessing's sockets.
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # Of shared memory that a failed run leaves, Python would warn in the log; it is unlinked here.
        quiet = {"PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker"}
        environment = {**os.environ, **threads, **quiet, "TMPDIR": str(self.folder)}
        command = [sys.executable, str(Path(__file__).with_name("run.py")), "--worker", str(self.folder)]
        worker: subprocess.Popen[bytes] | None = None
        try:
            with (self.folder / "worker.log").open("wb") as log:
                worker = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while (code := worker.poll()) is None:
                self._look()
                time.sleep(POLL_INTERVAL)
            if code:
                raise ProgramError(self._explain(code))
            self._show(self.cycles)
        finally:
            if worker is not None:
                end_group(worker)
            unlink_shared_memory(shared_memory)
        self.signals.check()

    def _look(self) -> None:
        self.signals.check()
        now = time.monotonic()
        done = self._done()
        if done is not None:
            self._show(min(done))
            if sum(done) != self.total:
                self.total, self.last_change = sum(done), now
        deadline, stall = self.request.deadline, self.request.stall
        if deadline is not None and now - self.start > deadline:
            raise ProgramError(f"the run did not end within its deadline of {deadline:g} s. {self._where(done)}")
        if now - self.last_change > stall:
            raise ProgramError(f"no Lava process finished a cycle for {stall:g} s. {self._where(done)}")
        if self.request.parent is not None and os.getppid() != self.request.parent:
            raise ProgramError("the process that started this run has ended")

    def _show(self, cycle: int) -> None:
        if cycle != self.shown:
            self.shown = cycle
            self.on_progress(cycle, self.cycles)

    def _done(self) -> list[int] | None:
        """The last cycle that each Lava process has done; None before they run."""
        if not (self.folder / "processes.json").is_file():
            return None
        return [int(cycle) for cycle in np.load(self.folder / "cycles.npy")]

    def _where(self, done: list[int] | None) -> str:
        """Which Lava processes hold up the others."""
        if done is None:
            return "Lava was still starting."
        names = json.loads((self.folder / "processes.json").read_text(encoding="utf-8"))
        if max(done) == 0:
            return f"Lava was still starting {len(names)} processes."
        behind = [name for name, cycle in zip(names, done, strict=True) if cycle == min(done)]
        if len(behind) == len(names):
            return f"All {len(names)} Lava processes had done cycle {min(done)} of {self.cycles}."
        return f"In cycle {min(done) + 1} of {self.cycles} the others wait for: {', '.join(behind)}."

    def _explain(self, code: int) -> str:
        """Why the worker ended."""
        path = self.folder / "report.json"
        if path.is_file():
            report = json.loads(path.read_text(encoding="utf-8"))
            if not report["log_tells_more"]:
                return str(report["message"])
            message = report["message"]
        elif code < 0:
            message = f"the Lava worker was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                message += "; if nobody did that, the system ran out of memory"
        else:
            message = f"the Lava worker ended with exit code {code}"
        log = (self.folder / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([message, *log[-LOG_LINES:]])
