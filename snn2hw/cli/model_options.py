"""The options that say what a model's file does not, once for all the commands that take a MODEL."""

from __future__ import annotations

from typing import Annotated

import typer

from snn2hw.errors import OptionError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.torch.time_in import WAYS, TimeIn

WeightsOption = Annotated[str | None, typer.Option(help="Weights file for package.module:factory.")]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Let the model's file run code while it is loaded, as whole pickled modules do. The code may do whatever "
        "you may: only for files whose maker you trust.",
    ),
]


def model_options(
    weights: WeightsOption = None,
    input_shape: Annotated[
        str | None, typer.Option(help="C,H,W of one step of one sample, where the file does not say.")
    ] = None,
    timesteps: Annotated[int | None, typer.Option(help="Time steps a sample, where the file does not say.")] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="For weights alone: sew_resnet, spiking_resnet, plain_net, or one with its depth: sew_resnet50."
        ),
    ] = None,
    connect: Annotated[str | None, typer.Option(help="For weights alone: ADD, AND or IAND.")] = None,
    iand_order: Annotated[
        str | None, typer.Option(help="For weights alone: paper, or reversed as in SpikingJelly's bottlenecks.")
    ] = None,
    neuron: Annotated[
        str | None,
        typer.Option(help="For weights alone: IF, LIF or PLIF, with numbers as in LIF,tau=1.5,v_reset=none."),
    ] = None,
    trust_pickle: TrustOption = False,
    dt: Annotated[
        float | None, typer.Option(help="Time step of a .nir file's network in seconds: 0.0001 unless given.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="How the model takes time, where that is not found out: step (one step a call), first ([T, N, ...]), "
            "second ([N, T, ...]) or inside (a loop of its own over one input)."
        ),
    ] = None,
) -> ModelOptions:
    """The options of a model, of what the command line says. Raises OptionError."""
    return ModelOptions(
        weights=weights,
        input_shape=None if input_shape is None else _shape(input_shape),
        timesteps=timesteps,
        arch=arch,
        connect=connect,
        iand_order=iand_order,
        neuron=neuron,
        trust_pickle=trust_pickle,
        dt=dt,
        time=_time(time),
    )


def _time(text: str | None) -> TimeIn | None:
    way = next((way for way in WAYS if way == text), None)
    if text is not None and way is None:
        raise OptionError(f"--time {text}: give {', '.join(WAYS[:-1])} or {WAYS[-1]}.")
    return way


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise OptionError(f"--input-shape {text}: give whole sizes from 1, as in --input-shape 3,32,32.")
    return shape
