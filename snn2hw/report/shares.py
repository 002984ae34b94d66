"""Shares of right answers."""

from __future__ import annotations

from dataclasses import dataclass

from snn2hw.data.intervals import wilson


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of right answers with its 95 % Wilson interval [low, high]."""

    name: str
    correct: int
    n: int
    accuracy: float
    interval: tuple[float, float]


def rated(name: str, correct: int, n: int) -> Accuracy:
    """An accuracy with its interval."""
    return Accuracy(name=name, correct=correct, n=n, accuracy=correct / n, interval=wilson(correct, n))
