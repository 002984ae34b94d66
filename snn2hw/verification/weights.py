"""Weights: whether every integer weight is the stated rounding of its real one, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn2hw import ir
from snn2hw.deployment import WeightBits
from snn2hw.ir.fixed_point import Bool, Int
from snn2hw.network.neuron_rule import Float
from snn2hw.verification.findings import Findings
from snn2hw.verification.roundings import TIE

BLOCK = 1 << 18  # weights that are looked at together: their float64 copies stay in the processor's cache

FLOAT32 = 2.0**-24 * (1 + 2.0**-20)  # relative: its rounding, and beside it next to nothing, that of the product

Rows = Callable[[slice], Float]
"""The real weights of some rows of a layer, without groups: [n, inputs, ...]."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """One weight that is wrong, where it stands, and what it should be."""

    index: tuple[int, ...]
    expected: float
    actual: int


@dataclass(frozen=True, kw_only=True)
class _Short:
    """Weights of a layer that stand at `size`, less than their rounding. Whether they saturate, all layers tell."""

    name: str
    size: int
    count: int
    first: _Place


class Weights:
    """Judges the weights of one program.

    `slack` is how far an integer may lie from its real number: 0.5 for a rounding, 0 where the numbers themselves must
    be whole. Only a rounding may saturate: then at the largest weight of so many bits, and no weight of the program is
    larger; if the bits of the layers are stated, of those bits and in that layer.
    """

    def __init__(self, findings: Findings, bits: WeightBits | None = None) -> None:
        self.findings, self.bits = findings, bits
        self._rounded: set[str] = set()
        self.levels = [(1 << (bits - 1)) - 1 for bits in findings.numerics.weight_choices]  # the largest weights
        self._largest = 0
        self._shorts: list[_Short] = []

    def judge(self, name: str, weight: Int, rows: Rows, *, factor: Float, groups: int = 1, slack: float) -> bool:
        """Judge `weight` [O, I / groups, ...] by `rows` times `factor`, [O] or [1].

        A kernel in groups says that all weights between the groups are 0: the real ones must round to 0 as well.
        Returns whether they were moved, by more than float32's rounding. If not, they lie on a grid that is kept.
        """
        moved = False
        if slack > 0:
            self._rounded.add(name)
        self.findings.some_of(name, "weight", compared=weight.size)
        for block, columns in _blocks(weight, groups):
            real = rows(block)
            by = (factor[block] if factor.size > 1 else factor).reshape(-1, *[1] * (weight.ndim - 1))
            if groups > 1:
                outside = real[:, : columns.start], real[:, columns.stop :]
                real = real[:, columns]
                if any(part.any() and not np.all(np.abs(part * by) <= slack + TIE) for part in outside):
                    self.findings.differs(name, f"groups: some weights between the {groups} groups are not 0")
            moved |= self._judge(name, weight, block.start, real * by, slack)
        return moved

    def _judge(self, name: str, weight: Int, start: int, real: Float, slack: float) -> bool:
        integers = weight[start : start + len(real)]
        moved = bool(np.any(np.abs(real - integers) > FLOAT32 * np.abs(integers, dtype=np.int64)))
        wrong = ~(np.abs(real - integers) <= slack + TIE)
        if not wrong.any():
            self._largest = max(self._largest, int(integers.max()), -1 - int(integers.min()))
            return moved
        plain = integers[~wrong]
        if plain.size:
            self._largest = max(self._largest, int(plain.max()), -1 - int(plain.min()))
        places, actual, exact = np.flatnonzero(wrong), integers[wrong].astype(np.int64), real[wrong]
        short = (slack > 0) & (actual * exact > 0) & (np.abs(actual) < np.abs(exact))

        def first(which: Bool) -> _Place:
            at = int(np.flatnonzero(which)[0])
            index = tuple(int(i) for i in np.unravel_index(places[at], integers.shape))
            return _Place(
                index=(start + index[0], *index[1:]), expected=float(np.rint(exact[at])), actual=int(actual[at])
            )

        if not short.all():
            self._tell(name, int(np.count_nonzero(~short)), first(~short))
        sizes = np.where(short, np.abs(actual), 0)
        shorts = []
        for size in np.unique(sizes[short]):
            alike = sizes == size
            count = int(np.count_nonzero(alike))
            shorts.append(_Short(name=name, size=int(size), count=count, first=first(alike)))
        self._shorts += sorted(shorts, key=lambda one: one.first.index)
        return moved

    def finish(self) -> None:
        """Tell which of the roundings that are too small do not saturate, and which are too large for the chip.

        Where some are larger than the level at which others saturate, the fewer are taken for the mistake. To be called
        after the last layer; not for weights that are no roundings, which have no limit here.
        """
        if self.bits is not None:
            self._finish_stated(self.bits)
            return
        level = next((size for size in self.levels[::-1] if self._is_level(size)), self.levels[-1])
        for short in self._shorts:
            if short.size != level:
                self._tell(short.name, short.count, short.first)
        if level < self._largest:
            for name, weight in self._weights():
                self._tell_above(name, weight, level)

    def _finish_stated(self, bits: WeightBits) -> None:
        """As `finish`, where each layer saturates at what its stated bits hold."""
        for short in self._shorts:
            if short.size != bits.largest(short.name):
                self._tell(short.name, short.count, short.first)
        for name, weight in self._weights():
            if name in self._rounded:
                self._tell_above(name, weight, bits.largest(name))

    def _tell_above(self, name: str, weight: Int, level: int) -> None:
        if len(above := np.argwhere((weight > level) | (weight < -level - 1))):
            index = tuple(int(i) for i in above[0])
            actual = int(weight[index])
            place = _Place(index=index, expected=float(np.sign(actual) * level), actual=actual)
            self._tell(name, len(above), place)

    def _is_level(self, size: int) -> bool:
        """Whether so many weights stand at this size, but should be larger, that it must be the limit of all."""
        standing = sum(short.count for short in self._shorts if short.size == size)
        if not standing or size == self.levels[-1]:
            return bool(standing)
        above = sum(int(np.count_nonzero((weight > size) | (weight < -size - 1))) for _, weight in self._weights())
        return above < standing

    def _weights(self) -> Iterator[tuple[str, Int]]:
        return ((node.name, node.weight) for node in self.findings.graph if isinstance(node, ir.Conv | ir.Linear))

    def _tell(self, name: str, count: int, first: _Place) -> None:
        self.findings.wrong_numbers(
            name, "weight", count, index=first.index, expected=first.expected, actual=first.actual
        )


def ungrouped(kernel: Float, groups: int) -> Rows:
    """The rows of a kernel [O, I / groups, ...] as they stand in one without groups."""
    if groups == 1:
        return lambda rows: kernel[rows]
    outputs, inputs = kernel.shape[:2]

    def spread(rows: slice) -> Float:
        wide = np.zeros((rows.stop - rows.start, inputs * groups, *kernel.shape[2:]), kernel.dtype)
        for at, row in enumerate(range(rows.start, rows.stop)):
            first = row // (outputs // groups) * inputs
            wide[at, first : first + inputs] = kernel[row]
        return wide

    return spread


def taken(rows: Rows, places: Int) -> Rows:
    """Other rows, by places [n]: row r is what row places[r] was, or zeros where that is -1."""

    def take(block: slice) -> Float:
        wanted = places[block]
        one = rows(slice(0, 1))
        out = np.zeros((len(wanted), *one.shape[1:]), one.dtype)
        for at, row in enumerate(wanted):
            if row >= 0:
                out[at] = rows(slice(int(row), int(row) + 1))[0]
        return out

    return take


def identity(size: int) -> Rows:
    """The rows of the matrix that leaves `size` values as they are."""

    def some(rows: slice) -> Float:
        return np.eye(rows.stop - rows.start, size, rows.start)

    return some


def _blocks(weight: Int, groups: int) -> Iterator[tuple[slice, slice]]:
    """Rows of about BLOCK weights, never of two groups, and the columns of their group in a kernel without groups."""
    outputs, inputs = weight.shape[:2]
    each = max(outputs // groups, 1)
    count = max(1, BLOCK // max(1, weight[0].size * groups)) if outputs else 1
    for start in range(0, outputs, each):
        group = start // each
        for first in range(start, start + each, count):
            yield slice(first, min(first + count, start + each)), slice(group * inputs, (group + 1) * inputs)
