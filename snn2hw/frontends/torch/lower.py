"""From a traced model to NIR, node by node. What cannot be expressed is collected, not stumbled over.

The rules are in layers.py and operations.py; refusals.py says why there is none for what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nir
import numpy as np
import torch
from torch import fx

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker
from snn2hw.frontends import neurons
from snn2hw.frontends.torch import layers, operations
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.call import Call, Sizes, State
from snn2hw.frontends.torch.functional import owner
from snn2hw.frontends.torch.in_place import refuse_read_after_change
from snn2hw.frontends.torch.joins import join_heads
from snn2hw.frontends.torch.refusals import unknown_layer, unknown_operation
from snn2hw.frontends.torch.values import Value
from snn2hw.frontends.torch.windows import NO_MARGIN
from snn2hw.network.heads import leaves


class Lowering:
    """One pass over a traced model. Afterwards `blockers` is empty or says all that is in the way.

    origin: NIR node -> traced node that computes the same spikes.
    """

    def __init__(self, module: fx.GraphModule, shapes: dict[str, tuple[int, Shape]], *, dtype: torch.dtype) -> None:
        named = frozenset(
            path
            for path, layer in module.named_modules()
            if isinstance(layer, layers.NAMED) or neurons.is_spiking_neuron(layer)
        )
        self.state = State(
            module=module,
            dtype=dtype,
            shapes={name: shape for name, (_, shape) in shapes.items()},
            leading_dims={name: leading for name, (leading, _) in shapes.items()},
            builder=Builder(named),
        )
        self.blockers: list[Blocker] = []
        self.origin: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def run(self, input_shape: Shape) -> nir.NIRGraph:
        for node in self.state.module.graph.nodes:
            try:
                self._values[node.name] = self._lower(node, input_shape)
            except Refused as refused:
                self.blockers.append(refused.blocker)
                self._values[node.name] = self._unknown(node)
            self._remember(node)
        graph = self.state.builder.graph()
        self.blockers += _shared_layers(graph)
        return graph

    def _remember(self, node: fx.Node) -> None:
        """Note which NIR node holds the spikes that this traced node computes."""
        value = self._values[node.name]
        if isinstance(value, Value) and value.is_integer and len(value.terms) == 1 and not value.constant:
            source, factor = value.terms[0]
            if factor == 1:
                self.origin.setdefault(source, node.name)

    def _unknown(self, node: fx.Node) -> Value:
        return Value(terms=(), shape=self.state.shapes.get(node.name, ()), unknown=True)

    def _lower(self, node: fx.Node, input_shape: Shape) -> Any:
        arguments: Any = fx.node.map_arg(node.args, lambda source: self._values[source.name])
        path = str(node.target) if node.op == "call_module" else owner(node) or "model"
        call = Call(state=self.state, node=node, path=path, arguments=arguments)
        if any(value.unknown for value in _values_in(arguments)):
            _refuse_unknown_kind(call)
            return self._unknown(node)
        match node.op:
            case "placeholder":
                return self._input(input_shape)
            case "output":
                return self._output(arguments[0])
            case "call_module":
                return _layer(call)
            case "call_function" | "call_method":
                return _operation(call)
            case _:
                layer, _, name = str(node.target).rpartition(".")
                advice = f"Call the layer instead of using its {name}"
                if layer in ("", path):
                    advice = "Parameters belong into a plain Conv2d, Linear or BatchNorm2d: fold the rest into them"
                raise Refused(path, f"reads the tensor {node.target}", advice)

    def _input(self, shape: Shape) -> Value:
        return self.state.builder.add("input", nir.Input(input_type={"input": np.array(shape)}), None, shape)

    def _output(self, value: Any) -> Value:
        heads = dict(leaves(value))
        for name, head in heads.items():
            several = len(heads) > 1
            if not isinstance(head, Value):
                what = f"its head {name} is no tensor" if several else "the model does not return a tensor"
                raise Refused("output", what, "Return the logits of the step")
            if several and len(head.shape) != 1:
                problem = f"its head {name} has shape {list(head.shape)}"
                raise Refused("output", problem, "Pool and flatten each of several heads to a vector")
            _refuse_padding("output", head)
        if not heads:
            raise Refused("output", "the model does not return a tensor", "Return the logits of the step")
        if len(heads) == 1:
            return self.state.builder.output("output", *heads.values())
        return join_heads(self.state.builder, "output", heads)


def _shared_layers(graph: nir.NIRGraph) -> list[Blocker]:
    """Layers that several neurons read, though separate.py gives each its own where it may."""
    blockers = []
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.Conv2d | nir.Affine):
            continue
        readers, pending = 0, [name]
        while pending:
            near = [target for source, target in graph.edges if source in pending]
            kinds = [graph.nodes[target] for target in near]
            readers += sum(isinstance(kind, nir.IF | nir.LIF | nir.CubaLIF | nir.Output) for kind in kinds)
            passed = nir.AvgPool2d | nir.SumPool2d | nir.Flatten
            pending = [target for target, kind in zip(near, kinds, strict=True) if isinstance(kind, passed)]
        if readers > 1:
            problem = "several neurons read this layer, and it is changed in place on the way"
            blockers.append(Blocker(layer=name, problem=problem, advice="Write a + b in place of a.add_(b)"))
    return blockers


def _layer(call: Call) -> Any:
    module = call.state.module.get_submodule(call.path)
    _refuse_keywords(call)
    rule = layers.rule_for(module)
    if rule is None:
        raise unknown_layer(call.path, module)
    refuse_read_after_change(call)
    if rule not in layers.TAKE_PADDING:
        _refuse_padding(call.path, call.value)
    return rule(call, module)


def _operation(call: Call) -> Any:
    if any(isinstance(argument, Sizes) for argument in call.arguments[:1]):
        return Sizes()  # whatever is done with a shape gives numbers, which torch has computed
    rule = operations.RULES.get(call.node.target)
    if rule is None:
        raise unknown_operation(call.path, call.node)
    _refuse_keywords(call, operations.KEYWORDS.get(rule, ()))
    refuse_read_after_change(call)
    if rule not in operations.TAKE_PADDING:
        _refuse_padding(call.path, *_values_in(call.arguments))
    return rule(call)


def _refuse_unknown_kind(call: Call) -> None:
    """Refuse what would be refused whatever comes in: all that can be said behind a refused layer."""
    if call.node.op == "call_module":
        module = call.state.module.get_submodule(call.path)
        rule = layers.rule_for(module)
        if rule is None:
            raise unknown_layer(call.path, module)
        if rule is layers.neuron and isinstance(call.arguments[0], Value):
            layers.read_neuron(call, module)
    elif call.node.op in ("call_function", "call_method") and call.node.target not in operations.RULES:
        raise unknown_operation(call.path, call.node)


def _refuse_keywords(call: Call, known: tuple[str, ...] = ()) -> None:
    if unknown := [name for name in call.node.kwargs if name not in known]:
        raise call.refuse(f"the argument {unknown[0]}=", "Leave it out; give tensors without their keyword")


def _refuse_padding(path: str, *values: Value) -> None:
    if any(value.margin != NO_MARGIN for value in values):
        raise Refused(
            path,
            "reads zero padding, which NIR knows only as a part of a convolution or pool",
            "Put the padding directly before a Conv2d or MaxPool2d",
        )


def _values_in(arguments: Any) -> Iterator[Value]:
    """All values among arguments, in lists, tuples and dicts too."""
    return (value for _, value in leaves(arguments) if isinstance(value, Value))
