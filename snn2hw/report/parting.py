"""Where the integers and the float model part ways, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.report.values import Values


@dataclass(frozen=True, kw_only=True)
class LayerMismatch:
    """Where the program's spikes differ from the float model's: over compared values, how many; sqnr_db: the float
    model's spikes squared over the differences squared, in decibels; None without a difference or without spikes.

    first: in how many samples this is the first layer, in the order of the network, that differs.
    """

    name: str
    compared: int
    different: int
    sqnr_db: float | None
    first: int | None


class PartingCounter:
    """Compares spikes batch by batch."""

    def __init__(self, program: ir.Program) -> None:
        self.names = [node.name for node in program.graph.recorded]
        self.sums: dict[str, list[float]] = {}  # compared, different, signal, noise, first

    def add(self, floats: dict[str, NDArray[np.generic]], values: Values) -> None:
        """Compare the float model's spikes [N, T, *shape] by layer with the program's."""
        same_so_far = np.ones(len(values), np.bool_)
        for name in self.names:
            if name not in floats:
                continue
            expected, actual = floats[name].astype(np.float32), values.spikes[name].astype(np.float32)
            noise = expected - actual  # of small whole numbers: exact
            different = np.count_nonzero(noise.reshape(len(noise), -1), axis=1)
            first = same_so_far & (different > 0)
            same_so_far &= different == 0
            squares = (float(np.vdot(array, array)) for array in map(_exact, (expected, noise)))
            batch = (expected.size, different.sum(), *squares, first.sum())
            sums = self.sums.setdefault(name, [0, 0, 0, 0, 0])
            self.sums[name] = [one + float(more) for one, more in zip(sums, batch, strict=True)]

    def mismatches(self) -> tuple[LayerMismatch, ...]:
        """Each layer's spikes beside the float model's."""
        return tuple(
            LayerMismatch(
                name=name,
                compared=int(compared),
                different=int(different),
                sqnr_db=10 * math.log10(signal / noise) if signal and noise else None,
                first=int(first),
            )
            for name, (compared, different, signal, noise, first) in self.sums.items()
        )


def _exact(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The values that are not zero, in a type that holds the sum of their squares."""
    exact: NDArray[np.float64] = values[values != 0].astype(np.float64)
    return exact
