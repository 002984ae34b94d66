"""snn2hw inspect: what a model or bundle is made of."""

from __future__ import annotations

from pathlib import Path

from snn2hw import console
from snn2hw.commands.arguments import is_bundle
from snn2hw.errors import OptionError
from snn2hw.exporters.lava import read_bundle
from snn2hw.model_options import ModelOptions
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated
from snn2hw.provenance import load
from snn2hw.simulator.layers import Layers
from snn2hw.summary import summarise
from snn2hw.targets import load_target


def inspect(model: str, options: ModelOptions, chip: str, *, kernels: bool) -> None:
    """Print the layers of a model or bundle."""
    target = load_target(chip)
    if is_bundle(model):
        bundle = read_bundle(Path(model))
        program = bundle.program
        console.show_layers(summarise(program, target), chip=target.title, depth=program.schedule.depth)
        if kernels:
            console.show_kernels(Layers(program))
        console.show_heads(program)
        console.show_bounds(program)
        console.show_manifest_conventions(bundle.manifest["conventions"])
        return
    if kernels:
        raise OptionError("--kernels: kernels follow from ranges, which calibration sets. Export a bundle and name it.")
    loaded = load(model, options, default_timesteps=1)
    program = compile_calibrated(loaded.network, UNCALIBRATED, Options(timesteps=loaded.timesteps))
    console.show_layers(summarise(program, target), chip=target.title, depth=program.schedule.depth)
    console.show_heads(program)
    console.show_conventions(loaded.conventions)
