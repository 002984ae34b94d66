"""Settings: what a network is quantised by, the same for all of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from snn2hw.ir.numerics import Numerics
from snn2hw.passes.calibrate import Calibration


def largest_weight(bits: int) -> int:
    """The largest weight of so many bits, its sign included."""
    return (1 << (bits - 1)) - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a network is quantised by: the ranges seen, the chip's arithmetic, the bits of the weights, the largest
    input payload, and the method that chooses the weights' scales.

    layer_bits: the bits of single layers, by name, where they are not weight_bits.
    """

    calibration: Calibration
    numerics: Numerics
    weight_bits: int
    payload_max: int
    method: str
    layer_bits: Mapping[str, int] = field(default_factory=dict)

    def largest(self, layer: str) -> int:
        """The largest weight of a layer; where it keeps a grid, one more in size below 0."""
        return largest_weight(self.layer_bits.get(layer, self.weight_bits))
