"""What all commands hang on, and the options that several of them take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="snn2hw",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take a trained spiking residual network to neuromorphic hardware, and prove that nothing changed on the way.",
)

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
