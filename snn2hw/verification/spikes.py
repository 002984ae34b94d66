"""Two engines' spikes side by side, layer by layer: equality, and the two measures of the NIR paper.

Cosine similarity of the activity and difference of the firing rates are what Pedersen et al. 2024 (Neuromorphic
intermediate representation) compare platforms by.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.errors import DataError

SCHEMA = "snn2hw.compare/1"


@dataclass(frozen=True, kw_only=True)
class First:
    """The first value that differs: its sample, step (None for logits), index, and what each side gives."""

    sample: int
    step: int | None
    index: tuple[int, ...]
    a: int | float
    b: int | float


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """One layer: values compared and different, the first difference in time, cosine similarity of both sides'
    activity (None where one is silent), and B's mean activity per neuron and step less A's.
    """

    name: str
    compared: int
    different: int
    first: First | None
    cosine: float | None
    rate_difference: float


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """All layers that both sides have, and the names that only one has."""

    layers: tuple[LayerDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not any(layer.different for layer in self.layers)

    def first(self) -> tuple[str, First] | None:
        """The layer and place of the difference that comes first: by sample, step, and the network's order."""
        found = [
            (layer.first.sample, np.inf if layer.first.step is None else layer.first.step, at, layer.name, layer.first)
            for at, layer in enumerate(self.layers)
            if layer.first
        ]
        return min(found, key=lambda item: item[:3])[3:] if found else None

    def to_json(self, a: str, b: str) -> dict[str, Any]:
        """The document of schema snn2hw.compare/1."""
        return {
            "schema": SCHEMA,
            "a": a,
            "b": b,
            "equal": self.equal,
            "layers": [asdict(layer) for layer in self.layers],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }


def compare(a: ir.Spikes, b: ir.Spikes, order: tuple[str, ...] = ()) -> SideBySide:
    """Compare every layer that both have, in `order` as far as it goes, logits last.

    A vector of one side may be an image of 1x1 on the other. Raises DataError if nothing can be compared.
    """
    both = [name for name in (*order, *sorted(a)) if name in a and name in b]
    names = [name for name in dict.fromkeys(both) if name != "logits"] + (["logits"] if "logits" in both else [])
    if not any(name != "logits" for name in names):
        raise DataError(
            f"the two have no layer in common: {', '.join(sorted(a)[:5])} and {', '.join(sorted(b)[:5])}. Compare two "
            "runs of the same network."
        )
    return SideBySide(
        layers=tuple(_compare(name, np.asarray(a[name]), np.asarray(b[name])) for name in names),
        only_a=tuple(sorted(a.keys() - b.keys())),
        only_b=tuple(sorted(b.keys() - a.keys())),
    )


def _compare(name: str, a: NDArray[Any], b: NDArray[Any]) -> LayerDifference:
    lead = 1 if name == "logits" else 2
    if a.shape[:lead] != b.shape[:lead] or a.size != b.size:
        raise DataError(
            f"{name}: the two have different shapes, {list(a.shape)} and {list(b.shape)}. Give both the same samples "
            "and time steps."
        )
    b = b.reshape(a.shape)
    different = a != b
    first = None
    if different.any():
        at = tuple(int(i) for i in np.argwhere(different)[0])
        step = None if lead == 1 else at[1]
        first = First(sample=at[0], step=step, index=at[lead:], a=_number(a[at]), b=_number(b[at]))
    left, right = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    return LayerDifference(
        name=name,
        compared=int(a.size),
        different=int(different.sum()),
        first=first,
        cosine=None if not norms else 1.0 if first is None else float(left @ right) / norms,
        rate_difference=float(right.mean() - left.mean()),
    )


def _number(value: Any) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
