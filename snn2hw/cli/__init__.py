"""The command line: parse, call, print. docs of each command: snn2hw COMMAND --help.

Each command imports its work when it is called: torch is slow to import, and --help does without.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import typer

from snn2hw.cli import console
from snn2hw.cli.app import Invocation, app, invocation_of
from snn2hw.cli.asked import COMMANDS
from snn2hw.cli.command import Command, options_of
from snn2hw.cli.configured import configured
from snn2hw.cli.in_help import GROUP_AND_EXAMPLE
from snn2hw.cli.signals import Asked, ending_in_order
from snn2hw.errors import Snn2hwError, missing_package
from snn2hw.scratch import remove_leftovers

INTERRUPTED = 130  # the exit code that shells give a command ended by Ctrl-C

for arguments in COMMANDS:
    group, example = GROUP_AND_EXAMPLE[arguments]
    app.command(rich_help_panel=group, epilog=f"Example: {example}")(Command(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0 done, 1 a check failed, 2 the command or its input is at fault."""
    invocation, words = invocation_of(sys.argv[1:] if arguments is None else arguments)
    console.set_volume(less=invocation.quiet, more=invocation.verbose)
    with ending_in_order() as asked:
        return _run(invocation, words, asked)


def _run(invocation: Invocation, words: list[str], asked: Asked) -> int:
    try:
        remove_leftovers(Path(tempfile.gettempdir()))
        defaults = configured({Command(each).__name__: options_of(each) for each in COMMANDS})
        code: Any = app(words, prog_name="snn2hw", standalone_mode=False, obj=invocation, default_map=defaults)
        if code == INTERRUPTED:  # typer ends a command so on Ctrl-C, without a word
            return _interrupted(asked)
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return _interrupted(asked)
    except KeyboardInterrupt:
        return _interrupted(asked)
    except MemoryError as error:
        return _failed(invocation, error, f"there is not enough memory for this ({str(error) or 'out of memory'}).")
    except Snn2hwError as error:
        return _failed(invocation, error, str(error))
    except Exception as error:
        show = getattr(error, "show", None)  # click's complaints about the command line know how to show themselves
        if callable(show):
            show()
            return 2
        if isinstance(error, ModuleNotFoundError) and (missing := missing_package(error)):
            return _failed(invocation, error, str(missing))
        if isinstance(error, OSError):
            file = error.filename2 or error.filename  # of a rename the place, not what was put beside it
            return _failed(invocation, error, f"{file or 'a file'}: {error.strerror or error}.")
        return _failed(
            invocation,
            error,
            f"something went wrong inside snn2hw ({type(error).__name__}: {error}). Run it again as `snn2hw --debug "
            "...` and report the traceback.",
        )


def _failed(invocation: Invocation, error: BaseException, message: str) -> int:
    if invocation.debug:
        traceback.print_exception(error)
    console.fail(message)
    return 2


def _interrupted(asked: Asked) -> int:
    console.fail("interrupted." if asked.exit_code == INTERRUPTED else f"ended by {asked.number.name}.")
    return asked.exit_code


def run() -> None:
    """Entry point of the `snn2hw` script."""
    sys.exit(main())
