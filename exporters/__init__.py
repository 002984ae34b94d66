"""Back ends: what a compiled model is written for, and who else runs it.

A back end is one object in a package of its own, in this repository or in any installed one. An entry point of the
group `snn2hw.exporters` names it, and nothing outside its package does: export, check, simulate, verify, compare,
inspect and doctor look for it here. CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from snn2hw.data.aliases import Note, Progress
from snn2hw.errors import Blocker, OptionError, did_you_mean

if TYPE_CHECKING:  # numpy and nir are slow to import, and a command's --help does without
    from snn2hw import ir
    from snn2hw.data.samples import Samples
    from snn2hw.deployment import Deployment

GROUP = "snn2hw.exporters"
OF_THIS_PROJECT = "snn2hw."


class Backend(Protocol):
    """What writes a deployment.

    `options` and, of a runnable one, `run_options` are frozen dataclasses whose fields are made by `option`: the
    command line has an option for each field. What is slow to import is imported in the methods, for every command
    loads the installed back ends to know their options.
    """

    @property
    def name(self) -> str:
        """What --target and --engine call it; the entry point has the same name."""

    @property
    def suffix(self) -> str:
        """The ending of what `export` writes for this target alone, with its dot."""

    @property
    def bundled(self) -> bool:
        """Whether what it writes needs a bundle around it, so that one is written for this target alone too."""

    @property
    def options(self) -> type[Any]:
        """The dataclass of the options of `write`."""

    def blockers(self, deployment: Deployment, options: Any, /) -> Sequence[Blocker]:
        """Everything that keeps this deployment from being written. Who calls `write` has asked before."""

    def check_place(self, place: Path, /) -> None:
        """Raise OptionError if what stands at `place` must not be replaced: known before the work begins."""

    def write(self, deployment: Deployment, place: Path, options: Any, /) -> Sequence[str]:
        """Write a file or a folder at `place`, complete or not at all. Returns lines that are told to people."""

    def readme(self, deployment: Deployment, place: Path, /) -> str:
        """What the README.md of a bundle says of it, as Markdown under a title; `place` is relative to the bundle."""


class Runnable(Backend, Protocol):
    """A back end that runs what it writes: `simulate` and `compare` take it as an engine, and `verify` requires it to
    be exact. It shares no arithmetic with snn2hw's engines, for it is a witness beside them.
    """

    @property
    def run_options(self) -> type[Any]:
        """The dataclass of the options of `run`."""

    def parts(self) -> Sequence[Part]:
        """What it needs on this machine, for `doctor`. Installs and changes nothing."""

    def prepare(self, tell: Note, /) -> None:
        """Get ready to run, before the work begins: make its environment, or raise an error that says what is missing.

        `tell` is told in words what takes long.
        """

    def run(self, artefact: Path, samples: Samples, options: Any, progress: Progress, /) -> ir.Spikes:
        """Run the bundle's program on samples: logits int [N,K] and the recorded layers' spikes int [N,T,*shape].

        `artefact` is what `write` wrote, inside its bundle. `progress` is told how much is done and of how much.
        """


@dataclass(frozen=True, kw_only=True)
class Part:
    """A row of `doctor`: a part that a back end needs, what there is of it (None: it is missing), what to do."""

    name: str
    present: str | None
    advice: str = ""


def option(
    default: Any, text: str, *, metavar: str | None = None, show_default: bool = True, refused_unused: bool = False
) -> Any:
    """A field of an options dataclass: its default, and what --help says of it.

    refused_unused: a command that does not run the back end refuses the option instead of leaving it unused.
    """
    about = {"help": text, "metavar": metavar, "show_default": show_default, "refused_unused": refused_unused}
    return field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a back end that has none."""


def find_backend(name: str) -> Backend:
    """The back end of this name, loaded now.

    Raises OptionError if there is none, if two packages claim the name, or if it is not what a back end must be.
    """
    entries = _entries()
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none: install the package with pip install -e ."
        raise OptionError(f"there is no exporter for {name!r}. Installed are {known}.{did_you_mean(name, entries)}")
    return _load(name, entries[name])


def find_runnable(name: str) -> Runnable:
    """The runnable back end of this name. Raises OptionError as `find_backend` does, and if it does not run."""
    backend = find_backend(name)
    if not is_runnable(backend):
        raise OptionError(f"{name} writes files and runs nothing. Runnable are {', '.join(runnable_backends())}.")
    return backend


def installed_backends() -> dict[str, Backend]:
    """Every back end that can be loaded, by name, this project's first. What cannot be is told when it is named."""
    backends = {}
    for name, entries in _entries().items():
        try:
            backends[name] = _load(name, entries)
        except OptionError:
            continue
    return backends


def runnable_backends() -> dict[str, Runnable]:
    """Every runnable back end that can be loaded, by name."""
    return {name: backend for name, backend in installed_backends().items() if is_runnable(backend)}


def is_runnable(backend: Backend) -> TypeGuard[Runnable]:
    """Whether a back end runs what it writes."""
    return hasattr(backend, "run")


def _entries() -> dict[str, list[EntryPoint]]:
    """The entry points of each name, once each, this project's first."""
    entries: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (not e.value.startswith(OF_THIS_PROJECT), e.name)):
        if entry.value not in {other.value for other in entries.setdefault(entry.name, [])}:
            entries[entry.name].append(entry)
    return entries


def _load(name: str, entries: Sequence[EntryPoint]) -> Backend:
    if len(entries) > 1:
        values = " and ".join(sorted(entry.value for entry in entries))
        raise OptionError(f"two exporters are named {name!r}: {values}. Uninstall one of the packages.")
    (entry,) = entries
    try:
        backend: Backend = entry.load()
    except Exception as error:  # another package's code
        raise OptionError(
            f"the exporter {name!r} ({entry.value}) cannot be loaded ({type(error).__name__}: {error}). "
            "Install its package again."
        ) from error
    if problems := _problems(backend, name):
        raise OptionError(
            f"the exporter {name!r} ({entry.value}) is no back end: {'; '.join(problems)}. "
            "snn2hw.exporters.Backend says what one must have."
        )
    return backend


def _problems(backend: Backend, name: str) -> list[str]:
    """What keeps an object from being a back end."""
    wanted = [*_members(Backend), *(_members(Runnable) if is_runnable(backend) else ())]
    if missing := [member for member in wanted if not hasattr(backend, member)]:
        return [f"it has no {', '.join(missing)}"]
    problems = [] if backend.name == name else [f"its name is {backend.name!r}"]
    for member in ("options", "run_options")[: 2 if is_runnable(backend) else 1]:
        problems += _problems_of_options(getattr(backend, member), member)
    return problems


def _problems_of_options(options: Any, member: str) -> list[str]:
    if not isinstance(options, type) or not is_dataclass(options):
        return [f"its {member} are no dataclass"]
    return [
        f"the field {each.name} of its {member} has no default or no help (make it with snn2hw.exporters.option)"
        for each in fields(options)
        if each.default is MISSING or "help" not in each.metadata
    ]


def _members(protocol: type) -> list[str]:
    """What a protocol asks for by itself."""
    return [name for name in vars(protocol) if not name.startswith("_")]
