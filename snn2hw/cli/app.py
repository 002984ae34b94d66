"""What all commands hang on, and the options that several of them take."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from snn2hw.files import VERSION

app = typer.Typer(
    name="snn2hw",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Take a trained spiking network to neuromorphic hardware, and prove that its integers are computed exactly.",
)

DEFAULT_TARGET = "lava"

ModelArgument = Annotated[
    str, typer.Argument(help="A checkpoint (.pt, .pth), a .nir file, package.module:factory, or file.py:factory.")
]
DataOption = Annotated[str, typer.Option(help="An .npz with x (and y), or a set: digits, moving-digits, NAME:FOLDER.")]
SamplesOption = Annotated[int | None, typer.Option(help="Take the first samples only.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result here; - is stdout, alone.")
]
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
    quiet: bool = False
    verbose: bool = False


ANYWHERE = {"--debug": "debug", "-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}


def invocation_of(words: list[str]) -> tuple[Invocation, list[str]]:
    """A command line as it was written, and its words without the options that may stand anywhere."""
    invocation = Invocation(command=shlex.join(["snn2hw", *words]))
    for word in words:
        if word in ANYWHERE:
            setattr(invocation, ANYWHERE[word], True)
    return invocation, [word for word in words if word not in ANYWHERE]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"snn2hw {VERSION}")
        raise typer.Exit


@app.callback(
    epilog="Example: snn2hw check net.pt. Options of a project: [tool.snn2hw] in pyproject.toml, or snn2hw.toml."
)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. Anywhere in a line.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors alone. Anywhere in a line.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Also in pipes, say what takes long. Anywhere in a line.")
    ] = False,
) -> None:
    """What `invocation_of` has taken out of the line before, shown here for --help."""
