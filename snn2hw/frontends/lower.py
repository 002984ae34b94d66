"""From a traced model to NIR: one method an operation. What cannot be expressed is collected, not stumbled over."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from snn2hw.errors import Blocker
from snn2hw.frontends import neurons
from snn2hw.frontends.builder import Builder, Refused, Value, combine, plus_constant, times_constant

Shape = tuple[int, ...]
Pair = tuple[int, int]

LAYERS = (
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Dropout,
    nn.Identity,
)
NAMED = (nn.Conv2d, nn.Linear)  # these and the neurons become NIR nodes of the same name


class Lowering:
    """One pass over a traced model. Afterwards `blockers` is empty or says all that is in the way."""

    def __init__(self, module: fx.GraphModule, shapes: dict[str, tuple[int, Shape]], *, dtype: torch.dtype) -> None:
        self.module, self.dtype = module, dtype
        self.shapes = {name: shape for name, (_, shape) in shapes.items()}
        self.leads = {name: lead for name, (lead, _) in shapes.items()}
        self.builder = Builder(
            frozenset(
                path
                for path, layer in module.named_modules()
                if isinstance(layer, NAMED) or neurons.is_spiking_neuron(layer)
            )
        )
        self.blockers: list[Blocker] = []
        self.origin: dict[str, str] = {}
        self.layers: set[str] = set()
        self.norms: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def run(self, input_shape: Shape) -> nir.NIRGraph:
        for node in self.module.graph.nodes:
            try:
                self._values[node.name] = self._lower(node, input_shape)
            except Refused as refused:
                self.blockers.append(refused.blocker)
                self._values[node.name] = Value(terms=(), shape=self.shapes.get(node.name, ()), unknown=True)
            self._remember(node)
        return self.builder.graph()

    def _remember(self, node: fx.Node) -> None:
        """Note which NIR node holds the spikes that this traced node computes."""
        value = self._values[node.name]
        if isinstance(value, Value) and value.is_integer and len(value.terms) == 1 and not value.constant:
            source, factor = value.terms[0]
            if factor == 1:
                self.origin.setdefault(source, node.name)

    def _lower(self, node: fx.Node, input_shape: Shape) -> Any:
        arguments = [self._values[a.name] if isinstance(a, fx.Node) else a for a in node.args]
        if any(isinstance(a, Value) and a.unknown for a in arguments):
            self._refuse_unknown_kind(node)
            return Value(terms=(), shape=self.shapes.get(node.name, ()), unknown=True)
        match node.op:
            case "placeholder":
                return self._input(node, input_shape)
            case "output":
                return self._output(arguments[0])
            case "call_module":
                return self._module(node, arguments)
            case "call_function" | "call_method":
                return self._function(node, arguments)
            case _:
                raise Refused(_owner(node), f"reads the tensor {node.target}", "Only layers may hold parameters")

    def _refuse_unknown_kind(self, node: fx.Node) -> None:
        """Refuse what would be refused whatever comes in: all that can be said behind a refused layer."""
        if node.op == "call_module":
            module = self.module.get_submodule(str(node.target))
            if not isinstance(module, LAYERS) and not neurons.is_spiking_neuron(module):
                raise _unknown_layer(str(node.target), module)
        elif node.op in ("call_function", "call_method") and node.target not in _OPERATIONS:
            raise _unknown_operation(node)

    def _input(self, node: fx.Node, shape: Shape) -> Value:
        if self.builder.nodes:
            raise Refused(node.name, "the model takes a second input", "Only one input is supported")
        return self.builder.add("input", nir.Input(input_type={"input": np.array(shape)}), None, shape)

    def _output(self, value: Any) -> Value:
        if isinstance(value, tuple | list):
            raise Refused("output", f"the model returns {len(value)} values", "Return the logits alone")
        if not isinstance(value, Value):
            raise Refused("output", "the model does not return a tensor", "Return the logits of the step")
        node = nir.Output(output_type={"output": np.array(value.shape)})
        return self.builder.add("output", node, value, value.shape)

    def _module(self, node: fx.Node, arguments: list[Any]) -> Any:
        path = str(node.target)
        module = self.module.get_submodule(path)
        _refuse_keywords(path, node)
        value = arguments[0]
        if not isinstance(value, Value):
            raise Refused(path, "its input is not a tensor of the model", "Feed it a layer's output")
        if neurons.is_spiking_neuron(module):
            return self._neuron(path, module, node, arguments)
        shape = self.shapes[node.name]
        match module:
            case nn.Conv2d():
                return self._conv(path, module, value, shape)
            case nn.Linear():
                return self._linear(path, module, value, shape)
            case nn.BatchNorm2d():
                return self._batch_norm(path, module, value, node)
            case nn.MaxPool2d():
                return self._max_pool(path, module, value)
            case nn.AvgPool2d():
                return self._avg_pool(path, module, value, shape)
            case nn.AdaptiveAvgPool2d():
                return self._global_pool(path, value, shape)
            case nn.Flatten():
                return self._flatten(path, value, shape)
            case nn.Dropout() | nn.Identity():
                return value
        raise _unknown_layer(path, module)

    def _neuron(self, path: str, module: nn.Module, node: fx.Node, arguments: list[Any]) -> Any:
        self._layer_name(path)
        value = arguments[0]
        if len(arguments) > 1:
            raise Refused(path, "the neuron is called with its state", "Let it keep its own state (init_hidden=True)")
        self._check_time(path, module, node)
        try:
            nir_node = neurons.to_nir(module, value.shape, self.dtype)
        except neurons.NeuronProblem as problem:
            raise Refused(path, problem.problem, problem.advice) from None
        spikes = self.builder.add_spiking(path, nir_node, value, is_layer=True)
        return (spikes, None) if neurons.returns_state(module) else spikes

    def _check_time(self, path: str, module: nn.Module, node: fx.Node) -> None:
        """In a multi-step model every neuron must see every step."""
        if max(self.leads.values()) == 1:
            return
        if getattr(module, "step_mode", "s") != "m":
            raise Refused(path, "a neuron in single step among layers in multi step", 'Set its step_mode to "m"')
        if isinstance(node.args[0], fx.Node) and self.leads[node.args[0].name] == 1:
            raise Refused(path, "a neuron behind the mean over time", "Take the mean over time behind the last neuron")

    def _conv(self, path: str, module: nn.Conv2d, value: Value, shape: Shape) -> Value:
        if module.padding_mode != "zeros":
            raise Refused(path, f"padding mode {module.padding_mode!r}", "Use zero padding")
        if isinstance(module.padding, str):
            span = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
            if module.padding == "same" and any(s % 2 for s in span):
                raise Refused(path, "padding 'same' is uneven for this kernel", "Use an odd kernel size")
            padding = (0, 0) if module.padding == "valid" else (span[0] // 2, span[1] // 2)
        else:
            padding = _pair(module.padding)
        name = self._layer_name(path)
        weight = _array(module.weight)
        node = nir.Conv2d(
            input_shape=(value.shape[1], value.shape[2]),
            weight=_without_groups(weight, module.groups),
            stride=_pair(module.stride),
            padding=padding,
            dilation=_pair(module.dilation),
            groups=1,
            bias=_bias(module.bias, weight),
        )
        return self.builder.add(name, node, value, shape, is_layer=True)

    def _linear(self, path: str, module: nn.Linear, value: Value, shape: Shape) -> Value:
        if len(value.shape) != 1:
            raise Refused(path, f"Linear over an input of shape {list(value.shape)}", "Flatten it first")
        weight = _array(module.weight)
        node = nir.Affine(weight=weight, bias=_bias(module.bias, weight))
        return self.builder.add(self._layer_name(path), node, value, shape, is_layer=True)

    def _layer_name(self, path: str) -> str:
        if path in self.layers:
            raise Refused(path, "this layer is used twice in one step", "Give each use a layer of its own")
        self.layers.add(path)
        return path

    def _batch_norm(self, path: str, module: nn.BatchNorm2d, value: Value, node: fx.Node) -> Value:
        """Fold y = (x - mean) / sqrt(var + eps) * weight + bias into the convolution before it."""
        source = value.terms[0][0] if len(value.terms) == 1 else ""
        conv = self.builder.nodes.get(source)
        producer = node.args[0]
        while isinstance(producer, fx.Node) and producer.target != source and len(producer.users) == 1:
            producer = producer.args[0]  # past a Dropout or Identity
        if not isinstance(conv, nir.Conv2d) or not isinstance(producer, fx.Node) or len(producer.users) > 1:
            raise Refused(
                path,
                "BatchNorm2d that cannot be folded",
                "It must follow a Conv2d directly and be the only reader of it",
            )
        if source in self.norms:
            raise Refused(path, f"a second BatchNorm2d behind {source}", "Merge the two")
        if path in self.norms.values():
            raise Refused(path, "this layer is used twice in one step", "Give each use a layer of its own")
        if module.running_mean is None or module.running_var is None:
            raise Refused(path, "BatchNorm2d without running statistics", "Train with track_running_stats=True")
        mean, variance = module.running_mean.double(), module.running_var.double()
        gain = 1.0 / torch.sqrt(variance + module.eps)
        offset = torch.zeros_like(mean)
        if module.affine:
            gain, offset = gain * module.weight.detach().double(), module.bias.detach().double()
        dtype = conv.weight.dtype
        factor = gain.numpy()
        conv.weight = (conv.weight.astype(np.float64) * factor[:, None, None, None]).astype(dtype)
        conv.bias = ((conv.bias.astype(np.float64) - mean.numpy()) * factor + offset.numpy()).astype(dtype)
        self.norms[source] = path
        return value

    def _max_pool(self, path: str, module: nn.MaxPool2d, value: Value) -> Value:
        if module.ceil_mode or module.return_indices or _pair(module.dilation) != (1, 1):
            raise Refused(path, "MaxPool2d with ceil_mode, dilation or indices", "Use a plain MaxPool2d")
        kernel = _pair(module.kernel_size)
        return self.builder.max_pool(path, value, kernel, _pair(module.stride), _pair(module.padding))

    def _avg_pool(self, path: str, module: nn.AvgPool2d, value: Value, shape: Shape) -> Value:
        padding = _pair(module.padding)
        if module.ceil_mode or module.divisor_override or (padding != (0, 0) and not module.count_include_pad):
            raise Refused(
                path,
                "AvgPool2d with ceil_mode, divisor_override or count_include_pad=False",
                "Use a plain AvgPool2d: a window's divisor must be its size",
            )
        return self._average(path, value, _pair(module.kernel_size), _pair(module.stride), padding, shape)

    def _global_pool(self, path: str, value: Value, shape: Shape) -> Value:
        height, width = value.shape[1:]
        if shape[1:] != (1, 1) and (height % shape[1] or width % shape[2]):
            raise Refused(
                path, f"AdaptiveAvgPool2d from {height}x{width} to {shape[1]}x{shape[2]}", "Windows must be even"
            )
        kernel = (height // shape[1], width // shape[2])
        return self._average(path, value, kernel, kernel, (0, 0), shape)

    def _average(self, path: str, value: Value, kernel: Pair, stride: Pair, padding: Pair, shape: Shape) -> Value:
        node = nir.AvgPool2d(kernel_size=np.array(kernel), stride=np.array(stride), padding=np.array(padding))
        return self.builder.add(path, node, value, shape)

    def _flatten(self, path: str, value: Value, shape: Shape) -> Value:
        if len(shape) != 1:
            raise Refused(path, f"a partial flatten to {list(shape)}", "Flatten everything behind the batch")
        if value.shape == shape:
            return value
        node = nir.Flatten(input_type={"input": np.array(value.shape)}, start_dim=0, end_dim=-1)
        flat = self.builder.add(path, node, value, shape)
        return Value(terms=flat.terms, shape=shape, low=value.low, high=value.high)

    def _function(self, node: fx.Node, arguments: list[Any]) -> Any:
        operation = _OPERATIONS.get(node.target)
        if operation is None:
            raise _unknown_operation(node)
        owner = _owner(node)
        _refuse_keywords(owner, node, _KEYWORDS.get(operation, ()))
        if node.target in _IN_PLACE and isinstance(node.args[0], fx.Node) and list(node.args[0].users)[-1] is not node:
            raise Refused(owner, f"{node.args[0].name} is read after it was changed in place", "Write a + b or a * b")
        return operation(self, owner, node, arguments)

    def _add(self, owner: str, node: fx.Node, arguments: list[Any]) -> Value:
        a, b = arguments[:2]
        if isinstance(a, Value) and isinstance(b, Value):
            return self.builder.plus(f"{owner}.add", a, b)
        value, constant = (a, b) if isinstance(a, Value) else (b, a)
        return plus_constant(value, _whole(owner, value, constant))

    def _sub(self, owner: str, node: fx.Node, arguments: list[Any]) -> Value:
        a, b = arguments[:2]
        if isinstance(a, Value) and isinstance(b, Value):
            return combine(a, times_constant(b, -1))
        if isinstance(a, Value):
            return plus_constant(a, -_whole(owner, a, b))
        return plus_constant(times_constant(b, -1), _whole(owner, b, a))

    def _rsub(self, owner: str, node: fx.Node, arguments: list[Any]) -> Value:
        return self._sub(owner, node, [arguments[1], arguments[0]])

    def _mul(self, owner: str, node: fx.Node, arguments: list[Any]) -> Value:
        a, b = arguments[:2]
        if isinstance(a, Value) and isinstance(b, Value):
            negated = any(factor < 0 for value in (a, b) for _, factor in value.terms)
            return self.builder.times(f"{owner}.{'iand' if negated else 'and'}", a, b)
        value, constant = (a, b) if isinstance(a, Value) else (b, a)
        return times_constant(value, _whole(owner, value, constant))

    def _flatten_call(self, owner: str, node: fx.Node, arguments: list[Any]) -> Value:
        return self._flatten(f"{owner}.flatten", arguments[0], self.shapes[node.name])

    def _mean(self, owner: str, node: fx.Node, arguments: list[Any]) -> Value:
        value = arguments[0]
        source = node.args[0]
        lead = self.leads[source.name] if isinstance(source, fx.Node) else 1
        dims: Any = node.kwargs.get("dim", arguments[1] if len(arguments) > 1 else None)
        keep = node.kwargs.get("keepdim", arguments[2] if len(arguments) > 2 else False)
        rank = lead + len(value.shape)
        axes = tuple(sorted(d % rank for d in ((dims,) if isinstance(dims, int) else dims or ())))
        if lead == 2 and axes == (0,):
            # Logits are the mean over time of what the read-out receives, and what follows is linear: the mean
            # commutes.
            return Value(terms=value.terms, constant=value.constant, shape=value.shape)
        if len(value.shape) == 3 and axes == (lead + 1, lead + 2):
            window = (value.shape[1], value.shape[2])
            shape = (value.shape[0], 1, 1)
            mean = self._average(f"{owner}.mean", value, window, window, (0, 0), shape)
            return mean if keep else self._flatten(f"{owner}.flatten", mean, (shape[0],))
        raise Refused(owner, f"a mean over dimensions {dims}", "Supported are the mean over time and over space")

    def _dropout(self, owner: str, node: fx.Node, arguments: list[Any]) -> Any:
        if node.kwargs.get("training", arguments[2] if len(arguments) > 2 else True):
            raise Refused(owner, "dropout with training=True never ends", "Write training=self.training, or nn.Dropout")
        return arguments[0]

    def _getitem(self, owner: str, node: fx.Node, arguments: list[Any]) -> Any:
        container, index = arguments
        if isinstance(container, tuple) and (index == 0 or not node.users):
            return container[index]
        raise Refused(owner, f"indexing with {index}", "Use the spikes of a neuron, not its membrane")


Operation = Callable[[Lowering, str, fx.Node, list[Any]], Any]

_OPERATIONS: dict[Any, Operation] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), Lowering._add),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), Lowering._sub),
    **dict.fromkeys((torch.rsub,), Lowering._rsub),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), Lowering._mul),
    **dict.fromkeys((torch.flatten, "flatten"), Lowering._flatten_call),
    **dict.fromkeys((torch.mean, "mean"), Lowering._mean),
    operator.getitem: Lowering._getitem,
    F.dropout: Lowering._dropout,
}
_KEYWORDS: dict[Operation, tuple[str, ...]] = {
    Lowering._flatten_call: ("start_dim", "end_dim"),
    Lowering._mean: ("dim", "keepdim"),
    Lowering._dropout: ("p", "training", "inplace"),
}
_IN_PLACE = (operator.iadd, operator.imul, "add_", "mul_")


def _refuse_keywords(where: str, node: fx.Node, known: tuple[str, ...] = ()) -> None:
    if unknown := [name for name in node.kwargs if name not in known]:
        raise Refused(where, f"the argument {unknown[0]}=", "Leave it out; give tensors without their keyword")


def _unknown_layer(path: str, module: nn.Module) -> Refused:
    return Refused(
        path,
        f"layers of type {type(module).__name__} are not supported",
        f"Supported are {', '.join(layer.__name__ for layer in LAYERS)} and the neurons "
        f"{', '.join(neurons.known_neurons())}",
    )


def _unknown_operation(node: fx.Node) -> Refused:
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return Refused(
        _owner(node),
        f"the operation {what} is not supported",
        "Supported between layers are +, *, 1 - x, flatten, the mean over space, and the mean over time",
    )


def _owner(node: fx.Node) -> str:
    """Path of the module in whose forward an operation stands."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return str(paths[-1]) if paths and paths[-1] else "model"


def _whole(owner: str, value: Any, constant: Any) -> int:
    if not isinstance(value, Value) or not value.is_integer:
        raise Refused(owner, f"an analog value is combined with {constant}", "Fold constants into weights and biases")
    if not isinstance(constant, int | float) or not math.isfinite(constant) or constant != int(constant):
        raise Refused(owner, f"spikes are combined with {constant}", "Only whole numbers have a counterpart")
    return int(constant)


def _array(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    return values.numpy().copy() if values.dtype in (torch.float32, torch.float64) else values.float().numpy()


def _bias(bias: Tensor | None, weight: np.ndarray) -> np.ndarray:
    return np.zeros(weight.shape[0], weight.dtype) if bias is None else _array(bias)


def _without_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """A grouped kernel as a dense one, zero between groups: nir 1.0.8 rejects groups in its type check."""
    if groups == 1:
        return weight
    outputs, per_group, *kernel = weight.shape
    dense = np.zeros((outputs, per_group * groups, *kernel), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return dense


def _pair(value: Any) -> Pair:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
