"""Operations between layers: one function a kind, whether it is called as a function, a method or an operator."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from snn2hw.frontends.torch import gates, joins
from snn2hw.frontends.torch.call import Call, Sizes
from snn2hw.frontends.torch.layers import average, flattened, padded
from snn2hw.frontends.torch.values import Value, combine, plus_constant, times_constant


def add(call: Call) -> Value:
    """a + b."""
    a, b = call.arguments[:2]
    if isinstance(a, Value) and isinstance(b, Value):
        return gates.plus(call.builder, f"{call.path}.add", a, b)
    value, constant = (a, b) if isinstance(a, Value) else (b, a)
    return plus_constant(value, _whole(call, value, constant))


def subtract(call: Call) -> Value:
    """a - b."""
    return _difference(call, *call.arguments[:2])


def subtract_from(call: Call) -> Value:
    """b - a."""
    a, b = call.arguments[:2]
    return _difference(call, b, a)


def _difference(call: Call, a: Any, b: Any) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return combine(a, times_constant(b, -1))
    if isinstance(a, Value):
        return plus_constant(a, -_whole(call, a, b))
    return plus_constant(times_constant(b, -1), _whole(call, b, a))


def negate(call: Call) -> Value:
    """-a."""
    return times_constant(call.value, _whole(call, call.value, -1))


def multiply(call: Call) -> Value:
    """a * b: AND and IAND of spikes, or spikes times a whole number."""
    a, b = call.arguments[:2]
    if isinstance(a, Value) and isinstance(b, Value):
        negated = any(factor < 0 for value in (a, b) for _, factor in value.terms)
        return gates.times(call.builder, f"{call.path}.{'iand' if negated else 'and'}", a, b)
    value, constant = (a, b) if isinstance(a, Value) else (b, a)
    return times_constant(value, _whole(call, value, constant))


def _whole(call: Call, value: Any, constant: Any) -> int:
    if not isinstance(value, Value) or not value.is_integer:
        raise call.refuse(f"an analog value is combined with {constant}", "Fold constants into weights and biases")
    if not isinstance(constant, int | float) or not math.isfinite(constant) or constant != int(constant):
        raise call.refuse(f"spikes are combined with {constant}", "Only whole numbers have a counterpart")
    return int(constant)


def flatten(call: Call) -> Value:
    """flatten(1)."""
    return flattened(call.builder, f"{call.path}.flatten", call.value, call.shape)


def reshape(call: Call) -> Value:
    """view, reshape and squeeze, where they flatten everything behind the batch or change nothing."""
    value, before, after = call.value, call.input_shape, call.shape
    name = call.node.target if isinstance(call.node.target, str) else getattr(call.node.target, "__name__", "reshape")
    sizes = call.arguments[1:]
    wanted = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes
    if name != "squeeze" and any(isinstance(size, int) and size > 0 for size in wanted[: call.leading_dims]):
        raise call.refuse(f"the operation {name} fixes the batch size", "Write x.flatten(1)")
    batch_stays = call.state.leading_dims[call.node.name] == call.leading_dims and math.prod(before) == math.prod(after)
    on_its_way = value.shape[1:] == (1, 1) and len(after) == 2  # a squeeze of (C, 1, 1) to (C, 1), and then to (C,)
    if batch_stays and (before == after or on_its_way):
        return value
    if batch_stays and len(after) == 1:
        return flattened(call.builder, f"{call.path}.flatten", value, after)
    target = list(after) if batch_stays else "a shape that mixes in the batch"
    raise call.refuse(
        f"the operation {name} from {list(before)} to {target}",
        "Only flattening everything behind the batch has a counterpart: x.flatten(1)",
    )


def mean(call: Call) -> Value:
    """The mean over time, which the read-out takes, or over height and width."""
    value, leading = call.value, call.leading_dims
    dims, keep = call.argument(1, "dim"), call.argument(2, "keepdim", False)
    rank = leading + len(call.input_shape)
    axes = tuple(sorted(d % rank for d in ((dims,) if isinstance(dims, int) else dims or ())))
    if leading == 2 and axes == (0,):
        # Logits are the mean over time of what the read-out receives, and what follows is linear: the mean commutes.
        return Value(terms=value.terms, constant=value.constant, shape=value.shape)
    if len(value.shape) == 3 and call.input_shape == value.shape and axes == (leading + 1, leading + 2):
        window = (value.shape[1], value.shape[2])
        mean = average(call, f"{call.path}.mean", window, window, (0, 0), (value.shape[0], 1, 1))
        return mean if keep else flattened(call.builder, f"{call.path}.flatten", mean, value.shape[:1])
    raise call.refuse(f"a mean over dimensions {dims}", "Supported are the mean over time and over space")


def concatenate(call: Call) -> Value:
    """Join spikes along their channels."""
    parts, dim = call.arguments[0], call.argument(1, "dim", 0)
    if not all(isinstance(part, Value) for part in parts):
        raise call.refuse("a concatenation with what is not a tensor of the model", "Join spikes only")
    sources: Any = call.node.args[0]
    leading = call.state.leading_dims[sources[0].name]
    if not isinstance(dim, int) or dim % (leading + len(parts[0].shape)) != leading:
        raise call.refuse(f"the operation cat over dimension {dim}", "Join spikes along their channels")
    return joins.concatenate(call.builder, f"{call.path}.cat", parts)


def rectify(call: Call) -> Value:
    """relu, as layers.relu."""
    return gates.rectify(call.builder, f"{call.path}.relu", call.value)


def pad(call: Call) -> Value:
    """Padding by zeros, as layers.pad."""
    mode, value = call.argument(2, "mode", "constant"), call.argument(3, "value")
    if mode != "constant" or value not in (None, 0):
        raise call.refuse(f"padding with {mode if mode != 'constant' else value}", "Pad with 0")
    return padded(call, call.argument(1, "pad", ()))


def dropout(call: Call) -> Value:
    """Dropout, which ends with the training."""
    if call.argument(2, "train" if call.node.target is torch.dropout else "training", True):
        raise call.refuse("dropout with training=True never ends", "Write training=self.training, or nn.Dropout")
    return call.value


def same(call: Call) -> Value:
    """An operation that changes neither values nor shape."""
    return call.value


def convert(call: Call) -> Value:
    """Another type for spikes, which every type holds."""
    if not call.value.is_integer:
        raise call.refuse("analog values change their type", "Convert the data and the model instead")
    return call.value


def item(call: Call) -> Any:
    """The spikes among what a neuron returns."""
    container, index = call.arguments
    if isinstance(container, Value):
        raise call.refuse("a part of a tensor is taken", "Compute each part by a convolution of its own")
    if isinstance(container, tuple) and (index == 0 or not call.node.users):
        return container[index]
    raise call.refuse(f"indexing with {index}", "Use the spikes of a neuron, not its membrane")


def attribute(call: Call) -> Any:
    """x.shape."""
    if call.arguments[1] != "shape":
        raise call.refuse(f"the attribute {call.arguments[1]} of a tensor is read", "Only shapes may be read")
    return Sizes()


def sizes(call: Call) -> Sizes:
    """x.size() and x.dim()."""
    return Sizes()


Rule = Callable[[Call], Any]


def _all(rule: Rule, *targets: Any) -> dict[Any, Rule]:
    return dict.fromkeys(targets, rule)


RULES: dict[Any, Rule] = {
    **_all(add, operator.add, operator.iadd, torch.add, "add", "add_"),
    **_all(subtract, operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_"),
    **_all(subtract_from, torch.rsub),
    **_all(negate, operator.neg, torch.neg, "neg"),
    **_all(multiply, operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"),
    **_all(flatten, torch.flatten, "flatten"),
    **_all(reshape, torch.reshape, torch.squeeze, "reshape", "view", "squeeze"),
    **_all(mean, torch.mean, "mean"),
    **_all(concatenate, torch.cat, torch.concat, torch.concatenate),
    **_all(rectify, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"),
    **_all(pad, F.pad),
    **_all(dropout, F.dropout, F.dropout1d, F.dropout2d, torch.dropout),
    **_all(same, "contiguous", "clone", "detach", torch.clone, torch.detach),
    **_all(convert, "float", "double", "to", "type_as"),
    **_all(sizes, "size", "dim"),
    getattr: attribute,
    operator.getitem: item,
}
KEYWORDS: dict[Rule, tuple[str, ...]] = {
    flatten: ("start_dim", "end_dim"),
    reshape: ("dim",),
    mean: ("dim", "keepdim"),
    concatenate: ("dim",),
    rectify: ("inplace",),
    pad: ("pad", "mode", "value"),
    dropout: ("p", "training", "train", "inplace"),
    sizes: ("dim",),
    convert: ("dtype",),
    same: ("memory_format",),
}
TAKE_PADDING: tuple[Rule, ...] = (pad, dropout, same, convert)
