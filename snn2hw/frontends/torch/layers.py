"""Operators with weights, averages and neurons: one function for each that has a form in NIR."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.arrange import Arrangement, Inner
from snn2hw.frontends.torch.call import Call, Given, array, pair
from snn2hw.frontends.torch.folds import Factors, folded_by_channel, without_factors
from snn2hw.frontends.torch.forms import Form
from snn2hw.frontends.torch.over_time import averaged
from snn2hw.frontends.torch.parts import (
    Image,
    as_image,
    flattened,
    has_flat_images,
    parts_of,
    refuse_margin,
    window_sizes,
)
from snn2hw.frontends.torch.picks import whole_images
from snn2hw.frontends.torch.streams import readable
from snn2hw.frontends.torch.values import Fold, Layer, Source, Value
from snn2hw.frontends.torch.weighted import Convolution, Matrix, Parameter
from snn2hw.frontends.torch.windows import NO_MARGIN, Margin, Pair, add_margins, around, even_window
from snn2hw.network.neuron_rule import Float

_LARGEST_SHARED = 1 << 24  # weights of a matrix that holds those of a layer shared by several parts of a vector


def conv2d(call: Call) -> Value:
    """conv2d of any kernel, stride, dilation, padding and groups."""
    return _convolution(call, 2)


def conv1d(call: Call) -> Value:
    """conv1d, over images of height 1."""
    return _convolution(call, 1)


def _convolution(call: Call, dims: int) -> Value:
    value = averaged(call, call.value)
    weight, bias = _parameter(call, 1, "weight"), _parameter(call, 2, "bias")
    if weight is None:
        raise call.refuse("a convolution whose weights are computed from the input", "Use weights that are parameters")
    stride = window_sizes(call.argument(3, "stride", 1), dims, 1)
    dilation = window_sizes(call.argument(5, "dilation", 1), dims, 1)
    kernel = window_sizes(tuple(weight.values.shape[2:]), dims, 1)
    padding = call.argument(4, "padding", 0)
    padding = padding if isinstance(padding, str) else window_sizes(padding, dims, 0)
    axes = even_window(kernel, add_margins(value.margin, _conv_margin(padding, kernel, dilation)), dilation)
    value = whole_images(call, value)
    pixels = dims == 1 and (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0)) and has_flat_images(value)
    image = as_image(call, value, dims, flat=pixels)
    form = Convolution(
        weight=weight,
        bias=bias,
        inputs=value.shape[0],
        columns=image.channels,
        size=(value.shape[1], value.shape[2]),
        stride=stride,
        axes=axes,
        groups=int(call.argument(6, "groups", 1)),
    )
    value, factors = without_factors(value)
    if factors is not None:
        if factors.shifts and form.is_padded:
            raise call.refuse(
                "zero padding around values that a BatchNorm or an offset has moved away from 0",
                "Put the BatchNorm behind the convolution, or use padding=0: the padded zeros are not moved with them",
            )
        form = _multiplied(form, factors)
    shape = (form.outputs, *value.shape[1:]) if pixels else with_height(call.shape, dims)
    inner = Inner(given=None, tensor_shape=tuple(call.shape[-2:]), shape=shape) if pixels else None
    path, fed = layer_path(call, weight, f"conv{dims}d"), replace(value, margin=NO_MARGIN)
    return _layer(call, path, form, fed, image, shape, inner)


def _multiplied(form: Any, factors: Factors) -> Any:
    """A layer that multiplies its inputs first."""
    return replace(form, gains=factors.gains, folded=factors.folded, left=factors.left)


def with_height(shape: Shape, dims: int) -> Shape:
    """Channels, height and width of an operator's result."""
    return tuple(shape[-3:]) if dims == 2 else (shape[-2], 1, shape[-1])


def _conv_margin(padding: str | Pair, kernel: Pair, dilation: Pair) -> Margin:
    """The zeros around the image, of which "same" has one more below and right where their number is odd."""
    if padding == "valid":
        return NO_MARGIN
    if isinstance(padding, tuple):
        return around(padding)
    height, width = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return height // 2, height - height // 2, width // 2, width - width // 2


def linear(call: Call) -> Value:
    """linear over the last dimension: of vectors, or of each part of a vector or pixel of an image by itself."""
    value = averaged(call, call.value)
    refuse_margin(call, value)
    weight, bias = _parameter(call, 1, "weight"), _parameter(call, 2, "bias")
    if weight is None:
        raise call.refuse("a product with a matrix that is computed from the input", _MATRIX)
    lead, batch, inner = parts_of(call, value, behind=1)
    path = layer_path(call, weight, "linear")
    image = Image(lead_shape=tuple(call.shape[:lead]), batch=batch)
    if len(inner.tensor_shape) > 1:
        return _shared_linear(call, value, path, weight, bias, image, inner)
    flat, factors = without_factors(flattened(call, value))
    columns = None if inner.is_identity else inner.places
    form = Matrix(weight=weight, bias=bias, inputs=math.prod(value.shape), columns=columns)
    if factors is not None:
        form = _multiplied(form, factors)
    return _layer(call, path, form, flat, image, (int(weight.values.shape[0]),))


_MATRIX = "Chips multiply spikes by fixed weights only: use layers, or AND of spikes (a * b)"


def _shared_linear(
    call: Call, value: Value, path: str, weight: Parameter, bias: Parameter | None, image: Image, inner: Inner
) -> Value:
    """One matrix for many places: a 1x1 convolution where the last dimension holds the channels of an image, else a
    matrix in which it stands several times.
    """
    outputs, width = (int(n) for n in weight.values.shape)
    rest = math.prod(value.shape[1:])
    rows = inner.places.reshape(-1, width)
    by_channel = (
        len(value.shape) == 3
        and width == value.shape[0]
        and len(rows) == rest
        and bool((rows == rows[:, :1] + rest * np.arange(width)).all())
    )
    tensor_shape = (*inner.tensor_shape[:-1], outputs)
    form: Convolution | Matrix
    if by_channel:
        one = (1, 1)
        places = (rows[:, :1] + rest * np.arange(outputs)).ravel()
        shape: Shape = (outputs, *value.shape[1:])
        size = (value.shape[1], value.shape[2])
        axes = even_window(one, NO_MARGIN, one)
        form = Convolution(weight=weight, bias=bias, inputs=width, size=size, stride=one, axes=axes, groups=1)
        given = Inner(given=places, tensor_shape=tensor_shape, shape=shape)
    else:
        if len(rows) * outputs * math.prod(value.shape) > _LARGEST_SHARED:
            raise call.refuse(
                f"Linear over the last dimension of {list(inner.tensor_shape)}, which as one matrix has "
                f"{len(rows) * outputs:,} x {math.prod(value.shape):,} weights",
                "Let the last dimension be the channels of an image, as a 1x1 convolution has them: "
                "points as [N, D, L] with Conv1d",
            )
        value = flattened(call, value)
        shape = (len(rows) * outputs,)
        form = Matrix(weight=weight, bias=bias, inputs=value.shape[0], columns=rows, parts=len(rows))
        given = Inner(given=None, tensor_shape=tensor_shape, shape=shape)
    value, factors = without_factors(value)
    if factors is not None:
        if isinstance(form, Matrix) and not all(form.takes_gains(values) for values in factors.gains):
            raise call.refuse("one Linear over parts with different factors", "Multiply behind the Linear")
        form = _multiplied(form, factors)
    return _layer(call, path, form, value, image, shape, given)


def batch_norm(call: Call) -> Value:
    """y = (x - mean) / sqrt(var + eps) * weight + bias, folded into what stands before it."""
    value = averaged(call, call.value)
    refuse_margin(call, value)
    if "native" in call.operator:  # (input, weight, bias, mean, variance, momentum, eps)
        weight, bias, mean, variance = (call.arguments[n] for n in (1, 2, 3, 4))
        training, eps = False, float(call.arguments[6])
    else:  # (input, weight, bias, mean, variance, training, momentum, eps, cudnn)
        weight, bias, mean, variance = (call.arguments[n] for n in (1, 2, 3, 4))
        training, eps = bool(call.arguments[5]), float(call.arguments[7])
    if training or mean is None or variance is None:
        problem = f"{call.kind('BatchNorm')} without running statistics"
        raise call.refuse(problem, "Train with track_running_stats=True")
    if any(isinstance(part, Value) for part in (weight, bias, mean, variance)):
        raise call.refuse("a BatchNorm with computed parameters", "Use plain parameters and running statistics")
    with np.errstate(all="ignore"):  # what is no number is told with its layer later
        gain = 1.0 / np.sqrt(array(variance.values) + eps)
    offset = np.zeros_like(gain)
    if weight is not None:
        gain = gain * array(weight.values)
    if bias is not None:
        offset = array(bias.values)
    means = array(mean.values)
    fold = Fold(gain=gain, mean=means, offset=offset, path=call.path, call=call.node.name, norm=_owner(mean))
    norm = folded_by_channel(call, value, fold, dim=1)
    return (norm, None, None) if "native" in call.operator else norm  # type: ignore[return-value]


def votes(call: Call, value: Value) -> Value:
    """The mean over windows of a vector."""
    refuse_margin(call, value)
    lead, batch, inner = parts_of(call, value, behind=1)
    if not inner.is_identity:
        raise call.refuse("AvgPool1d over a part of a layer, or over several dimensions", "Pool a vector, whole")
    flat = flattened(call, value)
    outputs = int(call.shape[-1])
    if "adaptive" in call.operator:
        kernel = stride = flat.shape[0] // outputs
        uneven = flat.shape[0] % outputs
    else:
        kernel = pair(call.argument(1, "kernel_size"))[0]
        stride = pair(call.argument(2, "stride", []), kernel)[0] if call.argument(2, "stride", []) else kernel
        uneven = pair(call.argument(3, "padding", 0))[0] or bool(call.argument(4, "ceil_mode", False))
    if uneven:
        raise call.refuse("AvgPool1d with padding, ceil_mode or uneven windows", "Use windows that fit")
    image = Image(lead_shape=tuple(call.shape[:lead]), batch=batch)
    if kernel == stride and outputs * kernel == flat.shape[0]:
        at = image.arrangement(call, (outputs,), flat.at.steps)
        if (averaged_weights := _voting(flat, kernel, at)) is not None:
            return averaged_weights
    weight = np.zeros((outputs, flat.shape[0]), np.float64)
    for row in range(outputs):
        weight[row, row * stride : row * stride + kernel] = 1 / kernel
    given = Given(values=torch.from_numpy(weight))
    form = Matrix(weight=given.parameter(), bias=None, inputs=flat.shape[0])
    return _layer(call, call.name("avg_pool1d"), form, flat, image, (outputs,))


def _voting(value: Value, voters: int, at: Arrangement) -> Value | None:
    """What Linear layers compute, averaged over so many outputs each; None for anything else."""
    terms: list[tuple[Source, int]] = []
    for source, times in value.terms:
        if not isinstance(source, Layer) or not isinstance(source.form, Matrix):
            return None
        form, folds = source.form, [_for_each_average(fold, voters) for fold in source.folds]
        if form.rows is not None or form.parts > 1 or form.voters > 1 or None in folds:
            return None
        kept = tuple(fold for fold in folds if fold is not None)
        terms.append((replace(source, form=replace(form, voters=voters), shape=at.shape, folds=kept), times))
    repeats = [_voting(other, voters, at) for other in value.repeats]
    if None in repeats:
        return None
    return replace(value, terms=tuple(terms), at=at, repeats=tuple(other for other in repeats if other is not None))


def _for_each_average(fold: Fold, voters: int) -> Fold | None:
    """A fold of averages over so many values each; None where it differs between those of one average."""
    changed: dict[str, Any] = {}
    for name in ("gain", "mean", "offset"):
        values: Float = getattr(fold, name)
        if values.size > 1:
            each = values.reshape(-1, voters)
            if (each != each[:, :1]).any():
                return None
            changed[name] = each[:, 0]
    return replace(fold, **changed)


def _layer(
    call: Call, path: str, form: Form, fed: Value, image: Image, shape: Shape, inner: Inner | None = None
) -> Value:
    fed = readable(call.builder, path, fed)
    layer = Layer(path=path, form=form, fed=fed, shape=tuple(shape), call=call.node.name)
    if inner is None:
        at = image.arrangement(call, tuple(shape), fed.at.steps)
    else:
        at = call.model.numbering.like(image.batch.numbers, image.lead_shape, tuple(shape), inner, fed.at.steps)
    return Value(terms=((layer, 1),), at=at, is_mean=fed.is_mean)


def _parameter(call: Call, position: int, name: str) -> Parameter | None:
    value = call.argument(position, name)
    return value.parameter() if isinstance(value, Given) else None


def _owner(given: Any) -> str:
    return given.name.rpartition(".")[0] if isinstance(given, Given) else ""


def layer_path(call: Call, weight: Parameter, operation: str) -> str:
    """The path of the layer that owns a weight, or of the place where it is used."""
    if call.is_layer and call.path != "model":
        return call.path
    if not isinstance(weight.key, str):
        return f"{call.path}.{operation}"
    owner, _, name = weight.key.rpartition(".")
    return owner if owner and name == "weight" else weight.key if owner else operation
