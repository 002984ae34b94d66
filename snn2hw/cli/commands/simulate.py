"""snn2hw simulate: one engine runs samples."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from snn2hw import ir
from snn2hw.cli import console
from snn2hw.cli.commands.arguments import (
    check_deadline,
    check_device,
    check_models,
    compile_model,
    is_bundle,
    load,
    process_kind,
    read_data,
    take_samples,
    with_labels_for,
)
from snn2hw.cli.commands.compare import steps_of
from snn2hw.data.samples import Samples, right_answers
from snn2hw.engines import fast
from snn2hw.engines.cycle import simulate as simulate_cycles
from snn2hw.errors import OptionError
from snn2hw.exporters.lava import export as export_bundle
from snn2hw.exporters.lava import read_bundle
from snn2hw.exporters.lava.environment import ensure_environment
from snn2hw.exporters.lava.simulate import simulate as simulate_in_lava
from snn2hw.files import arrays_on_disk, check_file, write_npz
from snn2hw.frontends.options import ModelOptions
from snn2hw.interop import simulate as in_clients
from snn2hw.network.nir_file import read_nir
from snn2hw.pipeline import Options

ENGINES = ("fast", "cycle", "lava", *in_clients.ENGINES)


def simulate(
    model: str,
    data: str,
    engine: str,
    output: Path | None,
    calibrate: str | None,
    options: ModelOptions,
    *,
    samples: int | None,
    device: str,
    jobs: int,
    saturate: bool,
    skip_corrupt: bool,
    processes: str,
    lava_processes: int | None,
    models: Path | None,
    deadline: float | None,
) -> None:
    """Run a bundle or model on data with one engine; print the accuracy, write the spikes."""
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r}: choose {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
    check_device(device, jobs, engine)
    kind = process_kind(processes, lava_processes)
    check_models(models, kind, engine)
    check_deadline(deadline)
    check_file(output)
    if engine in in_clients.ENGINES:
        _simulate_file(model, data, engine, output, options, samples, skip_corrupt=skip_corrupt)
        return
    with ExitStack() as scratch:
        folder = scratch.enter_context(tempfile.TemporaryDirectory(prefix="snn2hw-"))
        if is_bundle(model):
            bundle = read_bundle(Path(model))
        else:
            loaded = load(model, options)
            path = Path(folder, "bundle")
            chosen_options = Options(timesteps=loaded.timesteps)
            export_bundle(compile_model(loaded, calibrate, chosen_options, None, skip_corrupt=skip_corrupt), path)
            bundle = read_bundle(path)
        chosen = take_samples(data, bundle.program, samples, saturate=saturate, skip_corrupt=skip_corrupt)
        if engine == "lava":
            ensure_environment(console.note)
        with console.bars() as bars:
            if engine == "fast":
                spikes = fast.simulate(
                    bundle.program,
                    chosen,
                    record=() if output is None else None,
                    device=device,
                    jobs=jobs,
                    progress=lambda a, b: bars("samples", a, b),
                    note=console.note,
                    allocate=None if output is None else scratch.enter_context(arrays_on_disk(output.parent)),
                )
            elif engine == "cycle":
                spikes = simulate_cycles(bundle.program, chosen, progress=lambda a, b: bars("cycles", a, b))
            else:
                spikes = simulate_in_lava(
                    bundle.path,
                    chosen,
                    processes=kind,
                    lava_processes=lava_processes,
                    models=models,
                    deadline=deadline,
                    progress=lambda a, b: bars("lava", a, b),
                )
        _tell(spikes, chosen, engine, output, bundle.program.graph.readout)
    console.show_manifest_conventions(bundle.manifest["conventions"])


def _simulate_file(
    model: str,
    data: str,
    engine: str,
    output: Path | None,
    options: ModelOptions,
    samples: int | None,
    *,
    skip_corrupt: bool,
) -> None:
    """Run a .nir file in another framework, or as snn2hw reads it."""
    if not model.endswith(".nir"):
        raise OptionError(f"--engine {engine} runs .nir files. Write one: snn2hw export {model} --target nir.")
    path = Path(model)
    graph = read_nir(path)
    shape = in_clients.input_shape(graph)
    chosen = read_data(data, shape, samples, timesteps=options.timesteps, skip_corrupt=skip_corrupt)
    chosen = with_labels_for(chosen, in_clients.output_shape(graph))
    steps = steps_of(model, chosen, options)
    with console.bars() as bars:
        spikes = in_clients.simulate(path, engine, chosen, steps, progress=lambda a, b: bars(engine, a, b))
    _tell(spikes, chosen, engine, output)


def _tell(
    spikes: ir.Spikes, samples: Samples, engine: str, output: Path | None, readout: ir.Readout | None = None
) -> None:
    """Write the spikes and print the accuracy, of several heads the first one's."""
    heads = readout.heads if readout else ()
    if output is not None:
        write_npz(output, spikes)
        layers = len(spikes) - 1 - len(heads)
        console.say(f"Wrote {output}: logits and the spikes of {layers} layers.")
    if samples.y is not None:
        logits = spikes["logits"][:, readout.first] if readout else spikes["logits"]
        right = int(right_answers(logits, samples.y).sum())
        by = f" by head {heads[0].name}" if heads else ""
        console.say(f"{engine}: {right} of {len(samples)} samples right{by} ({100 * right / len(samples):.2f} %).")
