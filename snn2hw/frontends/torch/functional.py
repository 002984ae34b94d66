"""Before lowering: functional calls become the layers they stand for, and layers called twice become two layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from snn2hw.frontends.torch.layers import NAMED, is_plain
from snn2hw.frontends.torch.separate import drop_unused, separate_readers

_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_CONV = ("weight", "bias", "stride", "padding", "dilation", "groups")
_NORM = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def use_layers(module: fx.GraphModule, model: nn.Module) -> None:
    """Rewrite a traced model in place so that every layer is a module, called once. The user's own is not touched.

    What cannot be rewritten stays as it is, for the lowering to refuse it.
    """
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _FORMS:
            _use_layer(module, model, node)
    drop_unused(module)
    separate_readers(module)
    _separate(module)
    _fix_parametrizations(module)
    for node in reversed(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)
    module.recompile()


def parameters_only() -> frozenset[Any]:
    """The functions that are rewritten here; one that is left behind has parameters that are not a layer's."""
    return frozenset(_FORMS)


def _use_layer(module: fx.GraphModule, model: nn.Module, node: fx.Node) -> None:
    names, build = _FORMS[node.target]
    given: dict[str, Any] = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    parameters = {
        name: _tensor(module, value) if isinstance(value, fx.Node) else value for name, value in given.items()
    }
    if not set(parameters) <= set(names) or any(value is _UNKNOWN for value in parameters.values()) or not node.args:
        return
    layer = build(parameters)
    if layer is None:
        return
    path = _path(module, model, node, given.get("weight"), type(layer))
    module.add_submodule(path, layer.eval())
    with module.graph.inserting_before(node):
        call = module.graph.call_module(path, (node.args[0],))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


_UNKNOWN = object()


def _tensor(module: fx.GraphModule, node: fx.Node) -> Any:
    """The tensor that a node reads from the model; _UNKNOWN for anything computed."""
    if node.op != "get_attr":
        return _UNKNOWN
    value: Any = module
    for name in str(node.target).split("."):
        value = getattr(value, name)
    return value if isinstance(value, Tensor) else _UNKNOWN


def _path(module: fx.GraphModule, model: nn.Module, node: fx.Node, weight: Any, kind: type[nn.Module]) -> str:
    """The path of the layer that owns the weight, if it is not called itself; else one beside the caller."""
    taken = {str(other.target) for other in module.graph.nodes if other.op == "call_module"}
    layer = str(weight.target).rpartition(".")[0] if isinstance(weight, fx.Node) else ""
    if layer and layer not in taken and isinstance(model.get_submodule(layer), kind):
        return layer
    caller = owner(node)
    name = getattr(node.target, "__name__", kind.__name__.lower())
    wanted = f"{caller}.{name}" if caller else str(name)
    known = {name for name, _ in (*module.named_modules(), *model.named_modules())}
    return _free(wanted, known)


def _separate(module: fx.GraphModule) -> None:
    """Give the second use of a layer with parameters a copy of its own, which shares them."""
    used: set[str] = set()
    for node in module.graph.nodes:
        if node.op != "call_module":
            continue
        path = str(node.target)
        layer = module.get_submodule(path)
        if path in used and any(is_plain(layer, kind) for kind in (*NAMED, nn.BatchNorm2d)):
            node.target = _free(path, {name for name, _ in module.named_modules(remove_duplicate=False)})
            twin = copy.copy(layer)
            twin._parameters, twin._buffers = dict(layer._parameters), dict(layer._buffers)
            module.add_submodule(node.target, twin)
        used.add(str(node.target))


def _fix_parametrizations(module: fx.GraphModule) -> None:
    """Give a layer whose weights are computed from others (weight norm) the weights themselves."""
    for path in {str(node.target) for node in module.graph.nodes if node.op == "call_module"}:
        layer = module.get_submodule(path)
        if parametrize.is_parametrized(layer):
            module.add_submodule(path, _with_its_weights(layer))


def _with_its_weights(layer: Any) -> nn.Module:
    """The layer as it was before its parametrization, with the weights that this computes. The layer itself stays."""
    values = {name: getattr(layer, name).detach() for name in layer.parametrizations}
    kind: Any = next(kind for kind in type(layer).__mro__ if not kind.__name__.startswith("Parametrized"))
    fixed = kind.__new__(kind)
    fixed.__dict__.update(layer.__dict__)
    fixed._parameters, fixed._modules = dict(layer._parameters), dict(layer._modules)
    del fixed._modules["parametrizations"]
    for name, value in values.items():
        fixed._parameters[name] = nn.Parameter(value, requires_grad=False)
    plain: nn.Module = fixed
    return plain


def _free(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}@{count}"
    return candidate


def owner(node: fx.Node) -> str:
    """Path of the module in whose forward a call stands, "" for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return str(paths[-1]) if paths else ""


def _conv(given: dict[str, Any]) -> nn.Module | None:
    weight, groups = given.pop("weight", None), given.get("groups", 1)
    bias = given.pop("bias", None)
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        return None
    outputs, inputs, *kernel = weight.shape
    layer = nn.Conv2d(inputs * groups, outputs, (kernel[0], kernel[1]), bias=bias is not None, device="meta", **given)
    return _holding(layer, weight=weight, bias=bias)


def _linear(given: dict[str, Any]) -> nn.Module | None:
    weight, bias = given.get("weight"), given.get("bias")
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        return None
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return _holding(layer, weight=weight, bias=bias)


def _norm(given: dict[str, Any]) -> nn.Module | None:
    mean, variance = given.get("running_mean"), given.get("running_var")
    weight, bias = given.get("weight"), given.get("bias")
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor) or given.get("training"):
        return None
    layer = nn.BatchNorm2d(len(mean), given.get("eps", 1e-5), device="meta")
    layer.running_mean, layer.running_var, layer.num_batches_tracked = mean, variance, torch.tensor(0)
    weight = torch.ones_like(mean) if weight is None else weight
    return _holding(layer, weight=weight, bias=torch.zeros_like(mean) if bias is None else bias)


def _holding(layer: nn.Module, **tensors: Tensor | None) -> nn.Module:
    for name, tensor in tensors.items():
        if tensor is not None:
            held = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor.detach(), requires_grad=False)
            setattr(layer, name, held)
    return layer


def _with(kind: Callable[..., nn.Module]) -> Callable[[dict[str, Any]], nn.Module | None]:
    return lambda given: kind(**given)


_FORMS: dict[Any, tuple[tuple[str, ...], Callable[[dict[str, Any]], nn.Module | None]]] = {
    F.conv2d: (_CONV, _conv),
    F.linear: (("weight", "bias"), _linear),
    F.batch_norm: (_NORM, _norm),
    F.max_pool2d: (_POOL, _with(nn.MaxPool2d)),
    torch.max_pool2d: (_POOL[:-1], _with(nn.MaxPool2d)),
    F.avg_pool2d: (_AVERAGE, _with(nn.AvgPool2d)),
    F.adaptive_avg_pool2d: (("output_size",), _with(nn.AdaptiveAvgPool2d)),
}
