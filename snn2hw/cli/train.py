"""The command that trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from snn2hw.cli.app import SkipCorruptOption, app
from snn2hw.cli.asked import takes


@dataclass(frozen=True, kw_only=True)
class Train:
    """What `train` is asked."""

    data: Annotated[str, typer.Argument(help="digits, moving-digits, NAME:FOLDER, or an .npz with x and y.")]
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the checkpoint.")]
    test: Annotated[str | None, typer.Option(help="What to measure on. Default: the test split of DATA.")] = None
    net: Annotated[
        str | None, typer.Option(help="digits, little-7b, 7b, wide-7b, resnet18 to resnet152, ... Default: by DATA.")
    ] = None
    connect: Annotated[str | None, typer.Option(help="ADD, AND, IAND, plain, or spiking for the Spiking ResNet.")] = (
        None
    )
    beta: Annotated[
        float | None,
        typer.Option(help="Of the net digits: share of the membrane kept each step; 1, the default, is IF."),
    ] = None
    recipe: Annotated[str | None, typer.Option(help="Hyper-parameters, by the name of a set. Default: by DATA.")] = None
    method: Annotated[str | None, typer.Option(help="plain, or trt for temporal reversed training.")] = None
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Samples a batch, of all processes together.")] = None
    learning_rate: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None
    timesteps: Annotated[int | None, typer.Option(help="Time steps a sample.")] = None
    trained_timesteps: Annotated[
        int | None, typer.Option(help="Steps that training sees, drawn for each batch: random temporal delete.")
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0
    start: Annotated[Path | None, typer.Option(help="With --qat: the checkpoint to fine-tune.")] = None
    qat: Annotated[int | None, typer.Option(help="Fine-tune for weights of so many bits, quantised in every step.")] = (
        None
    )
    calibration: Annotated[
        str | None, typer.Option(help="With --qat: how export will choose the weights' scales. Default: max.")
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training of OUTPUT that was cut.")] = False
    log: Annotated[Path | None, typer.Option(help="Write a .csv with a row an epoch.")] = None
    skip_corrupt: SkipCorruptOption = False
    device: Annotated[str, typer.Option(help="cpu or cuda. Several processes: torchrun -m snn2hw train ...")] = "cpu"

    @property
    def changes(self) -> dict[str, Any]:
        """The values of the recipe that were given."""
        names = ("epochs", "batch_size", "learning_rate", "timesteps", "trained_timesteps")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@app.command()
@takes(Train)
def train(asked: Train) -> None:
    """Train a network of the papers' family, or fine-tune one for few bits."""
    from snn2hw.cli.commands.train import train as work

    work(asked)
