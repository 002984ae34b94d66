"""Values put one behind the other, for which NIR has no node: channels of spikes, and the heads of a model.

Each part is put in its place among all channels by a matrix of zeros and ones, and the sum is the concatenation: exact,
and whatever reads it next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import nir
import numpy as np
from numpy.typing import NDArray

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.arrange import Arrangement
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.values import Source, Value, as_integer
from snn2hw.frontends.torch.windows import enlarge, even_window
from snn2hw.network.heads import heads_metadata, placement


def concatenate(builder: Builder, name: str, parts: Sequence[Value], at: Arrangement) -> Value:
    """Spikes one behind the other along their channels: of images by 1x1 convolutions, of vectors by matrices. The
    result is arranged `at`.
    """
    sizes = [part.shape[1:] for part in parts]
    if len(set(sizes)) > 1:
        raise Refused(name, f"images of sizes {[list(size) for size in sizes]} are joined", "Give them one size")
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    if len(lows) < len(parts) or len(highs) < len(parts):
        raise Refused(name, "values that are not spikes are joined", "Put a neuron behind each part, then join")
    width = at.shape[0]
    first = 0
    terms: list[tuple[Source, int]] = []
    for number, part in enumerate(parts):
        last = first + part.shape[0]
        place = placement(slice(first, last), width)
        added = builder.add(f"{name}.part{number}", _over_channels(place, sizes[0]), part, at, (first, width))
        terms += added.terms
        first = last
    joined = Value(terms=tuple(terms), at=at, is_mean=parts[0].is_mean)
    return builder.merge(name, as_integer(joined, min(lows), max(highs)))


def beside(builder: Builder, name: str, parts: Sequence[Value], axis: int, at: Arrangement) -> Value:
    """Images of spikes above (`axis` 1) or left of (2) one another: each in its place among zeros, and the sum."""
    lows, highs = [part.low or 0 for part in parts], [part.high or 0 for part in parts]
    length, first = at.shape[axis], 0
    terms: list[tuple[Source, int]] = []
    for number, part in enumerate(parts):
        behind = length - first - part.shape[axis]
        margin = (first, behind, 0, 0) if axis == 1 else (0, 0, first, behind)
        axes = even_window((1, 1), margin, (1, 1))
        ones = np.eye(part.shape[0], dtype=np.float32)[:, :, None, None]
        place = nir.Conv2d(
            input_shape=(part.shape[1], part.shape[2]),
            weight=enlarge(ones, axes),
            stride=(1, 1),
            padding=(axes[0].padding, axes[1].padding),
            dilation=(1, 1),
            groups=1,
            bias=np.zeros(part.shape[0], np.float32),
        )
        terms += builder.add(f"{name}.part{number}", place, part, at, margin).terms
        first += part.shape[axis]
    joined = Value(terms=tuple(terms), at=at, is_mean=parts[0].is_mean)
    return builder.merge(name, as_integer(joined, min([0, *lows]), max([0, *highs])))


def pick(builder: Builder, name: str, value: Value, rows: NDArray[np.int64], at: Arrangement) -> Value:
    """The channels `rows` [C] of spikes, -1 for zeros, by a matrix of zeros and ones; arranged `at`."""
    place = np.zeros((len(rows), value.shape[0]), np.float32)
    place[rows >= 0, rows[rows >= 0]] = 1
    picked = builder.add(name, _over_channels(place, value.shape[1:]), value, at, rows.tobytes())
    low, high = (None, None) if value.low is None or value.high is None else (min(value.low, 0), max(value.high, 0))
    picked = replace(picked, low=low, high=high)
    return builder.merge(f"{name}.merge", picked)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Every `step`-th place of an axis, `count` of them, from `first` on."""

    first: int
    step: int
    count: int

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> Places | None:
        """Of places [count] in their order; None where they are not equally far apart."""
        steps = np.unique(np.diff(numbers))
        if len(steps) > 1 or (steps < 1).any():
            return None
        return cls(first=int(numbers[0]), step=int(steps[0]) if len(steps) else 1, count=len(numbers))

    def numbers(self) -> NDArray[np.int64]:
        """The places [count]."""
        return self.first + self.step * np.arange(self.count)

    def window(self, size: int) -> int:
        """How large a window is that stands at `count` places, `step` apart, on an axis of this size."""
        return size - (self.count - 1) * self.step


_LARGEST_CROP = 1 << 24  # weights of the convolution that crops


def crop(
    builder: Builder,
    name: str,
    value: Value,
    channels: NDArray[np.int64],
    places: tuple[Places, Places],
    at: Arrangement,
) -> Value:
    """These `channels` [C], rows and columns of images of spikes, by a convolution with one tap; arranged `at`."""
    rows, columns = places
    size = (value.shape[1], value.shape[2])
    windows = rows.window(size[0]), columns.window(size[1])
    if (weights := len(channels) * value.shape[0] * windows[0] * windows[1]) > _LARGEST_CROP:
        raise Refused(
            name,
            f"a crop from {size[0]}x{size[1]} to {rows.count}x{columns.count}, which takes {weights:,} weights",
            "Crop the data, or use a strided convolution or pool",
        )
    weight = np.zeros((len(channels), value.shape[0], *windows), np.float32)
    weight[np.arange(len(channels)), channels, rows.first, columns.first] = 1
    conv = nir.Conv2d(
        input_shape=size,
        weight=weight,
        stride=(rows.step, columns.step),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        bias=np.zeros(len(channels), np.float32),
    )
    cropped = builder.add(name, conv, value, at, (channels.tobytes(), places))
    low, high = (None, None) if value.low is None or value.high is None else (min(value.low, 0), max(value.high, 0))
    return builder.merge(f"{name}.merge", replace(cropped, low=low, high=high))


def join_heads(builder: Builder, name: str, heads: Mapping[str, Value]) -> None:
    """Several vectors as one output (network/heads.py): each in its rows, spikes and currents alike."""
    width = sum(value.shape[0] for value in heads.values())
    first = 0
    terms: list[tuple[Source, int]] = []
    for head, value in heads.items():
        place = placement(slice(first, first + value.shape[0]), width)
        parts = [value] if value.is_integer else [replace(value, terms=(term,)) for term in value.terms]
        for number, part in enumerate(parts):
            terms += builder.add(f"{name}.{head}", nir.Linear(weight=place), part, part.at, (head, number)).terms
        first += value.shape[0]
    sizes = {head: value.shape[0] for head, value in heads.items()}
    at = replace(next(iter(heads.values())).at, shape=(width,))
    builder.output(name, Value(terms=tuple(terms), at=at), heads_metadata(sizes))


def _over_channels(weight: np.ndarray, size: Shape) -> nir.NIRNode:
    """A matrix [rows, channels] applied to the channels of images of `size`, or to a vector where `size` is ()."""
    if not size:
        return nir.Linear(weight=weight)
    return nir.Conv2d(
        input_shape=(size[0], size[1]),
        weight=weight[:, :, None, None],
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        bias=np.zeros(len(weight), np.float32),
    )
