"""Synapses in ONNX: products of 8-bit numbers where those hold, sums in 32 or 64 bits.

The operators for 8 bits are exact by the standard, but onnxruntime takes products in pairs that saturate at 16 bits on
processors without VNNI where one factor is signed. `_pairs_fit` says where they cannot; elsewhere both factors are
unsigned, which is slower and exact everywhere.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.exporters.onnx.writer import Type, Value, Writer, holds, narrowest, widest_sum

OFFSET = 128  # what is added to signed 8-bit numbers to make them unsigned
LARGEST_BYTE = 255
LARGEST_PAIR = (1 << 15) - 1
FEWEST_PLACES = (
    64  # of an output, from which on a `ConvInteger` is the faster one: with fewer onnxruntime's, which is a
)
# product for each sample, took ten times as long as one product for all (512 channels, 2x2)


def write_synapse(writer: Writer, node: ir.Synapse, x: Value, bound: ir.Bound) -> Value:
    """Write a synapse that reads x; what it emits."""
    low, high = (-bound.payload if bound.signed else 0), bound.payload
    sums = widest_sum(-bound.accumulator, bound.accumulator)
    match node:
        case ir.Conv():
            tensor = _conv(writer, node, x, sums)
        case ir.Linear():
            tensor = _linear(writer, node, writer.flat(x), sums)
        case ir.Scale():
            sums = narrowest(min(low, x.low, node.factor), max(high, x.high, node.factor))
            factor = writer.numbers(node.factor, sums, "factor")
            tensor = writer.apply("Mul", writer.as_type(x, sums).tensor, factor)
        case ir.SumPool() if _is_global(node, x):
            tensor = writer.apply("ReduceSum", writer.as_type(x, sums).tensor, writer.shape(2, 3), keepdims=1)
        case ir.SumPool():
            sums = narrowest(min(low, x.low), max(high, x.high))
            tensor = _sum_pool(writer, node, writer.as_type(x, sums))
        case ir.MaxPool():
            tensor = _max_pool(writer, node, writer.as_type(x, sums))
        case _:
            assert_never(node)
    return replace(x, tensor=tensor, dtype=sums, low=low, high=high, shape=node.shape)


def _conv(writer: Writer, node: ir.Conv, x: Value, sums: Type) -> str:
    """The tensor [samples * steps, O, H, W] of a convolution, in the type `sums`."""
    few = node.groups == 1 and math.prod(node.shape[1:]) < FEWEST_PLACES
    if few or not _in_bytes(node.weight, x, sums):
        return _conv_as_matrix(writer, node, x, sums)
    if x.dtype is np.int8 and _pairs_fit(LARGEST_BYTE, x.largest):
        operand, zero = x.tensor, writer.constant(np.array(0, np.int8))
    else:
        operand, zero = _unsigned(writer, x)
    return writer.apply(
        "ConvInteger",
        operand,
        writer.constant(_moved(node.weight), "weight"),
        zero,
        writer.constant(np.array(OFFSET, np.uint8)),
        kernel_shape=node.weight.shape[2:],
        strides=node.stride,
        pads=node.padding * 2,
        dilations=node.dilation,
        group=node.groups,
    )


def _linear(writer: Writer, node: ir.Linear, x: Value, sums: Type) -> str:
    """The tensor [samples * steps, O] of a product with a matrix, in the type `sums`; x is [samples * steps, I]."""
    weight = node.weight.T
    if not _in_bytes(node.weight, x, sums):
        return writer.apply("MatMul", writer.as_type(x, sums).tensor, writer.constant(weight.astype(sums), "weight"))
    return _product(writer, x, weight)


def _product(writer: Writer, x: Value, weight: NDArray[np.integer]) -> str:
    """The tensor int32 [..., O] of 8-bit numbers [..., I] times a weight [I, O]."""
    if x.low >= 0 and _pairs_fit(x.high, OFFSET):
        operand, zero = writer.as_type(x, np.uint8).tensor, writer.constant(np.array(0, np.uint8))
        factor, offset = weight.astype(np.int8), np.array(0, np.int8)
    else:
        operand, zero = _unsigned(writer, x)
        factor, offset = _moved(weight), np.array(OFFSET, np.uint8)
    return writer.apply("MatMulInteger", operand, writer.constant(factor, "weight"), zero, writer.constant(offset))


def _moved(weight: NDArray[np.integer]) -> NDArray[Any]:
    """Weights of 8 bits as unsigned ones, OFFSET more."""
    return (weight.astype(np.int64) + OFFSET).astype(np.uint8)


def _in_bytes(weight: NDArray[np.integer], x: Value, sums: Type) -> bool:
    """Whether both factors are 8-bit numbers and 32 bits hold the sums, also with the offsets of unsigned ones."""
    return (
        sums is np.int32
        and holds(np.int8, int(weight.min()), int(weight.max()))
        and (holds(np.int8, x.low, x.high) or holds(np.uint8, x.low, x.high))
        and holds(np.int32, 0, weight[0].size * LARGEST_BYTE**2)
    )


def _pairs_fit(unsigned: int, signed: int) -> bool:
    """Whether 16 bits hold two products of numbers of these sizes."""
    return 2 * unsigned * signed <= LARGEST_PAIR


def _unsigned(writer: Writer, x: Value) -> tuple[str, str]:
    """The tensor uint8 of 8-bit numbers, and the name of what was added to them."""
    if x.low >= 0:
        return writer.as_type(x, np.uint8).tensor, writer.constant(np.array(0, np.uint8))
    moved = writer.apply("Add", writer.as_type(x, np.int32).tensor, writer.constant(np.array(OFFSET, np.int32)))
    return writer.cast(moved, np.uint8), writer.constant(np.array(OFFSET, np.uint8))


def _conv_as_matrix(writer: Writer, node: ir.Conv, x: Value, sums: Type) -> str:
    """A convolution as a product of matrices in the type `sums`: what each output reads times the weights."""
    groups, places = node.groups, math.prod(node.shape[1:])
    read, weight = _reads(node, x)
    by_place = writer.apply(
        "Transpose", writer.reshape(x.tensor, -1, x.shape[0], math.prod(x.shape[1:])), perm=[0, 2, 1]
    )
    with_zero = writer.apply("Pad", by_place, writer.shape(0, 0, 0, 0, 1, 0))
    rows = writer.apply("Gather", with_zero, writer.constant(read, "reads"), axis=1)
    if groups > 1:
        split = writer.reshape(rows, -1, places, read.shape[1], groups, x.shape[0] // groups)
        rows = writer.apply("Transpose", split, perm=[0, 3, 1, 2, 4])
    operand = replace(x, tensor=writer.reshape(rows, -1, groups, places, weight.shape[1]))
    if _in_bytes(node.weight, x, sums) and groups == 1:
        made = _product(writer, operand, weight[0])
    else:
        factor = writer.constant(weight.astype(sums), "weight")
        made = writer.apply("MatMul", writer.as_type(operand, sums).tensor, factor)
    by_channel = writer.apply("Transpose", made, perm=[0, 1, 3, 2])
    return writer.reshape(by_channel, -1, *node.shape)


def _reads(node: ir.Conv, x: Value) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
    """Of each output place and place of the kernel the place in x, or one behind the last for padding: [H * W, kernel];
    and the weights [groups, kernel * I / groups, O / groups]. Kernel places that always lie in padding are left out.
    """
    inside, at = zip(*(_lines(node, x, axis) for axis in (0, 1)), strict=True)
    rows, columns = at[0][:, None, :, None], at[1][None, :, None, :]
    met = inside[0][:, None, :, None] & inside[1][None, :, None, :]
    height, width = x.shape[1:]
    read = np.where(met, rows * width + columns, height * width).reshape(math.prod(node.shape[1:]), -1)
    used = (read != height * width).any(axis=0)
    used[0] |= not used.any()
    weight = node.weight.reshape(node.groups, -1, *node.weight.shape[1:]).transpose(0, 3, 4, 2, 1)
    by_kernel = weight.reshape(node.groups, read.shape[1], *weight.shape[3:])[:, used]
    return read[:, used], by_kernel.reshape(node.groups, -1, by_kernel.shape[-1])


def _lines(node: ir.Conv, x: Value, axis: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Of each line of the output and of the kernel along an axis of the image [extent, kernel]: whether it meets a line
    of x, and which.
    """
    output, kernel = np.arange(node.shape[1 + axis]), np.arange(node.weight.shape[2 + axis])
    at = output[:, None] * node.stride[axis] + kernel * node.dilation[axis] - node.padding[axis]
    return (at >= 0) & (at < x.shape[1 + axis]), at


def _is_global(node: ir.SumPool, x: Value) -> bool:
    """Whether one window covers each channel."""
    return node.kernel == x.shape[1:] and node.padding == (0, 0)


def _sum_pool(writer: Writer, node: ir.SumPool, x: Value) -> str:
    """The sums over windows, in the type of x: rows first, then columns."""
    tensor = _padded(writer, x.tensor, node.padding)
    for axis, (size, stride, extent) in enumerate(zip(node.kernel, node.stride, node.shape[1:], strict=True), 2):
        first, *others = (_every(writer, tensor, axis, start, stride, extent) for start in range(size))
        for other in others:
            first = writer.apply("Add", first, other)
        tensor = first
    return tensor


def _max_pool(writer: Writer, node: ir.MaxPool, x: Value) -> str:
    """The largest values of windows, in the type of x: rows first, then columns.

    Beyond the edge the edge repeats, which no window's maximum notices, as padding is at most half a window.
    """
    tensor = x.tensor
    for axis, (size, stride, pad, extent) in enumerate(
        zip(node.kernel, node.stride, node.padding, node.shape[1:], strict=True), 2
    ):
        if pad:
            pads = (0, 0, pad * (axis == 2), pad * (axis == 3))
            tensor = writer.apply("Pad", tensor, writer.shape(*pads, *pads), mode="edge")
        first, *others = (_every(writer, tensor, axis, start, stride, extent) for start in range(size))
        for other in others:
            first = writer.apply("Max", first, other)
        tensor = first
    return tensor


def _padded(writer: Writer, tensor: str, padding: ir.Pair) -> str:
    """A tensor [samples * steps, C, H, W] with zeros around H and W."""
    if padding == (0, 0):
        return tensor
    return writer.apply("Pad", tensor, writer.shape(0, 0, *padding, 0, 0, *padding))


def _every(writer: Writer, tensor: str, axis: int, start: int, stride: int, count: int) -> str:
    """`count` places of an axis, from `start` on, `stride` apart."""
    bounds = (start, start + stride * (count - 1) + 1, axis, stride)
    return writer.apply("Slice", tensor, *(writer.shape(bound) for bound in bounds))
