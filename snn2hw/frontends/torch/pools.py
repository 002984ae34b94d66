"""Maximum pools over spikes: a window's maximum is whether any of them fires, which a threshold unit tells."""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.arrange import Arrangement
from snn2hw.frontends.torch.builder import Builder, Refused, everywhere
from snn2hw.frontends.torch.gates import levels, sum_of_levels
from snn2hw.frontends.torch.values import Value
from snn2hw.frontends.torch.windows import NO_MARGIN, Margin, Pair, enlarge, even_window, is_even


def max_pool(
    builder: Builder,
    name: str,
    value: Value,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    margin: Margin,
    at: Arrangement,
) -> Value:
    """Maximum over windows of spikes: max(x) = sum over levels k of OR(x >= k), OR(x) = "the window's sum > 0"; the
    result is arranged `at`.
    """
    if not value.is_integer or value.low is None or value.low < 0 or value.high is None:
        raise Refused(name, "MaxPool2d over values that are not spikes", "Put the pool behind a neuron")
    maxima = []
    for suffix, level in levels(builder, name, replace(value, margin=NO_MARGIN)):
        count = _window_sum(builder, f"{name}{suffix}.count", level, (kernel, stride, dilation), margin, at)
        either = nir.Threshold(threshold=everywhere(0.5, count.shape))
        maxima.append(builder.add_spiking(f"{name}{suffix}", either, count))
    return sum_of_levels(builder, name, maxima)


def _window_sum(
    builder: Builder, name: str, value: Value, windows: tuple[Pair, Pair, Pair], margin: Margin, at: Arrangement
) -> Value:
    """A sum pool; where a pool has no such padding or gaps, a convolution of ones, channel by channel."""
    kernel, stride, dilation = windows
    channels, *size = value.shape
    axes = even_window(kernel, margin, dilation)
    padding = (axes[0].padding, axes[1].padding)
    dense = all(d == 1 or k == 1 for d, k in zip(dilation, kernel, strict=True))
    if dense and is_even(margin) and all(2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        pool = nir.SumPool2d(kernel_size=np.array(kernel), stride=np.array(stride), padding=np.array(padding))
        return builder.add(name, pool, value, at, (kernel, stride, padding))
    ones = np.zeros((channels, channels, *kernel), np.float32)
    ones[np.arange(channels), np.arange(channels)] = 1
    conv = nir.Conv2d(
        input_shape=(size[0], size[1]),
        weight=enlarge(ones, axes),
        stride=stride,
        padding=padding,
        dilation=(axes[0].dilation, axes[1].dilation),
        groups=1,
        bias=np.zeros(channels, np.float32),
    )
    return builder.add(name, conv, value, at, (windows, margin))


def pooled_size(size: Shape, kernel: Pair, stride: Pair, margin: Margin) -> Pair:
    """Height and width after a pool, rounding down."""
    padded = size[0] + margin[0] + margin[1], size[1] + margin[2] + margin[3]
    height, width = ((n - k) // s + 1 for n, k, s in zip(padded, kernel, stride, strict=True))
    return height, width
