"""One batch of samples in the fast simulator, and how large batches are."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.layers import Layers
from snn2hw.engines.synapse_kernels import payload_type
from snn2hw.errors import OptionError
from snn2hw.ir.fixed_point import quantise_payload
from snn2hw.passes.balance_delays import balance_delays

BATCH_BYTES = 16 << 20  # the largest activation of a batch


BATCH_MOST = 256


def is_balanced(program: ir.Program) -> bool:
    """Whether the schedule is the one that its graph asks for."""
    return program.schedule == balance_delays(program.graph, timesteps=program.schedule.timesteps)


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
    """What `simulate` returns, [N, T, *shape] by layer, for samples that run at once.

    The first of them is called `first_sample` in errors.
    """
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


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch or numpy raised this because memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
