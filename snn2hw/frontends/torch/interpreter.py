"""Runs a captured model: its operators, the user's neurons, and other weights where they are put in their place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from snn2hw.frontends.neurons.integer import IntegerNeuron
from snn2hw.frontends.torch.call import name_of
from snn2hw.frontends.torch.capture import NEURON, STATE, Captured

WEIGHTED = ("conv1d", "conv2d", "linear")
CONVERSIONS = ("to", "_to_copy", "type_as", "float", "double")
_NOTHING: tuple[Tensor | None, Tensor | None] = (None, None)


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What an integer relay does to currents, in real numbers: `lattice` units are 1 of them.

    They are divided by 2^shift, rounded with halves up, and saturated at `low` and `high`.
    """

    lattice: float
    shift: int
    low: int
    high: int

    def __call__(self, x: Tensor) -> Tensor:
        """The payloads of currents [*any shape], in real numbers again."""
        whole = torch.round(x * self.lattice)
        payloads = torch.floor((whole + ((1 << self.shift) >> 1)) / (1 << self.shift)).clamp(self.low, self.high)
        return payloads * (1 << self.shift) / self.lattice


class Interpreter:
    """One run of a captured model from the states that its neurons are in.

    Every value is kept in the run's arithmetic: snnTorch's surrogates return float32 whatever they are given. seen:
    what the watched calls returned. returned: what the model returned. source: the module that was captured, whose
    neurons have not been replaced. read, made: calls that round what they read, and what they compute.
    """

    def __init__(
        self,
        captured: Captured,
        module: nn.Module,
        *,
        source: nn.Module,
        dtype: torch.dtype,
        watched: Collection[str] = (),
        substitutes: Mapping[str, tuple[Tensor, Tensor]],
        read: Mapping[str, Rounding],
        made: Mapping[str, Rounding],
        passed: Collection[str],
    ) -> None:
        self.captured, self.module, self.source, self.dtype = captured, module, source, dtype
        self.watched, self.substitutes, self.passed = watched, substitutes, passed
        self.read, self.made = read, made
        self.seen: dict[str, Tensor] = {}
        self.returned: Any = None
        self._states: dict[str, list[Tensor]] = {}
        self._computed: set[fx.Node] = set()
        for node in captured.graph.nodes:  # of the input, and not of parameters alone
            if node.name == captured.input or self._computed.intersection(node.all_input_nodes):
                self._computed.add(node)

    def run(self, x: Tensor) -> None:
        """Run an input x of the shape that was captured: [N, *input shape] of one step, or of all steps."""
        values: dict[fx.Node, Any] = {}
        last = _last_readers(self.captured.graph)
        for node in self.captured.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder" and node.name != self.captured.input:
                continue  # a parameter, which is read where it is used: a deep net's take much memory
            values[node] = self._cast(self._value(node, values, x))
            if node.name in self.made:
                values[node] = self.made[node.name](values[node])
            if node.name in self.watched:
                self.seen[node.name] = values[node]
            for done in last.get(node, ()):
                values.pop(done, None)
        self.returned = fx.node.map_arg(self.captured.returned, partial(self._read, values))

    def _read(self, values: dict[fx.Node, Any], node: fx.Node) -> Any:
        return values[node] if node in values else self._cast(self._tensor(node.name))

    def _value(self, node: fx.Node, values: dict[fx.Node, Any], x: Tensor) -> Any:
        if node.op == "placeholder":
            return x
        read = partial(self._read, values)
        weight, bias = self.substitutes.get(node.name, _NOTHING)
        if node.name in self.passed:
            passed = next(values[source] for source in node.all_input_nodes if source in self._computed)
            passed = self.read[node.name](passed) if node.name in self.read else passed
            passed = passed if weight is None or bias is None else passed * weight + bias
            return (passed, None, None) if isinstance(node.meta["val"], tuple | list) else passed
        arguments: Any
        if weight is not None and name_of(node) in WEIGHTED:
            arguments = fx.node.map_arg((node.args[0], weight, bias, *node.args[3:]), read)
            weight = None
        else:
            arguments = fx.node.map_arg(node.args, read)
        if node.name in self.read:
            arguments = (self.read[node.name](arguments[0]), *arguments[1:])
        if weight is not None and bias is not None and weight.shape != bias.shape:  # an average over a vector
            return F.linear(arguments[0], weight, bias)
        if node.target is NEURON:
            return self._neuron(*arguments)
        if node.target is STATE:
            states = self._states[arguments[2]]
            return states[min(arguments[4], len(states) - 1)]  # a substitute returns one alone
        if name_of(node) in CONVERSIONS and arguments[0].is_floating_point() and node.meta["val"].is_floating_point():
            return arguments[0]  # every value is in the run's arithmetic anyway
        target: Any = node.target
        result = target(*arguments, **fx.node.map_arg(node.kwargs, read))
        return result if weight is None else result * weight + bias  # factors for each element that it computes

    def _tensor(self, name: str) -> Tensor:
        if name in self.captured.constants:
            return self.captured.constants[name]
        owner, _, attribute = self.captured.tensors[name].rpartition(".")
        holder = self.module.get_submodule(owner)
        tensor: Tensor = getattr(holder if hasattr(holder, attribute) else self.source.get_submodule(owner), attribute)
        return tensor

    def _neuron(self, x: Tensor, given: list[Tensor], path: str, call: int) -> Tensor:
        neuron = self.module.get_submodule(path)
        starts = call > 0 or any(bool(state.any()) for state in given)  # from zeros each does by itself
        states = given if starts and not isinstance(neuron, IntegerNeuron) else ()
        returned: Any = neuron.forward(x, *states)  # without its hooks: what they do was captured
        tensors: list[Tensor] = [self._cast(value) for value in tree_leaves(returned) if isinstance(value, Tensor)]
        self._states[path] = tensors
        return tensors[0]

    def _cast(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._cast(part) for part in value)
        return value.to(self.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _last_readers(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For each call, the values that nobody reads behind it."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last[node] = node
        for source in node.all_input_nodes:
            last[source] = node
    forgotten: dict[fx.Node, list[fx.Node]] = {}
    for node, reader in last.items():
        if reader.op != "output":
            forgotten.setdefault(reader, []).append(node)
    return forgotten
