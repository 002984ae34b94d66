"""What a rule of layers.py or operations.py is given: one call in a traced model, and what is known so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.values import Value

Kernel = tuple[slice, slice]


@dataclass(kw_only=True, eq=False)
class State:
    """A model on its way to NIR.

    shapes and leading_dims: for every traced value its shape without time and batch, and how many dimensions stand
    before that: 2 for time and batch, 1 for the batch alone, 0 for a number.
    layers, norms, kernels: as in trace.Traced.
    """

    module: fx.GraphModule
    dtype: torch.dtype
    shapes: dict[str, Shape]
    leading_dims: dict[str, int]
    builder: Builder
    layers: set[str] = field(default_factory=set)
    norms: dict[str, str] = field(default_factory=dict)
    kernels: dict[str, Kernel] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call: of the layer at `path`, or of an operation in the forward of the module at `path`.

    arguments: as in the traced node, with values in place of nodes.
    """

    state: State
    node: fx.Node
    path: str
    arguments: tuple[Any, ...]

    @property
    def builder(self) -> Builder:
        return self.state.builder

    @property
    def value(self) -> Value:
        """The first argument, which must be a tensor that the model computes."""
        first = self.arguments[0] if self.arguments else None
        if not isinstance(first, Value):
            raise self.refuse("its input is not a tensor of the model", "Feed it a layer's output")
        return first

    @property
    def shape(self) -> Shape:
        """Shape of the result, without time and batch."""
        return self.state.shapes[self.node.name]

    @property
    def leading_dims(self) -> int:
        """How many dimensions of the input stand before its shape: 2 for time and batch, 1 for the batch alone."""
        source = self.node.args[0]
        return self.state.leading_dims[source.name] if isinstance(source, fx.Node) else 1

    @property
    def input_shape(self) -> Shape:
        """Shape of the input as torch sees it: with zero padding, and without dimensions that were squeezed."""
        source = self.node.args[0]
        return self.state.shapes[source.name] if isinstance(source, fx.Node) else ()

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, given by position or by keyword."""
        if len(self.arguments) > position:
            return self.arguments[position]
        return self.node.kwargs.get(name, default)

    def layer_name(self) -> str:
        """The name of the NIR node that holds this layer's parameters: its path."""
        self.state.layers.add(self.path)
        return self.path

    def refuse(self, problem: str, advice: str) -> Refused:
        return Refused(self.path, problem, advice)


class Sizes:
    """A number or tuple of numbers that the model reads off a shape. torch has already computed with it."""

    def __repr__(self) -> str:
        return "a number read off a shape"


def array(tensor: Tensor) -> np.ndarray:
    """A parameter [*shape] as numpy, the same shape, in float32 or float64."""
    values = tensor.detach().cpu()
    return values.numpy().copy() if values.dtype in (torch.float32, torch.float64) else values.float().numpy()


def pair(value: Any) -> tuple[int, int]:
    """Height and width, which torch also takes as one number."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))
