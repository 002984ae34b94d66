"""The worker: the one process that uses Lava. The supervisor starts it, watches it and cleans up after it.

They talk through files in the run's folder: job.json comes in; processes.json names the Lava processes; cycles.npy
holds the last cycle that each has done; report.json says why a run failed.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np

from engine import Job
from files import recording_paths
from grouping import default_limit, group_regions
from lava_import import make_lava_importable
from lava_version import LAVA_VERSION, how_to_install
from program import ProgramError
from program_npz.reader import read_program
from system import SHARED_MEMORY, check_limits, die_with_parent, name_shared_memory

CHANNEL_SIZE = 2  # messages a channel holds; Lava's default of 64 takes 30 times the shared memory and gains nothing
CHECK_INTERVAL = 0.25  # seconds between two looks at the Lava processes
PATIENCE = 2.0  # seconds that the exception behind a failure may take to arrive
FAILED = 2


def work(folder: Path) -> int:
    """Run the job in `folder` and return 0, or end with exit code 2 and the reason in report.json."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    die_with_parent(job["supervisor"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ends are the supervisor's business
    signal.signal(signal.SIGTERM, lambda number, frame: _exit())  # which asks first, and kills a second later
    name_shared_memory(job["shared_memory"])
    me = os.getpid()
    os.register_at_fork(after_in_child=functools.partial(die_with_parent, me))
    try:
        _run(folder, job)
    except Exception as error:
        # What Lava passes on from a process carries that process's traceback.
        report(folder, error, getattr(error, "trace", None) or traceback.format_exc())
        _exit()
    return 0


def report(folder: Path, error: BaseException | None, details: str) -> None:
    """Write report.json: the error's message if it says it all, else the details. With no error the log may help."""
    message = str(error) if isinstance(error, ProgramError) else details
    content = {"message": message, "log_tells_more": error is None}
    beside = folder / "report.part"
    beside.write_text(json.dumps(content), encoding="utf-8")
    os.replace(beside, folder / "report.json")


def _run(folder: Path, job: dict[str, Any]) -> None:
    check_lava()
    make_lava_importable()
    # The supervisor shares this folder's modules, but must work, and explain itself, where Lava is missing.
    from lava.magma.core.run_conditions import RunSteps

    from network import RunConfig, build_network, channel_bytes
    from own_models import check_models, load_models, model_of
    from stock import StockNetwork

    kind, program = job["processes"], read_program(Path(job["program"]))
    if kind == "stock" and job["models"]:
        raise ProgramError("--models: stock processes have no regions whose models could be replaced")
    models = load_models(Path(job["models"])) if job["models"] else ()
    check_models(program, models)
    if kind == "fused":
        alone = [region.name for region in program.regions if model_of(region, models)]
        program = replace(program, regions=group_regions(program, job["lava_processes"] or default_limit(), alone))
    run = Job(program, job["samples"], recording_paths(folder, program))
    payloads = np.load(folder / "input.npy", mmap_mode="r")
    stock = StockNetwork(run, payloads) if kind == "stock" else None
    source = stock.source if stock else build_network(run, payloads)
    executable = source.compile(RunConfig(kind, models), {"pypy_channel_size": CHANNEL_SIZE})
    processes = {process.id: process.name for process in executable.proc_builders}
    check_limits(len(processes), channel_bytes(executable, CHANNEL_SIZE))
    count_cycles(folder, processes)
    watch = Watch(folder, source, [*processes.values(), "Lava's runtime service"])
    source.create_runtime(executable=executable)
    source.run(RunSteps(num_steps=program.cycles(run.samples)))
    if stock:
        stock.read()
    watch.ending = True
    source.stop()
    watch.stop()


def check_lava() -> None:
    """Raise ProgramError unless the one version of Lava is installed that this code was tested with."""
    try:
        installed = importlib.metadata.version("lava-nc")
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != LAVA_VERSION:
        raise ProgramError(f"this needs lava-nc {LAVA_VERSION}, {sys.executable} has {installed}: {how_to_install()}")


def count_cycles(folder: Path, processes: dict[int, str]) -> None:
    """Have every process model, stock ones too, note each cycle it has done in cycles.npy, in the order of `processes`.

    Lava offers no hook for this, so the method in which a model runs one cycle is wrapped before the models are forked.
    """
    from lava.magma.core.model.py.model import PyLoihiProcessModel

    board = np.lib.format.open_memmap(folder / "cycles.npy", mode="w+", dtype=np.int64, shape=(len(processes),))
    place = {identity: index for index, identity in enumerate(processes)}
    run_cycle = PyLoihiProcessModel._spike

    def run_and_count(model: Any) -> None:
        try:
            run_cycle(model)
        except Exception:
            traceback.print_exc()  # into the log, as not every exception survives the way through Lava
            raise
        board[place[model.model_id]] = model.time_step

    PyLoihiProcessModel._spike = run_and_count
    (folder / "processes.json").write_text(json.dumps(list(processes.values())), encoding="utf-8")


class Watch:
    """Looks at the Lava processes several times a second, while the main thread waits inside Lava.

    A process that ends before the run does is a failure: Lava itself would wait for it for ever. Once `ending` is set,
    only a crash is one. A signal handler does this, not a thread: Lava forks, and forks do not go with threads.
    """

    def __init__(self, folder: Path, source: Any, names: list[str]) -> None:
        self.folder, self.source, self.names = folder, source, names
        self.ending = False
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, CHECK_INTERVAL, CHECK_INTERVAL)

    def stop(self) -> None:
        """Look no more."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _actors(self) -> list[tuple[str, Any]]:
        """The Lava processes started so far, with their names."""
        infrastructure = getattr(self.source.runtime, "_messaging_infrastructure", None)
        return list(zip(self.names, infrastructure.actors if infrastructure else [], strict=False))

    def _look(self, _signal: int, _frame: FrameType | None) -> None:
        codes = {name: _exit_code(actor) for name, actor in self._actors()}
        crashed = {name: code for name, code in codes.items() if code}
        ended = {name: code for name, code in codes.items() if code is not None}
        if not crashed and (self.ending or not ended):
            return
        self.stop()
        end = time.monotonic() + PATIENCE
        while not crashed and time.monotonic() < end:
            for name, actor in self._actors():
                caught = _exception(actor)
                if caught is not None:
                    error, details = caught
                    report(self.folder, error, f"the Lava process '{name}' failed:\n{details}")
                    _exit()
            time.sleep(0.02)
        texts = [f"the Lava process '{name}' {_describe_exit(code)}" for name, code in (crashed or ended).items()]
        report(self.folder, None, "; ".join(texts))
        _exit()


def _exit() -> NoReturn:
    """End at once. Python's exit would wait for the Lava processes, which wait for each other."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(FAILED)


def _exit_code(actor: Any) -> int | None:
    """How a Lava process ended, or None. It stays to be waited for: Lava does that itself."""
    try:
        state = os.waitid(os.P_PID, actor.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ValueError:  # Lava has waited for it and closed it
        return 0
    except ChildProcessError:  # multiprocessing has waited for it
        return actor.exitcode  # type: ignore[no-any-return]
    if state is None:
        return None
    return state.si_status if state.si_code == os.CLD_EXITED else -state.si_status


def _exception(actor: Any) -> tuple[BaseException, str] | None:
    """The exception and traceback that a Lava process sent before it ended."""
    try:
        return actor.exception  # type: ignore[no-any-return]
    except Exception:  # its pipe is closed, or the exception is of a kind that pickle cannot rebuild
        return None


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} before the run did"
    hints = {
        signal.SIGKILL: "; if nobody did that, the system ran out of memory",
        signal.SIGBUS: f"; {SHARED_MEMORY} or the disk of the temporary folder is full",
    }
    number = signal.Signals(-code)
    return f"was killed by {number.name} ({signal.strsignal(number)}){hints.get(number, '')}"
