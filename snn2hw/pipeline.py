"""The compiler from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import nir

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment
from snn2hw.errors import OptionError
from snn2hw.frontends.source import LoadedModel
from snn2hw.network.adopt import adopt, is_quantised, payloads_of
from snn2hw.passes.balance_delays import balance_delays
from snn2hw.passes.bound import bound
from snn2hw.passes.calibrate import CALIBRATION_SAMPLES, Calibration, calibrate, in_model_units
from snn2hw.passes.partition import partition
from snn2hw.passes.quantise import quantise
from snn2hw.verification.network_vs_torch import check_network

NETWORK_SAMPLES = 2  # on which an export compares the network with the user's model; verify takes more

Observe = Callable[[str, object], None]
Progress = Callable[[int, int], None]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to compile: time steps a sample, bits of the weights and of the graded input, and how the weights' scales are
    chosen (passes/weight_scales.py).
    """

    timesteps: int
    weight_bits: int = 8
    input_bits: int = 8
    method: str = "max"

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
    if is_quantised(network):
        samples = payloads_of(network, samples)
    calibration = calibrate(network, samples, timesteps=options.timesteps, progress=progress)
    if observe:
        observe("calibrate", calibration)
    return compile_calibrated(network, calibration, options, observe=observe)


def compile_calibrated(
    network: nir.NIRGraph, calibration: Calibration, options: Options, *, observe: Observe | None = None
) -> ir.Program:
    """Compile a float NIR graph whose ranges are known: everything after calibration."""

    def seen(stage: str, result: Result) -> Result:
        if observe:
            observe(stage, result)
        return result

    if is_quantised(network):
        graph = seen("quantise", adopt(network))
        calibration = in_model_units(calibration, graph)
    else:
        graph = seen(
            "quantise",
            quantise(
                network,
                calibration,
                weight_bits=options.weight_bits,
                input_bits=options.input_bits,
                method=options.method,
            ),
        )
    bounds = seen("bound", bound(graph, calibration, timesteps=options.timesteps))
    schedule = seen("balance_delays", balance_delays(graph, timesteps=options.timesteps))
    regions = seen("partition", partition(graph))
    return ir.Program(graph=graph, bounds=bounds, schedule=schedule, regions=regions)


def deploy(
    loaded: LoadedModel,
    samples: Samples,
    options: Options,
    *,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Deployment:
    """Compile a loaded model, calibrated on the first samples, into what an exporter takes.

    The network is compared with the user's own model first. Raises NotTheModel if it does something else, and what
    `compile_network` raises.
    """
    chosen = samples[:CALIBRATION_SAMPLES]
    check = check_network(loaded, chosen[:NETWORK_SAMPLES], options.timesteps)
    return Deployment(
        program=compile_network(loaded.network, chosen, options, observe=observe, progress=progress),
        network=loaded.network,
        network_check=check,
        source=loaded.source,
        calibrated_on=samples.name,
        calibration_samples=len(chosen),
        conventions=loaded.conventions,
    )
