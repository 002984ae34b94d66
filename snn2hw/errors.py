"""The errors a user can meet. Each message says what is wrong, where, with which numbers, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class Snn2hwError(Exception):
    """Base of every error that a user can cause. The command line prints it without a traceback and exits with 2."""


class ModelError(Snn2hwError):
    """A model, checkpoint or network file cannot be read, or holds what it must not hold."""


class UnsupportedError(ModelError):
    """A model holds one or several constructs that cannot be deployed; `blockers` lists them all."""

    def __init__(self, blockers: list[Blocker]) -> None:
        self.blockers = blockers
        super().__init__("\n".join(str(blocker) for blocker in blockers))


class Blocker:
    """One construct that stops a deployment: where it is, what is wrong, what to change.

    layer: its path in the model. line: FILE:LINE of the user's code for what stands there and is no layer, else "".
    """

    def __init__(self, *, layer: str, problem: str, advice: str, line: str = "") -> None:
        self.layer, self.problem, self.advice, self.line = layer, problem, advice, line

    def __str__(self) -> str:
        place = f" ({self.line})" if self.line else ""
        return f"{self.layer}: {self.problem}{place}. {self.advice}"


class NotTheModel(ModelError):
    """The network that was made from a model does something else than the model, so nothing is written."""


class DataError(Snn2hwError):
    """Input data has the wrong shape, type or range."""


class CorruptFile(DataError):
    """One file of a data set cannot be read; the others may be. `--skip-corrupt` leaves it out."""


class OptionError(Snn2hwError):
    """A command-line option or function argument is out of range."""


class CannotWrite(Snn2hwError, OSError):
    """A file cannot be written, as on a full disk; what stood in its place is as it was."""


class MissingPackage(Snn2hwError):
    """A package is not installed that only some tasks need."""


EXTRAS = {"matplotlib": "figures", "plotly": "report"}
"""Packages that only some tasks need, and the extra of this package that installs each."""


def missing_package(error: ModuleNotFoundError) -> MissingPackage | None:
    """What to say of a failed import; None where it is no package of an extra."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return MissingPackage(f"this needs {package}, which is not installed: pip install 'snn2hw[{EXTRAS[package]}]'")


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """A question that names the choice that is most like what was given; "" if none is."""
    close = get_close_matches(given, [*choices], 1)
    return f" Did you mean {close[0]}?" if close else ""


class QuantisationError(Snn2hwError):
    """A float network has no integer form within the limits of the target; `blockers` lists all that was found."""

    def __init__(self, blockers: list[Blocker]) -> None:
        self.blockers = blockers
        super().__init__("\n".join(f"{blocker}." for blocker in blockers))

    @classmethod
    def at(cls, layer: str, problem: str, advice: str) -> QuantisationError:
        """The error of one layer."""
        return cls([Blocker(layer=layer, problem=problem, advice=advice)])


class FixedPointOverflow(Snn2hwError):
    """An accumulator or membrane left its range at run time; the engine stopped instead of computing past it."""


class BundleError(Snn2hwError):
    """A bundle is incomplete, was changed after it was written, or contradicts itself."""


class BackendError(Snn2hwError):
    """A back end could not run, or returned what it must not."""


class LavaError(BackendError):
    """Lava could not be installed, started or run to its end."""


class DoesNotFit(Snn2hwError):
    """A layer cannot be cut so that its parts fit the cores of a chip."""
