"""Where a captured model computes what the nodes of the network emit, and the logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import fx

from snn2hw.data.aliases import Shape
from snn2hw.frontends.torch.capture import Place
from snn2hw.frontends.torch.values import Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Emission:
    """Where the captured model computes what a NIR node emits: in `call`, for these steps; leading dimensions are
    [N] of one step ("n"), [T, N] or [N, T] ("tn", "nt"), perhaps as one. places: where each of the node's elements
    lies behind them; None for in their order. shape: of the node.
    """

    call: str
    steps: tuple[int, ...]
    order: str
    places: np.ndarray | None
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where in what a model returns the logits of a head lie, which of their dimensions holds time, if any does, and
    the shape that they have in the network.
    """

    place: Place
    time: int | None
    shape: Shape = ()


def emission_of(node: fx.Node, value: Value, steps: int) -> Emission | None:
    """Where the call `node` computes the spikes `value`; None where it holds something else than all of them."""
    split = value.at.inner()
    if split is None:
        return None
    _, batch, inner = split
    if not inner.is_permutation:
        return None
    places = None if inner.is_identity else np.argsort(inner.places)
    if (step := batch.step()) is not None and not (batch.is_static and steps > 1):
        return Emission(call=node.name, steps=(step,), order="n", places=places, shape=value.shape)
    order = None if batch.is_static else batch.order(steps)
    if order is None:
        return None
    return Emission(call=node.name, steps=tuple(range(steps)), order=order, places=places, shape=value.shape)
