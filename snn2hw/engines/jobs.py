"""Samples shared among processes: for nets so small that threads within a layer are not worth it."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.engines import batches
from snn2hw.engines.layers import Layers
from snn2hw.errors import OptionError

_layers: list[Layers] = []  # of a worker process: made once, at its start


def share(
    program: ir.Program,
    samples: Samples,
    *,
    jobs: int,
    record: Collection[str] | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[slice, ir.Spikes]]:
    """What `fast.stream` gives, [N, T, *shape] by layer, in the same order, by `jobs` processes of one thread each.

    Raises what `fast.stream` raises, and OptionError if a process was ended from outside.
    """
    batches.check(program, samples)
    size = batch or min(batches.batch_size(program), -(-len(samples) // jobs))
    starts = range(0, len(samples), size)
    waiting: deque[tuple[slice, Future[ir.Spikes]]] = deque()
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start, (program,))
    try:
        for start in starts:
            part = slice(start, min(start + size, len(samples)))
            waiting.append((part, pool.submit(_run, samples[part], record, start)))
            while len(waiting) > 2 * jobs or (waiting and start == starts[-1]):
                done, future = waiting.popleft()
                yield done, future.result()
                if progress:
                    progress(done.stop, len(samples))
    except BrokenProcessPool:
        raise OptionError(
            f"one of the {jobs} processes was ended from outside, most likely because memory ran out. Use fewer --jobs."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(program: ir.Program) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which ends this one
    torch.set_num_threads(1)
    _layers.append(Layers(program))


def _run(samples: Samples, record: Collection[str] | None, first_sample: int) -> ir.Spikes:
    return batches.run_batch(_layers[0], samples, record, first_sample=first_sample)
