"""What the self-test holds: inputs, and what the program makes of them at every layer and step.

This is the one place where a back end asks an engine: the program's own values go into the self-test as what is
expected. What the C code computes comes from docs/program.md alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment
from snn2hw.engines import cycle, fast
from snn2hw.engines.batches import is_balanced
from snn2hw.errors import FixedPointOverflow
from snn2hw.exporters.c.payloads import payloads_of
from snn2hw.exporters.c.plan import Plan, Stage

MOST_SAMPLES = 4
MOST_BYTES = 1 << 20
"""Of expected values: so many samples are taken, but at least one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Samples, their payloads [N, T or 1, H, W, C], and what the program makes of them: spikes [N, T, *shape]."""

    samples: Samples
    payloads: NDArray[np.int64]
    spikes: Mapping[str, NDArray[Any]]

    def activity(self) -> dict[str, float]:
        """The mean size of the values of each layer that spikes, and of the input."""
        return {name: float(np.abs(values.astype(np.int64)).mean()) for name, values in self.spikes.items()}

    def few(self, plan: Plan) -> Vectors:
        """As many of the samples as a self-test holds."""
        each = sum(bits_of(stage) * stage_size(stage) for stage in plan.recorded) // 8
        count = max(1, min(len(self.samples), MOST_BYTES // (each * plan.program.schedule.timesteps + 1)))
        spikes = {name: values[:count] for name, values in self.spikes.items()}
        return Vectors(samples=self.samples[:count], payloads=self.payloads[:count], spikes=spikes)


def make_vectors(deployment: Deployment) -> Vectors:
    """The first examples of a deployment, or drawn inputs where it has none, and what its program makes of them."""
    program = deployment.program
    if deployment.examples is not None:
        return _run(program, deployment.examples[:MOST_SAMPLES])
    try:
        return _run(program, _drawn(program, np.random.default_rng(0)))
    except FixedPointOverflow:  # a range that rests on calibration
        return _run(program, _drawn(program, None))


def lines_up(program: ir.Program) -> bool:
    """Whether a step can be computed as if nothing took time: the schedule is the one that its graph asks for."""
    return is_balanced(program)


def bits_of(stage: Stage) -> int:
    """How many bits of the self-test an expected value of a stage takes."""
    assert stage.result is not None  # for the type checker: stages that spike store what they emit
    if stage.result.low >= 0 and stage.result.high <= 1:
        return 1
    return 8 if stage.result.ctype in ("uint8_t", "int8_t") else 32


def packed(stage: Stage, vectors: Vectors) -> NDArray[np.uint8]:
    """The expected values of a stage, [N, T, H, W, C] in this order, as bytes: 1, 8 or 32 bits each, lowest first."""
    values = channels_last(vectors.spikes[stage.name]).reshape(-1).astype(np.int64)
    if bits_of(stage) == 1:
        return np.packbits(values.astype(np.uint8), bitorder="little")
    return values.astype("<i1" if bits_of(stage) == 8 else "<i4").view(np.uint8)


def channels_last(values: NDArray[Any]) -> NDArray[Any]:
    """Values [N, T, C, H, W] as [N, T, H, W, C]; others as they are."""
    return np.ascontiguousarray(np.moveaxis(values, 2, -1)) if values.ndim == 5 else values


def stage_size(stage: Stage) -> int:
    """How many values a stage makes in a step."""
    return math.prod(stage.shape)


def _run(program: ir.Program, samples: Samples) -> Vectors:
    engine = fast.simulate if is_balanced(program) else cycle.simulate
    return Vectors(samples=samples, payloads=payloads_of(program.graph.input, samples), spikes=engine(program, samples))


def _drawn(program: ir.Program, random: np.random.Generator | None) -> Samples:
    """Two samples with an input for each step: drawn, or the lowest legal size throughout."""
    node = program.graph.input
    shape = (2, program.schedule.timesteps, *node.shape)
    least = min(max(0, node.low), node.high)
    values = np.full(shape, least) if random is None else random.integers(node.low, node.high, shape, endpoint=True)
    return Samples((values * node.scale).astype(np.float32), None, True, "drawn")
