"""snn2hw simulate: one engine runs samples."""

from __future__ import annotations

import tempfile
from pathlib import Path

from snn2hw import console, ir
from snn2hw.commands.arguments import check_deadline, compile_model, is_bundle, lava_processes, take_first, take_samples
from snn2hw.commands.compare import steps_of
from snn2hw.data import Samples, load_samples
from snn2hw.errors import OptionError
from snn2hw.exporters.lava import export as export_bundle
from snn2hw.exporters.lava import read_bundle
from snn2hw.exporters.lava.environment import ensure_environment
from snn2hw.frontends.nir_file import read_nir
from snn2hw.interop import simulate as in_clients
from snn2hw.model_options import ModelOptions
from snn2hw.output_files import check_file, write_npz
from snn2hw.pipeline import Options
from snn2hw.provenance import load
from snn2hw.simulator.cycle import simulate as simulate_cycles
from snn2hw.simulator.lava import simulate as simulate_in_lava

ENGINES = ("cycle", "lava", *in_clients.ENGINES)


def simulate(
    model: str,
    data: str,
    engine: str,
    output: Path | None,
    calibrate: str | None,
    options: ModelOptions,
    *,
    samples: int | None,
    processes: str,
    deadline: float | None,
) -> None:
    """Run a bundle or model on data with one engine; print the accuracy, write the spikes."""
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r}: choose {', '.join(ENGINES)}.")
    kind = lava_processes(processes)
    check_deadline(deadline)
    check_file(output)
    if engine in in_clients.ENGINES:
        _simulate_file(model, data, engine, output, options, samples)
        return
    with tempfile.TemporaryDirectory(prefix="snn2hw-") as folder:
        if is_bundle(model):
            bundle = read_bundle(Path(model))
        else:
            loaded = load(model, options)
            path = Path(folder, "bundle")
            export_bundle(compile_model(loaded, calibrate, Options(timesteps=loaded.timesteps), None), path)
            bundle = read_bundle(path)
        chosen = take_samples(data, bundle.program, samples)
        if engine == "lava":
            ensure_environment(console.note)
        with console.bars() as bars:
            if engine == "cycle":
                spikes = simulate_cycles(bundle.program, chosen, progress=lambda a, b: bars("cycles", a, b))
            else:
                spikes = simulate_in_lava(
                    bundle.path,
                    chosen,
                    processes=kind,
                    deadline=deadline,
                    progress=lambda a, b: bars("lava", a, b),
                )
    _tell(spikes, chosen, engine, output)
    console.show_manifest_conventions(bundle.manifest["conventions"])


def _simulate_file(
    model: str, data: str, engine: str, output: Path | None, options: ModelOptions, samples: int | None
) -> None:
    """Run a .nir file in another framework, or as snn2hw reads it."""
    if not model.endswith(".nir"):
        raise OptionError(f"--engine {engine} runs .nir files. Write one: snn2hw export {model} --target nir.")
    path = Path(model)
    chosen = take_first(load_samples(data, in_clients.input_shape(read_nir(path))), samples)
    steps = steps_of(model, chosen, options)
    with console.bars() as bars:
        spikes = in_clients.simulate(path, engine, chosen, steps, progress=lambda a, b: bars(engine, a, b))
    _tell(spikes, chosen, engine, output)


def _tell(spikes: ir.Spikes, samples: Samples, engine: str, output: Path | None) -> None:
    """Write the spikes and print the accuracy."""
    if output is not None:
        write_npz(output, spikes)
        console.say(f"Wrote {output}: logits and the spikes of {len(spikes) - 1} layers.")
    if samples.y is not None:
        right = int((spikes["logits"].argmax(axis=1) == samples.y).sum())
        console.say(f"{engine}: {right} of {len(samples)} samples right ({100 * right / len(samples):.2f} %).")
