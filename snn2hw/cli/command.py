"""A command's arguments as one dataclass: the command line is derived from its fields, and the work is handed it whole.

A field's annotation says what typer needs to know; it is evaluated at the call, so that help texts name the back ends
that are installed then. Three types of fields stand for several options each: `ModelOptions` for those of a model,
`TargetOptions` and `RunOptions` for those of the back ends.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from operator import itemgetter
from typing import Any, get_type_hints

from typer.models import OptionInfo

from snn2hw.cli.backend_options import BackendOptions
from snn2hw.cli.model_options import model_options
from snn2hw.frontends.options import ModelOptions

WORK = "snn2hw.cli.commands"

Make = Callable[[Mapping[str, Any]], Any]


class Command:
    """What typer takes for a function with a parameter for each option; its work is imported when it is called."""

    def __init__(self, arguments: type[Any]) -> None:
        self.__name__, self.__doc__ = arguments.__name__.lower(), arguments.__doc__
        self.__annotations__: dict[str, Any] = {}
        self._arguments = arguments

    @property
    def work(self) -> Callable[[Any], int | None]:
        """What does it: takes the dataclass, and gives the exit code where it is not always 0."""
        work: Callable[[Any], int | None] = getattr(import_module(f"{WORK}.{self.__name__}"), self.__name__)
        return work

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.Signature([each for parameters, _ in groups_of(self._arguments).values() for each in parameters])

    def __call__(self, **values: Any) -> int | None:
        groups = groups_of(self._arguments)
        return self.work(self._arguments(**{name: make(values) for name, (_, make) in groups.items()}))


def groups_of(arguments: Any) -> dict[str, tuple[list[inspect.Parameter], Make]]:
    """Of each field of a dataclass the parameters that stand for it, and what makes its value of all values."""
    hints = get_type_hints(arguments, include_extras=True)
    of_a_model = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(model_options, eval_str=True).parameters.values()
    ]
    taken = {*hints, *(parameter.name for parameter in of_a_model)}
    groups: dict[str, tuple[list[inspect.Parameter], Make]] = {}
    for each in fields(arguments):
        hint = hints[each.name]
        if hint is ModelOptions:
            groups[each.name] = of_a_model, _some(of_a_model, model_options)
        elif isinstance(hint, type) and issubclass(hint, BackendOptions):
            options = hint.installed(taken)
            parameters = options.parameters()
            groups[each.name] = parameters, _some(parameters, options.given)
        else:
            default = inspect.Parameter.empty if each.default is MISSING else each.default
            alone = inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)
            groups[each.name] = [alone], itemgetter(each.name)
    return groups


def options_of(arguments: type[Any]) -> set[str]:
    """The names of a command's options, as a file may set them; its arguments are not among them."""
    return {
        each.name
        for parameters, _ in groups_of(arguments).values()
        for each in parameters
        if any(isinstance(about, OptionInfo) for about in getattr(each.annotation, "__metadata__", ()))
    }


def _some(parameters: Sequence[inspect.Parameter], make: Callable[..., Any]) -> Make:
    """What hands the values of some parameters to a function."""
    return lambda values: make(**{parameter.name: values[parameter.name] for parameter in parameters})
