"""Reports side by side: the same figures of all, the rates of their layers, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snn2hw.errors import OptionError
from snn2hw.page.quantity import count, percent, points, quantity
from snn2hw.report.document import Report


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of all reports as texts, and what each but the first is to the first: a difference or a ratio; ""
    where one has none.
    """

    name: str
    values: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LayerRates:
    """The rate of one layer in all; None where a report has no such layer."""

    name: str
    rates: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What a report buys with what: the program's accuracy with its interval, joules a sample, cores.

    front: no other of these reports is at least as good in all three and better in one.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    energy: float
    cores: int | None
    front: bool


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Reports compared. notes: what makes them hard to compare, such as other samples. profile, chip: of the energies
    and cores of `trades`, which is empty if they have no prices or no accuracy in common.
    """

    rows: tuple[Row, ...]
    layers: tuple[LayerRates, ...]
    notes: tuple[str, ...]
    profile: str
    chip: str
    trades: tuple[Trade, ...]


def names_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """What to call reports: the last parts of their paths, as few as tell them apart.

    Raises OptionError if a report is named twice.
    """
    whole = [(path if path.is_dir() or path.name != "report.json" else path.parent).resolve() for path in paths]
    for place, path in enumerate(whole):
        if path in whole[:place]:
            raise OptionError(f"--compare: {paths[place]} is named twice. Name each report once.")
    for parts in range(1, max(len(path.parts) for path in whole)):
        short = ["/".join(path.parts[-parts:]) for path in whole]
        if len(set(short)) == len(whole):
            return tuple(short)
    return tuple(map(str, whole))


def side_by_side(reports: Sequence[Report], names: Sequence[str]) -> SideBySide:
    """What reports, called by `names`, say of the same quantities."""
    rates = [{row.name: row.rate for row in report.activity} for report in reports]
    layers = dict.fromkeys(name for of in rates for name in of)
    profile, chip = _common_profile(reports), _common_chip(reports)
    return SideBySide(
        rows=tuple(_rows(reports)),
        layers=tuple(LayerRates(name=name, rates=tuple(of.get(name) for of in rates)) for name in layers),
        notes=tuple(_notes(reports)),
        profile=profile,
        chip=chip,
        trades=_trades(reports, names, profile, chip),
    )


def _notes(reports: Sequence[Report]) -> list[str]:
    notes = []
    if len({report.reproducibility.data_sha256 for report in reports}) > 1:
        notes.append("They are of different samples.")
    if len({report.reproducibility.program_sha256 for report in reports}) == 1:
        notes.append("They are of the same program.")
    if len({report.head for report in reports}) > 1:
        heads = ", ".join(report.head or "the only one" for report in reports)
        notes.append(f"Their accuracies are of different heads: {heads}.")
    return notes


def _common_profile(reports: Sequence[Report]) -> str:
    """The first report's headline profile if all have a price under it, else the first that all have; else ""."""
    priced = [[energy.profile for energy in report.energy if energy.total is not None] for report in reports]
    first = [reports[0].headline.profile] if reports[0].headline else []
    return next((name for name in (*first, *priced[0]) if all(name in of for of in priced)), "")


def _common_chip(reports: Sequence[Report]) -> str:
    """The last chip that all fit, since newer ones stand behind; "" if there is none."""
    fitting = [[mapping.chip for mapping in report.mappings if mapping.placement] for report in reports]
    return next((name for name in fitting[0][::-1] if all(name in of for of in fitting)), "")


def _trades(reports: Sequence[Report], names: Sequence[str], profile: str, chip: str) -> tuple[Trade, ...]:
    if not profile or not all(report.waterfall for report in reports):
        return ()
    goods = []
    for report in reports:
        energy = next(energy.total for energy in report.energy if energy.profile == profile)
        cores = [
            mapping.placement["cores"] for mapping in report.mappings if mapping.chip == chip and mapping.placement
        ]
        goods.append((-report.waterfall[-1].accuracy, energy or 0.0, cores[0] if cores else 0))
    return tuple(
        Trade(
            name=name,
            accuracy=report.waterfall[-1].accuracy,
            interval=report.waterfall[-1].interval,
            energy=good[1],
            cores=good[2] if chip else None,
            front=not any(other != good and all(a <= b for a, b in zip(other, good, strict=True)) for other in goods),
        )
        for name, report, good in zip(names, reports, goods, strict=True)
    )


def _rows(reports: Sequence[Report]) -> list[Row]:
    def row(name: str, of: Callable[[Report], str]) -> Row:
        return Row(name=name, values=tuple(map(of, reports)), changes=("",) * (len(reports) - 1))

    rows = [
        row("verdict", lambda report: report.verification.verdict if report.verification else "not verified"),
        row("samples", lambda report: f"{report.samples:,}"),
        row("time steps", lambda report: str(report.timesteps)),
    ]
    accuracies = [{row.name: row.accuracy for row in report.waterfall} for report in reports]
    for name in dict.fromkeys(name for of in accuracies for name in of):
        rows.append(_compared(f"accuracy, {name}", [of.get(name) for of in accuracies], percent, _difference))

    def add(name: str, of: Callable[[Report], float | None], text: Callable[[float], str]) -> None:
        rows.append(_compared(name, [of(report) for report in reports], text, _ratio))

    add("spikes a neuron and step", lambda r: 1 - r.footprint.activation_sparsity, lambda value: f"{value:.4f}")
    add("synaptic operations, binary", lambda r: r.operations.binary, count)
    add("synaptic operations, graded by count", lambda r: r.operations.graded, count)
    add("synaptic operations, graded by value", lambda r: r.operations.graded_by_value, count)
    add("synaptic operations, the input", lambda r: r.operations.input, count)
    add("one dense pass of the ANN", lambda r: float(r.operations.ann_dense), count)
    energies = [{row.profile: row.total for row in report.energy} for report in reports]
    for profile in dict.fromkeys(profile for of in energies for profile in of):
        totals = [of.get(profile) for of in energies]
        if any(total is not None for total in totals):
            rows.append(_compared(f"energy, {profile}", totals, lambda value: quantity(value, "J"), _ratio))
    for chip in dict.fromkeys(mapping.chip for report in reports for mapping in report.mappings):
        cores = [
            next((m.placement["cores"] for m in report.mappings if m.chip == chip and m.placement), None)
            for report in reports
        ]
        rows.append(_compared(f"cores, {chip}", cores, count, _ratio))
    add("cycles, one sample alone", lambda r: float(r.latency.one_shot_cycles), count)
    add("bytes of integer weights", lambda r: float(r.footprint.program_weight_bytes), count)
    return rows


def _compared(
    name: str,
    values: Sequence[float | None],
    text: Callable[[float], str],
    change: Callable[[float, float], str],
) -> Row:
    first, *others = values
    return Row(
        name=name,
        values=tuple("" if value is None else text(value) for value in values),
        changes=tuple("" if first is None or value is None else change(first, value) for value in others),
    )


def _difference(a: float, b: float) -> str:
    return points(b - a)


def _ratio(a: float, b: float) -> str:
    return f"x {b / a:.3f}" if a else ""
