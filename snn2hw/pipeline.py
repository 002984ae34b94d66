"""The compiler from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import nir

from snn2hw import ir
from snn2hw.data import Samples
from snn2hw.errors import OptionError
from snn2hw.passes.balance_delays import balance_delays
from snn2hw.passes.bound import bound
from snn2hw.passes.calibrate import calibrate
from snn2hw.passes.partition import partition
from snn2hw.passes.quantise import quantise

Observe = Callable[[str, object], None]
Progress = Callable[[int, int], None]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to compile: time steps a sample, bits of the weights and of the graded input."""

    timesteps: int
    weight_bits: int = 8
    input_bits: int = 8

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise OptionError(f"{self.timesteps} time steps: at least 1 is needed. Use --timesteps T.")


def compile_network(
    network: nir.NIRGraph,
    samples: Samples,
    options: Options,
    *,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> ir.Program:
    """Compile a float NIR graph to a Program, calibrated on `samples`.

    `observe(stage, result)` is handed what each pass returns; `progress(done, total)` counts calibration samples.

    Raises errors of snn2hw.errors: ModelError, DataError, OptionError, QuantisationError.
    """

    def seen(stage: str, result: Result) -> Result:
        if observe:
            observe(stage, result)
        return result

    calibration = seen("calibrate", calibrate(network, samples, timesteps=options.timesteps, progress=progress))
    graph = seen(
        "quantise",
        quantise(network, calibration, weight_bits=options.weight_bits, input_bits=options.input_bits),
    )
    bounds = seen("bound", bound(graph, calibration, timesteps=options.timesteps))
    schedule = seen("balance_delays", balance_delays(graph, timesteps=options.timesteps))
    regions = seen("partition", partition(graph))
    return seen("program", ir.Program(graph=graph, bounds=bounds, schedule=schedule, regions=regions))
