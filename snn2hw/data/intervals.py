"""95 % intervals of shares of samples."""

from __future__ import annotations

import math

Z = 1.959963984540054  # of a two-sided 95 % interval

Interval = tuple[float, float]


def wilson(correct: int, n: int) -> Interval:
    """The interval of a share of n samples (Wilson, JASA 22, 1927)."""
    share, shift = correct / n, Z * Z / n
    middle = (share + shift / 2) / (1 + shift)
    half = Z * math.sqrt(share * (1 - share) / n + shift / (4 * n)) / (1 + shift)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired(gained: int, lost: int, n: int) -> Interval:
    """The interval of the difference of two shares of the same n samples.

    gained: samples that only the second has; lost: those that only the first has. The interval of Wald with half a
    sample more in each of the four cells (Agresti and Min, Statistics in Medicine 24, 2005).
    """
    more, fewer, all_of_them = gained + 0.5, lost + 0.5, n + 2
    middle = (more - fewer) / all_of_them
    half = Z * math.sqrt((more + fewer) - (more - fewer) ** 2 / all_of_them) / all_of_them
    return max(-1.0, middle - half), min(1.0, middle + half)
