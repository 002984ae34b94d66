"""Runs a bundle in Lava: starts its run.py with Lava's Python, follows it, and ends it with this process."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from snn2hw.data.aliases import Progress
from snn2hw.errors import BundleError, LavaError
from snn2hw.exporters.lava import Processes
from snn2hw.exporters.lava.environment import clean_variables, ensure_environment

GRACE = 30.0  # seconds after its deadline in which run.py may clean up
POLL_INTERVAL = 0.2


def run_lava(
    bundle: Path,
    input_npz: Path,
    output_npz: Path,
    *,
    processes: Processes = "fused",
    lava_processes: int | None = None,
    models: Path | None = None,
    samples: int | None = None,
    deadline: float | None = None,
    program: Path | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Run a bundle's program in Lava on the samples `x` of `input_npz` and write spikes to `output_npz`.

    `lava_processes` is the most that fused ones may be, unless given as many as keep the cores busy; `models` is a file
    of the user's process models (docs/lava.md); `samples` takes the first ones only; values outside the input's range
    are clipped; `deadline` is in seconds for the whole run; `program` replaces the bundle's program.npz;
    `on_progress(cycles done, cycles in all)` is called as they grow. Whatever ends the run, the output is complete or
    absent and no process is left. Raises LavaError with the run's message, BundleError without run.py.
    """
    script = bundle / "lava" / "run.py"
    if not script.is_file():
        raise BundleError(f"{bundle} is no Lava bundle: it has no lava/run.py. Export it again with --target lava.")
    command = [str(ensure_environment()), str(script), "--input", str(input_npz), "--output", str(output_npz)]
    command += ["--processes", processes, "--json-progress", "--parent", str(os.getpid())]
    command.append("--saturate")  # what lies outside the range is told before, once, not for each part of the samples
    for option, value in (
        ("--lava-processes", lava_processes),
        ("--models", models),
        ("--samples", samples),
        ("--deadline", deadline),
        ("--program", program),
    ):
        if value is not None:
            command += [option, str(value)]
    limit = None if deadline is None else time.monotonic() + deadline + GRACE
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            env=clean_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the run in order
        )
        try:
            _follow(process, limit, on_progress or (lambda done, total: None))
            process.wait(GRACE)
        except subprocess.TimeoutExpired as error:
            raise LavaError("the run closed its output but did not end, and was ended") from error
        finally:
            _end(process)
        if process.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip().removeprefix("error: ")
            raise LavaError(f"Lava did not run to its end: {text or _how_it_ended(process.returncode)}")


def _follow(process: subprocess.Popen[bytes], limit: float | None, on_progress: Progress) -> None:
    """Read progress until the run closes its output. Raises LavaError beyond `limit` (on the monotonic clock)."""
    assert process.stdout is not None  # for the type checker: it is a pipe
    os.set_blocking(process.stdout.fileno(), False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(POLL_INTERVAL):
                chunk = _read(process.stdout)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    report = json.loads(line)
                    on_progress(report["cycles"], report["total"])
            if limit is not None and time.monotonic() > limit:
                raise LavaError("the run answered no more after its deadline and was ended")


def _read(pipe: IO[bytes]) -> bytes:
    return os.read(pipe.fileno(), 65536)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a run that is not over to clean up and end; kill it if it does not. Its children die with it."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _how_it_ended(code: int) -> str:
    return f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
