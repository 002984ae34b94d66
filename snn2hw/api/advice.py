"""What an error advises, in words of Python: messages name the command line's options, here they become arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from snn2hw.errors import QuantisationError, Snn2hwError, UnsupportedError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

SWITCHES = (
    "trust-pickle",
    "saturate",
    "skip-corrupt",
    "force",
    "allow-lossy",
    "quantised",
    "stock-only",
    "takes-payloads",
    "layer-spikes",
)
VALUES = (
    *("arch", "connect", "iand-order", "neuron", "weights", "input-shape", "timesteps", "time", "dt", "chip"),
    *("weight-bits", "input-bits", "target", "engine", "without", "device", "jobs", "processes", "lava-processes"),
    *("models", "deadline", "profile", "prices", "raster", "samples", "verify", "threads"),
)
OTHER_NAMES = {"calibrate": "samples", "data": "samples", "calibration": "method", "samples": "count", "model": "net"}
OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?:[ =]([A-Z][A-Z,]*\b(?:\.npz)?|[\d][\w.,]*|[A-Za-z_]\w*(?=[.,;:]|$)))?")


def in_arguments(text: str) -> str:
    """A message with the command line's options as the arguments of Python: `--weight-bits 4` is `weight_bits=4`."""
    return OPTION.sub(_argument, text)


def _argument(found: re.Match[str]) -> str:
    option, value = found.groups()
    if option in SWITCHES:
        return f"{option.replace('-', '_')}=True" + (f" {value}" if value else "")
    if option not in VALUES and option not in OTHER_NAMES:
        return found.group()
    name = OTHER_NAMES.get(option, option.replace("-", "_"))
    if value is None:
        return name
    return f"{name}=({value})" if option == "input-shape" else f"{name}={value}"


def advised_in_python(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, whose errors speak of arguments."""

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except (UnsupportedError, QuantisationError) as error:
            for blocker in error.blockers:
                blocker.problem, blocker.advice = in_arguments(blocker.problem), in_arguments(blocker.advice)
            error.args = tuple(in_arguments(str(part)) for part in error.args)
            raise
        except Snn2hwError as error:
            error.args = tuple(in_arguments(str(part)) for part in error.args)
            raise

    return call
