"""Runs this bundle's program in Lava: python lava/run.py --input x.npz --output spikes.npz

Needs Python 3.10 or later with lava-nc and numpy, nothing else. Exit code 0: done, the output is complete. 2: it
failed; stderr says why, and no output, process or shared memory is left behind.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import sys
from pathlib import Path

# Bundles are checked by content: running one must not add files to it.
sys.dont_write_bytecode = True
# BLAS starts threads when numpy is imported, and never ends if it does not get their memory. Nothing is computed here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from lava_version import OLDEST_PYTHON, how_to_install  # noqa: E402
from signals import Interrupted, Signals  # noqa: E402

STALL = 600.0  # seconds
BLAS_MEMORY = 96 << 20  # bytes that numpy and its BLAS ask for, which ends the process where it gets none
CAUSES = {
    "out of memory (run fewer samples at a time with --samples, or fewer processes with --lava-processes)": (
        "MemoryError",
        "Cannot allocate memory",
        "can't start new thread",
        "failed to map segment",
    ),
    "/dev/shm or the disk of the temporary folder is full": ("No space left on device",),
    "too many open files (ulimit -n)": ("Too many open files",),
}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        print(f"error: this needs Python {oldest} or later, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    options = _parse(arguments)
    if options.worker is not None:
        from worker import work

        return work(options.worker)
    signals = Signals()
    progress = _JsonProgress() if options.json_progress else _LineProgress()
    try:
        problem = _run(options, signals, progress)
    except Interrupted as error:
        problem = str(error)
    except MemoryError as error:
        problem = f"MemoryError {error}".rstrip()
    finally:
        signals.ignore()
    progress.end()
    if problem is not None:
        print(f"error: {_with_cause(problem)}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace, signals: Signals, progress: _JsonProgress | _LineProgress) -> str | None:
    """Run the program; why it did not come to its end, or None."""
    try:
        mmap.mmap(-1, BLAS_MEMORY).close()
    except OSError as error:
        return f"{error.strerror}: numpy needs {BLAS_MEMORY >> 20} MiB when it is imported"
    try:
        from program import ProgramError
        from supervisor import Request, supervise
    except ModuleNotFoundError as error:
        return f"{error}. {how_to_install()}"
    except ImportError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return f"numpy is installed, but cannot be imported: {cause}"

    request = Request(
        input=options.input,
        output=options.output,
        program=options.program.resolve(),
        samples=options.samples,
        saturate=options.saturate,
        processes=options.processes,
        lava_processes=options.lava_processes,
        models=options.models and options.models.resolve(),
        deadline=options.deadline,
        stall=options.stall,
        parent=options.parent,
    )
    try:
        supervise(request, signals, progress.show)
    except (ProgramError, OSError) as error:
        return str(error)
    return None


def _with_cause(problem: str) -> str:
    """A message that begins with what the machine lacked, where a traceback in it says so."""
    for cause, signs in CAUSES.items():
        if any(sign in problem for sign in signs):
            return f"{cause}\n{problem}"
    return problem


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    if arguments is None:
        arguments = sys.argv[1:]
    parser = argparse.ArgumentParser(prog="run.py", description="Run this bundle's program in Lava.")
    parser.add_argument("--input", type=Path, required=True, help=".npz with x: [N, C, H, W] or [N, T, C, H, W]")
    parser.add_argument("--output", type=Path, required=True, help="spikes.npz: logits and every recorded layer")
    parser.add_argument(
        "--processes",
        choices=("fused", "structural", "stock"),
        default="fused",
        help="fused: whole regions in numpy, fast (default); structural: one process per node, Lava's own where those "
        "are exact; stock: Lava's own alone",
    )
    parser.add_argument(
        "--stock-only", action="store_const", const="stock", dest="processes", help="the same as --processes stock"
    )
    parser.add_argument("--models", type=Path, metavar="FILE.py", help="process models of your own: see README.md")
    parser.add_argument(
        "--lava-processes",
        type=_processes,
        metavar="N",
        help="at most so many fused Lava processes, 2 to 300 (default: 2 for each core, and the source)",
    )
    parser.add_argument("--samples", type=_positive_int, help="run only the first samples")
    parser.add_argument(
        "--saturate", action="store_true", help="clip values outside the range seen in calibration, as a chip does"
    )
    parser.add_argument("--deadline", type=_positive_float, help="seconds that the whole run may take")
    parser.add_argument(
        "--stall",
        type=_positive_float,
        default=STALL,
        help="seconds in which at least one Lava process must finish a cycle (default %(default)g)",
    )
    default = Path(__file__).resolve().parent.parent / "program.npz"
    parser.add_argument("--program", type=Path, default=default, help="default: program.npz of this bundle")
    parser.add_argument("--json-progress", action="store_true", help="print cycles done and in all as JSON lines")
    parser.add_argument("--parent", type=int, help="end the run when this process, which started it, has ended")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    if arguments[:1] == ["--worker"]:
        return argparse.Namespace(worker=Path(arguments[1]))
    return parser.parse_args(arguments)


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _processes(text: str) -> int:
    value = int(text)
    if not 2 <= value <= 300:
        raise argparse.ArgumentTypeError(f"{value} is not between 2 and 300")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


class _JsonProgress:
    """One line of JSON per change on stdout, for another program."""

    def show(self, done: int, total: int) -> None:
        print(json.dumps({"cycles": done, "total": total}), flush=True)

    def end(self) -> None:
        pass


class _LineProgress:
    """One line that renews itself on a terminal; nothing in a pipe."""

    def __init__(self) -> None:
        self.visible = False
        self.terminal = sys.stderr.isatty()
        if self.terminal:
            self._print("starting Lava")

    def show(self, done: int, total: int) -> None:
        self._print(f"cycle {done} of {total}")

    def end(self) -> None:
        if self.visible:
            print(file=sys.stderr)

    def _print(self, text: str) -> None:
        if self.terminal:
            self.visible = True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
