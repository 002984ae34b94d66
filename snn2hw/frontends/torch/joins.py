"""Values put one behind the other, for which NIR has no node: channels of spikes, and the heads of a model.

Each part is put in its place among all channels by a matrix of zeros and ones, and the sum is the concatenation: exact,
and whatever reads it next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.builder import Builder, Refused
from snn2hw.frontends.torch.values import Value
from snn2hw.network.heads import heads_metadata, placement


def concatenate(builder: Builder, name: str, parts: Sequence[Value]) -> Value:
    """Spikes one behind the other along their channels: of images by 1x1 convolutions, of vectors by matrices."""
    sizes = [part.shape[1:] for part in parts]
    if len(set(sizes)) > 1:
        raise Refused(name, f"images of sizes {[list(size) for size in sizes]} are joined", "Give them one size")
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    if len(lows) < len(parts) or len(highs) < len(parts):
        raise Refused(name, "values that are not spikes are joined", "Put a neuron behind each part, then join")
    shape = (sum(part.shape[0] for part in parts), *sizes[0])
    first = 0
    terms: list[tuple[str, int]] = []
    for number, part in enumerate(parts):
        last = first + part.shape[0]
        place = placement(slice(first, last), shape[0])
        terms += builder.add(f"{name}.part{number}", _over_channels(place, sizes[0]), part, shape).terms
        first = last
    joined = Value(terms=tuple(terms), shape=shape, low=min(lows), high=max(highs))
    return builder.merge(name, joined)


def join_heads(builder: Builder, name: str, heads: Mapping[str, Value]) -> Value:
    """Several vectors as one output (network/heads.py): each in its rows, spikes and currents alike."""
    width = sum(value.shape[0] for value in heads.values())
    first = 0
    terms: list[tuple[str, int]] = []
    for head, value in heads.items():
        place = placement(slice(first, first + value.shape[0]), width)
        parts = [value] if value.is_integer else [replace(value, terms=(term,)) for term in value.terms]
        for part in parts:
            terms += builder.add(f"{name}.{head}", nir.Linear(weight=place), part, (width,)).terms
        first += value.shape[0]
    sizes = {head: value.shape[0] for head, value in heads.items()}
    return builder.output(name, Value(terms=tuple(terms), shape=(width,)), heads_metadata(sizes))


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
