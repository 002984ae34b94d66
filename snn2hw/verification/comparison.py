"""Two runs of a network side by side, layer by layer: what differs, where first, and how far activity is alike.

`compare` sets two engines beside each other that run one program; `measure` any two runs, with the two measures that
Pedersen et al. 2024 (Neuromorphic intermediate representation) compare platforms by: cosine similarity of the activity
and difference of the firing rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.errors import DataError

MEASURES_SCHEMA = "snn2hw.compare/1"
LOGITS = "logits"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place where two sides differ: in time, or among a layer's parameters.

    cycle: the program's cycle, from 1; None where nothing runs in cycles. sample and step: None for parameters, which
    belong to no sample; step alone is None for the logits of runs without cycles. detail: what else says where it lies:
    the parameter's name, or both membranes.
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

    sides: whose values are judged, and whose are expected.
    ties: values that differ only because a membrane lies on its threshold up to rounding; they are no mismatches.
    note: what a reader must know about how it was run.
    """

    sides: tuple[str, str]
    exact_required: bool
    layers: tuple[LayerComparison, ...]
    ties: int = 0
    note: str = ""

    @property
    def name(self) -> str:
        return name_of(self.sides)

    @property
    def compared(self) -> int:
        return sum(layer.compared for layer in self.layers)

    @property
    def mismatches(self) -> int:
        return sum(layer.mismatches for layer in self.layers)

    def first(self) -> tuple[str, Difference] | None:
        """The layer and place of the difference that comes first in the network's time."""
        return _first_of(self.layers)


@dataclass(frozen=True, kw_only=True)
class MeasuredLayer(LayerComparison):
    """cosine: similarity of both sides' activity, None where one is silent; rate_difference: B's mean activity per
    neuron and step less A's.
    """

    cosine: float | None
    rate_difference: float

    def to_json(self) -> dict[str, Any]:
        first = self.first
        return {
            "name": self.name,
            "compared": self.compared,
            "different": self.mismatches,
            "first": first
            and {
                "sample": first.sample,
                "step": first.step,
                "index": first.index,
                "a": first.expected,
                "b": first.actual,
            },
            "cosine": self.cosine,
            "rate_difference": self.rate_difference,
        }


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All layers that runs A and B both have, and the names that only one has. A stands as `expected`."""

    layers: tuple[MeasuredLayer, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not any(layer.mismatches for layer in self.layers)

    def first(self) -> tuple[str, Difference] | None:
        """The layer and place of the difference that comes first: by sample, step, and the network's order."""
        return _first_of(self.layers)

    def to_json(self, a: str, b: str) -> dict[str, Any]:
        """The document of schema snn2hw.compare/1, of runs called `a` and `b`."""
        return {
            "schema": MEASURES_SCHEMA,
            "a": a,
            "b": b,
            "equal": self.equal,
            "layers": [layer.to_json() for layer in self.layers],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }


def name_of(sides: tuple[str, str]) -> str:
    """What a comparison of two sides is called."""
    return "-vs-".join(sides)


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
    sides: tuple[str, str],
    program: ir.Program,
    *,
    expected: dict[str, NDArray[Any]],
    actual: dict[str, NDArray[Any]],
    exact: bool,
    first_sample: int = 0,
) -> Comparison:
    """Compare two engines' spikes [N, T, *shape] and logits [N, K] on every layer that both recorded.

    first_sample: the number of the first of them.
    """
    order = [*(node.name for node in program.graph.recorded), LOGITS]
    layers = [
        _in_cycles(_compare_layer(layer, np.asarray(expected[layer]), np.asarray(actual[layer])), program, first_sample)
        for layer in order
        if layer in expected and layer in actual
    ]
    return Comparison(sides=sides, exact_required=exact, layers=tuple(layers))


def measure(a: ir.Spikes, b: ir.Spikes, order: tuple[str, ...] = ()) -> Measures:
    """Compare every layer [N, T, *shape] that both have, in `order` as far as it goes, logits last.

    A vector of one side may be an image of 1x1 on the other. Raises DataError if nothing can be compared.
    """
    both = [name for name in (*order, *sorted(a)) if name in a and name in b]
    names = [name for name in dict.fromkeys(both) if name != LOGITS] + ([LOGITS] if LOGITS in both else [])
    if not any(name != LOGITS for name in names):
        raise DataError(
            f"the two have no layer in common: {', '.join(sorted(a)[:5])} and {', '.join(sorted(b)[:5])}. Compare two "
            "runs of the same network."
        )
    return Measures(
        layers=tuple(_measure_layer(name, np.asarray(a[name]), np.asarray(b[name])) for name in names),
        only_a=tuple(sorted(a.keys() - b.keys())),
        only_b=tuple(sorted(b.keys() - a.keys())),
    )


def _compare_layer(name: str, expected: NDArray[Any], actual: NDArray[Any]) -> LayerComparison:
    """Spikes [N, T, *shape], or logits [N, K], which belong to no step."""
    different = expected != actual
    first = None
    if different.any():
        at = tuple(int(i) for i in np.argwhere(different)[0])
        first = Difference(
            sample=at[0],
            step=None if name == LOGITS else at[1],
            cycle=None,
            index=at[_leading_axes(name) :],
            expected=_number(expected[at]),
            actual=_number(actual[at]),
        )
    return LayerComparison(name=name, compared=int(expected.size), mismatches=int(different.sum()), first=first)


def _in_cycles(layer: LayerComparison, program: ir.Program, first_sample: int) -> LayerComparison:
    """With the sample counted from the first of the run, and the cycle; logits are complete in the last step."""
    first = layer.first
    if first is None or first.sample is None:
        return layer
    node = program.graph.readout.name if layer.name == LOGITS else layer.name
    sample, step = first_sample + first.sample, program.schedule.timesteps - 1 if first.step is None else first.step
    cycle = program.schedule.cycle(node, sample, step)
    return replace(layer, first=replace(first, sample=sample, step=step, cycle=cycle))


def _measure_layer(name: str, a: NDArray[Any], b: NDArray[Any]) -> MeasuredLayer:
    axes = _leading_axes(name)
    if a.shape[:axes] != b.shape[:axes] or a.size != b.size:
        raise DataError(
            f"{name}: the two have different shapes, {list(a.shape)} and {list(b.shape)}. Give both the same samples "
            "and time steps."
        )
    layer = _compare_layer(name, a, b.reshape(a.shape))
    left, right = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    return MeasuredLayer(
        name=name,
        compared=layer.compared,
        mismatches=layer.mismatches,
        first=layer.first,
        cosine=None if not norms else 1.0 if layer.first is None else float(left @ right) / norms,
        rate_difference=float(right.mean() - left.mean()),
    )


def _first_of(layers: Sequence[LayerComparison]) -> tuple[str, Difference] | None:
    """The first difference by cycle, sample, step and layer. Without a cycle or sample it comes as if at the start,
    without a step as if at the end: logits are complete then.
    """
    differences = [(layer.name, layer.first) for layer in layers if layer.first]

    def time(difference: tuple[str, Difference]) -> tuple[float, float, float]:
        _, place = difference
        cycle, sample = (-1 if value is None else value for value in (place.cycle, place.sample))
        return cycle, sample, math.inf if place.step is None else place.step

    return min(differences, key=time, default=None)


def _leading_axes(name: str) -> int:
    """How many axes come before those of a layer: samples and steps, of logits samples alone."""
    return 1 if name == LOGITS else 2


def _number(value: Any) -> int | float:
    """A whole number as one, whatever an engine computes in."""
    return int(value) if float(value).is_integer() else float(value)
