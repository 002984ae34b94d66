"""Two reports side by side: the same figures of both, and the rates of the layers that both have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from snn2hw.errors import OptionError
from snn2hw.report.document import Report
from snn2hw.report.quantity import quantity


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One quantity of both reports as texts, and what B is to A: a difference or a ratio; absent where one has none."""

    name: str
    a: str
    b: str
    change: str


@dataclass(frozen=True, kw_only=True)
class LayerRates:
    """The rate of one layer in both; None where a report has no such layer."""

    name: str
    a: float | None
    b: float | None


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Two reports. notes: what makes them hard to compare, such as other samples."""

    pairs: tuple[Pair, ...]
    layers: tuple[LayerRates, ...]
    notes: tuple[str, ...]


def read_report(path: Path) -> Report:
    """A report.json, or the one in a folder. Raises OptionError if there is none, or if it is not of the schema."""
    file = path / "report.json" if path.is_dir() else path
    try:
        return TypeAdapter(Report).validate_json(file.read_bytes())
    except FileNotFoundError:
        raise OptionError(f"--compare {path}: there is no {file.name}. `snn2hw report` writes one.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise OptionError(
            f"--compare {path}: this is no report of schema snn2hw.report/1 ({where}: {first['msg']}). Make it again "
            "with `snn2hw report`."
        ) from None


def side_by_side(a: Report, b: Report) -> SideBySide:
    """What both reports say of the same quantities."""
    rates_a, rates_b = ({row.name: row.rate for row in report.activity} for report in (a, b))
    names = list(dict.fromkeys([*rates_a, *rates_b]))
    return SideBySide(
        pairs=tuple(_pairs(a, b)),
        layers=tuple(LayerRates(name=name, a=rates_a.get(name), b=rates_b.get(name)) for name in names),
        notes=tuple(_notes(a, b)),
    )


def _notes(a: Report, b: Report) -> list[str]:
    notes = []
    if a.reproducibility.data_sha256 != b.reproducibility.data_sha256:
        notes.append("They are of different samples.")
    if a.reproducibility.program_sha256 == b.reproducibility.program_sha256:
        notes.append("They are of the same program.")
    if a.head != b.head:
        notes.append(
            f"Their accuracies are of different heads: {a.head or 'the only one'}, {b.head or 'the only one'}."
        )
    return notes


def _pairs(a: Report, b: Report) -> list[Pair]:
    verdicts = [report.verification.verdict if report.verification else "not verified" for report in (a, b)]
    pairs = [
        Pair(name="verdict", a=verdicts[0], b=verdicts[1], change=""),
        Pair(name="samples", a=f"{a.samples:,}", b=f"{b.samples:,}", change=""),
        Pair(name="time steps", a=str(a.timesteps), b=str(b.timesteps), change=""),
    ]
    accuracies = [{row.name: row.accuracy for row in report.waterfall} for report in (a, b)]
    pairs += [
        _pair(f"accuracy, {name}", accuracies[0].get(name), accuracies[1].get(name), _percent, _points)
        for name in dict.fromkeys([*accuracies[0], *accuracies[1]])
    ]

    def add(name: str, of: Callable[[Report], float | None], text: Callable[[float], str]) -> None:
        pairs.append(_pair(name, of(a), of(b), text, _ratio))

    add("spikes a neuron and step", lambda r: 1 - r.footprint.activation_sparsity, lambda value: f"{value:.4f}")
    add("synaptic operations, binary", lambda r: r.operations.binary, _count)
    add("synaptic operations, graded by count", lambda r: r.operations.graded, _count)
    add("synaptic operations, graded by value", lambda r: r.operations.graded_by_value, _count)
    add("synaptic operations, the input", lambda r: r.operations.input, _count)
    add("one dense pass of the ANN", lambda r: float(r.operations.ann_dense), _count)
    energies = [{row.profile: row.total for row in report.energy} for report in (a, b)]
    for profile in dict.fromkeys([*energies[0], *energies[1]]):
        totals = [energy.get(profile) for energy in energies]
        if totals != [None, None]:
            pairs.append(_pair(f"energy, {profile}", totals[0], totals[1], lambda value: quantity(value, "J"), _ratio))
    add("cycles, one sample alone", lambda r: float(r.latency.one_shot_cycles), _count)
    add("bytes of integer weights", lambda r: float(r.footprint.program_weight_bytes), _count)
    return pairs


def _pair(
    name: str,
    a: float | None,
    b: float | None,
    text: Callable[[float], str],
    change: Callable[[float, float], str],
) -> Pair:
    return Pair(
        name=name,
        a="" if a is None else text(a),
        b="" if b is None else text(b),
        change="" if a is None or b is None else change(a, b),
    )


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _points(a: float, b: float) -> str:
    return f"{100 * (b - a):+.2f} points"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.1f}"


def _ratio(a: float, b: float) -> str:
    return f"x {b / a:.3f}" if a else ""
