"""What a report was made from: versions, digests and the command. Nothing in a report is random."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from snn2hw.data.samples import Samples
from snn2hw.files import VERSION
from snn2hw.report.subject import Subject

VERSIONS_OF = ("torch", "numpy", "numba", "nir")


@dataclass(frozen=True, kw_only=True)
class Reproducibility:
    """Everything that a second run needs to give the same report.

    versions: of this program and what it computes with; bundle_versions: of what made the bundle. bundle_sha256: of the
    digests of all its files. data_sha256: of the samples and labels, not of the file they came in.
    """

    command: str
    versions: dict[str, str]
    platform: str
    model: str
    model_sha256: str | None
    model_options: dict[str, Any]
    bundle_sha256: str
    program_sha256: str
    bundle_versions: dict[str, str]
    calibration: dict[str, Any]
    data: str
    data_samples: int
    data_sha256: str


def reproducibility(subject: Subject, samples: Samples, command: str) -> Reproducibility:
    """The record of a report on this program and these samples."""
    return Reproducibility(
        command=command,
        versions={
            "snn2hw": VERSION,
            "python": platform.python_version(),
            **{name: version(name) for name in VERSIONS_OF},
        },
        platform=f"{platform.system()} {platform.machine()}",
        model=subject.source["model"],
        model_sha256=subject.source["sha256"],
        model_options=subject.source["options"],
        bundle_sha256=subject.bundle_sha256,
        program_sha256=subject.program_sha256,
        bundle_versions=subject.made_with,
        calibration=subject.calibration,
        data=samples.name,
        data_samples=len(samples),
        data_sha256=samples.sha256,
    )
