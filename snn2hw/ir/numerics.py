"""Numerics: how a chip computes, read from its file. The passes, the engines and the files of programs go by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from snn2hw.errors import OptionError
from snn2hw.ir.fixed_point import DECAY_SHIFT, MEMBRANE_SHIFT
from snn2hw.targets import DEFAULT_CHIP, chip_file, read_document

TOWARDS_ZERO = "towards zero"
INT32 = 1 << 31
FEWEST_WEIGHT_BITS = 2  # one for the sign


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """The arithmetic of a chip: what its weights, spikes, neurons and biases hold. docs/program.md has the equations.

    chip: the name of its file. weight_bits: of a weight, its sign included. payload_bits: of what a spike carries, its
    sign included; graded_spikes: whether a spike may carry anything but 1. Limits are the smallest size that is too
    large: of the summed input and of thresholds in input units, of current and membrane in membrane units, of which
    2^membrane_shift are one input unit. decay_bits: a decay counts in 1 / 2^decay_bits; leak_rounding: of the product.
    A bias is a mantissa of at most bias_mantissa_max in size, shifted left by at most bias_exponent_max; where that is
    0, biases are plain integers.
    """

    chip: str
    weight_bits: int
    payload_bits: int
    graded_spikes: bool
    membrane_shift: int
    decay_bits: int
    leak_rounding: str
    input_limit: int
    membrane_limit: int
    threshold_limit: int
    bias_mantissa_max: int
    bias_exponent_max: int

    @property
    def bias_max(self) -> int:
        """The largest bias, in membrane units."""
        return self.bias_mantissa_max << self.bias_exponent_max

    @property
    def no_memory(self) -> int:
        """The decay of a current that leaves nothing of it."""
        return 1 << self.decay_bits

    @property
    def weight_choices(self) -> range:
        """How many bits the weights of a program may have."""
        return range(FEWEST_WEIGHT_BITS, self.weight_bits + 1)

    @property
    def largest_payload(self) -> int:
        """The largest size of what a spike carries."""
        return (1 << (self.payload_bits - 1)) - 1 if self.graded_spikes else 1

    @property
    def largest_current(self) -> int:
        """The largest size of a current that a relay hands on as it is; 32 bits where spikes are not graded at all."""
        return self.largest_payload if self.graded_spikes else INT32 - 1

    @property
    def int32_sees_overflow(self) -> bool:
        """Whether no step from states within their limits leaves 32 bits: int32 then holds what goes beyond a limit."""
        charge = (
            (self.input_limit << self.membrane_shift) + self.bias_max + (self.threshold_limit << self.membrane_shift)
        )
        return 2 * self.membrane_limit + charge < INT32

    def as_dict(self) -> dict[str, Any]:
        """What program.npz holds of it."""
        return asdict(self)


WHOLE_NUMBERS: dict[str, range] = {
    "weight_bits": range(FEWEST_WEIGHT_BITS, 9),
    "payload_bits": range(1, 33),
    "membrane_shift": range(MEMBRANE_SHIFT, MEMBRANE_SHIFT + 1),
    "decay_bits": range(DECAY_SHIFT, DECAY_SHIFT + 1),
    "input_limit": range(1, (INT32 >> MEMBRANE_SHIFT) + 1),
    "membrane_limit": range(1, INT32 + 1),
    "threshold_limit": range(1, (INT32 >> MEMBRANE_SHIFT) + 1),
    "bias_mantissa_max": range(1, INT32),
    "bias_exponent_max": range(0, 32),
}
"""What each number of a chip's file may be: states of at most 32 bits, and the shifts of the one rule of neurons."""


@cache
def load_numerics(chip: str = DEFAULT_CHIP) -> Numerics:
    """The numerics of a known chip. Raises OptionError for an unknown one, or if its file is wrong."""
    return read_numerics(chip_file(chip))


def read_numerics(path: Path) -> Numerics:
    """The numerics of the chip that a TOML file describes, in its table `numerics`.

    Raises OptionError that names the file and the key that is missing, unknown or cannot be what it is.
    """
    table = read_document(path).get("numerics")
    if not isinstance(table, dict):
        raise OptionError(f"{path.name}: it has no table [numerics], so nothing can be compiled for it.")
    if not isinstance(table.get("source"), str):
        raise OptionError(f"{path.name}: numerics has no source. Write source = TEXT.")
    try:
        return numerics_from({"chip": path.stem} | {key: value for key, value in table.items() if key != "source"})
    except ValueError as error:
        raise OptionError(f"{path.name}: {error}") from None


def numerics_from(values: Mapping[str, Any]) -> Numerics:
    """Numerics of what a file holds. Raises ValueError that names the key that is missing, unknown or wrong."""
    names = [field.name for field in fields(Numerics)]
    if unknown := sorted(values.keys() - set(names)):
        raise ValueError(f"unknown key {unknown[0]} of numerics. Known are {', '.join(names)}.")
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"the key {missing[0]} of numerics is missing.")
    for name, legal in WHOLE_NUMBERS.items():
        if type(values[name]) is not int or values[name] not in legal:
            choice = f"{legal.start}" if len(legal) == 1 else f"{legal.start} to {legal.stop - 1}"
            raise ValueError(f"{name} is {values[name]!r}; it must be {choice}.")
    if not isinstance(values["chip"], str):
        raise ValueError(f"chip is {values['chip']!r}; it must be a name.")
    if type(values["graded_spikes"]) is not bool:
        raise ValueError(f"graded_spikes is {values['graded_spikes']!r}; it must be true or false.")
    if values["leak_rounding"] != TOWARDS_ZERO:
        raise ValueError(f"leak_rounding is {values['leak_rounding']!r}; it must be {TOWARDS_ZERO!r}.")
    numerics = Numerics(**values)
    if numerics.bias_max >= INT32:
        raise ValueError(f"bias_exponent_max is {numerics.bias_exponent_max}: the largest bias leaves 32 bits.")
    return numerics
