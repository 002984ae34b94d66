"""Layers: one function for each of torch's layers that has a form in NIR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import torch
from torch import fx, nn

from snn2hw.data.aliases import Shape
from snn2hw.frontends import neurons
from snn2hw.frontends.torch import pools
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.call import Call, array, pair
from snn2hw.frontends.torch.gates import rectify
from snn2hw.frontends.torch.values import Value
from snn2hw.frontends.torch.windows import Margin, add_margins, around, enlarge, even_window, is_even
from snn2hw.network.groups import without_groups
from snn2hw.network.neuron_rule import Neuron


def neuron(call: Call, module: nn.Module) -> Any:
    """The NIR neuron of a framework's module: what it emits is spikes."""
    if call.path in call.state.layers:
        raise call.refuse(
            "this neuron is used twice in one step, and its second use would start from the membrane of the first",
            "Give each use a neuron of its own",
        )
    if len(call.arguments) > 1:
        raise call.refuse("the neuron is called with its state", "Let it keep its own state (init_hidden=True)")
    _check_time(call, module)
    name = call.layer_name()
    spikes = call.builder.add_spiking(name, read_neuron(call, module), call.value, is_layer=True)
    return (spikes, None) if neurons.returns_state(module) else spikes


def read_neuron(call: Call, module: nn.Module) -> Neuron:
    """The NIR neuron of a framework's module for what `call` feeds it."""
    try:
        return neurons.to_nir(module, call.value.shape, call.state.dtype)
    except neurons.NeuronProblem as problem:
        raise call.refuse(problem.problem, problem.advice) from None


def _check_time(call: Call, module: nn.Module) -> None:
    """In a multi-step model every neuron must see every step."""
    if max(call.state.leading_dims.values()) == 1:
        return
    if getattr(module, "step_mode", "s") != "m":
        raise call.refuse("a neuron in single step among layers in multi step", 'Set its step_mode to "m"')
    if call.leading_dims == 1:
        raise call.refuse("a neuron behind the mean over time", "Take the mean over time behind the last neuron")


def conv(call: Call, module: nn.Conv2d) -> Value:
    """Conv2d of any kernel, stride, dilation, padding and groups."""
    if module.padding_mode != "zeros":
        raise call.refuse(f"padding mode {module.padding_mode!r}", "Use zero padding")
    value, dilation = call.value, pair(module.dilation)
    kernel = pair(module.kernel_size)
    axes = even_window(kernel, add_margins(value.margin, _conv_margin(module)), dilation)
    weight = array(module.weight)
    if (axes[0].size, axes[1].size) != kernel:
        weight = enlarge(weight, axes)
        call.state.kernels[call.path] = (axes[0].taps, axes[1].taps)
    node = nir.Conv2d(
        input_shape=(value.shape[1], value.shape[2]),
        weight=without_groups(weight, module.groups),
        stride=pair(module.stride),
        padding=(axes[0].padding, axes[1].padding),
        dilation=(axes[0].dilation, axes[1].dilation),
        groups=1,
        bias=_bias(module, weight),
    )
    return call.builder.add(call.layer_name(), node, value, call.shape, is_layer=True)


def _conv_margin(module: nn.Conv2d) -> Margin:
    """The zeros around the image, of which "same" has one more below and right where their number is odd."""
    if module.padding == "valid":
        return 0, 0, 0, 0
    if not isinstance(module.padding, str):
        return around(pair(module.padding))
    height, width = (d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    return height // 2, height - height // 2, width // 2, width - width // 2


def linear(call: Call, module: nn.Linear) -> Value:
    """Linear over a vector."""
    if len(call.value.shape) != 1:
        raise call.refuse(f"Linear over an input of shape {list(call.value.shape)}", "Flatten it first")
    weight = array(module.weight)
    node = nir.Affine(weight=weight, bias=_bias(module, weight))
    return call.builder.add(call.layer_name(), node, call.value, call.shape, is_layer=True)


def batch_norm(call: Call, module: nn.BatchNorm2d) -> Value:
    """Fold y = (x - mean) / sqrt(var + eps) * weight + bias into the convolution before it."""
    value, norms = call.value, call.state.norms
    source = value.terms[0][0] if len(value.terms) == 1 else ""
    folded = call.builder.nodes.get(source)
    producer: Any = call.node.args[0]
    while isinstance(producer, fx.Node) and producer.target != source and len(producer.users) == 1:
        producer = producer.args[0]  # past a Dropout or Identity
    if not isinstance(folded, nir.Conv2d) or not isinstance(producer, fx.Node) or len(producer.users) > 1:
        raise call.refuse(
            "BatchNorm2d that cannot be folded", "It must follow a Conv2d directly and be the only reader of it"
        )
    if source in norms:
        raise call.refuse(f"a second BatchNorm2d behind {source}", "Merge the two")
    if module.running_mean is None or module.running_var is None:
        raise call.refuse("BatchNorm2d without running statistics", "Train with track_running_stats=True")
    mean, variance = module.running_mean.double(), module.running_var.double()
    gain = 1.0 / torch.sqrt(variance + module.eps)
    offset = torch.zeros_like(mean)
    if module.affine:
        gain = gain * module.weight.detach().double()
        bias_of: torch.Tensor | None = module.bias  # torch 2.13's bias=False; its types do not say so
        offset = offset if bias_of is None else bias_of.detach().double()
    limit = np.finfo(np.float64 if call.state.dtype == torch.float64 else np.float32).max
    factor = gain.numpy()
    weight = folded.weight.astype(np.float64) * factor[:, None, None, None]
    bias = (folded.bias.astype(np.float64) - mean.numpy()) * factor + offset.numpy()
    largest = np.fmax.reduce(np.abs(np.concatenate([weight.ravel(), bias])))  # what is NaN is told with its layer later
    if limit < largest < np.inf:
        raise call.refuse(
            f"folding it gives weights or biases of {largest:.3g}, more than the model's numbers hold ({limit:.3g})",
            "Look at its running_var and weight: no training ends there",
        )
    folded.weight, folded.bias = weight, bias  # in float64: the product of two float32 is no float32
    norms[source] = call.path
    return value


def max_pool(call: Call, module: nn.MaxPool2d) -> Value:
    """MaxPool2d over spikes, by threshold units."""
    if module.ceil_mode or module.return_indices or pair(module.dilation) != (1, 1):
        raise call.refuse("MaxPool2d with ceil_mode, dilation or indices", "Use a plain MaxPool2d")
    margin = add_margins(call.value.margin, around(pair(module.padding)))
    return pools.max_pool(call.builder, call.path, call.value, pair(module.kernel_size), pair(module.stride), margin)


def avg_pool(call: Call, module: nn.AvgPool2d) -> Value:
    """AvgPool2d whose windows all divide by their size."""
    padding, kernel = pair(module.padding), pair(module.kernel_size)
    if module.ceil_mode or module.divisor_override or (padding != (0, 0) and not module.count_include_pad):
        raise call.refuse(
            "AvgPool2d with ceil_mode, divisor_override or count_include_pad=False",
            "Use a plain AvgPool2d: a window's divisor must be its size",
        )
    margin = add_margins(call.value.margin, around(padding))
    if not is_even(margin) or margin[0] > kernel[0] // 2 or margin[2] > kernel[1] // 2:
        raise call.refuse(
            f"AvgPool2d over zero padding {list(margin)} (top, bottom, left, right)",
            "Pad evenly, by half a window at most, or use a convolution",
        )
    return average(call, call.path, kernel, pair(module.stride), (margin[0], margin[2]), call.shape)


def adaptive_pool(call: Call, module: nn.AdaptiveAvgPool2d) -> Value:
    """AdaptiveAvgPool2d where it is an even average pool."""
    height, width = call.value.shape[1:]
    rows, columns = call.shape[1:]
    if height % rows or width % columns:
        raise call.refuse(f"AdaptiveAvgPool2d from {height}x{width} to {rows}x{columns}", "Windows must be even")
    kernel = (height // rows, width // columns)
    return average(call, call.path, kernel, kernel, (0, 0), call.shape)


def average(
    call: Call, path: str, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], shape: Shape
) -> Value:
    """An average pool whose NIR node is named after `path`."""
    node = nir.AvgPool2d(kernel_size=np.array(kernel), stride=np.array(stride), padding=np.array(padding))
    return call.builder.add(path, node, replace(call.value, margin=(0, 0, 0, 0)), shape)


def flatten(call: Call, module: nn.Flatten) -> Value:
    """Flatten of everything behind the batch."""
    return flattened(call.builder, call.path, call.value, call.shape)


def flattened(builder: Builder, name: str, value: Value, shape: Shape) -> Value:
    """Everything behind the batch in one dimension, which is what `shape` must be."""
    if len(shape) != 1:
        raise Refused(name, f"a partial flatten to {list(shape)}", "Flatten everything behind the batch")
    if value.shape == shape:
        return value
    node = nir.Flatten(input_type={"input": np.array(value.shape)}, start_dim=0, end_dim=-1)
    flat = builder.add(name, node, value, shape)
    return Value(terms=flat.terms, shape=shape, low=value.low, high=value.high)


def pad(call: Call, module: nn.ConstantPad2d) -> Value:
    """ZeroPad2d."""
    if module.value != 0:
        raise call.refuse(f"padding with {module.value}", "Pad with 0")
    return padded(call, module.padding)


def padded(call: Call, padding: Any) -> Value:
    """Note the zeros around an image, in torch's order: left, right, top, bottom. The window behind takes them in."""
    sides: list[int] = list(padding)
    if not all(isinstance(side, int) for side in sides):
        raise call.refuse("padding by numbers computed from shapes", "Write the numbers")
    if min(sides, default=0) < 0:
        raise call.refuse(f"negative padding {sides}, which crops", "Crop the data, or use a strided convolution")
    if len(call.value.shape) != 3 or any(sides[4:]):
        raise call.refuse("padding of dimensions other than height and width", "Pad height and width only")
    left, right, top, bottom, *_ = [*sides, 0, 0, 0, 0]
    return replace(call.value, margin=add_margins(call.value.margin, (top, bottom, left, right)))


def relu(call: Call, module: nn.Module) -> Value:
    """ReLU over spikes, which changes nothing, or over differences of spikes."""
    return rectify(call.builder, call.path, call.value)


def same(call: Call, module: nn.Module) -> Value:
    """A layer that changes nothing when the model is deployed."""
    return call.value


def _bias(module: nn.Conv2d | nn.Linear, weight: np.ndarray) -> np.ndarray:
    return np.zeros(weight.shape[0], weight.dtype) if module.bias is None else array(module.bias)


Rule = Callable[[Call, Any], Any]

RULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: conv,
    nn.Linear: linear,
    nn.BatchNorm2d: batch_norm,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: avg_pool,
    nn.AdaptiveAvgPool2d: adaptive_pool,
    nn.Flatten: flatten,
    nn.ConstantPad2d: pad,
    nn.ReLU: relu,
    nn.Dropout: same,
    nn.Dropout2d: same,
    nn.Identity: same,
}
NAMED = (nn.Conv2d, nn.Linear)  # these and the neurons become NIR nodes of the same name
TAKE_PADDING: tuple[Rule, ...] = (conv, max_pool, avg_pool, pad, same)


def rule_for(module: nn.Module) -> Rule | None:
    """How a layer is written in NIR; None if it is not."""
    if neurons.is_spiking_neuron(module):
        return neuron
    return next((rule for kind, rule in RULES.items() if is_plain(module, kind)), None)


def is_layer(module: nn.Module) -> bool:
    """Whether this file has a rule for a module."""
    return rule_for(module) is not None


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module computes what torch's layer `kind` does: as a subclass with a forward of its own may not.

    SpikingJelly's layers of torch's names do, for each step.
    """
    if not isinstance(module, kind) or has_hooks(module):
        return False
    used = type(module)
    is_spikingjelly = used.__module__.startswith("spikingjelly") and used.__name__ == kind.__name__
    return used.forward is kind.forward or is_spikingjelly


def has_hooks(module: nn.Module) -> bool:
    """Whether functions are attached to a layer that may change what it computes."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
