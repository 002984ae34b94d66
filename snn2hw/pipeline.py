"""The compiler from top to bottom: `deploy` takes a loaded model to a Deployment, and `compile_network` is the table of
contents of what lies between, one pass a line.

A model becomes a network in frontends/ (load_model), a Program what someone runs in exporters/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import nir

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment, NetworkCheck, WeightBits
from snn2hw.errors import OptionError
from snn2hw.frontends.source import LoadedModel
from snn2hw.ir.numerics import Numerics, load_numerics
from snn2hw.network.adopt import adopt, is_quantised, payloads_of
from snn2hw.network.flatten import flatten, rename
from snn2hw.network.normalise import normalise
from snn2hw.passes.balance_delays import balance_delays
from snn2hw.passes.bound import bound
from snn2hw.passes.calibrate import CALIBRATION_SAMPLES, Calibration, calibrate, in_model_units
from snn2hw.passes.partition import partition
from snn2hw.passes.quantise import quantise
from snn2hw.targets import DEFAULT_CHIP

EXAMPLES = 4
"""So many calibration samples are kept with a deployment, for the tests that a back end writes."""

Observe = Callable[[str, object], None]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to compile: time steps a sample, bits of the weights (layer_bits: of single layers, by name) and of the
    graded input, how the weights' scales are chosen (passes/weight_scales.py), and the chip whose arithmetic the
    program keeps to (targets/CHIP.toml).
    """

    timesteps: int
    weight_bits: int = 8
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    input_bits: int = 8
    method: str = "max"
    chip: str = DEFAULT_CHIP

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise OptionError(f"{self.timesteps} time steps: at least 1 is needed. Use --timesteps T.")
        load_numerics(self.chip)

    @property
    def numerics(self) -> Numerics:
        """The arithmetic of the chip."""
        return load_numerics(self.chip)


def compile_network(
    network: nir.NIRGraph,
    ranges: Samples | Calibration,
    options: Options,
    *,
    dt: float | None = None,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> ir.Program:
    """Compile a float NIR graph to a Program: all passes, in their order.

    Args:
        ranges: the samples to calibrate on, or the ranges that calibration saw on some.
        dt: the time step in seconds of a graph as someone wrote it, which is brought to normal form first; None for
            what the frontends give, which is normal.
        observe: handed what each pass returns, `observe(stage, result)`.
        progress: counts calibration samples, `progress(done, total)`.
    Raises errors of snn2hw.errors: ModelError, DataError, OptionError, QuantisationError.
    """

    def seen(stage: str, result: Result) -> Result:
        if observe:
            observe(stage, result)
        return result

    numerics, timesteps = options.numerics, options.timesteps
    if dt is not None:
        network = seen("flatten", rename(flatten(network)))
        network = seen("normalise", normalise(network, dt=dt))
    if isinstance(ranges, Calibration):
        calibration = ranges
    else:
        samples = payloads_of(network, ranges) if is_quantised(network) else ranges
        calibration = seen("calibrate", calibrate(network, samples, timesteps=timesteps, progress=progress))
    if is_quantised(network):
        graph = seen("quantise", adopt(network, numerics))
        calibration = in_model_units(calibration, graph)
    else:
        graph = seen(
            "quantise",
            quantise(
                network,
                calibration,
                numerics,
                weight_bits=options.weight_bits,
                layer_bits=options.layer_bits,
                input_bits=options.input_bits,
                method=options.method,
            ),
        )
    bounds = seen("bound", bound(graph, calibration, numerics, timesteps=timesteps))
    schedule = seen("balance_delays", balance_delays(graph, timesteps=timesteps))
    regions = seen("partition", partition(graph))
    return ir.Program(graph=graph, numerics=numerics, bounds=bounds, schedule=schedule, regions=regions)


def compile_calibrated(
    network: nir.NIRGraph, calibration: Calibration, options: Options, *, observe: Observe | None = None
) -> ir.Program:
    """Compile a float NIR graph whose ranges are known: everything after calibration."""
    return compile_network(network, calibration, options, observe=observe)


def deploy(
    loaded: LoadedModel,
    samples: Samples,
    options: Options,
    network_check: NetworkCheck,
    *,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Deployment:
    """Compile a loaded model, calibrated on the first samples, into what an exporter takes.

    network_check: what verification.network_vs_torch.check_network says of the model and its network, which nothing is
    compiled without. Raises what `compile_network` raises.
    """
    chosen = samples[:CALIBRATION_SAMPLES]
    return Deployment(
        program=compile_network(loaded.network, chosen, options, observe=observe, progress=progress),
        network=loaded.network,
        network_check=network_check,
        source=loaded.source,
        calibrated_on=samples.name,
        calibration_samples=len(chosen),
        conventions=loaded.conventions,
        bits=WeightBits(default=options.weight_bits, layers=options.layer_bits),
        examples=chosen[:EXAMPLES],
    )
