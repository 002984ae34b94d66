"""What all commands hang on, and the options that several of them take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

app = typer.Typer(
    name="snn2hw",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take a trained spiking residual network to neuromorphic hardware, and prove that nothing changed on the way.",
)

DEFAULT_TARGET = "lava"

ModelArgument = Annotated[
    str, typer.Argument(help="A checkpoint (.pt, .pth), a .nir file, package.module:factory, or file.py:factory.")
]
DataOption = Annotated[str, typer.Option(help="An .npz with x (and y), or a set: digits, moving-digits, NAME:FOLDER.")]
SamplesOption = Annotated[int | None, typer.Option(help="Take the first samples only.")]
SkipCorruptOption = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out the files of a data set's folder that cannot be read.")
]
SaturateOption = Annotated[
    bool, typer.Option("--saturate", help="Clip values outside the range seen in calibration, as a chip does.")
]


@dataclass(kw_only=True)
class Invocation:
    """One call of the command line: as it was written, and whether errors show their traceback."""

    command: str
    debug: bool = False


@app.callback()
def _options(
    context: typer.Context, debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False
) -> None:
    context.obj.debug = debug
