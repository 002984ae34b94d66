"""What several commands do with their arguments before the work begins."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from snn2hw import ir
from snn2hw.api import compiling, reading
from snn2hw.api.compiling import compile_loaded, uncalibrated
from snn2hw.api.reading import check_count
from snn2hw.api.talk import Talk
from snn2hw.cli import console
from snn2hw.data.aliases import Shape
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment
from snn2hw.errors import OptionError
from snn2hw.exporters import installed_backends
from snn2hw.exporters.export import SUFFIX_OF_SEVERAL
from snn2hw.frontends.checkpoints.torch_file import ENDINGS
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel, load_model
from snn2hw.pipeline import Options
from snn2hw.shown.progress import Bars

__all__ = ["check_count", "uncalibrated"]

STAGES = ("calibrate", "quantise", "bound", "balance_delays", "partition", "all")


@dataclass(frozen=True)
class Within:
    """The command line's way to talk, with bars that are there already."""

    shown: Bars

    def say(self, message: str) -> None:
        console.say(message)

    def note(self, message: str) -> None:
        console.note(message)

    def bars(self) -> AbstractContextManager[Bars]:
        return nullcontext(self.shown)


def _talk(bars: Bars | None) -> Talk:
    return Within(bars) if bars else console


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

    def observe(stage: str, result: object) -> None:
        if print_after in (stage, "all"):
            console.say(f"--- {stage}\n{result}")

    return compile_loaded(loaded, calibrate, options, _talk(bars), skip_corrupt=skip_corrupt, observe=observe)


def calibration_samples(
    loaded: LoadedModel, calibrate: str | None, *, skip_corrupt: bool = False, bars: Bars | None = None
) -> Samples:
    """As many samples as calibration takes, of the given data or of what the model was trained on."""
    return compiling.calibration_samples(loaded, calibrate, _talk(bars), skip_corrupt=skip_corrupt)


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
    return reading.take_samples(data, program, count, _talk(bars), saturate=saturate, skip_corrupt=skip_corrupt)


def with_labels_for(samples: Samples, output: Shape) -> Samples:
    """The samples; without their labels, and people are told, where the model's `output` is a map of classes."""
    return reading.with_labels_for(samples, output, console)


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
    """The first `count` samples of DATA, read with a progress bar, in `bars` if there are some."""
    return reading.read_samples(
        data, shape, count, _talk(bars), split=split, timesteps=timesteps, skip_corrupt=skip_corrupt
    )


def take_first(samples: Samples, count: int | None) -> Samples:
    """The first `count` samples, or all. Raises OptionError for a count below 1."""
    check_count(count)
    return samples[:count]


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
