"""The command line: parse, call, print. docs of each command: snn2hw COMMAND --help.

Each command imports its work when it is called: torch is slow to import, and --help does without.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from snn2hw import console
from snn2hw.errors import Snn2hwError
from snn2hw.model_options import ModelOptions, TrustOption, WeightsOption, takes_model_options

app = typer.Typer(
    name="snn2hw",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take a trained spiking residual network to neuromorphic hardware, and prove that nothing changed on the way.",
)

INTERRUPTED = 130  # the exit code that shells give a command ended by Ctrl-C

ModelArgument = Annotated[str, typer.Argument(help="A checkpoint (.pt, .pth), a .nir file, or package.module:factory.")]
DataOption = Annotated[str, typer.Option(help="An .npz with x (and y), or a set: digits, moving-digits, NAME:FOLDER.")]
SamplesOption = Annotated[int | None, typer.Option(help="Take the first samples only.")]
SkipCorruptOption = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out the files of a data set's folder that cannot be read.")
]
SaturateOption = Annotated[
    bool, typer.Option("--saturate", help="Clip values outside the range seen in calibration, as a chip does.")
]
ProcessesOption = Annotated[
    str,
    typer.Option(help="Lava processes: fused; structural (one for each node, slow); stock (Lava's own alone, slower)."),
]
StockOption = Annotated[bool, typer.Option("--stock-only", help="The same as --processes stock.")]
LavaProcessesOption = Annotated[
    int | None,
    typer.Option(help="At most so many fused Lava processes, 2 to 300. Default: 2 a core, and the source."),
]
OwnModelsOption = Annotated[
    Path | None, typer.Option(metavar="FILE.py", help="Process models of your own in place of snn2hw's: docs/lava.md.")
]
DeadlineOption = Annotated[float | None, typer.Option(help="Seconds that a run in Lava may take.")]


@app.callback()
def _options(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    if debug:
        os.environ["SNN2HW_DEBUG"] = "1"


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
    from snn2hw.commands.export import export as work

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
    from snn2hw.commands.simulate import simulate as work

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
    """Prove that PyTorch, the program and Lava agree spike for spike. Exits with 1 if they do not."""
    from snn2hw.commands.verify import verify as work

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
        raise typer.Exit(1)


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
    from snn2hw.commands.compare import compare as work

    if not work(a, b, data, json_file, calibrate, options, samples, skip_corrupt=skip_corrupt):
        raise typer.Exit(1)


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
    from snn2hw.commands.check import check as work

    if work(model, target, json_file, options):
        raise typer.Exit(1)


@app.command()
@takes_model_options
def inspect(
    model: Annotated[str, typer.Argument(help="A model or a bundle.", metavar="MODEL_OR_BUNDLE")],
    target: Annotated[
        str, typer.Option("--target", "--chip", help="The chip whose cores are counted: loihi1 or loihi2.")
    ] = "loihi2",
    cores: Annotated[
        bool, typer.Option("--cores", help="Also what each layer takes of the chip's cores, and which limit binds.")
    ] = False,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Of a bundle, also what the fast simulator computes each layer with.")
    ] = False,
    *,
    options: ModelOptions,
) -> None:
    """Show layers, shapes, parameters, latency and cores."""
    from snn2hw.commands.inspect import inspect as work

    work(model, options, target, cores=cores, kernels=kernels)


@app.command()
@takes_model_options
def analyse(
    model: Annotated[str | None, typer.Argument(help="A model whose layers are to be shown too.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Samples. Default: the test set of what the model was trained on.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the figures here, as HTML.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")] = None,
    samples: SamplesOption = None,
    skip_corrupt: SkipCorruptOption = False,
    *,
    options: ModelOptions,
) -> None:
    """Show when blocks are the identity, gradients through depth and, of a model, how often its layers fire."""
    from snn2hw.commands.analyse import analyse as work

    work(model, data, output, json_file, options, samples=samples, skip_corrupt=skip_corrupt)


@app.command()
@takes_model_options
def sweep(
    model: ModelArgument,
    bits: Annotated[str, typer.Option(help="Bits of the weights to try: numbers and ranges of 2 to 8.")] = "3-8",
    calibration: Annotated[
        str, typer.Option(help="Methods to try: all, or some of max,percentile,mse,balanced.")
    ] = "all",
    data: Annotated[
        str | None, typer.Option(help="Labelled samples. Default: the test set of what the model was trained on.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plot here, as HTML.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    calibrate: Annotated[str | None, typer.Option(help="Data that sets the ranges: an .npz or a set.")] = None,
    input_bits: Annotated[int, typer.Option(help="Bits of the graded input, 2 to 8.")] = 8,
    samples: SamplesOption = None,
    device: Annotated[str, typer.Option(help="Where the programs run: cpu or cuda.")] = "cpu",
    skip_corrupt: SkipCorruptOption = False,
    saturate: SaturateOption = False,
    *,
    options: ModelOptions,
) -> None:
    """Show what accuracy is left at every number of weight bits, by each way of choosing the weights' scales."""
    from snn2hw.commands.sweep import sweep as work

    work(
        model,
        data,
        output,
        json_file,
        calibrate,
        options,
        bits=bits,
        calibrations=calibration,
        input_bits=input_bits,
        samples=samples,
        device=device,
        saturate=saturate,
        skip_corrupt=skip_corrupt,
    )


@app.command()
@takes_model_options
def report(
    context: typer.Context,
    given: Annotated[str | None, typer.Argument(help="A bundle, or a model.", metavar="BUNDLE_OR_MODEL")] = None,
    data: Annotated[
        str | None, typer.Option(help="An .npz with x (and y), or a set: digits, moving-digits, NAME:FOLDER.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder that gets report.html and report.json.")
    ] = None,
    samples: SamplesOption = None,
    verify_file: Annotated[
        Path | None, typer.Option("--verify", help="What verify --json wrote for the same bundle and data.")
    ] = None,
    profile: Annotated[list[str] | None, typer.Option(help="A price profile; all of them unless named.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Prices of your own: a TOML file as docs/report.md says.")] = None,
    raster: Annotated[list[int] | None, typer.Option(help="A sample whose spikes are kept one by one; 0.")] = None,
    model: Annotated[str | None, typer.Option(help="A bundle's model, if it is no longer where it was.")] = None,
    calibrate: Annotated[str | None, typer.Option(help="For a model: data that sets the ranges.")] = None,
    skip_corrupt: SkipCorruptOption = False,
    saturate: SaturateOption = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Two reports side by side instead; with -o also as a page."),
    ] = None,
    *,
    options: ModelOptions,
) -> None:
    """Count spikes and operations, price them, and write a page for people and a file for scripts."""
    from snn2hw.commands.report import report as work

    work(
        given,
        data,
        output,
        options,
        samples=samples,
        model=model,
        verify=verify_file,
        profiles=profile or [],
        prices=prices,
        rasters=raster or [0],
        calibrate=calibrate,
        skip_corrupt=skip_corrupt,
        saturate=saturate,
        compare=compare,
        command=context.obj,
    )


@app.command()
def doctor() -> None:
    """Show what is installed, what is missing, and how to get it. Exits with 1 if something is missing."""
    from snn2hw.commands.doctor import doctor as work

    if not work():
        raise typer.Exit(1)


@app.command()
def train(
    data: Annotated[str, typer.Argument(help="digits, moving-digits, NAME:FOLDER, or an .npz with x and y.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the checkpoint.")],
    test: Annotated[str | None, typer.Option(help="What to measure on. Default: the test split of DATA.")] = None,
    net: Annotated[
        str | None, typer.Option(help="digits, little-7b, 7b, wide-7b, resnet18 to resnet152, ... Default: by DATA.")
    ] = None,
    connect: Annotated[
        str | None, typer.Option(help="ADD, AND, IAND, plain, or spiking for the Spiking ResNet.")
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(help="Of the net digits: share of the membrane kept each step; 1, the default, is IF."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Hyper-parameters, by the name of a set. Default: by DATA.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="plain, or trt for temporal reversed training.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a batch, of all processes together.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    timesteps: Annotated[int | None, typer.Option(help="Time steps a sample.")] = None,
    trained_timesteps: Annotated[
        int | None, typer.Option(help="Steps that training sees, drawn for each batch: random temporal delete.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0,
    start: Annotated[Path | None, typer.Option(help="With --qat: the checkpoint to fine-tune.")] = None,
    qat: Annotated[
        int | None, typer.Option(help="Fine-tune for weights of so many bits, quantised in every step.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="With --qat: how export will choose the weights' scales. Default: max.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training of OUTPUT that was cut.")] = False,
    log: Annotated[Path | None, typer.Option(help="Write a .csv with a row an epoch.")] = None,
    skip_corrupt: SkipCorruptOption = False,
    device: Annotated[str, typer.Option(help="cpu or cuda. Several processes: torchrun -m snn2hw train ...")] = "cpu",
) -> None:
    """Train a network of the papers' family, or fine-tune one for few bits."""
    from snn2hw.commands.train import train as work

    work(
        data,
        output,
        test=test,
        net=net,
        connect=connect,
        beta=beta,
        recipe=recipe,
        method=method,
        changes={
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "timesteps": timesteps,
            "trained_timesteps": trained_timesteps,
        },
        seed=seed,
        start=start,
        qat=qat,
        calibration=calibration,
        resume=resume,
        log=log,
        device=device,
        skip_corrupt=skip_corrupt,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0 done, 1 a check failed, 2 the command or its input is at fault."""
    os.environ.pop("SNN2HW_DEBUG", None)
    try:
        words = sys.argv[1:] if arguments is None else arguments
        code: Any = app(words, prog_name="snn2hw", standalone_mode=False, obj=shlex.join(["snn2hw", *words]))
        if code == INTERRUPTED:  # typer ends a command so on Ctrl-C, without a word
            return _interrupted()
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except Snn2hwError as error:
        return _failed(error, str(error))
    except Exception as error:
        show = getattr(error, "show", None)  # click's own complaints about the command line know how to show themselves
        if callable(show):
            show()
            return 2
        if isinstance(error, OSError):
            file = error.filename2 or error.filename  # of a rename the place, not what was put beside it
            return _failed(error, f"{file or 'a file'}: {error.strerror or error}.")
        return _failed(
            error,
            f"something went wrong inside snn2hw ({type(error).__name__}: {error}). Run it again as `snn2hw --debug "
            "...` and report the traceback.",
        )


def _failed(error: BaseException, message: str) -> int:
    if os.environ.get("SNN2HW_DEBUG"):
        traceback.print_exception(error)
    console.fail(message)
    return 2


def _interrupted() -> int:
    console.fail("interrupted.")
    return INTERRUPTED


def run() -> None:
    """Entry point of the `snn2hw` script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
