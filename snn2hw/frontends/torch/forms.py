"""The layers that NIR knows: each is a form that makes the node, and says how its weights lie in the model's own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import nir
import numpy as np
from numpy.typing import NDArray

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.weighted import Convolution, Folded, Matrix, folded
from snn2hw.frontends.torch.windows import Pair
from snn2hw.network.layout import LARGEST
from snn2hw.network.metadata import POOL
from snn2hw.network.neuron_rule import Float


class Form(Protocol):
    """What a layer computes, apart from what feeds it."""

    @property
    def key(self) -> Hashable:
        """Equal for forms that compute the same."""

    def node(self, folds: Folded) -> nir.NIRNode:
        """The NIR node, with what is folded into it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Average:
    """The mean over windows of an image."""

    kernel: Pair
    stride: Pair
    padding: Pair

    @property
    def key(self) -> Hashable:
        return "average", self.kernel, self.stride, self.padding

    def node(self, folds: Folded) -> nir.AvgPool2d:
        """The node; what is folded lies in the layers before it."""
        return nir.AvgPool2d(
            kernel_size=np.array(self.kernel), stride=np.array(self.stride), padding=np.array(self.padding)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Largest:
    """The largest value of each window of an image; no window takes in what padding adds."""

    kernel: Pair
    stride: Pair
    padding: Pair

    @property
    def key(self) -> Hashable:
        return "largest", self.kernel, self.stride, self.padding

    def node(self, folds: Folded) -> nir.SumPool2d:
        """The node: a sum pool whose metadata say so; what is folded lies in the layers before it."""
        kernel, stride, padding = (np.array(size) for size in (self.kernel, self.stride, self.padding))
        return nir.SumPool2d(kernel_size=kernel, stride=stride, padding=padding, metadata={POOL: LARGEST})


@dataclass(frozen=True, kw_only=True, eq=False)
class Flat:
    """An image [C, H, W] as a vector."""

    before: Shape

    @property
    def key(self) -> Hashable:
        return "flat", self.before

    def node(self, folds: Folded) -> nir.Flatten:
        """The node; what is folded lies in the layers before it."""
        return nir.Flatten(input_type={"input": np.array(self.before)}, start_dim=0, end_dim=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagonal:
    """Each value by itself: what is folded, behind nothing, for channels of images or vectors of `shape`.

    places: where each element of the tensor that the model multiplies, samples and steps apart, lies among as many
    values as `size`.
    """

    shape: Shape
    places: NDArray[np.int64]
    size: int

    @property
    def key(self) -> Hashable:
        return "diagonal", self.shape

    def node(self, folds: Folded) -> nir.NIRNode:
        """y = gain x + offset; a 1x1 convolution or a matrix."""
        channels = self.shape[0]
        weight, bias = folded(np.eye(channels), np.zeros(channels), folds)
        if len(self.shape) == 1:
            return nir.Affine(weight=weight, bias=bias)
        return nir.Conv2d(
            input_shape=(self.shape[1], self.shape[2]),
            weight=weight[:, :, None, None],
            stride=(1, 1),
            padding=(0, 0),
            dilation=(1, 1),
            groups=1,
            bias=bias,
        )

    def node_shape(self) -> Shape:
        """Shape of the node's weight."""
        return (self.shape[0], self.shape[0], *[1] * (len(self.shape) - 1))

    def restored(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """A node's factors, on the diagonal of its weight [C, C, ...], and offsets [C], for each element [size] of the
        model's tensor.
        """
        channels = self.places * len(weight) // self.size
        gains = weight.reshape(len(weight), -1)[np.arange(len(weight)), np.arange(len(weight))]
        return gains[channels], bias[channels]


Held: TypeAlias = Convolution | Matrix | Diagonal
"""What has weights, which become integers."""
