"""snn2hw inspect: what a model or bundle is made of."""

from __future__ import annotations

from pathlib import Path

from snn2hw import ir
from snn2hw.cli import console
from snn2hw.cli.app import DEFAULT_TARGET
from snn2hw.cli.asked import Inspect
from snn2hw.cli.commands.arguments import is_bundle, load, uncalibrated
from snn2hw.cli.commands.cores import show_placement, show_total, show_unknown
from snn2hw.engines.layers import Layers
from snn2hw.errors import DoesNotFit, OptionError
from snn2hw.exporters.bundle import read_bundle
from snn2hw.mapping.place import place
from snn2hw.mapping.summary import summarise
from snn2hw.targets import Target, load_target


def inspect(asked: Inspect) -> None:
    """Print the layers of a model or bundle, and the back ends in it unless it is the default one alone."""
    target = load_target(asked.target)
    console.check_json(asked.json_file)
    if is_bundle(asked.model):
        bundle = read_bundle(Path(asked.model))
        program = bundle.program
        _show_layers(program, target, asked)
        if asked.kernels:
            console.show_kernels(Layers(program))
        console.show_heads(program)
        console.show_bounds(program)
        console.show_manifest_conventions(bundle.manifest["conventions"])
        if list(bundle.backends) != [DEFAULT_TARGET]:
            console.show_backends(bundle.backends)
        return
    if asked.kernels:
        raise OptionError("--kernels: kernels follow from ranges, which calibration sets. Export a bundle and name it.")
    loaded = load(asked.model, asked.options, default_timesteps=1)
    program = uncalibrated(loaded).program
    _show_layers(program, target, asked)
    console.show_heads(program)
    console.show_conventions(loaded.conventions)


def _show_layers(program: ir.Program, target: Target, asked: Inspect) -> None:
    """The layers, and the cores they take. That a layer fits no core stops nothing unless cores were asked for."""
    try:
        placement, problem = place(program, target), None
    except DoesNotFit as error:
        if asked.cores:
            raise
        placement, problem = None, error
    layers = summarise(program, placement)
    console.show_layers(layers, depth=program.schedule.depth)
    if asked.json_file is not None:
        document = {"schema": "snn2hw.inspect/1", "model": asked.model, "depth": program.schedule.depth}
        console.write_json(asked.json_file, document | {"layers": [vars(layer) for layer in layers]})
    if placement is None:
        console.say(f"Does not fit {target.title}: {problem}")
        return
    if asked.cores:
        show_placement(placement)
    show_total(placement)
    if asked.cores:
        show_unknown(placement)
