"""What `snn2hw verify --json` wrote, taken into a report if it is of the same bundle and data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, PositiveInt

from snn2hw.data.samples import Samples
from snn2hw.documents import read_json
from snn2hw.errors import OptionError
from snn2hw.report.subject import Subject
from snn2hw.verification.verdict import Verification


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One comparison: how many values, how many of them differ, and whether none may."""

    name: str
    exact_required: bool
    compared: int
    mismatches: int


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The verdict for the first `samples` samples of the data; skipped: comparisons that could not run, and why.

    accuracy: share of right answers of each engine, and their number `n`; None for unlabelled samples. statement: who
    is integer-exact, and who did not run; "" where spikes differ.
    """

    verdict: Literal["exact", "diverged", "incomplete"]
    samples: int
    accuracy: dict[str, float] | None
    comparisons: tuple[Compared, ...]
    skipped: dict[str, str]
    statement: str = ""


def _with_count(accuracy: dict[str, float]) -> dict[str, float]:
    """Raise ValueError unless shares stand beside the number of samples `n` that they are of."""
    count = accuracy.get("n", 0)
    if count < 1 or count != int(count) or any(not 0 <= share <= 1 for name, share in accuracy.items() if name != "n"):
        raise ValueError('it must hold "n", a number of samples, and shares from 0 to 1')
    return accuracy


Shares = Annotated[dict[str, float], AfterValidator(_with_count)]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a report takes of the file."""

    schema: Literal["snn2hw.verify/1"]
    verdict: Literal["exact", "diverged", "incomplete"]
    samples: PositiveInt
    accuracy: Shares | None
    comparisons: tuple[Compared, ...]
    skipped: dict[str, str]
    statement: str = ""
    program_sha256: str = ""
    data_sha256: str = ""


def read_verification(file: Path, subject: Subject, samples: Samples) -> Verified:
    """Read a verify.json.

    samples: all of them, since `verify` may have taken fewer. Raises OptionError for a file that is none, and for one
    of another program or other data.
    """
    try:
        document = read_json(file.read_bytes(), Document)
    except FileNotFoundError:
        raise OptionError(f"--verify {file}: there is no such file.") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"--verify {file}: not a file of snn2hw verify --json ({error}).") from None
    verified = Verified(
        verdict=document.verdict,
        samples=document.samples,
        accuracy=document.accuracy,
        comparisons=document.comparisons,
        skipped=document.skipped,
        statement=document.statement,
    )
    if document.program_sha256 != subject.program_sha256:
        raise OptionError(f"--verify {file}: it is of another program than {subject.name}. Verify this bundle again.")
    count = verified.samples
    if not 1 <= count <= len(samples) or document.data_sha256 != samples[:count].sha256:
        raise OptionError(f"--verify {file}: it is of other samples than {samples.name}. Verify with these.")
    return verified


def stated(verification: Verification) -> Verified:
    """What `verify` returned in this process, for a report to state."""
    document = verification.to_json()
    return Verified(
        verdict=verification.verdict,
        samples=verification.samples,
        accuracy=document["accuracy"],
        comparisons=tuple(
            Compared(
                name=each.name, exact_required=each.exact_required, compared=each.compared, mismatches=each.mismatches
            )
            for each in verification.comparisons
        ),
        skipped=dict(verification.skipped),
        statement=verification.statement,
    )
