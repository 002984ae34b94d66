"""Findings: which numbers of a program were looked at, which of them are wrong, and the first of each node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.ir.fixed_point import Bool
from snn2hw.ir.numerics import Numerics
from snn2hw.verification.comparison import Difference, LayerComparison

Numbers = NDArray[np.number]
Node = TypeVar("Node", bound=ir.BaseNode)


@dataclass
class _Record:
    compared: int = 0
    mismatches: int = 0
    first: Difference | None = None
    parameters: set[str] = field(default_factory=set)


class Findings:
    """What one comparison of a program says of every node.

    Nothing is taken for right because it was not looked at: `layers` counts as wrong whatever was not reported here.

    Args:
        graph: the program's nodes.
        numerics: the arithmetic of the chip that they are for.
        file: empty if the program is judged. The name of a file if that is what is judged by the program: it then
            stands in every `detail`, and expected and actual change places.
    """

    def __init__(self, graph: ir.Graph, numerics: Numerics, *, file: str = "") -> None:
        self.graph, self.numerics, self.file = graph, numerics, file
        self.nodes = {node.name: node for node in graph}
        self._records: dict[str, _Record] = {}
        self._unseen = "nothing in the network stands for this node"

    def stop(self, reason: str) -> None:
        """Nothing more will be looked at: why, in words."""
        self._unseen = reason

    def node(self, name: str, kind: type[Node], shape: tuple[int, ...]) -> Node | None:
        """The node of this name if it is of this kind and shape, and its arrays fit; else None, which is reported."""
        node = self.nodes.get(name)
        if not isinstance(node, kind):
            what = "nothing" if node is None else f"a {type(node).__name__}"
            self.differs(name, f"{what} stands where a {kind.__name__} must stand")
            return None
        self.same(name, "shape", expected=shape, actual=node.shape)
        if node.shape != shape:
            return None
        for what, values in vars(node).items():
            if isinstance(values, np.ndarray) and what != "weight" and not fits(values.shape, shape):
                self.differs(name, f"{what}: its shape {list(values.shape)} does not fit {list(shape)} neurons")
                return None
        return node

    def differs(self, name: str, what: str, *, expected: int | float = 1, actual: int | float = 0) -> None:
        """A mismatch that is no number of an array: a node, an input or a property that is missing or another."""
        record = self._records.setdefault(name, _Record())
        record.compared += 1
        self._count(record, 1, what, (), expected, actual)

    def agrees(self, name: str, count: int = 1) -> None:
        """So many single numbers, inputs or properties of a node are right."""
        self._records.setdefault(name, _Record()).compared += count

    def same(self, name: str, what: str, *, expected: object, actual: object) -> None:
        """One property, which must be equal: both sides are told in words, numbers as numbers."""
        if actual == expected:
            self.agrees(name)
        elif isinstance(actual, int | float) and isinstance(expected, int | float):
            self.differs(name, what, expected=expected, actual=actual)
        else:
            sides = (actual, expected) if self.file else (expected, actual)
            self.differs(name, f"{what}: expected {_text(sides[0])}, not {_text(sides[1])}")

    def inputs(self, name: str, *, expected: Sequence[str], actual: Sequence[str]) -> None:
        """The nodes that feed a node. Their order is free: they are summed."""
        self.same(name, "inputs", expected=tuple(sorted(expected)), actual=tuple(sorted(actual)))

    def numbers(self, name: str, what: str, *, actual: Numbers, expected: Numbers, wrong: Bool) -> None:
        """An array parameter `what` of a node and which of its numbers are wrong.

        `wrong` has the shape to which actual and expected broadcast. A number that serves many neurons is wrong if it
        is for one of them; the index of the first is that in the program's array.
        """
        record = self._records.setdefault(name, _Record())
        record.parameters.add(what)
        record.compared += actual.size
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            first = [np.broadcast_to(values, wrong.shape)[at].item() for values in (expected, actual)]
            index = tuple(
                0 if size == 1 else i for i, size in zip(at[wrong.ndim - actual.ndim :], actual.shape, strict=True)
            )
            self._count(record, _count_in(wrong, actual.shape), what, index, *first)

    def some_of(self, name: str, what: str, *, compared: int) -> None:
        """So many numbers of a parameter are compared; those that are wrong are told by `wrong_numbers`."""
        record = self._records.setdefault(name, _Record())
        record.parameters.add(what)
        record.compared += compared

    def wrong_numbers(
        self, name: str, what: str, count: int, *, index: tuple[int, ...], expected: float, actual: float
    ) -> None:
        """So many numbers of those that `some_of` counted are wrong; the first stands at `index`."""
        self._count(self._records[name], count, what, index, expected, actual)

    def layers(self) -> tuple[LayerComparison, ...]:
        """Every node of the program, in its order, then nodes that it lacks. What was not looked at is a mismatch."""
        for node in self.graph:
            if node.name not in self._records:
                self.differs(node.name, self._unseen)
            record = self._records[node.name]
            for what, values in vars(node).items():
                if isinstance(values, np.ndarray) and what not in record.parameters:
                    record.compared += values.size
                    self._count(record, max(values.size, 1), f"{what}: it could not be compared", (), 1, 0)
        order = [*self.nodes, *(name for name in self._records if name not in self.nodes)]
        records = ((name, self._records[name]) for name in order)
        return tuple(
            LayerComparison(name=name, compared=record.compared, mismatches=record.mismatches, first=record.first)
            for name, record in records
        )

    def _count(
        self,
        record: _Record,
        mismatches: int,
        what: str,
        index: tuple[int, ...],
        expected: int | float,
        actual: int | float,
    ) -> None:
        record.mismatches += mismatches
        if record.first is None:
            if self.file:
                what, expected, actual = f"{self.file}: {what}", actual, expected
            record.first = Difference(
                sample=None,
                step=None,
                cycle=None,
                index=index,
                expected=_plain(expected),
                actual=_plain(actual),
                detail=what,
            )


def merged(one: Sequence[LayerComparison], other: Sequence[LayerComparison]) -> tuple[LayerComparison, ...]:
    """Two comparisons of the same nodes as one; the first difference is that of `one` if it has any."""
    by_name = {layer.name: layer for layer in other}
    both = []
    for layer in one:
        more = by_name.pop(layer.name, None)
        both.append(
            layer
            if more is None
            else LayerComparison(
                name=layer.name,
                compared=layer.compared + more.compared,
                mismatches=layer.mismatches + more.mismatches,
                first=layer.first or more.first,
            )
        )
    return (*both, *by_name.values())


def fits(shape: tuple[int, ...], neurons: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to neurons of that."""
    try:
        return np.broadcast_shapes(shape, neurons) == neurons
    except ValueError:
        return False


def _count_in(wrong: Bool, shape: tuple[int, ...]) -> int:
    """How many numbers of an array of this shape are wrong somewhere among the neurons they broadcast to."""
    before = wrong.ndim - len(shape)
    spread = tuple(before + axis for axis, size in enumerate(shape) if size == 1)
    return int(np.count_nonzero(wrong.any(axis=(*range(before), *spread))))


def _plain(value: int | float) -> int | float:
    """A whole number as one."""
    return int(value) if math.isfinite(value) and float(value).is_integer() else float(value)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
