"""The main figures of a report as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from snn2hw.cli.console import console
from snn2hw.page.quantity import quantity
from snn2hw.report.comparing import SideBySide
from snn2hw.report.document import Report
from snn2hw.report.page.compare import comparison_tables


def show(report: Report) -> None:
    """Accuracy, layers, operations, energy and latency; first of all, whether anything fired."""
    if report.silent:
        console.print(
            "[bold red]No neuron fired[/], in any layer, step or sample: every figure below is that of a silent "
            "network. Look at the thresholds, the scale of the inputs and the calibration."
        )
    _show_accuracy(report)
    _show_layers(report)
    _show_operations(report)
    _show_energy(report)
    _show_latency(report)


def show_side_by_side(compared: SideBySide, names: Sequence[str]) -> None:
    """Reports: their figures, their rates, what accuracy costs, and what makes them hard to compare."""
    for shown in comparison_tables(compared, names).values():
        table = _table(shown.caption, *map(escape, shown.headings))
        for row in shown.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for note in compared.notes:
        console.print(escape(note))


def _table(title: str, *headings: str) -> Table:
    table = Table(headings[0], title=title, title_justify="left")
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    return table


def _show_accuracy(report: Report) -> None:
    if report.unlabelled:
        console.print("The samples have no labels: no accuracy.")
    if report.without_model:
        console.print(f"No float model to compare with: {escape(report.without_model)}.")
    if report.waterfall:
        of = "" if report.head is None else f" of head {escape(report.head)}"
        title = f"Accuracy{of} on {report.samples} samples, T={report.timesteps}"
        table = _table(title, "engine", "accuracy", "95 % interval", "correct")
        for row in (*report.waterfall, *report.over_time[:-1]):
            name = row.name if row in report.waterfall else f"program after {row.name}"
            low, high = row.interval
            table.add_row(
                name, f"{100 * row.accuracy:.2f} %", f"{100 * low:.2f} to {100 * high:.2f} %", str(row.correct)
            )
        console.print(table)
    if report.verification:
        verdict, count = report.verification.verdict, report.verification.samples
        colour = "green" if verdict == "exact" else "red"
        stated = report.verification.statement
        console.print(f"Verified: [bold {colour}]{escape(verdict)}[/] for {count} samples. {escape(stated)}".rstrip())


def _show_layers(report: Report) -> None:
    table = _table("Spikes", "layer", "units", "rate", "mean value", "dead", "saturated")
    for layer in report.activity:
        counts = (f"{layer.dead:,}", f"{layer.saturated:,}")
        table.add_row(escape(layer.name), f"{layer.units:,}", f"{layer.rate:.4f}", f"{layer.value:.4f}", *counts)
    console.print(table)


def _show_operations(report: Report) -> None:
    operations = report.operations
    table = _table("Synaptic operations a sample", "kind", "operations")
    rows = {
        "binary spikes": operations.binary,
        "graded spikes, by count": operations.graded,
        "graded spikes, by value": operations.graded_by_value,
        "the network's input": operations.input,
        "gates and pools": operations.gates_and_pools,
        "biases": operations.bias,
        "one dense pass of the ANN": operations.ann_dense,
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,.1f}")
    console.print(table)


def _show_energy(report: Report) -> None:
    table = _table("Energy a sample", "prices", "energy", "graded spikes", "by count", "by value", "dense")
    titles = {profile.name: profile for profile in report.profiles}
    for energy in report.energy:
        title = escape(titles[energy.profile].title)
        if energy.total is None:
            table.add_row(title, "no public price", "", "", "", "")
            continue
        others = [quantity(energy.by_rule[rule], "J") for rule in ("count", "value", "dense")]
        table.add_row(title, quantity(energy.total, "J"), f"by {energy.rule}", *others)
    for compared in report.baselines:
        table.add_row(f"ANN, one dense pass, {compared.profile}", quantity(compared.ann, "J"), "", "", "", "")
    formula = report.paper_formula
    table.add_row(f"paper formula, {formula.profile}", quantity(formula.energy, "J"), "", "", "", "")
    console.print(table)
    for compared in report.baselines:
        if compared.rate is None:
            continue
        rate = (
            f"there is none: the layer that takes the input costs more in {report.timesteps} steps than the whole ANN"
            if compared.break_even_rate is None
            else f"{compared.break_even_rate:.4f} input spikes a synapse and step"
        )
        console.print(f"Break-even with the ANN, {compared.profile}: {rate}; here {compared.rate:.4f}.")
    console.print("Arithmetic is not a chip: what each price leaves out is listed in report.json.")


def _show_latency(report: Report) -> None:
    latency = report.latency
    console.print(
        f"Latency: {latency.one_shot_cycles} cycles for one sample alone (T={report.timesteps} and a pipeline "
        f"{latency.depth} deep), {latency.pipelined_cycles} a sample in a row."
    )
    if not latency.steps:
        return
    table = _table("Time, at least and at most", "prices", "cycle", "one sample alone", "in a row", "slowest layer")
    for row in latency.steps:
        spans = [
            f"{quantity(low, 's')} to {quantity(high, 's')}" for low, high in (row.step, row.one_shot, row.pipelined)
        ]
        table.add_row(row.profile, *spans, escape(row.bottleneck))
    console.print(table)
