"""What each command does, from its arguments to the calls that do the work."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from snn2hw import console, ir
from snn2hw.data import Samples, check_labels, load_samples
from snn2hw.deployment import Deployment
from snn2hw.errors import Blocker, OptionError, QuantisationError, UnsupportedError
from snn2hw.exporters import find_exporter
from snn2hw.exporters.lava import export as export_bundle
from snn2hw.exporters.lava import read_bundle
from snn2hw.exporters.lava.environment import describe_environment, ensure_environment
from snn2hw.frontends.neurons import Convention
from snn2hw.frontends.source import LoadedModel, ModelOptions
from snn2hw.output_files import check_file, check_place, write_npz, write_text
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated, deploy
from snn2hw.provenance import load, model_of
from snn2hw.simulator.cycle import simulate as simulate_cycles
from snn2hw.simulator.lava import Processes
from snn2hw.simulator.lava import simulate as simulate_in_lava
from snn2hw.summary import summarise
from snn2hw.targets import load_target
from snn2hw.verify import verify as verify_bundle

ENGINES = ("cycle", "lava")
SUFFIXES = {"lava": ".lava", "nir": ".nir"}
STAGES = ("calibrate", "quantise", "bound", "balance_delays", "partition", "all")


def model_options(
    weights: str | None,
    input_shape: str | None,
    timesteps: int | None,
    arch: str | None = None,
    connect: str | None = None,
    iand_order: str | None = None,
    neuron: str | None = None,
    trust_pickle: bool = False,
    dt: float | None = None,
) -> ModelOptions:
    """Options of a MODEL argument. Raises OptionError for a shape that is not C,H,W."""
    shape = None
    if input_shape is not None:
        try:
            shape = tuple(int(size) for size in input_shape.split(","))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            raise OptionError(f"--input-shape {input_shape}: give whole sizes from 1, as in --input-shape 3,32,32.")
    return ModelOptions(
        weights=weights,
        input_shape=shape,
        timesteps=timesteps,
        arch=arch,
        connect=connect,
        iand_order=iand_order,
        neuron=neuron,
        trust_pickle=trust_pickle,
        dt=dt,
    )


def export(
    model: str,
    target: str,
    output: Path | None,
    calibrate: str | None,
    options: ModelOptions,
    *,
    weight_bits: int,
    input_bits: int,
    print_after: str | None,
) -> None:
    """Compile a model and hand it to the target's exporter."""
    exporter = find_exporter(target)
    destination = output or Path(_stem(model) + SUFFIXES.get(target, f".{target}"))
    check_place(destination)
    loaded = load(model, options)
    bits = Options(timesteps=loaded.timesteps, weight_bits=weight_bits, input_bits=input_bits)
    deployment = _deploy(loaded, calibrate, bits, print_after)
    exporter(deployment, destination)
    program = deployment.program
    console.say(
        f"Wrote {destination}: {len(program.graph.nodes)} nodes in {len(program.regions)} regions, "
        f"T={program.schedule.timesteps}, "
        f"pipeline {program.schedule.depth} cycles deep, calibrated on {deployment.calibration_samples} samples of "
        f"{deployment.calibrated_on}."
    )
    console.show_bounds(program)
    console.show_conventions(deployment.conventions)


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
        raise OptionError(f"engine {engine!r}: choose {' or '.join(ENGINES)}.")
    kind = _processes(processes)
    _check_deadline(deadline)
    check_file(output)
    with tempfile.TemporaryDirectory(prefix="snn2hw-") as folder:
        if _is_bundle(model):
            bundle = read_bundle(Path(model))
        else:
            loaded = load(model, options)
            path = Path(folder, "bundle")
            export_bundle(_deploy(loaded, calibrate, Options(timesteps=loaded.timesteps), None), path)
            bundle = read_bundle(path)
        chosen = _samples(data, bundle.program, samples)
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
    if output is not None:
        write_npz(output, spikes)
        console.say(f"Wrote {output}: logits and the spikes of {len(spikes) - 1} layers.")
    if chosen.y is not None:
        right = int((spikes["logits"].argmax(axis=1) == chosen.y).sum())
        console.say(f"{engine}: {right} of {len(chosen)} samples right ({100 * right / len(chosen):.2f} %).")
    console.show_manifest_conventions(bundle.manifest["conventions"])


def verify(
    bundle_path: Path,
    data: str,
    json_file: Path | None,
    *,
    samples: int | None,
    model: str | None,
    weights: str | None,
    trust_pickle: bool,
    processes: str,
    deadline: float | None,
) -> str:
    """Verify a bundle; print and write the result; return the verdict."""
    kind = _processes(processes)
    _check_deadline(deadline)
    check_file(json_file)
    bundle = read_bundle(bundle_path)
    chosen = _samples(data, bundle.program, samples)
    loaded, missing = model_of(bundle, model, weights, trust_pickle)
    ensure_environment(console.note)
    with console.bars() as bars:
        result = verify_bundle(
            bundle,
            chosen,
            None if loaded is None else loaded.traced,
            processes=kind,
            missing_model=missing,
            deadline=deadline,
            progress=bars,
        )
    conventions = bundle.manifest["conventions"]
    console.show_verification(result)
    console.show_manifest_conventions(conventions)
    console.show_verdict(result)
    if json_file is not None:
        write_text(json_file, json.dumps(result.to_json() | {"conventions": conventions}, indent=1) + "\n")
    return result.verdict


def check(model: str, target: str, json_file: Path | None, options: ModelOptions) -> list[Blocker]:
    """Find, print and write everything that stops a model from being deployed."""
    find_exporter(target)
    check_file(json_file)
    blockers: list[Blocker] = []
    conventions: Mapping[str, Convention] = {}
    try:
        loaded = load(model, options, default_timesteps=1)
        conventions = loaded.conventions
        compile_calibrated(loaded.network, UNCALIBRATED, Options(timesteps=loaded.timesteps))
    except UnsupportedError as error:
        blockers = error.blockers
    except QuantisationError as error:
        layer, _, problem = str(error).partition(": ")
        blockers = [Blocker(layer=layer, problem=problem, advice="")]
    if blockers:
        console.show_blockers(blockers)
    else:
        console.say(f"{model}: nothing stops a deployment to {target}.")
        console.show_conventions(conventions)
    if json_file is not None:
        found = {
            "schema": "snn2hw.check/1",
            "model": model,
            "target": target,
            "deployable": not blockers,
            "blockers": [vars(blocker) for blocker in blockers],
            "conventions": {name: vars(kind) for name, kind in conventions.items()},
        }
        write_text(json_file, json.dumps(found, indent=1) + "\n")
    return blockers


def inspect(model: str, options: ModelOptions, chip: str) -> None:
    """Print the layers of a model or bundle."""
    target = load_target(chip)
    if _is_bundle(model):
        bundle = read_bundle(Path(model))
        program = bundle.program
        console.show_layers(summarise(program, target), chip=target.title, depth=program.schedule.depth)
        console.show_bounds(program)
        console.show_manifest_conventions(bundle.manifest["conventions"])
        return
    loaded = load(model, options, default_timesteps=1)
    program = compile_calibrated(loaded.network, UNCALIBRATED, Options(timesteps=loaded.timesteps))
    console.show_layers(summarise(program, target), chip=target.title, depth=program.schedule.depth)
    console.show_conventions(loaded.conventions)


def doctor() -> bool:
    """Print what is installed; True if nothing is missing."""
    rows = []
    for name in ("torch", "nir", "snntorch", "numpy", "scikit-learn"):
        try:
            rows.append((name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "missing", f"pip install {name}"))
    lava = describe_environment()
    return console.show_doctor(rows, lava)


def train_digits(connect: str, output: Path, *, timesteps: int, epochs: int | None, seed: int, beta: float) -> None:
    """Train on digits and write the checkpoint."""
    from snn2hw.training.loop import train_digits as train

    check_file(output)
    chosen = {} if epochs is None else {"epochs": epochs}
    result = train(connect, output=output, timesteps=timesteps, seed=seed, beta=beta, **chosen)
    console.say(f"Wrote {output}: test accuracy {100 * result.test_accuracy:.2f} %, trained in {result.seconds:.0f} s.")


def _deploy(loaded: LoadedModel, calibrate: str | None, options: Options, print_after: str | None) -> Deployment:
    if print_after is not None and print_after not in STAGES:
        raise OptionError(f"--print-after {print_after}: choose {', '.join(STAGES)}.")
    data = calibrate or loaded.data
    if data is None:
        raise OptionError(
            f"{loaded.source.model} does not say on which data it was trained: give samples that set the ranges of "
            "inputs and currents with --calibrate FILE.npz."
        )
    samples = load_samples(data, loaded.input_shape, split="train")

    def observe(stage: str, result: object) -> None:
        if print_after in (stage, "all"):
            console.say(f"--- {stage}\n{result}")

    with console.bars() as bars:
        return deploy(loaded, samples, options, observe=observe, progress=lambda a, b: bars("calibrate", a, b))


def _samples(data: str, program: ir.Program, count: int | None) -> Samples:
    if count is not None and count < 1:
        raise OptionError(f"--samples {count}: at least 1 is needed.")
    samples = load_samples(data, program.graph.input.shape)
    samples = samples if count is None else samples[:count]
    check_labels(samples, program.graph.readout.shape[0])
    if samples.per_step:
        samples.steps(program.schedule.timesteps)
    return samples


def _is_bundle(model: str) -> bool:
    return Path(model).is_dir() or model.endswith(SUFFIXES["lava"])


def _check_deadline(deadline: float | None) -> None:
    if deadline is not None and not deadline > 0:
        raise OptionError(f"--deadline {deadline:g}: give more than 0 seconds.")


def _processes(name: str) -> Processes:
    if name == "fused":
        return "fused"
    if name == "structural":
        return "structural"
    raise OptionError(f"--processes {name}: choose fused or structural.")


def _stem(model: str) -> str:
    return Path(model).stem if model.endswith((".pt", ".pth", ".nir")) else model.rpartition(":")[2]
