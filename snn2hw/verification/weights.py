"""Weights: whether every integer weight is the stated rounding of its real one, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn2hw.fixed_point import Int
from snn2hw.neuron_rule import Float
from snn2hw.verification.findings import Findings
from snn2hw.verification.roundings import TIE

BLOCK = 1 << 18  # weights that are looked at together: their float64 copies stay in the processor's cache
LEVELS = tuple((1 << bits) - 1 for bits in range(1, 8))  # the largest weights of 2 to 8 bits

Rows = Callable[[slice], Float]
"""The real weights of some rows of a layer, without groups: [n, inputs, ...]."""


@dataclass(frozen=True, kw_only=True)
class Short:
    """Weights of one layer that are smaller than their rounding: whether they saturate, only all layers together tell.

    index: where they stand in the flattened array [n]; actual: the integers; real: the scaled real weights.
    """

    name: str
    shape: tuple[int, ...]
    index: Int
    actual: Int
    real: Float


class Weights:
    """Judges the weights of one program.

    `slack` is how far an integer may lie from its real number: 0.5 for a rounding, 0 where the numbers themselves must
    be whole. Only a rounding may saturate: then at the largest weight of so many bits, and no weight of the program is
    larger.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._largest = 0
        self._shorts: list[Short] = []

    def judge(self, name: str, weight: Int, rows: Rows, *, factor: Float, groups: int = 1, slack: float) -> None:
        """Judge `weight` [O, I / groups, ...] by `rows` times `factor`, [O] or [1].

        A kernel in groups says that all weights between the groups are 0: the real ones must round to 0 as well.
        """
        self.findings.some_of(name, "weight", compared=weight.size)
        for block, columns in _blocks(weight, groups):
            real = rows(block)
            by = (factor[block] if factor.size > 1 else factor).reshape(-1, *[1] * (weight.ndim - 1))
            if groups > 1:
                outside = real[:, : columns.start], real[:, columns.stop :]
                real = real[:, columns]
                if any(part.any() and not np.all(np.abs(part * by) <= slack + TIE) for part in outside):
                    self.findings.differs(name, f"groups: some weights between the {groups} groups are not 0")
            self._judge(name, weight, block.start, real * by, slack)

    def _judge(self, name: str, weight: Int, start: int, real: Float, slack: float) -> None:
        own = weight[start : start + len(real)]
        wrong = ~(np.abs(real - own) <= slack + TIE)
        if not wrong.any():
            self._largest = max(self._largest, int(own.max()), -int(own.min()))
            return
        plain = own[~wrong]
        if plain.size:
            self._largest = max(self._largest, int(plain.max()), -int(plain.min()))
        index, actual, exact = np.flatnonzero(wrong), own[wrong].astype(np.int64), real[wrong]
        short = (slack > 0) & (actual * exact > 0) & (np.abs(actual) < np.abs(exact))
        offset = start * own[0].size
        self._tell(name, weight.shape, index[~short] + offset, actual[~short], exact[~short])
        if short.any():
            self._shorts.append(
                Short(
                    name=name,
                    shape=weight.shape,
                    index=index[short] + offset,
                    actual=actual[short],
                    real=exact[short],
                )
            )

    def finish(self) -> None:
        """Tell which of the weights that are too small do not saturate. After the last layer."""
        reached = {int(size) for short in self._shorts for size in np.unique(np.abs(short.actual))}
        level = max((size for size in reached if size in LEVELS and size >= self._largest), default=0)
        for short in self._shorts:
            off = np.abs(short.actual) != level
            self._tell(short.name, short.shape, short.index[off], short.actual[off], short.real[off])

    def _tell(self, name: str, shape: tuple[int, ...], places: Int, actual: Int, real: Float) -> None:
        if len(places):
            index = tuple(int(i) for i in np.unravel_index(int(places[0]), shape))
            expected = float(np.rint(real[0]))
            self.findings.wrong_numbers(
                name, "weight", len(places), index=index, expected=expected, actual=int(actual[0])
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
    """Other rows: row r is what row places[r] was, or zeros where that is -1."""

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
