"""How many outputs each input of a synapse reaches: a fixed map, so that operations are a sum over spikes."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.ir.fixed_point import Bool, Int


def fan_out(node: ir.Synapse, shape: ir.Shape, *, nonzero: bool = False) -> Int:
    """Outputs that each input position feeds, int64 [*shape] of the input. Positions of padding feed nothing.

    nonzero: only through weights that are not zero.
    """
    match node:
        case ir.Linear():
            each = np.count_nonzero(node.weight, axis=0) if nonzero else np.full(math.prod(shape), len(node.weight))
            return each.astype(np.int64).reshape(shape)
        case ir.Scale():
            return np.full(shape, int(not nonzero or node.factor != 0), np.int64)
        case ir.SumPool() | ir.MaxPool():
            rows, columns = _windows(node, shape)
            return np.broadcast_to(np.outer(rows.sum(axis=1), columns.sum(axis=1)), shape).copy()
        case ir.Conv():
            rows, columns = _windows(node, shape)
            used = np.asarray(node.weight != 0 if nonzero else np.ones(node.weight.shape), np.int64)
            per_group = used.reshape(node.groups, -1, *used.shape[1:]).sum(axis=1)  # [groups, I/groups, kh, kw]
            taps = per_group.reshape(shape[0], *used.shape[2:])
            return np.asarray(np.einsum("cab,ya,xb->cyx", taps, rows, columns), np.int64)
        case _:
            assert_never(node)


def operations_with_padding(node: ir.Synapse) -> int:
    """Multiplications of one dense pass as most tools count them: those with the zeros of padding too."""
    outputs = math.prod(node.shape)
    match node:
        case ir.Conv() | ir.Linear():
            return outputs * math.prod(node.weight.shape[1:])
        case ir.SumPool() | ir.MaxPool():
            return outputs * math.prod(node.kernel)
        case ir.Scale():
            return outputs
        case _:
            assert_never(node)


def reached(node: ir.Synapse, events: Bool) -> Bool:
    """Which outputs an event arrives at. events [B, *input shape]; returns what broadcasts to [B, *node.shape]."""
    match node:
        case ir.Linear():
            anywhere: Bool = np.any(events.reshape(len(events), -1), axis=1, keepdims=True)
            return anywhere
        case ir.Scale():
            return events
        case ir.SumPool() | ir.MaxPool():
            return _spread(events, node.kernel, node.stride, node.padding, (1, 1), node.shape)
        case ir.Conv():
            channels: Bool = np.logical_or.reduce(
                events.reshape(len(events), node.groups, -1, *events.shape[2:]), axis=2
            )
            sites = _spread(channels, _kernel(node), node.stride, node.padding, node.dilation, node.shape)
            return np.repeat(sites, node.shape[0] // node.groups, axis=1) if node.groups > 1 else sites
        case _:
            assert_never(node)


def _spread(
    events: Bool, kernel: ir.Pair, stride: ir.Pair, padding: ir.Pair, dilation: ir.Pair, shape: ir.Shape
) -> Bool:
    """Whether any position of each window holds an event."""
    padded = F.pad(torch.from_numpy(events.astype(np.float32)), (padding[1], padding[1], padding[0], padding[0]))
    highest: NDArray[np.float32] = F.max_pool2d(padded, kernel, stride, 0, dilation).numpy()
    return highest[..., : shape[1], : shape[2]] > 0


def _kernel(node: ir.Conv | ir.SumPool | ir.MaxPool) -> ir.Pair:
    if isinstance(node, ir.SumPool | ir.MaxPool):
        return node.kernel
    height, width = node.weight.shape[2:]
    return height, width


def _windows(node: ir.Conv | ir.SumPool | ir.MaxPool, shape: ir.Shape) -> tuple[Int, Int]:
    """[H, kh] and [W, kw]: whether an input row (column) meets each row (column) of the kernel, 0 or 1."""
    dilation = node.dilation if isinstance(node, ir.Conv) else (1, 1)
    axes = []
    for axis in (0, 1):
        size, taps = shape[1 + axis], _kernel(node)[axis]
        meets = np.zeros((size, taps), np.int64)
        for tap in range(taps):
            rows = np.arange(node.shape[1 + axis]) * node.stride[axis] - node.padding[axis] + tap * dilation[axis]
            meets[rows[(rows >= 0) & (rows < size)], tap] = 1
        axes.append(meets)
    return axes[0], axes[1]
