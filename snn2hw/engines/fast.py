"""The fast simulator: the spikes of cycle.py, without its clock.

Latencies, delays and reset offsets make the branches of every join meet and every sample start at rest. A schedule that
does so needs no clock: each step can be computed as if nothing took time, and comes out aligned as the contract says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import Note, Progress
from snn2hw.data.samples import Samples
from snn2hw.engines.batches import batch_size, check, is_out_of_memory, recorded, run_batch
from snn2hw.engines.jobs import share
from snn2hw.engines.layers import Layers, Watch

Allocate = Callable[[str, tuple[int, ...], type[np.generic]], NDArray[Any]]


def simulate(
    program: ir.Program,
    samples: Samples,
    *,
    record: Collection[str] | None = None,
    allocate: Allocate | None = None,
    device: str = "cpu",
    batch: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    note: Note | None = None,
) -> ir.Spikes:
    """What cycle.simulate returns, [N, T, *shape] by layer; of the recorded layers only those in `record`, if given.

    allocate: makes the array of a layer from its name, shape and type; in memory, unless given. jobs: how many
    processes share the samples, one thread each; for small nets. Raises what `stream` raises.
    """
    make = allocate or (lambda name, shape, dtype: np.empty(shape, dtype))
    steps, count = program.schedule.timesteps, len(samples)
    made: ir.Spikes = {
        node.name: make(node.name, (count, steps, *node.shape), ir.record_dtype(program.bounds[node.name]))
        for node in recorded(program, record)
    }
    made |= program.graph.readout.results(make("logits", (count, *program.graph.readout.shape), np.int64))
    if jobs > 1:
        parts = share(program, samples, jobs=jobs, record=record, batch=batch, progress=progress)
    else:
        parts = stream(program, samples, record=record, device=device, batch=batch, progress=progress, note=note)
    for part, spikes in parts:
        for name, values in spikes.items():
            made[name][part] = values
    return made


def stream(
    program: ir.Program,
    samples: Samples,
    *,
    record: Collection[str] | None = None,
    device: str = "cpu",
    batch: int | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[slice, ir.Spikes]]:
    """Run samples batch by batch, in constant memory: which samples, and their part of what `simulate` returns
    ([N, T, *shape] by layer).

    Where memory runs out, a batch of half the size is tried, and `note` is told. watch: sees what neurons receive.

    Raises:
        DataError: the samples do not fit the program's input.
        OptionError: the schedule's delays do not balance.
        FixedPointOverflow: an accumulator or membrane left its range, or no kernel computes a layer exactly.
    """
    check(program, samples)
    layers = Layers(program, device, watch=watch)
    size, start = batch or batch_size(program), 0
    while start < len(samples):
        part = slice(start, min(start + size, len(samples)))
        try:
            spikes = run_batch(layers, samples[part], record, first_sample=start)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
            if note:
                note(f"memory ran out with {2 * size} samples at once; going on with {size}.")
            continue
        yield part, spikes
        start = part.stop
        if progress:
            progress(start, len(samples))
