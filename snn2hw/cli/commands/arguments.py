"""What several commands do with their arguments before the work begins."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from snn2hw import ir
from snn2hw.cli import console
from snn2hw.cli.console import Bars
from snn2hw.data.aliases import Shape
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples, check_labels, is_map
from snn2hw.deployment import Deployment, NetworkCheck
from snn2hw.errors import CorruptFile, DataError, OptionError
from snn2hw.exporters import installed_backends
from snn2hw.exporters.export import SUFFIX_OF_SEVERAL
from snn2hw.frontends.checkpoints.torch_file import ENDINGS
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel, load_model
from snn2hw.ir.fixed_point import is_saturated
from snn2hw.ir.numerics import DEFAULT_CHIP
from snn2hw.passes.calibrate import CALIBRATION_SAMPLES, UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated, deploy
from snn2hw.verification.network_vs_torch import check_network

STAGES = ("calibrate", "quantise", "bound", "balance_delays", "partition", "all")


def compile_model(
    loaded: LoadedModel,
    calibrate: str | None,
    options: Options,
    print_after: str | None,
    *,
    skip_corrupt: bool = False,
    bars: Bars | None = None,
) -> Deployment:
    """Compile a loaded model, calibrated on the given data or what it was trained on, with a progress bar."""
    if print_after is not None and print_after not in STAGES:
        raise OptionError(f"--print-after {print_after}: choose {', '.join(STAGES)}.")
    samples = calibration_samples(loaded, calibrate, skip_corrupt=skip_corrupt, bars=bars)

    def observe(stage: str, result: object) -> None:
        if print_after in (stage, "all"):
            console.say(f"--- {stage}\n{result}")

    with nullcontext(bars) if bars else console.bars() as shown:
        checked = check_network(loaded, samples, options.timesteps)
        return deploy(
            loaded,
            samples,
            options,
            checked,
            observe=observe,
            progress=lambda done, total: shown("calibrate", done, total),
        )


def uncalibrated(loaded: LoadedModel, chip: str = DEFAULT_CHIP) -> Deployment:
    """A loaded model compiled without data, for what does not depend on ranges: its structure, and what stops it."""
    return Deployment(
        program=compile_calibrated(loaded.network, UNCALIBRATED, Options(timesteps=loaded.timesteps, chip=chip)),
        network=loaded.network,
        network_check=NetworkCheck(samples=0, compared=0, ties=0, note="not compared"),
        source=loaded.source,
        calibrated_on="no data",
        calibration_samples=0,
        conventions=loaded.conventions,
    )


def calibration_samples(
    loaded: LoadedModel, calibrate: str | None, *, skip_corrupt: bool = False, bars: Bars | None = None
) -> Samples:
    """As many samples as calibration takes, of the given data or of what the model was trained on.

    Raises OptionError where neither is known.
    """
    data = calibrate or loaded.data
    if data is None:
        raise OptionError(
            f"{loaded.source.model} does not say on which data it was trained: give samples that set the ranges of "
            "inputs and currents with --calibrate FILE.npz."
        )
    return read_data(
        data,
        loaded.input_shape,
        CALIBRATION_SAMPLES,
        split="train",
        timesteps=loaded.timesteps,
        skip_corrupt=skip_corrupt,
        bars=bars,
    )


def take_samples(
    data: str,
    program: ir.Program,
    count: int | None,
    *,
    saturate: bool = False,
    skip_corrupt: bool = False,
    bars: Bars | None = None,
) -> Samples:
    """The first `count` samples of DATA, checked against a program: shape, range, labels, steps."""
    samples = read_data(
        data,
        program.graph.input.shape,
        count,
        timesteps=program.schedule.timesteps,
        skip_corrupt=skip_corrupt,
        bars=bars,
    )
    check_range(samples, program.graph.input, saturate=saturate)
    readout = program.graph.readout
    samples = with_labels_for(samples, readout.shape)
    check_labels(samples, readout.first.stop)
    samples.check_timesteps(program.schedule.timesteps)
    return samples


def with_labels_for(samples: Samples, output: Shape) -> Samples:
    """The samples; without their labels, and people are told, where the model's `output` is a map of classes."""
    if samples.y is None or not is_map(output):
        return samples
    console.say(
        f"{samples.name}: its labels are left out, for the model gives a map {list(output)}, not one number a class: "
        "there is no accuracy."
    )
    return replace(samples, y=None)


def read_data(
    data: str,
    shape: Shape,
    count: int | None,
    *,
    split: Literal["test", "train"] = "test",
    timesteps: int | None = None,
    skip_corrupt: bool = False,
    bars: Bars | None = None,
) -> Samples:
    """The first `count` samples of DATA, read with a progress bar, in `bars` if there are some; says what is left out.

    Raises OptionError for a count below 1, and what `load_samples` raises.
    """
    check_count(count)
    left_out: list[CorruptFile] = []
    with nullcontext(bars) if bars else console.bars() as shown:
        samples = load_samples(
            data,
            shape,
            split=split,
            timesteps=timesteps,
            count=count,
            corrupt=left_out.append if skip_corrupt else None,
            progress=lambda done, of: shown("reading", done, of),
        )
    console.say_left_out(data, [str(error) for error in left_out])
    return samples


def check_range(samples: Samples, node: ir.Input, *, saturate: bool) -> None:
    """Raise DataError if values lie outside what the program's input holds; say how many do if they may saturate."""
    outside = 0
    for part in samples.batches(64):
        outside += int(is_saturated(part.x, scale=node.scale, low=node.low, high=node.high).sum())
    if not outside:
        return
    told = (
        f"{samples.name}: {outside:,} of {samples.x.size:,} values of x, which goes from {samples.x.min():g} to "
        f"{samples.x.max():g}, lie outside the range seen in calibration, {node.low * node.scale:g} to "
        f"{node.high * node.scale:g}."
    )
    if not saturate:
        raise DataError(f"{told} Calibrate on samples that cover it, or clip those values as a chip does: --saturate.")
    console.say(f"{told} They saturate.")


def take_first(samples: Samples, count: int | None) -> Samples:
    """The first `count` samples, or all. Raises OptionError for a count below 1."""
    check_count(count)
    return samples[:count]


def check_count(count: int | None) -> None:
    """Raise OptionError for a number of samples below 1."""
    if count is not None and count < 1:
        raise OptionError(f"--samples {count}: at least 1 is needed.")


def is_bundle(model: str) -> bool:
    """Whether an argument names a bundle and not a model."""
    endings = tuple(backend.suffix for backend in installed_backends().values() if backend.bundled)
    return Path(model).is_dir() or model.endswith((SUFFIX_OF_SEVERAL, *endings))


def check_device(device: str, jobs: int, engine: str) -> None:
    """Raise OptionError for a device that is not there, or jobs that nobody can do."""
    if device not in ("cpu", "cuda"):
        raise OptionError(f"--device {device}: choose cpu or cuda.")
    if jobs < 1:
        raise OptionError(f"--jobs {jobs}: at least 1 is needed.")
    if engine != "fast" and (device != "cpu" or jobs > 1):
        raise OptionError(f"--engine {engine} takes neither --device nor --jobs; the fast engine does.")
    if device == "cuda" and jobs > 1:
        raise OptionError(f"--jobs {jobs}: processes share the cores of the CPU; on cuda take --jobs 1.")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            "--device cuda: torch finds no CUDA device. It may be a build for the CPU, or the driver is missing; "
            "--device cpu runs everywhere."
        )


def stem(model: str) -> str:
    """What the output of a model is called unless the user says so."""
    ending = next((end for end in (*ENDINGS, ".nir") if model.endswith(end)), None)
    return model.rpartition(":")[2] if ending is None else Path(model).name.removesuffix(ending)


def load(model: str, options: ModelOptions, *, default_timesteps: int | None = None) -> LoadedModel:
    """Load a model and say on stderr what was converted or taken for granted.

    Where only the structure matters, `default_timesteps` keeps the user from being asked for T.
    """
    loaded = load_model(model, options, default_timesteps=default_timesteps)
    tell_notes(loaded)
    return loaded


def tell_notes(loaded: LoadedModel | None) -> None:
    """Say on stderr what was converted or taken for granted when a model was loaded."""
    if loaded is not None:
        for line in loaded.notes:
            console.errors.print(f"{loaded.source.model}: {line}", markup=False)
