"""A layer of neurons over all steps of some samples, with the gate that joins its spikes with another layer's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.engines import neuron_kernels, torch_kernels
from snn2hw.engines.cycle import check_range
from snn2hw.engines.neuron_kernels import RESETS, Gate, Parameters
from snn2hw.ir.fixed_point import (
    DECAY_SHIFT,
    MEMBRANE_SHIFT,
    Int,
    accumulate_current,
    join_bias,
    step_neuron,
)

BLOCK = 4096  # int32 states of so many neurons stay in the first-level cache
EMPTY = torch.empty((0, 0, 0), dtype=torch.uint8)
NO_GATE = Gate(1, 0, False, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class GateCall:
    """A gate to compute beside the neurons: with whose values, and where to."""

    gate: Gate
    other: torch.Tensor
    out: torch.Tensor


class Neurons:
    """One ir.Neuron, ready to run on a device.

    Its states are int32; int64, in plain torch, where they may leave their range and 32 bits would not show it.
    """

    def __init__(self, node: ir.Neuron, program: ir.Program, *, plain: bool) -> None:
        self.node, self.program, self.numerics = node, program, program.numerics
        self.watched = program.bounds[node.name].kind != "proved"
        wide = self.watched and not self.numerics.int32_sees_overflow
        self.plain = plain or wide
        arrays = {
            "threshold": node.threshold << MEMBRANE_SHIFT,
            "remaining": (1 << DECAY_SHIFT) - node.decay,
            "current_remaining": (1 << DECAY_SHIFT) - node.current_decay,
            "bias": join_bias(node.bias_mantissa, node.bias_exponent),
            "amount": node.reset_amount << MEMBRANE_SHIFT,
        }
        period = _period(node.shape, [array.shape for array in arrays.values()])
        dtype = np.int64 if wide else np.int32
        self.state_type = torch.int64 if wide else torch.int32
        self.parameters = Parameters(
            **{name: _channels_last(array, node.shape, period, dtype) for name, array in arrays.items()},
            block=_largest_divisor(period, BLOCK),
            leaks=bool((node.decay != 0).any()),
            remembers=bool((node.current_decay != 1 << DECAY_SHIFT).any()),
            reset=RESETS.index(node.reset),
        )

    def __call__(
        self, x: torch.Tensor, steps: int, spikes: torch.Tensor | None, gate: GateCall | None, first_sample: int
    ) -> None:
        """Run on the summed input x [N, T or 1, H, W, C] of samples from `first_sample` on, each from its rest.

        Writes spikes [N, T, H, W, C] and the gate's output. Raises FixedPointOverflow with the place.
        """
        summed = x.flatten(2)
        if summed.dtype == torch.float64:
            limit = self.numerics.membrane_limit  # more than that of inputs: what reaches this is refused below
            summed = summed.clamp(-limit, limit)
        if summed.dtype != torch.float32:
            summed = summed.to(self.state_type)
        jobs = len(summed) * summed.shape[2] // self.parameters.block if self.watched else 0
        peaks = torch.zeros((jobs, 3), dtype=torch.int64)
        fired = EMPTY if spikes is None else spikes.flatten(2)
        other = EMPTY if gate is None else gate.other.flatten(2)
        gated = EMPTY if gate is None else gate.out.flatten(2)
        chosen = NO_GATE if gate is None else gate.gate
        if self.plain:
            torch_kernels.step_neurons(summed, steps, self.parameters, fired, peaks, chosen, other, gated)
        else:
            neuron_kernels.step_neurons(
                *(summed.numpy(), steps, self.parameters, fired.numpy(), peaks.numpy()),
                *(chosen, other.numpy(), gated.numpy()),
            )
        limits = (self.numerics.input_limit, self.numerics.membrane_limit, self.numerics.membrane_limit)
        if self.watched and any(int(peak) >= limit for peak, limit in zip(peaks.amax(0), limits, strict=True)):
            self._locate(x, steps, first_sample)

    def _locate(self, x: torch.Tensor, steps: int, first_sample: int) -> None:
        """Raise FixedPointOverflow for the first step, of the first sample, that leaves its range."""
        node, schedule, numerics = self.node, self.program.schedule, self.numerics
        unit = 1 << numerics.membrane_shift
        bias = join_bias(node.bias_mantissa, node.bias_exponent)
        for at, sample in enumerate(x.cpu().double().numpy()):
            u = v = np.zeros(node.shape, np.int64)
            for step in range(steps):
                payload = np.moveaxis(sample[min(step, len(sample) - 1)], -1, 0).reshape(node.shape).astype(np.int64)
                u = accumulate_current(u, payload, current_decay=node.current_decay, bias=bias)
                charged, v, _ = step_neuron(
                    v, u, threshold=node.threshold, decay=node.decay, reset=node.reset, amount=node.reset_amount
                )
                cycle = schedule.cycle(node.name, first_sample + at, step)
                where = f"{node.name}, sample {first_sample + at}, step {step}, cycle {cycle}"
                check_range(payload, numerics.input_limit, "the summed input", where)
                check_range(u, numerics.membrane_limit, f"the current (in 1/{unit})", where)
                check_range(charged, numerics.membrane_limit, f"the membrane (in 1/{unit})", where)


def _period(shape: ir.Shape, arrays: list[ir.Shape]) -> int:
    """After how many neurons, channels last, the parameters repeat: some pixels if they are the same for all pixels."""
    channels, *pixels = shape
    by_channel = all(
        not any(size > 1 for size in array[1 - len(shape) :]) for array in arrays if len(array) == len(shape)
    )
    by_channel = by_channel and all(len(array) in (0, len(shape)) for array in arrays)
    if len(shape) == 1 or not by_channel:
        return math.prod(shape)
    return channels * _largest_divisor(math.prod(pixels), max(BLOCK // channels, 1))


def _largest_divisor(number: int, most: int) -> int:
    return next(n for n in range(min(number, most), 0, -1) if number % n == 0)


def _channels_last(array: Int, shape: ir.Shape, period: int, dtype: type[np.signedinteger]) -> NDArray[Any]:
    """The first `period` values of an array broadcast to [C, ...], channels last."""
    full = np.moveaxis(np.broadcast_to(array, shape), 0, -1)
    return np.array(full.reshape(-1)[:period], dtype=dtype)
