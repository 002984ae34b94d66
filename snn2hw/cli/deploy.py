"""Commands that bring a model to a target and prove that it is the same: from check to compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from snn2hw.cli.app import (
    DEFAULT_TARGET,
    DataOption,
    ModelArgument,
    SamplesOption,
    SaturateOption,
    SkipCorruptOption,
    app,
)
from snn2hw.cli.asked import takes
from snn2hw.cli.backend_options import RunOptions, TargetOptions
from snn2hw.cli.model_options import TrustOption, WeightsOption
from snn2hw.frontends.options import ModelOptions

INCOMPLETE = 3  # the exit code of a verification of which a required comparison could not run


@dataclass(frozen=True, kw_only=True)
class Check:
    """What `check` is asked."""

    model: ModelArgument
    target: Annotated[str, typer.Option(help="The target to check against.")] = DEFAULT_TARGET
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None
    options: ModelOptions


@app.command()
@takes(Check)
def check(asked: Check) -> None:
    """List everything that stops a model from being deployed. Exits with 1 if anything does."""
    from snn2hw.cli.commands.check import check as work

    if work(asked):
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class Export:
    """What `export` is asked."""

    model: ModelArgument
    target: Annotated[
        list[str],
        typer.Option(
            help="lava (a bundle), nir (a file), or any installed exporter. Given several times: one bundle with all.",
        ),
    ]
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it.")] = None
    calibrate: Annotated[str | None, typer.Option(help="Data that sets the ranges: an .npz or a set.")] = None
    weight_bits: Annotated[int, typer.Option(help="Bits of a weight, 2 to 8.")] = 8
    input_bits: Annotated[int, typer.Option(help="Bits of the graded input, 2 to 8.")] = 8
    calibration: Annotated[
        str, typer.Option(help="How the weights' scales are chosen: max, percentile, mse or balanced.")
    ] = "max"
    skip_corrupt: SkipCorruptOption = False
    print_after: Annotated[str | None, typer.Option(help="Print what a compiler stage returns, or all.")] = None
    target_options: TargetOptions
    options: ModelOptions


@app.command()
@takes(Export)
def export(asked: Export) -> None:
    """Compile a model and write it for a target."""
    from snn2hw.cli.commands.export import export as work

    work(asked)


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """What `simulate` is asked."""

    model: Annotated[str, typer.Argument(help="A bundle, or a model.", metavar="BUNDLE_OR_MODEL")]
    data: DataOption
    engine: Annotated[
        str,
        typer.Option(
            help="fast, cycle (the definition, slow) or lava; for a .nir file also norse, snntorch, spikingjelly, "
            "sinabs, reference."
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


@app.command()
@takes(Simulate)
def simulate(asked: Simulate) -> None:
    """Run a bundle or model on data."""
    from snn2hw.cli.commands.simulate import simulate as work

    work(asked)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """What `verify` is asked."""

    bundle: Annotated[Path, typer.Argument(help="A bundle of export --target lava.")]
    data: DataOption
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None
    samples: SamplesOption = None
    model: Annotated[str | None, typer.Option(help="The model, if it is no longer where it was.")] = None
    weights: WeightsOption = None
    trust_pickle: TrustOption = False
    skip_corrupt: SkipCorruptOption = False
    saturate: SaturateOption = False
    run_options: RunOptions


@app.command()
@takes(Verify)
def verify(asked: Verify) -> None:
    """Prove that PyTorch, the program and Lava agree spike for spike. Exits with 1 if they differ, with 3 if a
    required comparison could not run.
    """
    from snn2hw.cli.commands.verify import verify as work

    verdict = work(asked)
    if verdict != "exact":
        raise typer.Exit(1 if verdict == "diverged" else INCOMPLETE)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """What `compare` is asked."""

    a: Annotated[str, typer.Argument(help="A model, .nir file, bundle or spikes.npz, or one of them as NAME@ENGINE.")]
    b: Annotated[str, typer.Argument(help="The same. Engines: torch, cycle, lava; for .nir those of simulate.")]
    data: DataOption
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None
    samples: SamplesOption = None
    skip_corrupt: SkipCorruptOption = False
    calibrate: Annotated[str | None, typer.Option(help="For MODEL@cycle: data that sets the ranges.")] = None
    options: ModelOptions


@app.command()
@takes(Compare)
def compare(asked: Compare) -> None:
    """Run two of anything on the same samples and compare every layer. Exits with 1 if they differ."""
    from snn2hw.cli.commands.compare import compare as work

    if not work(asked):
        raise typer.Exit(1)
