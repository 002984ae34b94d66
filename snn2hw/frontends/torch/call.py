"""What a rule is given: one call in a captured model, and what is known so far."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.arrange import Numbering
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.places import is_users, place_of
from snn2hw.frontends.torch.values import Value
from snn2hw.frontends.torch.weighted import Parameter
from snn2hw.network.neuron_rule import Float


@dataclass(kw_only=True, eq=False)
class NeuronCalls:
    """The calls of one neuron layer so far: their steps, the current of the first, and whether that of another one is
    computed in another way. start: the membranes [*shape] that its caller starts it from; None for what it has itself.
    """

    first: Value
    steps: list[int]
    start: Float | None = None
    differs: bool = False


@dataclass(kw_only=True, eq=False)
class Model:
    """A captured model on its way to NIR.

    module: whose forward was captured. multi_step: its neurons take all steps at once. steps, samples: of the captured
    input. neurons: what is known of each neuron that has been called; membranes: of those whose spikes nobody reads.
    """

    module: nn.Module
    dtype: torch.dtype
    builder: Builder
    numbering: Numbering
    multi_step: bool
    neurons: dict[str, NeuronCalls] = field(default_factory=dict)
    membranes: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return self.numbering.steps


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """A tensor that does not depend on the input: a parameter by its name, or what the forward computes of some."""

    values: Tensor
    name: str = ""

    @property
    def key(self) -> Hashable:
        return self.name or self.values.detach().cpu().contiguous().numpy().tobytes()

    def parameter(self) -> Parameter:
        return Parameter(key=self.key, values=self.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call of an operator, in the forward of the module at `path` ("model" for the whole).

    arguments, named: as in the captured graph, with values in place of nodes. shape: of its result, as torch sees it.
    where: FILE:LINE of the user's, or "".
    """

    model: Model
    node: fx.Node
    path: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def builder(self) -> Builder:
        return self.model.builder

    @property
    def operator(self) -> str:
        """The operator's name, as conv2d."""
        return name_of(self.node)

    @property
    def shape(self) -> Shape:
        return tuple(self.node.meta["val"].shape)

    @property
    def value(self) -> Value:
        """The first argument, which must be a tensor that the model computes."""
        first = self.arguments[0] if self.arguments else None
        if not isinstance(first, Value):
            raise self.refuse("its input is not a tensor of the model", "Feed it a layer's output")
        return first

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, given by position or by keyword."""
        if len(self.arguments) > position:
            return self.arguments[position]
        return self.named.get(name, default)

    @property
    def is_layer(self) -> bool:
        """Whether the call stands in the forward of a layer of torch's or of a framework."""
        return is_layer(self.node)

    def kind(self, otherwise: str) -> str:
        """The class of the layer in whose forward the call stands, or what it is called otherwise."""
        stack = self.node.meta.get("nn_module_stack") or {}
        kinds = [kind for _, kind in stack.values()]
        return kinds[-1].rpartition(".")[2] if self.is_layer else otherwise

    def name(self, suffix: str) -> str:
        """What a node for this call is named: after the layer where it is one, else after the operation in `path`."""
        return self.path if self.is_layer else f"{self.path}.{suffix}"

    def refuse(self, problem: str, advice: str) -> Refused:
        return Refused(self.path, problem, advice)


def name_of(node: fx.Node) -> str:
    """The name of a call's operator without its overload, as add for aten.add.Tensor."""
    schema = getattr(node.target, "_schema", None)
    return str(schema.name).rpartition("::")[2] if schema is not None else getattr(node.target, "__name__", "")


def is_layer(node: fx.Node) -> bool:
    """Whether a call stands in the forward of a layer of torch's or of a framework."""
    stack = node.meta.get("nn_module_stack") or {}
    kinds = [kind for _, kind in stack.values()]
    return bool(kinds) and any(f".{package}." in f".{kinds[-1]}" for package in ("torch.nn", "layer"))


_LINE = re.compile(r'File "(.+)", line (\d+)')


def line_of(node: fx.Node) -> str:
    """FILE:LINE of the user's code where a call stands that is no layer, the file as seen from here; else ""."""
    if is_layer(node):
        return ""
    places = [place for place in _LINE.findall(node.meta.get("stack_trace") or "") if is_users(place[0])]
    if not places:
        return ""
    return place_of(*places[-1])


def array(tensor: Tensor) -> np.ndarray:
    """A parameter [*shape] as float64."""
    values: np.ndarray = tensor.detach().cpu().double().numpy()
    return values


def pair(value: Any, default: Any = None) -> tuple[int, int]:
    """Height and width, which torch also takes as one number, or none for the default."""
    if isinstance(value, list | tuple) and not value:
        value = default
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def number_of(constant: Any) -> float | None:
    """A constant as one number; None for a tensor of several."""
    if isinstance(constant, Given):
        values = constant.values
        if values.numel() == 1 or (values.numel() and bool((values == values.flatten()[0]).all())):
            return float(values.flatten()[0])
        return None
    return float(constant) if isinstance(constant, int | float) else None
