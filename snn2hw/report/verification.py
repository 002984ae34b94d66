"""What `snn2hw verify --json` wrote, taken into a report if it is of the same bundle and data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snn2hw.data.samples import Samples
from snn2hw.errors import OptionError
from snn2hw.files import VERIFY_SCHEMA
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


def read_verification(file: Path, subject: Subject, samples: Samples) -> Verified:
    """Read a verify.json.

    samples: all of them, since `verify` may have taken fewer. Raises OptionError for a file that is none, and for one
    of another program or other data.
    """
    try:
        document: dict[str, Any] = json.loads(file.read_text())
        if document["schema"] != VERIFY_SCHEMA:
            raise ValueError(f"schema {document['schema']!r}")
        if document["verdict"] not in ("exact", "diverged", "incomplete"):
            raise ValueError(f"verdict {document['verdict']!r}")
        verified = Verified(
            verdict=document["verdict"],
            samples=int(document["samples"]),
            accuracy=document["accuracy"],
            comparisons=tuple(
                Compared(**{key: comparison[key] for key in Compared.__dataclass_fields__})
                for comparison in document["comparisons"]
            ),
            skipped=document["skipped"],
            statement=document.get("statement", ""),
        )
    except FileNotFoundError:
        raise OptionError(f"--verify {file}: there is no such file.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"--verify {file}: not a file of snn2hw verify --json ({type(error).__name__}: {error})."
        ) from None
    if document.get("program_sha256") != subject.program_sha256:
        raise OptionError(f"--verify {file}: it is of another program than {subject.name}. Verify this bundle again.")
    count = verified.samples
    if not 1 <= count <= len(samples) or document.get("data_sha256") != samples[:count].sha256:
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
