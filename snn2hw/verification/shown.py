"""A verification as people read it: accuracy, spikes, comparisons, first differences and the verdict."""

from __future__ import annotations

from snn2hw.shown.tables import Part, Table
from snn2hw.verification.comparison import Comparison
from snn2hw.verification.verdict import Verification


def parts_of(result: Verification) -> list[Part]:
    """Everything there is to say but the verdict itself."""
    return [_accuracy(result), *_spikes(result), *_comparisons(result)]


def verdict_of(result: Verification) -> list[str]:
    """The first difference of each comparison that must be exact, and the verdict."""
    differences = (each for each in result.comparisons if each.exact_required and each.mismatches)
    lines = [line for comparison in differences if (line := _first(comparison))]
    stated = f" I{result.statement[1:]}." if result.statement else ""
    lines.append(f"Verdict: {result.verdict} for these {result.samples} samples.{stated}")
    if result.verdict == "incomplete":
        lines.append(f"What must be equal could not all be compared: {', '.join(result.not_compared)}.")
    return lines


def _accuracy(result: Verification) -> Part:
    if result.correct is None:
        return "The samples have no labels: no accuracy."
    of = "" if result.head is None else f" of head {result.head}"
    return Table(
        title=f"Accuracy{of} on {result.samples} samples, T={result.timesteps}",
        columns=("engine", "accuracy", "correct"),
        numbers=("accuracy", "correct"),
        rows=tuple(
            (engine, f"{100 * count / result.samples:.2f} %", str(count)) for engine, count in result.correct.items()
        ),
    )


def _spikes(result: Verification) -> list[Part]:
    sizes = {
        layer.name: layer.compared for comparison in result.comparisons for layer in comparison.layers
    }  # values compared: samples x steps x neurons
    numbers = ("spikes", "per neuron and step")
    rows = tuple(
        (name, f"{count:,}", f"{count / sizes[name]:.4f}" if sizes.get(name) else "")
        for name, count in result.spikes.items()
    )
    table = Table(title="Spikes", columns=("layer", *numbers), numbers=numbers, rows=rows)
    silent = [name for name, count in result.spikes.items() if count == 0]
    return [table, *([f"Silent layers: {', '.join(silent)} emitted no spike at all."] if silent else [])]


def _comparisons(result: Verification) -> list[Part]:
    rows, notes = [], []
    for comparison in result.comparisons:
        required = "exact" if comparison.exact_required else "for information"
        notes += [f"{comparison.name}: {comparison.note}."] if comparison.note else []
        if comparison.ties:
            notes.append(
                f"{comparison.name}: {comparison.ties:,} values differ by ties alone, membranes that lie on their "
                "threshold up to rounding."
            )
        rows.append((comparison.name, required, f"{comparison.compared:,}", f"{comparison.mismatches:,}"))
    rows += [(name, f"skipped: {reason}", "", "") for name, reason in result.skipped.items()]
    numbers = ("compared", "different")
    columns = ("comparison", "required", *numbers)
    return [Table(title="Spike for spike", columns=columns, numbers=numbers, rows=tuple(rows)), *notes]


def _first(comparison: Comparison) -> str:
    difference = comparison.first()
    if difference is None:
        return ""
    layer, first = difference
    actual, expected = comparison.sides
    times = (("sample", first.sample), ("step", first.step), ("cycle", first.cycle))
    where = "".join(f"{label} {time}, " for label, time in times if time is not None)
    about = f" ({first.detail})" if first.detail else ""
    return (
        f"First difference of {comparison.name}: layer {layer}, {where}index {list(first.index)}: {expected} gives "
        f"{first.expected}, {actual} gives {first.actual}{about}."
    )
