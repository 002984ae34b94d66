"""The engines of a report by the names that people read."""

from __future__ import annotations

from snn2hw.report.document import Report
from snn2hw.report.shares import Accuracy, rated

ENGINES = {"float": "float model", "requantised": "PyTorch with the integers", "program": "program"}


def engines(report: Report) -> tuple[Accuracy, ...]:
    """The accuracies of the waterfall, with those of the back ends where a verification holds them; these may be of
    fewer samples.
    """
    verification = report.verification
    if verification is None or verification.accuracy is None:
        return report.waterfall
    n = int(verification.accuracy["n"])
    others = {name: share for name, share in verification.accuracy.items() if name not in (*ENGINES, "n")}
    return (*report.waterfall, *(rated(name, round(share * n), n) for name, share in others.items()))


def name_of(row: Accuracy, report: Report) -> str:
    """An engine's name, marked with its number of samples where it ran on others than the report is of."""
    name = ENGINES.get(row.name, row.name)
    return name if row.n == report.samples else f"{name} (n = {row.n:,})"
