"""The kernels that are not matrix products, compiled by numba: neurons with the gate behind them, and pools.

Channels-last arrays of whole numbers; the arithmetic is that of fixed_point.py in int32. While every value stays below
the limits of a chip whose overflows int32 holds (Numerics.int32_sees_overflow), nothing wraps; `peaks` tells the caller
when one did not. For other chips they compute what is proved to stay within 32 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw.ir.fixed_point import DECAY_SHIFT, MEMBRANE_SHIFT, Reset

RESETS = tuple(Reset)  # the kernels know a reset by its place here
ZERO, SUBTRACT, LATE = RESETS.index(Reset.ZERO), RESETS.index(Reset.SUBTRACT), RESETS.index(Reset.SUBTRACT_LATE)
LOW_BITS = (1 << DECAY_SHIFT) - 1
SHIFT = np.int32(MEMBRANE_SHIFT)

compiled: Any = numba.njit(parallel=True, cache=True, nogil=True, error_model="numpy")
inlined: Any = numba.njit(inline="always", error_model="numpy")


def share_threads() -> None:
    """Use as many threads as torch. Starting them, numba changes the number of torch's, by OpenMP: put it back."""
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, int(vars(numba.config)["NUMBA_NUM_THREADS"])))
    torch.set_num_threads(threads)


class Parameters(NamedTuple):
    """A layer's neurons. Arrays int32 [L], in membrane units; neuron i of M has those of i mod L.

    remaining, current_remaining: the share of the state that a step leaves, of 4096. block: neurons computed together,
    a divisor of L. leaks, remembers: whether membrane and current keep less than all and more than nothing.
    """

    threshold: NDArray[np.int32]
    remaining: NDArray[np.int32]
    current_remaining: NDArray[np.int32]
    bias: NDArray[np.int32]
    amount: NDArray[np.int32]
    block: int
    leaks: bool
    remembers: bool
    reset: int


class Gate(NamedTuple):
    """spike_factor * spike + other_factor * other; or, with `binary`, whether that exceeds the threshold."""

    spike_factor: int
    other_factor: int
    binary: bool
    threshold: int


@inlined  # type: ignore[untyped-decorator]
def _decayed(state: Any, remaining: Any) -> Any:
    """fixed_point.decay_state without a 64-bit product: high and low bits are multiplied by themselves."""
    size = abs(state)
    size = (size >> DECAY_SHIFT) * remaining + (((size & LOW_BITS) * remaining) >> DECAY_SHIFT)
    return np.int32(size) if state >= 0 else np.int32(-size)


@compiled  # type: ignore[untyped-decorator]
def step_neurons(x: Any, steps: int, p: Any, spikes: Any, peaks: Any, gate: Any, other: Any, gated: Any) -> None:
    """All steps of the neurons of some samples, and the gate that joins their spikes with those of another layer.

    x: float32 or int32 [N, T or 1, M], the summed input; one step stands for all. Written, each only where it is not
    empty: spikes uint8 [N, T, M]; peaks int64 [N M / block, 3], the largest input, current and membrane of each block;
    gated [N, T, M], what `gate` makes of spikes and other [N, T or 1, M].
    """
    samples, given, size = x.shape
    block, period = p.block, len(p.threshold)
    blocks = size // block
    spike_factor, other_factor, above = (
        np.int32(gate.spike_factor),
        np.int32(gate.other_factor),
        np.int32(gate.threshold),
    )
    for job in numba.prange(samples * blocks):
        n, first = job // blocks, (job % blocks) * block
        last, at = first + block, first % period
        threshold, bias = p.threshold[at : at + block], p.bias[at : at + block]
        remaining, current_remaining, amount = (
            p.remaining[at : at + block],
            p.current_remaining[at : at + block],
            p.amount[at : at + block],
        )
        u, v, fired = np.zeros(block, np.int32), np.zeros(block, np.int32), np.zeros(block, np.uint8)
        for t in range(steps):
            a = x[n, min(t, given - 1), first:last]
            if p.remembers:
                for i in range(block):
                    u[i] = _decayed(u[i], current_remaining[i]) + (np.int32(a[i]) << SHIFT) + bias[i]
            else:
                for i in range(block):
                    u[i] = (np.int32(a[i]) << SHIFT) + bias[i]
            if p.reset == LATE:
                for i in range(block):
                    u_late = amount[i] if v[i] > threshold[i] else np.int32(0)
                    v[i] = _decayed(v[i], remaining[i]) + u[i] - u_late
            elif p.leaks:
                for i in range(block):
                    v[i] = _decayed(v[i], remaining[i]) + u[i]
            else:
                for i in range(block):
                    v[i] += u[i]
            if len(peaks):
                largest, current, membrane = np.int32(0), np.int32(0), np.int32(0)
                for i in range(block):
                    largest = max(largest, abs(np.int32(a[i])))
                    current = max(current, abs(u[i]))
                    membrane = max(membrane, abs(v[i]))
                peaks[job, 0] = max(peaks[job, 0], largest)
                peaks[job, 1] = max(peaks[job, 1], current)
                peaks[job, 2] = max(peaks[job, 2], membrane)
            for i in range(block):
                fired[i] = v[i] > threshold[i]
            if p.reset == ZERO:
                for i in range(block):
                    v[i] = np.int32(0) if fired[i] else v[i]
            elif p.reset == SUBTRACT:
                for i in range(block):
                    v[i] -= amount[i] if fired[i] else np.int32(0)
            if len(spikes):
                spikes[n, t, first:last] = fired
            if len(gated):
                o, g = other[n, min(t, other.shape[1] - 1), first:last], gated[n, t, first:last]
                if gate.binary:
                    for i in range(block):
                        g[i] = spike_factor * np.int32(fired[i]) + other_factor * np.int32(o[i]) > above
                else:
                    for i in range(block):
                        g[i] = spike_factor * np.int32(fired[i]) + other_factor * np.int32(o[i])


@compiled  # type: ignore[untyped-decorator]
def sum_windows(x: Any, kernel: Any, stride: Any, padding: Any, out: Any) -> None:
    """The sum over each window. x [I, H, W, C], out [I, H', W', C] of a type that holds the sums."""
    images, height, width, channels = x.shape
    _, rows, columns, _ = out.shape
    for job in numba.prange(images * rows):
        n, row = job // rows, job % rows
        top = row * stride[0] - padding[0]
        line = np.zeros(width * channels, out.dtype)
        for y in range(max(top, 0), min(top + kernel[0], height)):
            source = x[n, y].reshape(width * channels)
            for i in range(width * channels):
                line[i] += source[i]
        for column in range(columns):
            left = column * stride[1] - padding[1]
            sums = out[n, row, column]
            sums[:] = 0
            for position in range(max(left, 0), min(left + kernel[1], width)):
                part = line[position * channels : (position + 1) * channels]
                for i in range(channels):
                    sums[i] += part[i]
