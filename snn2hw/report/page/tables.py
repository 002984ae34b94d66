"""The tables of a report: what the page shows, and what is written as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator

from snn2hw.page.frame import Table
from snn2hw.page.quantity import count, percent, points
from snn2hw.report.document import Report
from snn2hw.report.network import Headroom
from snn2hw.report.page import cost_tables
from snn2hw.report.page.engines import engines, name_of

LARGEST_MATRIX = 20  # classes of a confusion matrix; of more the pairs that are confused most often
PAIRS = 20
COMPARISONS = {
    "network-vs-torch": "your module and the float network",
    "integers-vs-network": "the integers and the float network",
    "program-vs-requantised-torch": "PyTorch with the integers and the program",
    "program-vs-float-torch": "the float model and the program",
}


def tables_of(report: Report) -> dict[str, Table]:
    """Every table that this report has something to say in, by name."""
    tables = {
        "accuracy": _accuracy(report),
        "comparisons": _comparisons(report),
        "classes": _classes(report),
        "confusion": _confusion(report),
        "layers": _layers(report),
        "operations": cost_tables.operations(report),
        "footprint": cost_tables.footprint(report),
        "neurobench": cost_tables.neurobench(report),
        "energy": cost_tables.energy(report),
        "baselines": cost_tables.baselines(report),
        "prices": cost_tables.prices(report),
        "exits": cost_tables.exits(report),
        "latency": cost_tables.latency(report),
        "headroom": _headroom(report),
        "approximations": _approximations(report),
    }
    for mapping in report.mappings:
        tables[f"cores_{mapping.chip}"] = cost_tables.cores(mapping)
        tables[f"traffic_{mapping.chip}"] = cost_tables.traffic(mapping, report.samples)
    return {name: table for name, table in tables.items() if table.rows}


def _accuracy(report: Report) -> Table:
    return Table(
        caption="Accuracy of every engine",
        headings=("engine", "samples", "right", "accuracy", "95 % interval"),
        rows=[
            (
                name_of(row, report),
                count(row.n),
                count(row.correct),
                percent(row.accuracy),
                _interval(row.interval),
            )
            for row in engines(report)
        ],
    )


def _comparisons(report: Report) -> Table:
    verification = report.verification
    ran = (
        []
        if verification is None
        else [
            (
                COMPARISONS.get(each.name, each.name.replace("-vs-", " and the ")),
                "exact" if each.exact_required else "for information",
                count(each.compared),
                count(each.mismatches),
            )
            for each in verification.comparisons
        ]
    )
    skipped = {} if verification is None else verification.skipped
    return Table(
        caption="What was compared, value by value",
        headings=("comparison", "required", "compared", "different"),
        rows=ran + [(COMPARISONS.get(name, name), f"skipped: {reason}", "", "") for name, reason in skipped.items()],
        words=2,
    )


def _classes(report: Report) -> Table:
    taken: dict[str, list[tuple[int, int]]] = {}
    for pair in report.confusion:
        if pair.label != pair.answer:
            taken.setdefault(str(pair.label), []).append((pair.samples, pair.answer))
    return Table(
        caption="The program's accuracy by class",
        headings=("class", "samples", "right", "accuracy", "95 % interval", "most often taken for"),
        rows=[
            (
                row.name,
                count(row.n),
                count(row.correct),
                percent(row.accuracy),
                _interval(row.interval),
                _most(taken.get(row.name)),
            )
            for row in report.classes
        ],
    )


def _most(mistaken: list[tuple[int, int]] | None) -> str:
    if not mistaken:
        return ""
    samples, answer = max(mistaken, key=lambda pair: (pair[0], -pair[1]))
    return f"{answer} ({samples})"


def is_matrix(report: Report) -> bool:
    """Whether the table of confusions has a row and a column for each class."""
    return 0 < len(_confused(report)) <= LARGEST_MATRIX


def _confused(report: Report) -> list[int]:
    """The classes that samples have or got."""
    return sorted({pair.label for pair in report.confusion} | {pair.answer for pair in report.confusion})


def _confusion(report: Report) -> Table:
    names = _confused(report)
    if not is_matrix(report):
        wrong = sorted((pair for pair in report.confusion if pair.label != pair.answer), key=lambda pair: -pair.samples)
        return Table(
            caption="The classes that are confused most often",
            headings=("class", "answer", "samples"),
            rows=[(f"{pair.label}", f"{pair.answer}", count(pair.samples)) for pair in wrong[:PAIRS]],
        )
    counts = {(pair.label, pair.answer): pair.samples for pair in report.confusion}
    return Table(
        caption="Confusion: a row for each class, a column for each answer of the program",
        headings=("class", *(str(name) for name in names)),
        rows=[(f"{label}", *(str(counts.get((label, answer), 0)) for answer in names)) for label in names],
    )


def _layers(report: Report) -> Table:
    parted = {row.name: row for row in report.mismatches}
    rows = []
    for row in report.activity:
        other = parted.get(row.name)
        rows.append(
            (
                row.name,
                count(row.units),
                f"{row.rate:.4f}",
                f"{row.value:.4f}",
                count(row.dead),
                count(row.saturated),
                "" if other is None else f"{100 * other.different / other.compared:.3f} %",
                "" if other is None or other.sqnr_db is None else f"{other.sqnr_db:.1f}",
                "" if other is None or other.first is None else count(other.first),
            )
        )
    return Table(
        caption="Layers",
        headings=(
            "layer",
            "units",
            "rate",
            "mean value",
            "never fire",
            "always fire",
            "outputs unlike float",
            "SQNR, dB",
            "samples that part here",
        ),
        rows=rows,
    )


def _headroom(report: Report) -> Table:
    def worst(row: Headroom, of: str) -> tuple[str, str]:
        """What is proved, and else the worst case that no proof excludes."""
        reach = count(getattr(row, of))
        return (reach, "") if row.bound == "proved" else ("", reach)

    return Table(
        caption="Room in accumulators and membranes",
        headings=(
            "layer",
            "accumulator, proved",
            "accumulator, worst case",
            "its limit",
            "membrane, proved",
            "membrane, worst case",
            "its limit",
            "calibration saw",
        ),
        rows=[
            (
                row.name,
                *worst(row, "accumulator"),
                count(row.accumulator_limit),
                *worst(row, "membrane"),
                count(row.membrane_limit),
                "" if row.observed is None else f"{100 * row.observed:.1f} % of the limit",
            )
            for row in report.headroom
        ],
    )


def _approximations(report: Report) -> Table:
    """One row for all places of a kind."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in report.approximations:
        places.setdefault((row.what, row.reason), []).append(row.where)
    return Table(
        caption="Where the integers are not the float network, by rule",
        headings=("what", "why", "where"),
        rows=[(what, reason, ", ".join(where)) for (what, reason), where in places.items()],
        words=3,
    )


def record(report: Report) -> Iterator[tuple[str, str]]:
    """What the report was made from."""
    origin = report.reproducibility

    def listed(items: dict[str, object]) -> str:
        return ", ".join(f"{name} {value}" for name, value in items.items())

    yield "command", origin.command
    yield "versions", listed({**origin.versions})
    yield "platform", origin.platform
    yield "model", origin.model
    yield "sha256 of the model", origin.model_sha256 or "none: it has no file"
    yield "options of the model", listed(origin.model_options) or "none"
    yield "sha256 of the bundle", origin.bundle_sha256 or "none: the model itself is reported on"
    yield "sha256 of the program", origin.program_sha256
    yield "bundle made with", listed({**origin.bundle_versions})
    yield "calibrated on", listed(origin.calibration)
    yield "data", f"{origin.data}, {origin.data_samples:,} samples"
    yield "sha256 of the data", origin.data_sha256


def difference(report: Report) -> str:
    """The program's accuracy less the float model's, with its interval; "" where that is not known."""
    paired = report.paired
    if paired is None or paired.difference is None or paired.interval is None:
        return ""
    low, high = (f"{100 * bound:+.2f}" for bound in paired.interval)
    return f"{points(paired.difference)} (95 %: {low} to {high})"


def _interval(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"
