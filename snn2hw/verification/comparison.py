"""Two engines' spikes side by side: how many values were compared, how many differ, where the first difference is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place where two sides differ: in time, or among a layer's parameters.

    cycle: the program's cycle, from 1; None where nothing runs in cycles. sample and step: None for parameters, which
    belong to no sample. detail: what else says where it lies: the parameter's name, or both membranes.
    """

    sample: int | None
    step: int | None
    cycle: int | None
    index: tuple[int, ...]
    expected: int | float
    actual: int | float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerComparison:
    """One layer: how many values were compared, how many differ, and the first that does."""

    name: str
    compared: int
    mismatches: int
    first: Difference | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides, layer by layer, in the order of the network.

    ties: values that differ only because a membrane lies on its threshold up to rounding; they are no mismatches.
    note: what a reader must know about how it was run.
    """

    name: str
    exact_required: bool
    layers: tuple[LayerComparison, ...]
    ties: int = 0
    note: str = ""

    @property
    def compared(self) -> int:
        return sum(layer.compared for layer in self.layers)

    @property
    def mismatches(self) -> int:
        return sum(layer.mismatches for layer in self.layers)

    def first(self) -> tuple[str, Difference] | None:
        """The layer and place of the difference that comes first in the network's time."""
        found = [
            (_never(layer.first.cycle), _never(layer.first.sample), _never(layer.first.step), at, layer)
            for at, layer in enumerate(self.layers)
            if layer.first
        ]
        if not found:
            return None
        *_, layer = min(found, key=lambda item: item[:4])
        return (layer.name, layer.first) if layer.first else None


def joined(one: Comparison, more: Comparison) -> Comparison:
    """Two comparisons of different samples as one."""
    layers = tuple(
        LayerComparison(
            name=before.name,
            compared=before.compared + after.compared,
            mismatches=before.mismatches + after.mismatches,
            first=before.first or after.first,
        )
        for before, after in zip(one.layers, more.layers, strict=True)
    )
    return replace(one, layers=layers, ties=one.ties + more.ties)


def compare(
    name: str,
    program: ir.Program,
    *,
    expected: dict[str, NDArray[Any]],
    actual: dict[str, NDArray[Any]],
    exact: bool,
    first_sample: int = 0,
) -> Comparison:
    """Compare two engines' spikes.npz contents, of samples from `first_sample` on, on every layer both recorded."""
    order = [*(node.name for node in program.graph.recorded), "logits"]
    layers = [
        _compare_layer(layer, program, np.asarray(expected[layer]), np.asarray(actual[layer]), first_sample)
        for layer in order
        if layer in expected and layer in actual
    ]
    return Comparison(name=name, exact_required=exact, layers=tuple(layers))


def _compare_layer(
    name: str, program: ir.Program, expected: NDArray[Any], actual: NDArray[Any], first_sample: int
) -> LayerComparison:
    different = expected != actual
    first = None
    if different.any():
        where = [int(i) for i in np.argwhere(different)[0]]
        if name == "logits":
            node, step, index = program.graph.readout.name, program.schedule.timesteps - 1, tuple(where[1:])
        else:
            node, step, index = name, where[1], tuple(where[2:])
        first = Difference(
            sample=first_sample + where[0],
            step=step,
            cycle=program.schedule.cycle(node, first_sample + where[0], step),
            index=index,
            expected=_number(expected[tuple(where)]),
            actual=_number(actual[tuple(where)]),
        )
    return LayerComparison(name=name, compared=int(expected.size), mismatches=int(different.sum()), first=first)


def _never(time: int | None) -> int:
    """A time by which to sort; what has none comes as if at the start, in the order of the network."""
    return -1 if time is None else time


def _number(value: Any) -> int | float:
    """A whole number as one, whatever an engine computes in."""
    return int(value) if float(value).is_integer() else float(value)
