"""The fast simulator: the spikes of cycle.py, without its clock.

Latencies, delays and reset offsets make the branches of every join meet and every sample start at rest. A schedule that
does so needs no clock: each step can be computed as if nothing took time, and comes out aligned as the contract says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data import Samples
from snn2hw.errors import OptionError
from snn2hw.fixed_point import quantise_payload
from snn2hw.passes.balance_delays import balance_delays
from snn2hw.simulator.cycle import Progress
from snn2hw.simulator.layers import Layers
from snn2hw.simulator.synapse_kernels import payload_type

BATCH_BYTES = 16 << 20  # the largest activation of a batch
BATCH_MOST = 256

Note = Callable[[str], None]
Allocate = Callable[[str, tuple[int, ...], type[np.generic]], NDArray[Any]]


def is_balanced(program: ir.Program) -> bool:
    """Whether the schedule is the one that its graph asks for."""
    return program.schedule == balance_delays(program.graph, timesteps=program.schedule.timesteps)


def simulate(
    program: ir.Program,
    samples: Samples,
    *,
    record: Collection[str] | None = None,
    device: str = "cpu",
    batch: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    note: Note | None = None,
    allocate: Allocate | None = None,
) -> ir.Spikes:
    """What cycle.simulate returns; of the recorded layers only those named in `record`, if it is given.

    jobs: how many processes share the samples, one thread each; for small nets. allocate: makes the array of a layer
    from its name, shape and type; in memory, unless given. Raises what `stream` raises.
    """
    make = allocate or (lambda name, shape, dtype: np.empty(shape, dtype))
    steps, count = program.schedule.timesteps, len(samples)
    made: ir.Spikes = {
        node.name: make(node.name, (count, steps, *node.shape), ir.record_dtype(program.bounds[node.name]))
        for node in recorded(program, record)
    }
    made |= program.graph.readout.results(make("logits", (count, *program.graph.readout.shape), np.int64))
    if jobs > 1:
        from snn2hw.simulator.jobs import share

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
) -> Iterator[tuple[slice, ir.Spikes]]:
    """Run samples batch by batch, in constant memory: which samples, and their part of what `simulate` returns.

    Where memory runs out, a batch of half the size is tried, and `note` is told.

    Raises:
        DataError: the samples do not fit the program's input.
        OptionError: the schedule's delays do not balance.
        FixedPointOverflow: an accumulator or membrane left its range, or no kernel computes a layer exactly.
    """
    check(program, samples)
    layers = Layers(program, device)
    size, start = batch or batch_size(program), 0
    while start < len(samples):
        part = slice(start, min(start + size, len(samples)))
        try:
            spikes = run_batch(layers, samples[part], record, first_sample=start)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not _out_of_memory(error):
                raise
            size //= 2
            if note:
                note(f"memory ran out with {2 * size} samples at once; going on with {size}.")
            continue
        yield part, spikes
        start = part.stop
        if progress:
            progress(start, len(samples))


def check(program: ir.Program, samples: Samples) -> None:
    """Raise OptionError if the schedule's delays do not balance, DataError if the samples do not fit the input."""
    if not is_balanced(program):
        raise OptionError(
            "the program's delays, latencies or reset offsets are not those of its graph, so its steps do not line up, "
            "as the fast engine needs them to. Use --engine cycle."
        )
    samples.check_shape(program.graph.input.shape)
    samples.check_timesteps(program.schedule.timesteps)


def run_batch(layers: Layers, samples: Samples, record: Collection[str] | None, *, first_sample: int = 0) -> ir.Spikes:
    """What `simulate` returns for samples that run at once; the first of them is called `first_sample` in errors."""
    program, spikes = layers.program, ir.Spikes()
    wanted = {node.name for node in recorded(program, record)}

    def keep(name: str, values: torch.Tensor) -> None:
        if name in wanted:
            spikes[name] = as_recorded(values, program, name)

    logits = layers.run(payloads(program, samples), keep, first_sample=first_sample, everything=bool(wanted))
    return spikes | program.graph.readout.results(logits)


def recorded(program: ir.Program, names: Collection[str] | None) -> list[ir.Spiking]:
    """The recorded nodes of a program that are named; all, if `names` is None."""
    return [node for node in program.graph.recorded if names is None or node.name in names]


def payloads(program: ir.Program, samples: Samples) -> torch.Tensor:
    """The integer payloads [N, T or 1, H, W, C] of samples, channels last."""
    node = program.graph.input
    x = samples.x if samples.per_step else samples.x[:, None]
    x = x.reshape(*x.shape[:2], *(*node.shape, 1, 1)[:3])
    values = quantise_payload(np.moveaxis(x, 2, -1), scale=node.scale, low=node.low, high=node.high)
    return torch.from_numpy(values).to(payload_type(node.low, node.high)).contiguous()


def batch_size(program: ir.Program) -> int:
    """How many samples run at once: few enough that no activation of a batch is large."""
    largest = max(math.prod(node.shape) for node in program.graph if not ir.is_synapse(node))
    return max(1, min(BATCH_MOST, BATCH_BYTES // (largest * program.schedule.timesteps)))


def as_recorded(values: torch.Tensor, program: ir.Program, name: str) -> np.ndarray:
    """Channels-last values as spikes.npz holds them: [N, T, *shape]."""
    steps, shape = program.schedule.timesteps, program.graph[name].shape
    full = values.expand(-1, steps, -1, -1, -1).movedim(-1, 2).reshape(len(values), steps, *shape).contiguous()
    return full.cpu().numpy().astype(ir.record_dtype(program.bounds[name]), copy=False)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
