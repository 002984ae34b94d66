"""snn2hw compare: any two runs of a network, side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from snn2hw import ir
from snn2hw.cli import console
from snn2hw.cli.asked import Compare
from snn2hw.cli.commands.arguments import compile_model, is_bundle, load, read_data, take_samples
from snn2hw.data.aliases import Shape
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.engines.torch_model import spikes_of
from snn2hw.errors import DataError, OptionError
from snn2hw.exporters import find_runnable
from snn2hw.exporters.bundle import read_bundle
from snn2hw.frontends.options import ModelOptions
from snn2hw.interop import simulate as in_clients
from snn2hw.network.nir_file import read_nir
from snn2hw.pipeline import Options
from snn2hw.shown.progress import Bars
from snn2hw.verification.comparison import measure

TORCH, FAST = "torch", "fast"
SIMULATORS = {FAST: fast.simulate, "cycle": cycle.simulate}


def compare(asked: Compare) -> int:
    """Run both sides on the same samples, print and write the comparison; return 1 if they differ."""
    console.check_json(asked.json_file)
    sides = (asked.a, asked.b)
    steps = asked.options.timesteps or next((count for count in map(_timesteps, sides) if count is not None), None)
    asked = replace(asked, options=replace(asked.options, timesteps=steps))
    with console.bars() as bars:
        left, right = (run(side, asked, bars) for side in sides)
    if asked.samples is not None:  # a file of spikes may hold more
        left, right = ({name: values[: asked.samples] for name, values in side.items()} for side in (left, right))
    result = measure(left, right, tuple(left))
    console.show_comparison(result, asked.a, asked.b)
    if asked.json_file is not None:
        console.write_json(asked.json_file, result.to_json(asked.a, asked.b))
    return 0 if result.equal else 1


def run(side: str, asked: Compare, bars: Bars) -> ir.Spikes:
    """The spikes [N, T, *shape] by layer of one side.

    A side is NAME or NAME@ENGINE, with a bundle, a model, a .nir file or a file of spikes.
    """
    name, engine = split(side)
    if name.endswith(".npz"):
        if engine:
            raise OptionError(f"{side}: a file of spikes has no engine. Leave out @{engine}.")
        return read_spikes(Path(name))
    if is_bundle(name):
        return _run_bundle(name, engine or FAST, asked, bars)
    if name.endswith(".nir") and engine not in SIMULATORS:
        path = Path(name)
        chosen = _read(asked, in_clients.input_shape(read_nir(path)), asked.options.timesteps, bars)
        steps = steps_of(name, chosen, asked.options)
        engine = engine or in_clients.REFERENCE
        return in_clients.simulate(path, engine, chosen, steps, progress=lambda done, of: bars(engine, done, of))
    return _run_model(name, engine or TORCH, asked, bars)


def split(side: str) -> tuple[str, str]:
    """NAME@ENGINE taken apart; a name that exists as it is has no engine."""
    if Path(side).exists():
        return side, ""
    name, _, engine = side.rpartition("@")
    return (name, engine) if name else (side, "")


def steps_of(name: str, samples: Samples, options: ModelOptions) -> int:
    """T of a .nir file, which does not say it: by the option, or as many steps as the data has."""
    steps = options.timesteps or (samples.x.shape[1] if samples.per_step else None)
    if steps is None:
        raise OptionError(f"{name} does not say it: give --timesteps T.")
    return steps


def read_spikes(path: Path) -> ir.Spikes:
    """The arrays of a spikes.npz by name: [N, T, *shape], logits [N, K].

    Raises DataError if it cannot be read or is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            spikes: ir.Spikes = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive leads zipfile, zlib and numpy into errors of many types
        raise DataError(f"{path}: this is not a readable spikes.npz ({error}). Write it with simulate -o.") from None
    if "logits" not in spikes:
        raise DataError(f"{path}: it holds no logits, so no engine wrote it. Write it with simulate -o.")
    for name, values in spikes.items():
        if values.dtype.kind not in "iufb" or not values.size or values.ndim < 2:
            raise DataError(
                f"{path}: {name} is {values.dtype} {list(values.shape)}, expected numbers [samples, ...]. Write it "
                "with simulate -o."
            )
    return spikes


def _timesteps(side: str) -> int | None:
    name, _ = split(side)
    return read_bundle(Path(name)).program.schedule.timesteps if is_bundle(name) else None


def _take(asked: Compare, program: ir.Program, bars: Bars) -> Samples:
    return take_samples(asked.data, program, asked.samples, saturate=True, skip_corrupt=asked.skip_corrupt, bars=bars)


def _read(asked: Compare, shape: Shape, timesteps: int | None, bars: Bars) -> Samples:
    return read_data(asked.data, shape, asked.samples, timesteps=timesteps, skip_corrupt=asked.skip_corrupt, bars=bars)


def _run_bundle(name: str, engine: str, asked: Compare, bars: Bars) -> ir.Spikes:
    bundle = read_bundle(Path(name))
    chosen = _take(asked, bundle.program, bars)
    if engine in SIMULATORS:
        return SIMULATORS[engine](bundle.program, chosen, progress=lambda done, of: bars(name, done, of))
    if engine in bundle.runnable:
        backend = find_runnable(engine)
        backend.prepare(console.note)
        artefact, options = bundle.runnable[engine], backend.run_options()
        return backend.run(artefact, chosen, options, lambda done, of: bars(name, done, of))
    *others, last = (*SIMULATORS, *bundle.runnable)
    raise OptionError(f"{name}@{engine}: a bundle runs in {', '.join(others)} or {last}.")


def _run_model(name: str, engine: str, asked: Compare, bars: Bars) -> ir.Spikes:
    loaded = load(name, asked.options)
    if engine in SIMULATORS:
        bits = Options(timesteps=loaded.timesteps)
        skip = asked.skip_corrupt
        program = compile_model(loaded, asked.calibrate, bits, None, skip_corrupt=skip, bars=bars).program
        chosen = _take(asked, program, bars)
        return SIMULATORS[engine](program, chosen, progress=lambda done, of: bars(name, done, of))
    if engine != TORCH or loaded.traced is None:
        raise OptionError(f"{name}@{engine}: a model runs in {', '.join(SIMULATORS)} or {TORCH}.")
    chosen = _read(asked, loaded.input_shape, loaded.timesteps, bars)
    x = torch.from_numpy(chosen.steps(loaded.timesteps)).to(loaded.traced.dtype)
    return spikes_of(loaded.traced, x)
