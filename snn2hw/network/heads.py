"""The heads of a model that returns several: all of them are one output, one behind the other.

In NIR that is a 0/1 matrix for each head, which puts its values in their rows among those of all heads; the Output sums
them, as it sums whatever feeds it. Its metadata `heads` name the rows: [[name, number of rows], ...] as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import ModelError
from snn2hw.ir.nodes import Head
from snn2hw.network.metadata import HEADS


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What lies in dicts, lists and tuples within each other, under names such as `aux.0`."""
    if isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in items:
            yield from leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def heads_metadata(sizes: Mapping[str, int]) -> dict[str, str]:
    """What an Output says of its heads."""
    return {HEADS: json.dumps(list(sizes.items()))}


def heads_of(name: str, node: nir.Output) -> tuple[Head, ...]:
    """The heads of Output `name`, none if it has one alone. Raises ModelError where the metadata do not fit it."""
    if HEADS not in node.metadata:
        return ()
    written, width = node.metadata[HEADS], int(np.prod(node.output_type["output"]))
    heads: list[Head] = []
    try:
        for head_name, size in json.loads(written):
            start = heads[-1].stop if heads else 0
            heads.append(Head(name=str(head_name), start=start, stop=start + size))
        fits = len({head.name for head in heads}) == len(heads) > 1 and heads[-1].stop == width
        fits &= all(head.start < head.stop for head in heads)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ModelError(
            f"{name}: its metadata name the heads {written!r}, but must be a list of [name, size] for at least two "
            f"heads of {width} logits together."
        )
    return tuple(heads)


def placement(rows: slice, width: int) -> NDArray[np.float32]:
    """The matrix [width, rows] of zeros and ones that puts values in these rows of a vector [width]."""
    size = rows.stop - rows.start
    place = np.zeros((width, size), np.float32)
    place[rows] = np.eye(size)
    return place


def placed_rows(node: nir.NIRNode) -> NDArray[np.int64] | None:
    """The row [inputs] in which a layer puts each input, unchanged and by itself; None if it does anything else."""
    if not isinstance(node, nir.Linear):
        return None
    weight = np.asarray(node.weight)
    whole = np.isin(weight, (0, 1)).all() and (weight.sum(axis=0) == 1).all() and (weight.sum(axis=1) <= 1).all()
    return weight.argmax(axis=0) if whole else None
