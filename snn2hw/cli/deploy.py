"""Commands that bring a model to a target and prove that it is the same: from check to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snn2hw.cli.app import (
    DataOption,
    DeadlineOption,
    LavaProcessesOption,
    ModelArgument,
    OwnModelsOption,
    ProcessesOption,
    SamplesOption,
    SaturateOption,
    SkipCorruptOption,
    StockOption,
    app,
)
from snn2hw.cli.model_options import TrustOption, WeightsOption, takes_model_options
from snn2hw.frontends.options import ModelOptions

INCOMPLETE = 3  # the exit code of a verification of which a required comparison could not run


@app.command()
@takes_model_options
def check(
    model: ModelArgument,
    target: Annotated[str, typer.Option(help="The target to check against.")] = "lava",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    *,
    options: ModelOptions,
) -> None:
    """List everything that stops a model from being deployed. Exits with 1 if anything does."""
    from snn2hw.cli.commands.check import check as work

    if work(model, target, json_file, options):
        raise typer.Exit(1)


@app.command()
@takes_model_options
def export(
    model: ModelArgument,
    target: Annotated[str, typer.Option(help="lava (a bundle), nir (a file), or any installed exporter.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it.")] = None,
    calibrate: Annotated[str | None, typer.Option(help="Data that sets the ranges: an .npz or a set.")] = None,
    weight_bits: Annotated[int, typer.Option(help="Bits of a weight, 2 to 8.")] = 8,
    input_bits: Annotated[int, typer.Option(help="Bits of the graded input, 2 to 8.")] = 8,
    calibration: Annotated[
        str, typer.Option(help="How the weights' scales are chosen: max, percentile, mse or balanced.")
    ] = "max",
    skip_corrupt: SkipCorruptOption = False,
    print_after: Annotated[str | None, typer.Option(help="Print what a compiler stage returns, or all.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="For nir: plain, portable (SpikingJelly, norse, snnTorch) or legacy (nir 1.0.4).")
    ] = None,
    quantised: Annotated[bool, typer.Option("--quantised", help="For nir: the integers that are deployed.")] = False,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="For nir: write what NIR has no word for into the metadata.")
    ] = False,
    *,
    options: ModelOptions,
) -> None:
    """Compile a model and write it for a target."""
    from snn2hw.cli.commands.export import export as work

    own = {"profile": profile, "quantised": quantised, "allow_lossy": allow_lossy}
    work(
        model,
        target,
        output,
        calibrate,
        options,
        weight_bits=weight_bits,
        input_bits=input_bits,
        method=calibration,
        print_after=print_after,
        skip_corrupt=skip_corrupt,
        own={name: value for name, value in own.items() if value},
    )


@app.command()
@takes_model_options
def simulate(
    model: Annotated[str, typer.Argument(help="A bundle, or a model.", metavar="BUNDLE_OR_MODEL")],
    data: DataOption,
    engine: Annotated[
        str,
        typer.Option(
            help="fast, cycle (the definition, slow) or lava; for a .nir file also norse, snntorch, spikingjelly, "
            "sinabs, reference."
        ),
    ] = "fast",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write spikes.npz here.")] = None,
    samples: SamplesOption = None,
    device: Annotated[str, typer.Option(help="Where the fast engine runs: cpu or cuda.")] = "cpu",
    jobs: Annotated[int, typer.Option(help="Processes that share the samples, for small nets.")] = 1,
    skip_corrupt: SkipCorruptOption = False,
    saturate: SaturateOption = False,
    processes: ProcessesOption = "fused",
    stock_only: StockOption = False,
    lava_processes: LavaProcessesOption = None,
    models: OwnModelsOption = None,
    deadline: DeadlineOption = None,
    calibrate: Annotated[str | None, typer.Option(help="For a model: data that sets the ranges.")] = None,
    *,
    options: ModelOptions,
) -> None:
    """Run a bundle or model on data."""
    from snn2hw.cli.commands.simulate import simulate as work

    work(
        model,
        data,
        engine,
        output,
        calibrate,
        options,
        samples=samples,
        device=device,
        jobs=jobs,
        skip_corrupt=skip_corrupt,
        saturate=saturate,
        processes="stock" if stock_only else processes,
        lava_processes=lava_processes,
        models=models,
        deadline=deadline,
    )


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle of export --target lava.")],
    data: DataOption,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    samples: SamplesOption = None,
    model: Annotated[str | None, typer.Option(help="The model, if it is no longer where it was.")] = None,
    weights: WeightsOption = None,
    trust_pickle: TrustOption = False,
    skip_corrupt: SkipCorruptOption = False,
    saturate: SaturateOption = False,
    processes: ProcessesOption = "fused",
    stock_only: StockOption = False,
    lava_processes: LavaProcessesOption = None,
    models: OwnModelsOption = None,
    deadline: DeadlineOption = None,
) -> None:
    """Prove that PyTorch, the program and Lava agree spike for spike. Exits with 1 if they differ, with 3 if a
    required comparison could not run.
    """
    from snn2hw.cli.commands.verify import verify as work

    verdict = work(
        bundle,
        data,
        json_file,
        samples=samples,
        model=model,
        weights=weights,
        trust_pickle=trust_pickle,
        skip_corrupt=skip_corrupt,
        saturate=saturate,
        processes="stock" if stock_only else processes,
        lava_processes=lava_processes,
        models=models,
        deadline=deadline,
    )
    if verdict != "exact":
        raise typer.Exit(1 if verdict == "diverged" else INCOMPLETE)


@app.command()
@takes_model_options
def compare(
    a: Annotated[str, typer.Argument(help="A model, .nir file, bundle or spikes.npz, or one of them as NAME@ENGINE.")],
    b: Annotated[str, typer.Argument(help="The same. Engines: torch, cycle, lava; for .nir those of simulate.")],
    data: DataOption,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    samples: SamplesOption = None,
    skip_corrupt: SkipCorruptOption = False,
    calibrate: Annotated[str | None, typer.Option(help="For MODEL@cycle: data that sets the ranges.")] = None,
    *,
    options: ModelOptions,
) -> None:
    """Run two of anything on the same samples and compare every layer. Exits with 1 if they differ."""
    from snn2hw.cli.commands.compare import compare as work

    if not work(a, b, data, json_file, calibrate, options, samples, skip_corrupt=skip_corrupt):
        raise typer.Exit(1)
