"""Convolutions and matrices: the node that NIR knows, and how its weights lie in the model's own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.windows import Axis, Pair, enlarge
from snn2hw.network.groups import only_groups, without_groups
from snn2hw.network.neuron_rule import Float

Folded = Sequence[tuple[Float, Float, Float]]
"""Means, gains and offsets of what stands behind a layer, in their order; each one number or one a channel."""


Inputs = tuple[Float, Float]
"""What a layer's inputs are multiplied by, and what is added to them then; each one number or one an input."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameter:
    """A weight or bias: a name of the model's, or the bytes of what its forward computed, and the values."""

    key: Hashable
    values: Tensor

    def array(self) -> np.ndarray:
        """The values [*shape] in float32 or float64."""
        return as_array(self.values)


def as_array(tensor: Tensor) -> np.ndarray:
    """A parameter [*shape] as numpy, the same shape, in float32 or float64."""
    values = tensor.detach().cpu()
    known = values.numpy() if values.dtype.itemsize >= 4 and values.is_floating_point() else values.float().numpy()
    return known.copy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """What convolutions and matrices have in common.

    inputs: of the node. columns: the input that each input of the weight reads; None for all in their order. gains: of
    the node's inputs. voters: so many outputs of the weight, one behind the other, are averaged. rows: the output of
    these that each output of the node is, -1 for a zero; None for all in their order. folded: the calls that compute
    `gains`. left: the part of the gains that the model computes in a call that does something else too.
    """

    weight: Parameter
    bias: Parameter | None
    inputs: int
    columns: NDArray[np.int64] | None = None
    gains: Inputs | None = None
    voters: int = 1
    rows: NDArray[np.int64] | None = None
    folded: frozenset[str] = frozenset()
    left: float = 1.0

    @property
    def key(self) -> Hashable:
        bias = None if self.bias is None else self.bias.key
        gains = None if self.gains is None else (self.gains[0].tobytes(), self.gains[1].tobytes())
        return type(self), self.weight.key, bias, _bytes(self.columns), gains, self.voters, _bytes(self.rows)

    @property
    def averages(self) -> int:
        """How many outputs the weight has once voters are averaged."""
        return len(self.weight.values) // self.voters

    @property
    def outputs(self) -> int:
        """Of the node."""
        return self.averages if self.rows is None else len(self.rows)

    def parameters(self, weight: np.ndarray, folds: Folded) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of the node, from the model's own weight, [O, I, ...] without groups."""
        bias = np.zeros(len(weight), weight.dtype) if self.bias is None else self.bias.array()
        if self.columns is not None:
            weight = _spread(weight, self.columns, self.inputs)
        if self.gains is not None:
            gain, shift = self.gains
            weight, bias = weight.astype(np.float64), bias.astype(np.float64)
            sums = weight.reshape(*weight.shape[:2], -1).sum(2)
            bias = bias + sums @ np.broadcast_to(shift, self.inputs)
            weight = weight * np.broadcast_to(gain, self.inputs).reshape(-1, *[1] * (weight.ndim - 2))
        if self.voters > 1:
            weight, bias = (
                values.astype(np.float64).reshape(-1, self.voters, *values.shape[1:]).mean(1)
                for values in (weight, bias)
            )
        if self.rows is not None:
            there = self.rows >= 0
            weight, bias = weight[self.rows], bias[self.rows]
            weight[~there], bias[~there] = 0, 0
        return folded(weight, bias, folds)

    def unparametrised(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """The opposite, folds apart: the weight [O, I, ...] and bias that the model's own call must have."""
        if self.rows is not None:
            there = self.rows >= 0
            own_weight, own_bias = np.zeros((self.averages, *weight.shape[1:])), np.zeros(self.averages)
            own_weight[self.rows[there]], own_bias[self.rows[there]] = weight[there], bias[there]
            weight, bias = own_weight, own_bias
        weight, bias = np.repeat(weight, self.voters, axis=0), np.repeat(bias, self.voters)  # all vote for the mean
        if self.columns is not None:
            weight = _gathered(weight, self.columns)
        return weight / self.left, bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Weighted):
    """conv2d of images of `size`, of which `columns`, `rows` and gains count the channels. axes: its windows, padded
    evenly. The model's own call may be one of conv1d or linear.
    """

    size: Pair
    stride: Pair
    axes: tuple[Axis, Axis]
    groups: int

    @property
    def key(self) -> Hashable:
        axes = [(axis.size, axis.padding, axis.dilation, axis.taps.start, axis.taps.step) for axis in self.axes]
        return super().key, self.stride, tuple(axes), self.groups

    @property
    def is_padded(self) -> bool:
        return any(axis.padding for axis in self.axes)

    @property
    def is_enlarged(self) -> bool:
        return (self.axes[0].size, self.axes[1].size) != self._kernel

    @property
    def _kernel(self) -> Pair:
        sizes = (1, 1, *self.weight.values.shape[2:])
        return sizes[-2], sizes[-1]

    def node(self, folds: Folded) -> nir.Conv2d:
        """y = sum of weight * x + bias."""
        weight = self.weight.array()
        weight = weight.reshape(*weight.shape[:2], *self._kernel)
        weight = enlarge(weight, self.axes) if self.is_enlarged else weight
        weight, bias = self.parameters(without_groups(weight, self.groups), folds)
        return nir.Conv2d(
            input_shape=self.size,
            weight=weight,
            stride=self.stride,
            padding=(self.axes[0].padding, self.axes[1].padding),
            dilation=(self.axes[0].dilation, self.axes[1].dilation),
            groups=1,
            bias=bias,
        )

    def node_shape(self) -> Shape:
        """Shape of the node's weight."""
        return self.outputs, self.inputs, self.axes[0].size, self.axes[1].size

    def restored(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """A node's weight [O, I, kh, kw] and bias as the model's own lie."""
        weight, bias = self.unparametrised(weight, bias)
        weight = only_groups(weight, self.groups)
        weight = weight[:, :, self.axes[0].taps, self.axes[1].taps] if self.is_enlarged else weight
        return weight.reshape(tuple(self.weight.values.shape)), bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix(Weighted):
    """linear of vectors, or of `parts` of a vector each by itself, whose inputs are the rows of `columns`."""

    parts: int = 1

    @property
    def key(self) -> Hashable:
        return super().key, self.parts

    @property
    def outputs(self) -> int:
        return self.averages * self.parts if self.rows is None else len(self.rows)

    def node(self, folds: Folded) -> nir.Affine:
        """y = weight x + bias."""
        weight = self.weight.array()
        if self.parts == 1:
            weight, bias = self.parameters(weight, folds)
            return nir.Affine(weight=weight, bias=bias)
        assert self.columns is not None
        each = [replace(self, columns=columns, parts=1, rows=None) for columns in self.columns]
        blocks = [part.parameters(weight, ()) for part in each]
        weight, bias = (np.concatenate(values) for values in zip(*blocks, strict=True))
        if self.rows is not None:
            weight, bias = weight[self.rows], bias[self.rows]
            weight[self.rows < 0], bias[self.rows < 0] = 0, 0
        return nir.Affine(**dict(zip(("weight", "bias"), folded(weight, bias, folds), strict=True)))

    def node_shape(self) -> Shape:
        """Shape of the node's weight."""
        return self.outputs, self.inputs

    def restored(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """A node's weight [O, I] and bias as the model's own lie."""
        if self.parts == 1:
            return self.unparametrised(weight, bias)
        assert self.columns is not None
        outputs = len(self.weight.values)
        rows = np.arange(self.outputs) if self.rows is None else self.rows
        own_weight, own_bias = np.zeros((outputs, self.columns.shape[1])), np.zeros(outputs)
        for part in reversed(range(self.parts)):  # all hold the same, but a part may lack some of the outputs
            here = np.flatnonzero(rows // outputs == part)
            own_weight[rows[here] % outputs] = _gathered(weight[here], self.columns[part])
            own_bias[rows[here] % outputs] = bias[here]
        return own_weight / self.left, own_bias

    def is_same_for_parts(self, values: Float) -> bool:
        """Whether factors of the outputs, one number or one for each, are the same in every part."""
        if self.parts == 1 or values.size == 1:
            return True
        rows = np.arange(self.outputs) if self.rows is None else self.rows
        outputs = rows % len(self.weight.values)
        first = np.zeros(len(self.weight.values))
        first[outputs[rows >= 0]] = values[rows >= 0]
        return bool((first[outputs] == values)[rows >= 0].all())

    def takes_gains(self, values: Float) -> bool:
        """The same for factors of the inputs, one or one each [inputs]."""
        if self.parts == 1 or values.size == 1 or self.columns is None:
            return True
        return bool((values[self.columns] == values[self.columns[0]]).all())


def folded(weight: np.ndarray, bias: np.ndarray, folds: Folded) -> tuple[np.ndarray, np.ndarray]:
    """Weight [O, ...] and bias [O] with their folds, in float64: the product of two float32 is no float32."""
    if not folds:
        return weight, bias
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    for mean, gain, offset in folds:
        weight *= np.broadcast_to(gain, len(weight)).reshape(-1, *[1] * (weight.ndim - 1))
        bias = (bias - mean) * gain + offset
    return weight, bias


def _spread(weight: np.ndarray, columns: NDArray[np.int64], inputs: int) -> np.ndarray:
    """The weight's columns at the inputs that they read; inputs read twice get their sum."""
    wide = np.zeros((len(weight), inputs, *weight.shape[2:]), weight.dtype)
    for column, read in enumerate(columns):
        wide[:, read] += weight[:, column]
    return wide


def _gathered(weight: Float, columns: NDArray[np.int64]) -> Float:
    """The columns of a weight at these inputs; of one that is read twice all is in the first."""
    picked = weight[:, columns]
    again = np.ones(len(columns), bool)
    again[np.unique(columns, return_index=True)[1]] = False
    picked[:, again] = 0
    return picked


def _bytes(numbers: NDArray[np.int64] | None) -> bytes | None:
    return None if numbers is None else numbers.tobytes()
