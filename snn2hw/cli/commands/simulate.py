"""snn2hw simulate: one engine runs samples."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from snn2hw import ir
from snn2hw.cli import console
from snn2hw.cli.asked import Simulate
from snn2hw.cli.backend_names import targets_of
from snn2hw.cli.commands.arguments import (
    check_device,
    compile_model,
    is_bundle,
    load,
    read_data,
    take_samples,
    with_labels_for,
)
from snn2hw.cli.commands.compare import steps_of
from snn2hw.data.samples import Samples, right_answers
from snn2hw.deployment import Deployment
from snn2hw.engines import fast
from snn2hw.engines.cycle import simulate as simulate_cycles
from snn2hw.errors import OptionError, did_you_mean
from snn2hw.exporters import Runnable, runnable_backends
from snn2hw.exporters.bundle import Bundle, read_bundle, write_bundle
from snn2hw.exporters.export import choose
from snn2hw.files import arrays_on_disk, check_file, write_npz
from snn2hw.interop import simulate as in_clients
from snn2hw.network.nir_file import read_nir
from snn2hw.pipeline import Options
from snn2hw.scratch import scratch_folder
from snn2hw.shown.progress import Bars


def simulate(asked: Simulate) -> None:
    """Run a bundle or model on data with one engine; print the accuracy, write the spikes."""
    backends = runnable_backends()
    engines = ("fast", "cycle", *backends, *in_clients.ENGINES)
    if asked.engine not in engines:
        raise OptionError(
            f"engine {asked.engine!r}: choose {', '.join(engines[:-1])} or {engines[-1]}."
            f"{did_you_mean(asked.engine, engines)}"
        )
    check_device(asked.device, asked.jobs, asked.engine)
    asked.run_options.check()
    asked.run_options.refuse_unused([asked.engine])
    check_file(asked.output)
    if asked.engine in in_clients.ENGINES:
        _simulate_file(asked)
        return
    made: Bundle | Deployment
    if is_bundle(asked.model):
        made = read_bundle(Path(asked.model))
        if asked.engine in backends and asked.engine not in made.runnable:
            raise OptionError(
                f"{asked.model}: it holds {', '.join(made.backends)} and not {asked.engine}. Export it with --target "
                f"{asked.engine} too."
            )
    else:
        loaded = load(asked.model, asked.options)
        options = Options(timesteps=loaded.timesteps)
        made = compile_model(loaded, asked.calibrate, options, None, skip_corrupt=asked.skip_corrupt)
    samples = take_samples(
        asked.data, made.program, asked.samples, saturate=asked.saturate, skip_corrupt=asked.skip_corrupt
    )
    if asked.engine in backends:
        backends[asked.engine].prepare(console.note)
    with ExitStack() as scratch:
        with console.bars() as bars:
            if asked.engine == "fast":
                spikes = fast.simulate(
                    made.program,
                    samples,
                    record=() if asked.output is None else None,
                    device=asked.device,
                    jobs=asked.jobs,
                    progress=lambda a, b: bars("samples", a, b),
                    note=console.note,
                    allocate=None
                    if asked.output is None
                    else scratch.enter_context(arrays_on_disk(asked.output.parent)),
                )
            elif asked.engine == "cycle":
                spikes = simulate_cycles(made.program, samples, progress=lambda a, b: bars("cycles", a, b))
            else:
                backend = backends[asked.engine]
                spikes = _run(backend, made, samples, asked.run_options.of(backend), bars)
        _tell(spikes, samples, asked.engine, asked.output, made.program.graph.readout)
    if isinstance(made, Bundle):
        console.show_manifest_conventions(made.manifest["conventions"])
    else:
        console.show_conventions(made.conventions)


def _run(backend: Runnable, made: Bundle | Deployment, samples: Samples, options: Any, bars: Bars) -> ir.Spikes:
    """The spikes of a back end: of a bundle as it lies there, of a deployment from a bundle that is gone afterwards."""
    with scratch_folder() as folder:
        if isinstance(made, Deployment):
            place = folder / "bundle"
            write_bundle(made, place, [choose(backend.name)])
            made = read_bundle(place)
        artefact = made.runnable[backend.name]
        return backend.run(artefact, samples, options, lambda a, b: bars(backend.name, a, b))


def _simulate_file(asked: Simulate) -> None:
    """Run a .nir file in another framework, or as snn2hw reads it."""
    if not asked.model.endswith(".nir"):
        raise OptionError(
            f"--engine {asked.engine} runs .nir files. Write one: snn2hw export {asked.model} --target "
            f"{targets_of('.nir')}."
        )
    path = Path(asked.model)
    graph = read_nir(path)
    shape = in_clients.input_shape(graph)
    samples = read_data(
        asked.data, shape, asked.samples, timesteps=asked.options.timesteps, skip_corrupt=asked.skip_corrupt
    )
    samples = with_labels_for(samples, in_clients.output_shape(graph))
    steps = steps_of(asked.model, samples, asked.options)
    with console.bars() as bars:
        spikes = in_clients.simulate(path, asked.engine, samples, steps, progress=lambda a, b: bars(asked.engine, a, b))
    _tell(spikes, samples, asked.engine, asked.output)


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
