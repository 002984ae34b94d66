"""Arrays of integers as C source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_LINE = 24
LARGE, LONGEST_STRING, SHORTEST_STRING = 1 << 14, 4000, 250
"""Bytes of an array that is written as strings; of a string, of which C99 requires compilers to take 4095."""
BYTES = [f"\\{byte:03o}" for byte in range(256)]
"""Each byte as an escape of a C string."""
TYPES = {
    "uint8_t": (0, (1 << 8) - 1),
    "int8_t": (-(1 << 7) + 1, (1 << 7) - 1),
    "int16_t": (-(1 << 15) + 1, (1 << 15) - 1),
    "int32_t": (-(1 << 31) + 1, (1 << 31) - 1),
    "int64_t": (-(1 << 63) + 1, (1 << 63) - 1),
}
"""The C types of values and what each holds, the negative of it too; the smallest first."""

SIZES = {"uint8_t": 1, "int8_t": 1, "uint16_t": 2, "int16_t": 2, "uint32_t": 4, "int32_t": 4, "int64_t": 8}
"""Bytes of a value."""


def holding(low: int, high: int) -> str:
    """The smallest C type that holds whole numbers from `low` to `high`; for the lowest of int8_t the next type."""
    return next(name for name, (least, most) in TYPES.items() if least <= low and high <= most)


def holding_all(values: NDArray[Any]) -> str:
    """The smallest signed C type that holds the values [*any shape] and their negatives."""
    largest = int(np.abs(values.astype(np.int64)).max(initial=0))
    return holding(-largest, largest) if largest else "int8_t"


def literal(value: int) -> str:
    """A whole number as a C constant of a type that holds it."""
    if value == -(1 << 63):
        return "(-INT64_C(9223372036854775807) - 1)"
    if abs(value) < 1 << 31:
        return str(value)
    return f"INT64_C({value})" if value >= 0 else f"-INT64_C({-value})"


def lines(values: NDArray[Any]) -> Iterator[str]:
    """The values [*any shape] in C order, as lines of an initialiser."""
    flat = values.reshape(-1)
    wide = np.abs(flat.astype(np.int64)).max(initial=0) >= 1 << 31
    for start in range(0, len(flat), PER_LINE):
        row = flat[start : start + PER_LINE].tolist()
        yield ",".join(map(literal, row) if wide else map(str, row))


@dataclass(frozen=True, kw_only=True, eq=False)
class Array:
    """A constant array in C: its name, the type of its values, the values [*any shape], which stand in C order.

    Many bytes are written as strings, the rows of a two-dimensional array: compilers read those much faster.
    """

    name: str
    ctype: str
    values: NDArray[Any]

    @property
    def bytes(self) -> int:
        """What it takes."""
        return SIZES[self.ctype] * self.values.size

    @property
    def row(self) -> int:
        """How many bytes a string has; 0 where the values are written as numbers."""
        size = self.values.size
        if SIZES[self.ctype] > 1 or size < LARGE:
            return 0
        return next((row for row in range(LONGEST_STRING, SHORTEST_STRING, -1) if size % row == 0), 0)

    def declaration(self) -> str:
        """What a header says of it."""
        if not self.row:
            return f"extern const {self.ctype} {self.name}[{self.values.size}];\n"
        rows = self.values.size // self.row
        return (
            f"extern const {self.ctype} {self.name}_rows[{rows}][{self.row}];\n"
            f"#define {self.name} ((const {self.ctype} *){self.name}_rows)\n"
        )

    def definition(self) -> str:
        """What defines it."""
        if not self.row:
            body = ",\n".join(lines(self.values))
            return f"const {self.ctype} {self.name}[{self.values.size}] = {{\n{body}\n}};\n"
        content = np.ascontiguousarray(self.values.astype(np.uint8)).tobytes()
        rows = (content[start : start + self.row] for start in range(0, len(content), self.row))
        body = ",\n".join('"' + "".join(map(BYTES.__getitem__, row)) + '"' for row in rows)
        return f"const {self.ctype} {self.name}_rows[{len(content) // self.row}][{self.row}] = {{\n{body}\n}};\n"


def has_strings(arrays: Iterable[Array]) -> bool:
    """Whether one of the arrays is written as strings."""
    return any(array.row for array in arrays)


NO_TERMINATORS = """
/* The strings fill their rows: there is no room for a terminator, and none is needed. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wunknown-warning-option"
#pragma clang diagnostic ignored "-Wunterminated-string-initialization"
#elif defined(__GNUC__) && __GNUC__ >= 15
#pragma GCC diagnostic ignored "-Wunterminated-string-initialization"
#endif
"""
