"""The commands: of each a dataclass, whose docstring is its help and from whose fields its options are derived.

command.py derives them. The work is in commands/, in a module and function of the command's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from snn2hw.cli.app import (
    DEFAULT_TARGET,
    DataOption,
    JsonOption,
    ModelArgument,
    SamplesOption,
    SaturateOption,
    SkipCorruptOption,
)
from snn2hw.cli.backend_names import bundled_targets, engines, targets
from snn2hw.cli.backend_options import RunOptions, TargetOptions
from snn2hw.cli.model_options import TrustOption, WeightsOption
from snn2hw.frontends.options import ModelOptions
from snn2hw.targets import DEFAULT_CHIP


@dataclass(frozen=True, kw_only=True)
class Check:
    """List everything that stops a model from being deployed. Exits with 1 if anything does."""

    model: ModelArgument
    target: Annotated[str, typer.Option(help="The target to check against.")] = DEFAULT_TARGET
    chip: Annotated[
        str, typer.Option(help="The chip whose arithmetic a program would keep to: loihi2, loihi1 or generic-int8.")
    ] = DEFAULT_CHIP
    json_file: JsonOption = None
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Export:
    """Compile a model and write it for a target."""

    model: ModelArgument
    target: Annotated[
        list[str],
        typer.Option(
            help=f"{targets()}, or any other exporter once it is installed. Given several times: one bundle with all.",
        ),
    ]
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it.")] = None
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there. An older bundle always is.")] = (
        False
    )
    calibrate: Annotated[str | None, typer.Option(help="Data that sets the ranges: an .npz or a set.")] = None
    chip: Annotated[
        str, typer.Option(help="The chip whose arithmetic the program keeps to: loihi2, loihi1 or generic-int8.")
    ] = DEFAULT_CHIP
    weight_bits: Annotated[
        str, typer.Option(help="Bits of a weight, 2 to 8, or a JSON file with those of each layer.", metavar="N|FILE")
    ] = "8"
    input_bits: Annotated[int, typer.Option(help="Bits of the graded input, 2 to 8.")] = 8
    calibration: Annotated[
        str, typer.Option(help="How the weights' scales are chosen: max, percentile, mse or balanced.")
    ] = "max"
    skip_corrupt: SkipCorruptOption = False
    print_after: Annotated[str | None, typer.Option(help="Print what a compiler stage returns, or all.")] = None
    target_options: TargetOptions
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """Run a bundle or model on data."""

    model: Annotated[str, typer.Argument(help="A bundle, or a model.", metavar="BUNDLE_OR_MODEL")]
    data: DataOption
    engine: Annotated[
        str,
        typer.Option(
            help=f"{engines('fast', 'cycle (the definition, slow)')}; for a .nir file also norse, snntorch, "
            "spikingjelly, sinabs, reference."
        ),
    ] = "fast"
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write spikes.npz here.")] = None
    samples: SamplesOption = None
    device: Annotated[str, typer.Option(help="Where the fast engine runs: cpu or cuda.")] = "cpu"
    jobs: Annotated[int, typer.Option(help="Processes that share the samples, for small nets.")] = 1
    skip_corrupt: SkipCorruptOption = False
    saturate: SaturateOption = False
    run_options: RunOptions
    calibrate: Annotated[str | None, typer.Option(help="For a model: data that sets the ranges.")] = None
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Prove that PyTorch, the program and Lava agree spike for spike. Exits with 1 if they differ, with 3 if a
    required comparison could not run.
    """

    bundle: Annotated[Path, typer.Argument(help=f"A bundle of export --target {bundled_targets()}.")]
    data: DataOption
    json_file: JsonOption = None
    samples: SamplesOption = None
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"Leave out a back end, {bundled_targets()} say: the verdict of the others, which says so."),
    ] = None
    model: Annotated[str | None, typer.Option(help="The model, if it is no longer where it was.")] = None
    weights: WeightsOption = None
    trust_pickle: TrustOption = False
    skip_corrupt: SkipCorruptOption = False
    saturate: SaturateOption = False
    run_options: RunOptions


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Run two of anything on the same samples and compare every layer. Exits with 1 if they differ."""

    a: Annotated[str, typer.Argument(help="A model, .nir file, bundle or spikes.npz, or one of them as NAME@ENGINE.")]
    b: Annotated[
        str, typer.Argument(help=f"The same. Engines: {engines('torch', 'cycle')}; for .nir those of simulate.")
    ]
    data: DataOption
    json_file: JsonOption = None
    samples: SamplesOption = None
    skip_corrupt: SkipCorruptOption = False
    calibrate: Annotated[str | None, typer.Option(help="For MODEL@cycle: data that sets the ranges.")] = None
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show layers, shapes, parameters, latency and cores."""

    model: Annotated[str, typer.Argument(help="A model or a bundle.", metavar="MODEL_OR_BUNDLE")]
    target: Annotated[
        str, typer.Option("--target", "--chip", help="The chip whose cores are counted: loihi1 or loihi2.")
    ] = "loihi2"
    cores: Annotated[
        bool, typer.Option("--cores", help="Also what each layer takes of the chip's cores, and which limit binds.")
    ] = False
    json_file: JsonOption = None
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Of a bundle, also what the fast simulator computes each layer with.")
    ] = False
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Report:
    """Count spikes and operations, price them, and write a page for people and a file for scripts."""

    context: typer.Context
    given: Annotated[
        list[str] | None,
        typer.Argument(help="A bundle, or a model; with --compare reports.", metavar="BUNDLE_OR_MODEL"),
    ] = None
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
    figures: Annotated[
        Path | None, typer.Option(help="A folder for the figures, as SVG and PDF for a column of 3.3 inches.")
    ] = None
    tables: Annotated[Path | None, typer.Option(help="A folder for the tables, as CSV and LaTeX (booktabs).")] = None
    compare: Annotated[
        bool, typer.Option("--compare", help="Reports side by side instead: --compare A B C; with -o also as a page.")
    ] = False
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Show what accuracy is left at every number of weight bits, by each way of choosing the weights' scales."""

    model: ModelArgument
    bits: Annotated[str, typer.Option(help="Bits of the weights to try: numbers and ranges of 2 to 8.")] = "3-8"
    calibration: Annotated[str, typer.Option(help="Methods to try: all, or some of max,percentile,mse,balanced.")] = (
        "all"
    )
    data: Annotated[
        str | None, typer.Option(help="Labelled samples. Default: the test set of what the model was trained on.")
    ] = None
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plot here, as HTML.")] = None
    json_file: JsonOption = None
    calibrate: Annotated[str | None, typer.Option(help="Data that sets the ranges: an .npz or a set.")] = None
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Find the fewest bits of each layer instead, within --loss.")
    ] = False
    loss: Annotated[float | None, typer.Option(help="With --per-layer: points of accuracy that may be lost; 1.")] = None
    input_bits: Annotated[int, typer.Option(help="Bits of the graded input, 2 to 8.")] = 8
    samples: SamplesOption = None
    device: Annotated[str, typer.Option(help="Where the programs run: cpu or cuda.")] = "cpu"
    skip_corrupt: SkipCorruptOption = False
    saturate: SaturateOption = False
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Analyse:
    """Show when blocks are the identity, gradients through depth and, of a model, how often its layers fire."""

    model: Annotated[str | None, typer.Argument(help="A model whose layers are to be shown too.")] = None
    data: Annotated[
        str | None, typer.Option(help="Samples. Default: the test set of what the model was trained on.")
    ] = None
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the figures here, as HTML.")] = None
    json_file: JsonOption = None
    samples: SamplesOption = None
    skip_corrupt: SkipCorruptOption = False
    options: ModelOptions


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Show what is installed, what is missing, and how to get it. Exits with 1 if something is missing."""

    clean: Annotated[
        bool,
        typer.Option("--clean", help="Remove what killed commands left in this folder and among temporary files."),
    ] = False
    json_file: JsonOption = None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Copy the trained nets and scripts that come with snn2hw into a folder."""

    folder: Annotated[Path, typer.Argument(help="The folder, which is made.")] = Path("snn2hw-examples")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network of the papers' family, or fine-tune one for few bits."""

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


COMMANDS = (Check, Export, Simulate, Verify, Compare, Inspect, Report, Sweep, Analyse, Doctor, Examples, Train)
"""In the order in which --help lists them."""
