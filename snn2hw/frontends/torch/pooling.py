"""Averages and maxima over windows of images and lines, and over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch import pools
from snn2hw.frontends.torch.arrange import Arrangement
from snn2hw.frontends.torch.call import Call
from snn2hw.frontends.torch.folds import factor, fold_in, without_factors
from snn2hw.frontends.torch.forms import Average, Largest
from snn2hw.frontends.torch.layers import votes, with_height
from snn2hw.frontends.torch.over_time import averaged
from snn2hw.frontends.torch.parts import as_image, parts_of, refuse_margin, repeated, window_sizes, written
from snn2hw.frontends.torch.picks import in_order
from snn2hw.frontends.torch.streams import readable
from snn2hw.frontends.torch.values import Value
from snn2hw.frontends.torch.windows import NO_MARGIN, Margin, Pair, add_margins, around, is_even


def avg_pool2d(call: Call) -> Value:
    """Average over windows that all divide by their size."""
    return _average_pool(call, 2)


def avg_pool1d(call: Call) -> Value:
    """Average over windows of lines, or of a vector, as of a population that votes: a matrix."""
    value = averaged(call, call.value)
    return _average_pool(call, 1) if len(value.shape) == 3 else votes(call, value)


def _average_pool(call: Call, dims: int) -> Value:
    value = _ordered(call, averaged(call, call.value), "an average")
    kernel = window_sizes(call.argument(1, "kernel_size"), dims, 1)
    stride = window_sizes(call.argument(2, "stride", []), dims, 1, kernel)
    padding = window_sizes(call.argument(3, "padding", 0), dims, 0)
    ceil, counts = bool(call.argument(4, "ceil_mode", False)), bool(call.argument(5, "count_include_pad", True))
    divisor = call.argument(6, "divisor_override")
    margin = add_margins(value.margin, around(padding))
    image = as_image(call, value, dims)
    size, shape = (value.shape[-2], value.shape[-1]), with_height(call.shape, dims)
    ceil = ceil and shape[1:] != pools.pooled_size(size, kernel, stride, margin)
    if ceil or (padding != (0, 0) and not counts):
        raise call.refuse(
            f"AvgPool{dims}d with ceil_mode or count_include_pad=False, whose windows at the border divide by less",
            f"Use a plain AvgPool{dims}d: a window's divisor must be its size",
        )
    if not is_even(margin) or margin[0] > kernel[0] // 2 or margin[2] > kernel[1] // 2:
        raise call.refuse(
            f"AvgPool{dims}d over zero padding {list(margin)} (top, bottom, left, right)",
            "Pad evenly, by half a window at most, or use a convolution",
        )
    at = image.arrangement(call, shape, value.at.steps)
    mean = _average(call, call.name(f"avg_pool{dims}d"), value, kernel, stride, (margin[0], margin[2]), at)
    if divisor and divisor != math.prod(kernel):
        return fold_in(call, mean, factor(call, math.prod(kernel) / divisor))
    return mean


def _ordered(call: Call, value: Value, what: str) -> Value:
    """A value whose channels stand in the tensor's order, for what does not pick them by its weights."""
    ordered = in_order(call, value)
    if ordered is None:
        raise call.refuse(f"{what} over values in another order", "Move or pick them behind it")
    return ordered


def adaptive_avg_pool2d(call: Call) -> Value:
    """An average over windows of one size, where the output's size divides the input's."""
    return _adaptive(call, 2)


def adaptive_avg_pool1d(call: Call) -> Value:
    """The same of lines, or of a vector."""
    value = averaged(call, call.value)
    return _adaptive(call, 1) if len(value.shape) == 3 else votes(call, value)


def _adaptive(call: Call, dims: int) -> Value:
    value = _ordered(call, averaged(call, call.value), "an average")
    refuse_margin(call, value)
    image = as_image(call, value, dims)
    shape = with_height(call.shape, dims)
    if (copies := _copies(value.shape, shape)) != (1, 1):
        return replace(value, at=value.at.moved(lambda numbers: repeated(numbers, copies[-dims:]), call.path))
    kernel = _even_windows(call, value, shape, "AdaptiveAvgPool")
    at = image.arrangement(call, shape, value.at.steps)
    return _average(call, call.name(f"avg_pool{dims}d"), value, kernel, kernel, (0, 0), at)


def _copies(size: Shape, shape: Shape) -> Pair:
    """How often each row and column stands in a larger result, of which each window is one place; 1 for a smaller."""
    height, width = (
        1 if after % before else after // before for before, after in zip(size[1:], shape[1:], strict=True)
    )
    return (height, width) if shape[1:] == (size[1] * height, size[2] * width) else (1, 1)


def _even_windows(call: Call, value: Value, shape: Shape, kind: str) -> Pair:
    (height, width), (rows, columns) = value.shape[1:], shape[1:]
    if height % rows or width % columns:
        raise call.refuse(f"{kind} from {height}x{width} to {rows}x{columns}", "Windows must be even")
    return height // rows, width // columns


def mean_over(call: Call, value: Value, dims: Sequence[int], *, keep: bool) -> Value | None:
    """The mean over some of the dimensions of images or lines that hold space; None where they hold anything else."""
    if value.at.inner() is None:
        return None
    value = _ordered(call, value, f"a {call.operator}")
    if (window := _window(call, value, dims)) is None:
        return None
    kernel, at = window
    mean = _average(call, f"{call.path}.mean", value, kernel, kernel, (0, 0), at)
    return mean if keep else _without(mean, dims, call)


def _window(call: Call, value: Value, dims: Sequence[int]) -> tuple[Pair, Arrangement] | None:
    """The window over the dimensions `dims` of a tensor of images or lines, and how what it leaves of them lies."""
    if len(value.shape) != 3:
        return None
    lead, batch, inner = parts_of(call, value, behind=1)
    sizes = [(axis, size) for axis, size in ((1, value.shape[1]), (2, value.shape[2])) if size > 1]
    if inner.tensor_shape == value.shape:
        axes = {lead + 1: 1, lead + 2: 2}
    elif inner.tensor_shape == (value.shape[0], *(size for _, size in sizes)):
        axes = {lead + 1 + number: axis for number, (axis, _) in enumerate(sizes)}
    else:
        return None
    if not inner.is_identity or not axes.keys() >= set(dims):
        return None
    over = {axes[dim] for dim in dims}
    kernel = (value.shape[1] if 1 in over else 1, value.shape[2] if 2 in over else 1)
    shape = (value.shape[0], value.shape[1] // kernel[0], value.shape[2] // kernel[1])
    lead_shape = tuple(value.at.numbers.shape[:lead])
    left = [1 if dim in dims else size for dim, size in enumerate(value.at.numbers.shape)]
    at = call.model.numbering.like(batch.numbers, lead_shape, shape, None, value.at.steps)
    return kernel, replace(at, numbers=at.numbers.view(left))


def _without(value: Value, dims: Sequence[int], call: Call) -> Value:
    """A tensor without these dimensions, whose size is 1."""
    return replace(value, at=value.at.moved(lambda numbers: numbers.squeeze(tuple(dims)), f"{call.path}.flatten"))


def _average(call: Call, path: str, value: Value, kernel: Pair, stride: Pair, padding: Pair, at: Arrangement) -> Value:
    form = Average(kernel=kernel, stride=stride, padding=padding)
    spikes, factors = without_factors(value)
    if factors is None or (factors.shifts and padding != (0, 0)):
        return written(call, path, form, replace(value, margin=NO_MARGIN), at)
    return factors.behind(call, written(call, path, form, replace(spikes, margin=NO_MARGIN), at))


def max_pool2d(call: Call) -> Value:
    """Maximum over windows of spikes, by threshold units."""
    return _max_pool(call, 2)


def max_pool1d(call: Call) -> Value:
    """The same of lines."""
    return _max_pool(call, 1)


def max_pool_with_indices(call: Call) -> tuple[Value, None]:
    """The maximum, for those who are given its place too."""
    refuse_places(call)
    return _max_pool(call, 1 if "1d" in call.operator else 2), None


def refuse_places(call: Call) -> None:
    """Refuse to say where the largest values stand, if anybody reads it."""
    if any(reader.users for reader in call.node.users if reader.args[1:] == (1,)):
        raise call.refuse(
            "reads where the largest values stand, which is no spike", "Use the values alone, with return_indices=False"
        )


def _result_shape(call: Call) -> Shape:
    """The shape of an operator's result, or of the first of several."""
    computed = call.node.meta["val"]
    return tuple((computed[0] if isinstance(computed, tuple | list) else computed).shape)


def _max_pool(call: Call, dims: int) -> Value:
    value = _ordered(call, averaged(call, call.value), "a maximum")
    kernel = window_sizes(call.argument(1, "kernel_size"), dims, 1)
    stride = window_sizes(call.argument(2, "stride", []), dims, 1, kernel)
    padding = window_sizes(call.argument(3, "padding", 0), dims, 0)
    dilation = window_sizes(call.argument(4, "dilation", 1), dims, 1)
    margin = add_margins(value.margin, around(padding))
    image = as_image(call, value, dims)
    shape = with_height(_result_shape(call), dims)
    needed = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(shape[1:], stride, dilation, kernel, strict=True)]
    rows, columns = value.shape[1] + margin[0] + margin[1], value.shape[2] + margin[2] + margin[3]
    beyond = (0, max(needed[0] - rows, 0), 0, max(needed[1] - columns, 0))  # with ceil_mode, where nothing lies
    at = image.arrangement(call, shape, value.at.steps)
    name = call.name(f"max_pool{dims}d")
    return _maximum(call, name, value, (kernel, stride, dilation), add_margins(margin, beyond), at)


def _maximum(
    call: Call, name: str, value: Value, windows: tuple[Pair, Pair, Pair], margin: Margin, at: Arrangement
) -> Value:
    spikes, factors = without_factors(value)
    scaled = factors is not None and spikes.is_integer and np.all(factors.gains[0] > 0)
    if factors is not None and scaled and (value.margin == NO_MARGIN or not factors.shifts):
        return factors.behind(call, pools.max_pool(call.builder, name, spikes, *windows, margin, at))
    if not value.is_integer:
        return _largest(call, name, value, windows, margin, at)
    return pools.max_pool(call.builder, name, value, *windows, margin, at)


def _largest(
    call: Call, name: str, value: Value, windows: tuple[Pair, Pair, Pair], margin: Margin, at: Arrangement
) -> Value:
    """Maximum over windows of currents, or of the input."""
    kernel, stride, dilation = windows
    padding = (margin[0], margin[2])
    gaps = any(d > 1 and k > 1 for d, k in zip(dilation, kernel, strict=True))
    fits = is_even(margin) and all(2 * p <= k for p, k in zip(padding, kernel, strict=True))
    if gaps or not fits or value.margin != NO_MARGIN:
        raise call.refuse(
            "a maximum over currents with dilation, ceil_mode or uneven padding",
            "Use a plain MaxPool, or a neuron before",
        )
    fed = readable(call.builder, name, value) if len(value.terms) > 1 else value
    return written(call, name, Largest(kernel=kernel, stride=stride, padding=padding), fed, at)


def adaptive_max_pool(call: Call) -> tuple[Value, None]:
    """A maximum over windows of one size, where the output's size divides the input's."""
    refuse_places(call)
    dims = 1 if "1d" in call.operator else 2
    value = _ordered(call, averaged(call, call.value), "a maximum")
    refuse_margin(call, value)
    image = as_image(call, value, dims)
    shape = with_height(_result_shape(call), dims)
    kernel = _even_windows(call, value, shape, "AdaptiveMaxPool")
    at = image.arrangement(call, shape, value.at.steps)
    return _maximum(call, call.name(f"max_pool{dims}d"), value, (kernel, kernel, (1, 1)), NO_MARGIN, at), None


def maximum_over(call: Call, value: Value, dims: Sequence[int], *, keep: bool) -> Value | None:
    """The maximum over some of the dimensions of images or lines that hold space; None where they hold other things."""
    if value.at.inner() is None:
        return None
    value = _ordered(call, value, "a maximum")
    if (window := _window(call, value, dims)) is None:
        return None
    kernel, at = window
    most = _maximum(call, f"{call.path}.max", value, (kernel, kernel, (1, 1)), NO_MARGIN, at)
    return most if keep else _without(most, dims, call)
