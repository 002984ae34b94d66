"""A program: the integer graph with all that an engine needs beside it: bounds, timing, regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.nodes import Graph, describe
from snn2hw.ir.numerics import Numerics


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Largest absolute values at a node, and whether what it emits may be negative.

    `accumulator` (in input units), `membrane` (in 1/64 of one) and `payload` (what it emits) hold for every legal
    input. Where that worst case breaks a limit of the target, `kind` is "calibrated": then `observed`, the largest
    share of the limit that calibration saw, is what the claim of no overflow rests on, and engines check at run time.
    """

    kind: str
    accumulator: int
    membrane: int
    payload: int
    signed: bool = False
    observed: float | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The timing of a graph: latency of each node in cycles, delays of each node's inputs, offset of each reset."""

    timesteps: int
    latency: dict[str, int]
    delays: dict[str, tuple[int, ...]]
    reset_offset: dict[str, int]

    @property
    def depth(self) -> int:
        """Latency of the whole pipeline in cycles."""
        return max(self.latency.values())

    def cycle(self, name: str, sample: int, step: int) -> int:
        """The cycle (from 1) in which node `name` answers step `step` of sample `sample` (both from 0)."""
        return sample * self.timesteps + step + self.latency[name] + 1


@dataclass(frozen=True, kw_only=True)
class Region:
    """Nodes with one entry and one exit that become one process on the target."""

    name: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """All that an engine needs. It can only be built from the artefacts of every pass.

    numerics: the arithmetic that it was compiled for, whose limits engines check.
    """

    graph: Graph
    numerics: Numerics
    bounds: dict[str, Bound]
    schedule: Schedule
    regions: tuple[Region, ...]

    def __str__(self) -> str:
        lines = []
        for node in self.graph:
            timing = f"latency={self.schedule.latency[node.name]}"
            if any(self.schedule.delays[node.name]):
                timing += f" delays={','.join(map(str, self.schedule.delays[node.name]))}"
            if node.name in self.schedule.reset_offset:
                timing += f" reset_offset={self.schedule.reset_offset[node.name]}"
            lines.append(f"{describe(node)} | {timing} | {self.bounds[node.name].kind}")
        return "\n".join(lines)


def record_dtype(bound: Bound) -> type[np.uint8] | type[np.int32]:
    """The type in which engines store a recorded node's spikes."""
    return np.uint8 if bound.payload <= np.iinfo(np.uint8).max and not bound.signed else np.int32


Spikes = dict[str, NDArray[np.generic]]
