"""Windows over zero-padded images: what NIR cannot pad, a larger kernel does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Pair = tuple[int, int]
Margin = tuple[int, int, int, int]
"""Zeros above, below, left and right."""

NO_MARGIN: Margin = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A window along one axis: padded evenly, `size` taps, of which the original ones stand at `taps`."""

    size: int
    padding: int
    dilation: int
    taps: slice


def even_axis(size: int, before: int, after: int, dilation: int) -> Axis:
    """The same window with even padding.

    With padding max(before, after) it starts |after - before| too early, or reaches as much too far; that many zero
    taps before or behind its own make up for it.
    """
    extra = abs(after - before)
    step = 1
    if extra % dilation:  # the gaps of the dilation become taps of their own
        size, step, dilation = dilation * (size - 1) + 1, dilation, 1
    extra //= dilation
    first = extra if after > before else 0
    return Axis(
        size=size + extra,
        padding=max(before, after),
        dilation=dilation,
        taps=slice(first, first + size, step),
    )


def even_window(kernel: Pair, margin: Margin, dilation: Pair) -> tuple[Axis, Axis]:
    """`even_axis` for height and width."""
    top, bottom, left, right = margin
    return even_axis(kernel[0], top, bottom, dilation[0]), even_axis(kernel[1], left, right, dilation[1])


def enlarge(weight: np.ndarray, axes: tuple[Axis, Axis]) -> np.ndarray:
    """A kernel [O, I, kh, kw] with the zero taps of `axes`."""
    larger = np.zeros((*weight.shape[:2], axes[0].size, axes[1].size), weight.dtype)
    larger[:, :, axes[0].taps, axes[1].taps] = weight
    return larger


def add_margins(a: Margin, b: Margin) -> Margin:
    """The zeros of both."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def around(padding: Pair) -> Margin:
    """Even padding as a margin."""
    return padding[0], padding[0], padding[1], padding[1]


def is_even(margin: Margin) -> bool:
    """Whether there are as many zeros above as below, and left as right."""
    return margin[0] == margin[1] and margin[2] == margin[3]
