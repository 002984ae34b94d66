"""The synapses in numpy, exact. Arrays are in Lava's order: [W, H, C] or [K], int32 in, int32 out.

Products run through BLAS: in float32 while every partial sum stays below 2^24, else in float64, so nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from program import Array, Conv, Linear, Pair, Scale, Shape, SumPool, Synapse

Rule = Callable[[Array], Array]

FLOAT32_EXACT = 1 << 24


def make_synapse(node: Synapse, input_shape: Shape) -> Rule:
    """The rule of a synapse as a function. `input_shape` is [C, H, W] or [K], as in the program."""
    if isinstance(node, Conv):
        if node.groups > 1 and node.weight.shape[1] == 1:
            return _depthwise(node, input_shape)
        return _convolution(node, input_shape)
    if isinstance(node, Linear):
        return _linear(node, input_shape)
    if isinstance(node, Scale):
        factor = np.int32(node.factor)
        return lambda x: x * factor
    return _sum_pool(node, input_shape)


def _float_type(accumulator_bound: int) -> type[np.floating[Any]]:
    return np.float32 if accumulator_bound < FLOAT32_EXACT else np.float64


def _windows(padded: Array, kernel: Pair, stride: Pair, dilation: Pair, shape: Shape) -> Array:
    """A view [W', H', kw, kh, C] of the padded input [W, H, C]; `shape` is the output's [C, H', W']."""
    across, down, channel = padded.strides
    return as_strided(
        padded,
        (shape[2], shape[1], kernel[1], kernel[0], padded.shape[2]),
        (across * stride[1], down * stride[0], across * dilation[1], down * dilation[0], channel),
    )


class _Padded:
    """A buffer [W + 2p, H + 2p, C] whose border stays zero."""

    def __init__(self, input_shape: Shape, padding: Pair, dtype: Any) -> None:
        channels, height, width = input_shape
        self.array = np.zeros((width + 2 * padding[1], height + 2 * padding[0], channels), dtype)
        self.inside = self.array[padding[1] : padding[1] + width, padding[0] : padding[0] + height]


def _convolution(node: Conv, input_shape: Shape) -> Rule:
    """Copy the windows into the rows of a matrix, multiply it by the weights, group by group."""
    outputs, group_inputs, *kernel = node.weight.shape
    float_type = _float_type(node.accumulator_bound)
    padded = _Padded(input_shape, node.padding, float_type)
    windows = _windows(padded.array, (kernel[0], kernel[1]), node.stride, node.dilation, node.shape)
    rows = node.shape[1] * node.shape[2]
    group_outputs = outputs // node.groups
    matrices, parts = [], []
    for group in range(node.groups):
        weight = node.weight[group * group_outputs : (group + 1) * group_outputs]
        matrices.append(np.ascontiguousarray(weight.transpose(3, 2, 1, 0).reshape(-1, group_outputs), float_type))
        parts.append(windows[..., group * group_inputs : (group + 1) * group_inputs])
    columns = np.empty(parts[0].shape, float_type)
    matrix_shape = (rows, matrices[0].shape[0])
    result = np.empty((rows, outputs), float_type)

    def apply(x: Array) -> Array:
        padded.inside[...] = x
        for group, (matrix, part) in enumerate(zip(matrices, parts, strict=True)):
            columns[...] = part
            result[:, group * group_outputs : (group + 1) * group_outputs] = columns.reshape(matrix_shape) @ matrix
        return result.astype(np.int32).reshape(node.shape[::-1])

    return apply


def _depthwise(node: Conv, input_shape: Shape) -> Rule:
    """One input channel per group: add up the taps of the kernel in int32."""
    outputs, _, *kernel = node.weight.shape
    padded = _Padded(input_shape, node.padding, np.int32)
    windows = _windows(padded.array, (kernel[0], kernel[1]), node.stride, node.dilation, node.shape)
    weight = node.weight.astype(np.int32)
    multiplier = outputs // node.groups  # outputs per input channel: channel c feeds outputs c*m to c*m + m - 1

    def apply(x: Array) -> Array:
        padded.inside[...] = x
        total = np.zeros(node.shape[::-1], np.int32)
        for j in range(kernel[0]):
            for i in range(kernel[1]):
                total += np.repeat(windows[:, :, i, j], multiplier, axis=2) * weight[:, 0, j, i]
        return total

    return apply


def _sum_pool(node: SumPool, input_shape: Shape) -> Rule:
    padded = _Padded(input_shape, node.padding, np.int32)
    windows = _windows(padded.array, node.kernel, node.stride, (1, 1), node.shape)

    def apply(x: Array) -> Array:
        padded.inside[...] = x
        total = np.zeros(node.shape[::-1], np.int32)
        for j in range(node.kernel[0]):
            for i in range(node.kernel[1]):
                total += windows[:, :, i, j]
        return total

    return apply


def _linear(node: Linear, input_shape: Shape) -> Rule:
    matrix = linear_weight(node, input_shape).astype(_float_type(node.accumulator_bound))
    return lambda x: (matrix @ x.ravel().astype(matrix.dtype)).astype(np.int32)


def linear_weight(node: Linear, input_shape: Shape) -> Array:
    """The weight [O, I] with its columns in the order of a flattened [W, H, C] input."""
    columns = np.arange(node.weight.shape[1]).reshape(input_shape).T.ravel()
    return np.ascontiguousarray(node.weight[:, columns])
