"""What neuron_kernels.py does, in plain torch: for devices that numba does not compile for."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from snn2hw.engines.neuron_kernels import LATE, LOW_BITS, SUBTRACT, ZERO, Gate, Parameters
from snn2hw.ir.fixed_point import DECAY_SHIFT, MEMBRANE_SHIFT


def step_neurons(
    x: torch.Tensor,
    steps: int,
    p: Parameters,
    spikes: torch.Tensor,
    peaks: torch.Tensor,
    gate: Gate,
    other: torch.Tensor,
    gated: torch.Tensor,
) -> None:
    """neuron_kernels.step_neurons of x [N, T or 1, M], in the type of the parameters, int32 or int64.

    Of `peaks`, the first row gets the largest values of all.
    """
    samples, given, size = x.shape
    arrays = (p.threshold, p.remaining, p.current_remaining, p.bias, p.amount)
    threshold, remaining, current_remaining, bias, amount = (
        torch.from_numpy(array).to(x.device).repeat(size // len(array)) for array in arrays
    )
    u = v = torch.zeros((samples, size), dtype=threshold.dtype, device=x.device)
    for t in range(steps):
        a = x[:, min(t, given - 1)].to(threshold.dtype)
        late = torch.where(v > threshold, amount, 0) if p.reset == LATE else 0
        u = (_decayed(u, current_remaining) if p.remembers else 0) + (a << MEMBRANE_SHIFT) + bias
        v = (_decayed(v, remaining) if p.leaks else v) + u - late
        if len(peaks):
            reached = torch.stack([a.abs().max(), u.abs().max(), v.abs().max()]).to("cpu", torch.int64)
            peaks[0] = torch.maximum(peaks[0], reached)
        fired = v > threshold
        if p.reset == ZERO:
            v = torch.where(fired, 0, v)
        elif p.reset == SUBTRACT:
            v = v - torch.where(fired, amount, 0)
        if len(spikes):
            spikes[:, t] = fired
        if len(gated):
            total = gate.spike_factor * fired.int() + gate.other_factor * other[:, min(t, other.shape[1] - 1)].int()
            gated[:, t] = total > gate.threshold if gate.binary else total


def sum_windows(
    x: torch.Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], out: torch.Tensor
) -> None:
    """neuron_kernels.sum_windows: x [I, H, W, C], out [I, H', W', C]."""
    sums = F.avg_pool2d(x.permute(0, 3, 1, 2).double(), kernel, stride, padding, divisor_override=1)
    out.copy_(sums.permute(0, 2, 3, 1))


def _decayed(state: torch.Tensor, remaining: torch.Tensor) -> torch.Tensor:
    size = state.abs()
    return state.sign() * ((size >> DECAY_SHIFT) * remaining + (((size & LOW_BITS) * remaining) >> DECAY_SHIFT))
