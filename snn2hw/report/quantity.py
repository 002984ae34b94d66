"""Physical quantities as people read them."""

from __future__ import annotations

LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def quantity(value: float, unit: str) -> str:
    """A value of three digits in the SI prefix that suits its size: quantity(1.5e-8, "J") is "15 nJ"."""
    rounded = float(f"{value:.2e}")  # first, so that 999.6 nJ becomes 1 µJ and not 1000 nJ
    scale, prefix = next(((scale, prefix) for scale, prefix in PREFIXES if abs(rounded) >= scale), PREFIXES[-1])
    return f"{rounded / scale:.3g} {prefix}{unit}" if rounded else f"0 {unit}"


def large(count: float) -> str:
    """A count in few characters: large(16716194896) is "16.7 G", and below a million every digit is there."""
    rounded = float(f"{count:.2e}")
    scale, prefix = next(((scale, prefix) for scale, prefix in LARGE if rounded >= scale), (1.0, ""))
    return f"{rounded / scale:.3g} {prefix}" if prefix else f"{count:,.0f}"
