"""Quantities as people read them."""

from __future__ import annotations

import math

LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def quantity(value: float, unit: str) -> str:
    """A value of three digits in the SI prefix that suits its size: quantity(1.5e-8, "J") is "15 nJ"."""
    rounded = float(f"{value:.2e}")  # first, so that 999.6 nJ becomes 1 µJ and not 1000 nJ
    scale, prefix = prefix_of(rounded)
    return f"{rounded / scale:.3g} {prefix}{unit}" if rounded else f"0 {unit}"


def span(low: float, high: float, unit: str) -> str:
    """From a quantity to another; one alone where they read the same."""
    texts = quantity(low, unit), quantity(high, unit)
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def prefix_of(value: float) -> tuple[float, str]:
    """The SI prefix that suits a value's size, with what it multiplies: prefix_of(2e-6) is (1e-6, "µ")."""
    return next(((scale, prefix) for scale, prefix in PREFIXES if abs(value) >= scale), PREFIXES[-1])


def decades(low: float, high: float, unit: str) -> tuple[list[float], list[str]]:
    """The powers of ten from that below `low` to that above `high`, and how they read: ticks of a logarithmic axis."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [10.0**exponent for exponent in exponents]
    return values, [quantity(value, unit) for value in values]


def large(count: float) -> str:
    """A count in few characters: large(16716194896) is "16.7 G", and below a million every digit is there."""
    rounded = float(f"{count:.2e}")
    scale, prefix = next(((scale, prefix) for scale, prefix in LARGE if rounded >= scale), (1.0, ""))
    return f"{rounded / scale:.3g} {prefix}" if prefix else f"{count:,.0f}"


def count(value: float) -> str:
    """A number of things: whole where it is, else with one decimal."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def percent(share: float) -> str:
    """A share as percent, with two decimals."""
    return f"{100 * share:.2f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.2f} points"
