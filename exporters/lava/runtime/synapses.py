"""The synapses in numpy, exact. Arrays are in Lava's order: [W, H, C] or [K], int32 in, int32 out.

Products run through BLAS: in float32 while every partial sum stays below 2^24, else in float64, so nothing is rounded.
A synapse answers one cycle late: `take` keeps the input of a cycle, `answer` gives the result in the next.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from program import Array, Conv, Linear, MaxPool, Pair, Scale, Shape, SumPool, Synapse

FLOAT32_EXACT = 1 << 24


class Rule(Protocol):
    """A synapse at work. Both arrays are in Lava's order; `out` is written."""

    def take(self, x: Array) -> None: ...
    def answer(self, out: Array) -> None: ...


class Scratch:
    """Memory that the synapses of a process use one after the other, never two at a time."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.known: dict[tuple[Any, ...], list[Array]] = {}

    def arrays(self, dtype: Any, *shapes: Shape) -> list[Array]:
        """One array of each shape, of any content, valid until the next call."""
        key = (dtype, shapes)
        if key not in self.known:
            sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape in shapes]
            if self.memory.size < sum(sizes):
                self.memory = np.empty(sum(sizes), np.uint8)
                self.known.clear()  # they would keep the smaller memory
            ends = np.cumsum(sizes)
            parts = [self.memory[end - size : end] for end, size in zip(ends, sizes, strict=True)]
            self.known[key] = [part.view(dtype).reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return self.known[key]


def make_synapse(node: Synapse, input_shape: Shape, scratch: Scratch) -> Rule:
    """The rule of a synapse. `input_shape` is [C, H, W] or [K], as in the program."""
    if isinstance(node, Conv):
        if node.groups > 1 and node.weight.shape[1] == 1:
            return _Taps(node, input_shape, node.weight, node.groups)
        return _Convolution(node, input_shape, scratch)
    if isinstance(node, SumPool):
        return _Taps(node, input_shape, np.ones((input_shape[0], 1, *node.kernel), np.int32), input_shape[0])
    if isinstance(node, MaxPool):
        return _Largest(node, input_shape)
    if isinstance(node, Linear):
        return _Linear(node, input_shape)
    return _Scale(node, input_shape)


def _float_type(accumulator_bound: int) -> type[np.floating[Any]]:
    return np.float32 if accumulator_bound < FLOAT32_EXACT else np.float64


class _Padded:
    """A buffer [W + 2p, H + 2p, C] whose border stays zero, and its windows."""

    def __init__(self, input_shape: Shape, padding: Pair, dtype: Any) -> None:
        channels, height, width = input_shape
        self.array = np.zeros((width + 2 * padding[1], height + 2 * padding[0], channels), dtype)
        self.inside = self.array[padding[1] : padding[1] + width, padding[0] : padding[0] + height]

    def windows(self, kernel: Pair, stride: Pair, dilation: Pair, shape: Shape) -> Array:
        """A view [W', H', kw, kh, C]; `shape` is the output's [C, H', W']."""
        across, down, channel = self.array.strides
        return as_strided(
            self.array,
            (shape[2], shape[1], kernel[1], kernel[0], self.array.shape[2]),
            (across * stride[1], down * stride[0], across * dilation[1], down * dilation[0], channel),
        )


class _Convolution:
    """Copy the windows into the rows of a matrix, multiply it by the weights, group by group."""

    def __init__(self, node: Conv, input_shape: Shape, scratch: Scratch) -> None:
        outputs, inputs, *kernel = node.weight.shape
        self.float_type, self.scratch = _float_type(node.accumulator_bound), scratch
        self.padded = _Padded(input_shape, node.padding, self.float_type)
        windows = self.padded.windows((kernel[0], kernel[1]), node.stride, node.dilation, node.shape)
        columns = outputs // node.groups
        self.groups: list[tuple[Array, Array, slice]] = []
        for group in range(node.groups):
            mine = slice(group * columns, (group + 1) * columns)
            weight = node.weight[mine].transpose(3, 2, 1, 0).reshape(-1, columns)
            part = windows[..., group * inputs : (group + 1) * inputs]
            self.groups.append((part, np.ascontiguousarray(weight, self.float_type), mine))
        self.windows_shape, self.rows = part.shape, node.shape[1] * node.shape[2]
        # The windows of a 1x1 kernel, or of a single position, may be the input itself.
        self.ready = part.reshape(self.rows, -1) if part.flags.c_contiguous else None

    def take(self, x: Array) -> None:
        self.padded.inside[...] = x

    def answer(self, out: Array) -> None:
        columns = out.shape[-1] // len(self.groups)
        result, rows = self.scratch.arrays(self.float_type, (self.rows, columns), self.windows_shape)
        table = out.reshape(self.rows, -1)
        for windows, weight, mine in self.groups:
            if self.ready is None:
                rows[...] = windows
            np.matmul(rows.reshape(self.rows, -1) if self.ready is None else self.ready, weight, out=result)
            table[:, mine] = result


class _Taps:
    """One input channel per group: add up the taps of the kernel in int32. A sum pool is this with ones."""

    def __init__(self, node: Conv | SumPool, input_shape: Shape, weight: Array, groups: int) -> None:
        kernel = (weight.shape[2], weight.shape[3])
        self.padded = _Padded(input_shape, node.padding, np.int32)
        dilation = node.dilation if isinstance(node, Conv) else (1, 1)
        self.windows = self.padded.windows(kernel, node.stride, dilation, node.shape)
        self.multiplier = len(weight) // groups  # outputs per input: channel c feeds outputs c*m to c*m + m - 1
        self.taps = [(i, j, weight[:, 0, j, i].astype(np.int32)) for j in range(kernel[0]) for i in range(kernel[1])]
        self.plain = bool((weight == 1).all())

    def take(self, x: Array) -> None:
        self.padded.inside[...] = x

    def answer(self, out: Array) -> None:
        out[...] = 0
        for i, j, weight in self.taps:
            tap = self.windows[:, :, i, j]
            if self.multiplier > 1:
                tap = np.repeat(tap, self.multiplier, axis=2)
            out += tap if self.plain else tap * weight


class _Largest:
    """The largest value of each window. What padding adds is less than anything."""

    def __init__(self, node: MaxPool, input_shape: Shape) -> None:
        self.padded = _Padded(input_shape, node.padding, np.int32)
        self.padded.array.fill(np.iinfo(np.int32).min)
        self.windows = self.padded.windows(node.kernel, node.stride, (1, 1), node.shape)
        self.taps = [(i, j) for j in range(node.kernel[0]) for i in range(node.kernel[1])]
        self.padded.inside.fill(0)  # before the first cycle nothing came

    def take(self, x: Array) -> None:
        self.padded.inside[...] = x

    def answer(self, out: Array) -> None:
        first, *others = self.taps
        out[...] = self.windows[:, :, first[0], first[1]]
        for i, j in others:
            np.maximum(out, self.windows[:, :, i, j], out=out)


class _Linear:
    """A matrix times the flattened input."""

    def __init__(self, node: Linear, input_shape: Shape) -> None:
        self.matrix = linear_weight(node, input_shape).astype(_float_type(node.accumulator_bound))
        self.x = np.zeros(self.matrix.shape[1], self.matrix.dtype)

    def take(self, x: Array) -> None:
        self.x[...] = x.ravel()

    def answer(self, out: Array) -> None:
        out[...] = self.matrix @ self.x


class _Scale:
    """One factor for all."""

    def __init__(self, node: Scale, input_shape: Shape) -> None:
        self.factor = np.int32(node.factor)
        self.x = np.zeros(input_shape[::-1], np.int32)

    def take(self, x: Array) -> None:
        self.x[...] = x

    def answer(self, out: Array) -> None:
        np.multiply(self.x, self.factor, out=out)


def linear_weight(node: Linear, input_shape: Shape) -> Array:
    """The weight [O, I] with its columns in the order of a flattened [W, H, C] input."""
    columns = np.arange(node.weight.shape[1]).reshape(input_shape).T.ravel()
    return np.ascontiguousarray(node.weight[:, columns])
