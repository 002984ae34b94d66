"""From a model to a deployment: which samples set the ranges, and the compiler with its progress."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import nir
from torch import nn

from snn2hw.api.reading import SamplesLike, read_samples
from snn2hw.api.talk import Talk
from snn2hw.data.aliases import Shape
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment, NetworkCheck
from snn2hw.errors import OptionError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel, load_graph, load_model, load_module
from snn2hw.passes.calibrate import CALIBRATION_SAMPLES, UNCALIBRATED
from snn2hw.pipeline import Observe, Options, compile_calibrated, deploy
from snn2hw.targets import DEFAULT_CHIP
from snn2hw.verification.network_vs_torch import check_network

Net: TypeAlias = nn.Module | nir.NIRGraph | str  # nir has no types: to mypy this is Any
"""A model: a module, a NIR graph, or what the command line takes, a file or package.module:factory."""

IMAGE, SIGNAL, VECTOR = 3, 2, 1  # axes of one step of one sample
FIRST_LAYERS = {nn.Conv2d: IMAGE, nn.Conv1d: SIGNAL, nn.Linear: VECTOR}


def load_net(
    net: Net, options: ModelOptions, given: Shape | None, talk: Talk, *, default_timesteps: int | None = None
) -> LoadedModel:
    """Load a model and say what was converted or taken for granted.

    given: the axes of the samples without their number, from which the input's shape and the time steps follow where
    the options do not say them. Raises what `load_model` raises.
    """
    if not isinstance(net, nir.NIRGraph) and not _says_its_shape(net) and options.input_shape is None and given:
        shape, steps = shape_of_step(given, net if isinstance(net, nn.Module) else None)
        options = replace(options, input_shape=shape, timesteps=options.timesteps or steps)
    if isinstance(net, nn.Module):
        loaded = load_module(net, options, default_timesteps=default_timesteps)
    elif isinstance(net, nir.NIRGraph):
        loaded = load_graph(net, options, default_timesteps=default_timesteps)
    else:
        loaded = load_model(net, options, default_timesteps=default_timesteps)
    for line in loaded.notes:
        talk.note(f"{loaded.source.model}: {line}")
    return loaded


def shape_of_step(given: Shape, net: nn.Module | None) -> tuple[Shape, int | None]:
    """The shape of one step of one sample and the time steps, of the axes that a sample has.

    [C, H, W] and [K] are shown at every step; [T, C, H, W] has a frame for each. Of two axes the net's first layer says
    whether they are [C, L] or [T, K]. Raises OptionError where that is not clear.
    """
    if len(given) in (IMAGE, VECTOR):
        return given, None
    if len(given) == IMAGE + 1:
        return given[1:], given[0]
    first = next((axes for part in _parts(net) for kind, axes in FIRST_LAYERS.items() if isinstance(part, kind)), None)
    if len(given) == SIGNAL and first == SIGNAL:
        return given, None
    if len(given) == SIGNAL and first == VECTOR:
        return given[1:], given[0]
    raise OptionError(
        f"samples of shape {list(given)}: which of these axes are time steps is not clear. Say the shape of one "
        "step of one sample with --input-shape C,H,W."
    )


def compile_loaded(
    loaded: LoadedModel,
    samples: SamplesLike | None,
    options: Options,
    talk: Talk,
    *,
    skip_corrupt: bool = False,
    observe: Observe | None = None,
) -> Deployment:
    """Compile a loaded model, calibrated on these samples or what it was trained on, with a progress bar."""
    read = calibration_samples(loaded, samples, talk, skip_corrupt=skip_corrupt)
    with talk.bars() as shown:
        checked = check_network(loaded, read, options.timesteps)
        return deploy(
            loaded,
            read,
            options,
            checked,
            observe=observe,
            progress=lambda done, total: shown("calibrate", done, total),
        )


def calibration_samples(
    loaded: LoadedModel, samples: SamplesLike | None, talk: Talk, *, skip_corrupt: bool = False
) -> Samples:
    """As many samples as calibration takes, of these or of what the model was trained on.

    Raises OptionError where neither is known.
    """
    data = loaded.data if samples is None else samples
    if data is None:
        raise OptionError(
            f"{loaded.source.model} does not say on which data it was trained: give samples that set the ranges of "
            "inputs and currents with --calibrate FILE.npz."
        )
    return read_samples(
        data,
        loaded.input_shape,
        CALIBRATION_SAMPLES,
        talk,
        split="train",
        timesteps=loaded.timesteps,
        skip_corrupt=skip_corrupt,
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


def _says_its_shape(net: nn.Module | str) -> bool:
    """Whether a model is a file, which says the shape of its input, or whose error says what it lacks."""
    return isinstance(net, str) and ":" not in net


def _parts(net: nn.Module | None) -> list[nn.Module]:
    return [] if net is None else list(net.modules())
