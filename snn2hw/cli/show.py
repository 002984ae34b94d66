"""Commands that show what a model or bundle is, does and costs, and what is installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from snn2hw.cli.app import ModelArgument, SamplesOption, SaturateOption, SkipCorruptOption, app
from snn2hw.cli.asked import takes
from snn2hw.frontends.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """What `inspect` is asked."""

    model: Annotated[str, typer.Argument(help="A model or a bundle.", metavar="MODEL_OR_BUNDLE")]
    target: Annotated[
        str, typer.Option("--target", "--chip", help="The chip whose cores are counted: loihi1 or loihi2.")
    ] = "loihi2"
    cores: Annotated[
        bool, typer.Option("--cores", help="Also what each layer takes of the chip's cores, and which limit binds.")
    ] = False
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Of a bundle, also what the fast simulator computes each layer with.")
    ] = False
    options: ModelOptions


@app.command()
@takes(Inspect)
def inspect(asked: Inspect) -> None:
    """Show layers, shapes, parameters, latency and cores."""
    from snn2hw.cli.commands.inspect import inspect as work

    work(asked)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `report` is asked."""

    context: typer.Context
    given: Annotated[str | None, typer.Argument(help="A bundle, or a model.", metavar="BUNDLE_OR_MODEL")] = None
    data: Annotated[
        str | None, typer.Option(help="An .npz with x (and y), or a set: digits, moving-digits, NAME:FOLDER.")
    ] = None
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder that gets report.html and report.json.")
    ] = None
    samples: SamplesOption = None
    verify_file: Annotated[
        Path | None, typer.Option("--verify", help="What verify --json wrote for the same bundle and data.")
    ] = None
    profile: Annotated[list[str] | None, typer.Option(help="A price profile; all of them unless named.")] = None
    prices: Annotated[Path | None, typer.Option(help="Prices of your own: a TOML file as docs/report.md says.")] = None
    raster: Annotated[list[int] | None, typer.Option(help="A sample whose spikes are kept one by one; 0.")] = None
    model: Annotated[str | None, typer.Option(help="A bundle's model, if it is no longer where it was.")] = None
    calibrate: Annotated[str | None, typer.Option(help="For a model: data that sets the ranges.")] = None
    skip_corrupt: SkipCorruptOption = False
    saturate: SaturateOption = False
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Two reports side by side instead; with -o also as a page."),
    ] = None
    options: ModelOptions


@app.command()
@takes(Report)
def report(asked: Report) -> None:
    """Count spikes and operations, price them, and write a page for people and a file for scripts."""
    from snn2hw.cli.commands.report import report as work

    work(asked)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What `sweep` is asked."""

    model: ModelArgument
    bits: Annotated[str, typer.Option(help="Bits of the weights to try: numbers and ranges of 2 to 8.")] = "3-8"
    calibration: Annotated[str, typer.Option(help="Methods to try: all, or some of max,percentile,mse,balanced.")] = (
        "all"
    )
    data: Annotated[
        str | None, typer.Option(help="Labelled samples. Default: the test set of what the model was trained on.")
    ] = None
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plot here, as HTML.")] = None
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None
    calibrate: Annotated[str | None, typer.Option(help="Data that sets the ranges: an .npz or a set.")] = None
    input_bits: Annotated[int, typer.Option(help="Bits of the graded input, 2 to 8.")] = 8
    samples: SamplesOption = None
    device: Annotated[str, typer.Option(help="Where the programs run: cpu or cuda.")] = "cpu"
    skip_corrupt: SkipCorruptOption = False
    saturate: SaturateOption = False
    options: ModelOptions


@app.command()
@takes(Sweep)
def sweep(asked: Sweep) -> None:
    """Show what accuracy is left at every number of weight bits, by each way of choosing the weights' scales."""
    from snn2hw.cli.commands.sweep import sweep as work

    work(asked)


@dataclass(frozen=True, kw_only=True)
class Analyse:
    """What `analyse` is asked."""

    model: Annotated[str | None, typer.Argument(help="A model whose layers are to be shown too.")] = None
    data: Annotated[
        str | None, typer.Option(help="Samples. Default: the test set of what the model was trained on.")
    ] = None
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the figures here, as HTML.")] = None
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")] = None
    samples: SamplesOption = None
    skip_corrupt: SkipCorruptOption = False
    options: ModelOptions


@app.command()
@takes(Analyse)
def analyse(asked: Analyse) -> None:
    """Show when blocks are the identity, gradients through depth and, of a model, how often its layers fire."""
    from snn2hw.cli.commands.analyse import analyse as work

    work(asked)


@app.command()
def doctor() -> None:
    """Show what is installed, what is missing, and how to get it. Exits with 1 if something is missing."""
    from snn2hw.cli.commands.doctor import doctor as work

    if not work():
        raise typer.Exit(1)
