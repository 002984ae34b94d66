"""From a captured model to NIR, call by call. What cannot be expressed is collected, not stumbled over.

The rules are in rules.py; refusals.py says why there is none for what is left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker
from snn2hw.frontends.neurons import is_spiking_neuron
from snn2hw.frontends.torch import pieces
from snn2hw.frontends.torch.arrange import Numbering
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.call import Call, Given, Model, line_of
from snn2hw.frontends.torch.capture import Captured, Place
from snn2hw.frontends.torch.constants import FILLS, computed, filled
from snn2hw.frontends.torch.emissions import Emission, Head, emission_of
from snn2hw.frontends.torch.joins import join_heads
from snn2hw.frontends.torch.membranes import Membrane
from snn2hw.frontends.torch.over_time import averaged
from snn2hw.frontends.torch.parts import flattened, parts_of, refuse_margin
from snn2hw.frontends.torch.pieces import Pieces
from snn2hw.frontends.torch.refusals import enlarges, unknown_operation
from snn2hw.frontends.torch.rules import RULES
from snn2hw.frontends.torch.streams import closed
from snn2hw.frontends.torch.time_in import TimeIn
from snn2hw.frontends.torch.values import State, Unknown, Value


class Lowering:
    """One pass over a captured model. Afterwards `blockers` is empty or says all that is in the way.

    origin: NIR node -> where the model computes what it emits. heads: in what the model returns.
    """

    def __init__(
        self, module: nn.Module, captured: Captured, *, dtype: torch.dtype, steps: int, samples: int, multi_step: bool
    ) -> None:
        named = frozenset(
            path
            for path, part in module.named_modules()
            if path and (is_spiking_neuron(part) or "weight" in part._parameters)
        )
        self.captured = captured
        limit = float(np.finfo(np.float64 if dtype == torch.float64 else np.float32).max)
        self.model = Model(
            module=module,
            dtype=dtype,
            builder=Builder(named, limit=limit),
            numbering=Numbering(steps, samples),
            multi_step=multi_step,
        )
        self.blockers: list[Blocker] = []
        self.origin: dict[str, list[Emission]] = {}
        self.heads: tuple[Head, ...] = ()
        self._values: dict[str, Any] = {}

    def run(self, input_shape: Shape, time: TimeIn) -> nir.NIRGraph:
        """The NIR graph, for one step of one sample of a shape."""
        for node in self.captured.graph.nodes:
            if node.op == "output":
                continue
            try:
                self._values[node.name] = self._lower(node, input_shape, time)
            except Refused as refused:
                self._block(node, refused.blocker)
                self._values[node.name] = _unknown(node)
            self._remember(node)
        try:
            self._output()
        except Refused as refused:
            self._block(self.captured.graph.output_node(), refused.blocker)
        return self.model.builder.graph()

    def _block(self, node: fx.Node, blocker: Blocker) -> None:
        """Note what is in the way, once for all steps; nothing where it only follows from what was noted."""
        known = [(other.layer, other.problem) for other in self.blockers]
        if blocker.problem and (blocker.layer, blocker.problem) not in known:
            blocker.line = line_of(node)
            self.blockers.append(blocker)

    def _lower(self, node: fx.Node, input_shape: Shape, time: TimeIn) -> Any:
        if node.op == "placeholder":
            return self._input(input_shape, time) if node.name == self.captured.input else self._given(node.name)
        if node.op != "call_function":
            raise Refused("model", f"reads {node.target}", "Compute it of the input")
        arguments: Any = fx.node.map_arg(node.args, lambda source: self._values[source.name])
        named: Any = fx.node.map_arg(node.kwargs, lambda source: self._values[source.name])
        call = Call(model=self.model, node=node, path=_path(node), arguments=arguments, named=named)
        name = call.operator
        if name == "neuron":
            call = replace(call, path=arguments[2])
        if name == "getitem":
            container, index = arguments
            return container if isinstance(container, Unknown) else container[index]
        parts = list(_leaves((arguments, named)))
        if name.startswith(("_assert", "sym_")):
            return None
        if name in FILLS:
            return Given(values=filled(name, call))
        if not any(isinstance(part, Value | Unknown | State | Membrane | Pieces) for part in parts):
            return computed(node, arguments, named)
        if isinstance(parts[0], Pieces):
            return pieces.read(call)
        rule = RULES.get(name)
        if rule is None or enlarges(call):
            raise unknown_operation(call)
        if any(isinstance(part, Unknown) for part in parts) and name != "neuron":
            return _unknown(node)
        if any(isinstance(part, State) for part in parts) and name not in ("neuron", "state"):
            if name in ("stack", "cat", "unsqueeze", "add", "clone", "detach", "select"):
                return next(part for part in parts if isinstance(part, State))  # what nobody but the output reads
            part = next(part for part in parts if isinstance(part, State))
            raise call.refuse(f"reads the membrane of {part.path}", "Use its spikes")
        result = _of_its_shape(call, rule(call))
        return closed(call, result) if isinstance(result, Value) else result

    def _input(self, shape: Shape, time: TimeIn) -> Value:
        steps = self.model.steps if time in ("first", "second") else 1
        image = (shape[0], 1, shape[1]) if len(shape) == 2 else shape  # of lines, which NIR's pools do not know
        at = self.model.numbering.arrangement(image, steps=steps)
        if image != shape:
            at = at.moved(lambda numbers: numbers.squeeze(-2), "")
        if time == "second":
            at = at.moved(lambda numbers: numbers.transpose(0, 1), "")
        elif time != "first":
            at = at.moved(lambda numbers: numbers[0], "")
        return Value(terms=((self.model.builder.add_input(image), 1),), at=at)

    def _given(self, name: str) -> Given:
        if name in self.captured.constants:
            return Given(values=self.captured.constants[name])
        path = self.captured.tensors[name]
        owner, _, attribute = path.rpartition(".")
        return Given(values=getattr(self.model.module.get_submodule(owner), attribute), name=path)

    def _remember(self, node: fx.Node) -> None:
        """Note which NIR node holds the spikes that this call computes."""
        value = self._values[node.name]
        if not isinstance(value, Value) or not value.is_integer or len(value.terms) != 1 or value.constant:
            return
        source, factor = value.terms[0]
        if (
            factor != 1
            or not isinstance(source, str)
            or value.is_mean
            or value.over_time is not None
            or any(value.margin)
        ):
            return
        emission = emission_of(node, value, self.model.steps)
        known = {step for other in self.origin.get(source, ()) for step in other.steps}
        if emission is not None and not known.intersection(emission.steps):
            self.origin.setdefault(source, []).append(emission)

    def _output(self) -> None:
        leaves = [
            (place, self._values[value.name] if isinstance(value, fx.Node) else value)
            for place, value in _places(self.captured.returned)
        ]
        states = [value for _, value in leaves if isinstance(value, State)]
        leaves = [(place, value) for place, value in leaves if not isinstance(value, State) and value is not None]
        if states and not leaves:
            problem = f"the model returns the state of {states[0].path} alone"
            raise Refused("output", problem, "Return its spikes, or the logits of a layer behind them")
        if any(isinstance(value, Unknown) for _, value in leaves):
            if not self.blockers:
                raise Refused("output", "what it returns cannot be followed", "Return the logits")
            return
        if len(leaves) > 1:
            self._heads(leaves)
            return
        if not leaves or not isinstance(leaves[0][1], Value):
            raise Refused("output", "the model does not return a tensor", "Return the logits of the step")
        place, value = leaves[0]
        head, value = self._head(place, value)
        self.heads = (head,)
        self.model.builder.output("output", value)

    def _heads(self, leaves: list[tuple[Place, Any]]) -> None:
        values: dict[str, Value] = {}
        heads = []
        for place, value in leaves:
            name = ".".join(str(key) for key in place)
            if not isinstance(value, Value):
                raise Refused("output", f"its head {name} is no tensor", "Return the logits of the step")
            head, value = self._head(place, value)
            if len(value.shape) != 1:
                problem = f"its head {name} has shape {list(value.shape)}"
                raise Refused("output", problem, "Pool and flatten each of several heads to a vector")
            heads.append(head)
            values[name] = value
        self.heads = tuple(heads)
        join_heads(self.model.builder, "output", values)

    def _head(self, place: Place, value: Value) -> tuple[Head, Value]:
        call = Call(model=self.model, node=self.captured.graph.output_node(), path="output", arguments=(), named={})
        value = averaged(call, value)
        refuse_margin(call, value)
        lead, batch, inner = parts_of(call, value, behind=1)
        if not inner.is_identity:
            raise call.refuse("the logits stand in another order, or are a part of a layer", "Return them as they are")
        if len(inner.tensor_shape) == 1 and len(value.shape) > 1:
            value = flattened(call, value)
        steps = self.model.steps
        if steps == 1 or value.is_mean or value.at.steps == 1:
            return Head(place=place, time=None, shape=value.shape), value
        order = batch.order(steps)
        if order is None or lead != 2:
            raise call.refuse(
                "it returns some of the steps, or steps and samples in one dimension",
                "Return the logits of all steps as [T, N, classes], or their mean over time",
            )
        return Head(place=place, time=order.index("t"), shape=value.shape), value


def _of_its_shape(call: Call, result: Any) -> Any:
    """What a rule made of a call, which must have the shape that torch computes; zeros around it come later."""
    computed = call.node.meta["val"]
    pairs = zip(result, computed, strict=False) if isinstance(result, tuple) else [(result, computed)]
    for value, tensor in pairs:
        if not isinstance(value, Value) or not isinstance(tensor, Tensor):
            continue
        top, bottom, left, right = value.margin
        shape = list(value.at.numbers.shape)
        if any(value.margin):
            shape[-1] += left + right
            shape[-2] += (top + bottom) if len(shape) > 2 else 0
        if shape != list(tensor.shape):
            raise call.refuse(
                f"{call.operator} is read as values of shape {shape}, but has shape {list(tensor.shape)}",
                "Report this net: it is a mistake of snn2hw's",
            )
    return result


def _places(value: Any, place: Place = ()) -> list[tuple[Place, Any]]:
    """What lies in dicts, lists and tuples within each other, with the keys that lead there."""
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in _places(part, (*place, key))]
    if isinstance(value, list | tuple):
        return [leaf for key, part in enumerate(value) for leaf in _places(part, (*place, key))]
    return [(place, value)]


def _leaves(arguments: Any) -> list[Any]:
    return [value for _, value in _places(arguments)]


def _path(node: fx.Node) -> str:
    """Path of the module in whose forward a call stands, "model" for the whole."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return str(paths[-1]) if paths and paths[-1] else "model"


def _unknown(node: fx.Node) -> Any:
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return Unknown(shape=tuple(value.shape))
    return tree_map(_unknown_part, value)


def _unknown_part(value: Any) -> Any:
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return Unknown(shape=())  # a number that the forward reads out of the data
    return Unknown(shape=tuple(value.shape)) if isinstance(value, Tensor) else value
