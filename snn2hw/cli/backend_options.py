"""The options of back ends on the command line: derived from the dataclasses that the installed ones name."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Self, get_type_hints

import typer

from snn2hw.errors import OptionError
from snn2hw.exporters import Backend, installed_backends


@dataclass(frozen=True)
class BackendOptions:
    """The options of some dataclasses of back ends, and the values that were given for them.

    classes: by the back end's name. names: of each back end and field the option that stands for it. values: by option.
    """

    member: ClassVar[str]
    """The back ends' attribute that names the dataclass."""

    classes: Mapping[str, type[Any]]
    names: Mapping[tuple[str, str], str]
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def installed(cls, taken: Collection[str]) -> Self:
        """Those of the installed back ends. `taken` are names of the command's other options.

        Back ends whose fields have the same name, type and default share the option. Where only the name is the same,
        or it is taken, the option of the back end that comes later is --BACKEND-FIELD.
        """
        classes = {
            name: getattr(backend, cls.member)
            for name, backend in installed_backends().items()
            if hasattr(backend, cls.member)
        }
        names: dict[tuple[str, str], str] = {}
        kinds: dict[str, object] = dict.fromkeys(taken)
        for backend, options in classes.items():
            hints = get_type_hints(options)
            for each in fields(options):
                kind = (hints[each.name], each.default)
                name = each.name if kinds.get(each.name, kind) == kind else f"{backend}_{each.name}"
                names[backend, each.name], kinds[name] = name, kind
        return cls(classes, names)

    def parameters(self) -> list[inspect.Parameter]:
        """The options as typer reads them, each once."""
        parameters: dict[str, inspect.Parameter] = {}
        for backend, options in self.classes.items():
            hints = get_type_hints(options)
            for each in fields(options):
                name = self.names[backend, each.name]
                parameters.setdefault(name, _parameter(name, each, hints[each.name]))
        return list(parameters.values())

    def given(self, **values: Any) -> Self:
        """The same with the values that the command line gives."""
        return type(self)(self.classes, self.names, values)

    def of(self, backend: Backend) -> Any:
        """A back end's options. Raises OptionError as its dataclass does, for values that are out of range."""
        options = self.classes[backend.name]
        return options(**{each.name: self.values[self.names[backend.name, each.name]] for each in fields(options)})

    def unused(self, used: Collection[str]) -> list[tuple[str, Field[Any], list[str]]]:
        """The options that were given and that no back end in `used` has: each with its field and its back ends."""
        taken = {name for (backend, _), name in self.names.items() if backend in used}
        unused: dict[str, tuple[str, Field[Any], list[str]]] = {}
        for backend, options in self.classes.items():
            for each in fields(options):
                name = self.names[backend, each.name]
                if name not in taken and self.values[name] != each.default:
                    unused.setdefault(name, (_flag(name), each, []))[2].append(backend)
        return list(unused.values())


class TargetOptions(BackendOptions):
    """How back ends write."""

    member = "options"

    def refuse_unused(self, targets: Collection[str]) -> None:
        """Raise OptionError for an option that none of these targets takes."""
        for flag, _, _ in self.unused(targets):
            raise OptionError(f"{flag} is not for --target {', '.join(targets)}. Leave it out.")


class RunOptions(BackendOptions):
    """How runnable back ends run."""

    member = "run_options"

    def check(self) -> None:
        """Raise OptionError for values out of range, whichever back end will run."""
        for backend in installed_backends().values():
            if backend.name in self.classes:
                self.of(backend)

    def refuse_unused(self, engines: Collection[str]) -> None:
        """Raise OptionError for an option that says that it must not be left unused, and is, where these run."""
        for flag, each, backends in self.unused(engines):
            if each.metadata["refused_unused"]:
                raise OptionError(
                    f"{flag}: {' and '.join(engines)} cannot use it. Add --engine {' or '.join(backends)}."
                )


def _parameter(name: str, each: Field[Any], hint: Any) -> inspect.Parameter:
    about = each.metadata
    flags = (_flag(name),) if hint is bool else ()  # without --no-NAME
    option = typer.Option(*flags, help=about["help"], metavar=about["metavar"], show_default=about["show_default"])
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[hint, option], default=each.default
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
