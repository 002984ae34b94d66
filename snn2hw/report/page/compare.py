"""compare.html: reports side by side."""

from __future__ import annotations

from collections.abc import Sequence

from snn2hw.page.frame import Table, page
from snn2hw.page.plots import Plot
from snn2hw.page.quantity import percent, quantity
from snn2hw.report.comparing import SideBySide, side_by_side
from snn2hw.report.document import Report
from snn2hw.report.page import cost_figures, spike_figures
from snn2hw.report.page.render import PACKAGE, TITLES, name_of, plots_of


def render_comparison(reports: Sequence[Report], names: Sequence[str]) -> str:
    """The page of reports, called by `names`: every figure of all beside each other."""
    comparison = side_by_side(reports, names)
    every = [plots_of(report) for report in reports]
    drawn = comparison_plots(comparison, names)
    drawn |= {f"{place}.{name}": plot for place, plots in enumerate(every) for name, plot in plots.items()}
    shown = [name for name in TITLES if any(name in plots for plots in every)]
    return page(
        "compare.html",
        package=PACKAGE,
        title=f"snn2hw: {', '.join(names)}",
        data={"figures": drawn},
        reports=reports,
        names=names,
        models=[name_of(report) for report in reports],
        notes=comparison.notes,
        figure_titles=TITLES,
        shown=shown,
        sections=[("overview", "Overview"), *((name, TITLES[name]) for name in shown)],
        drawn=drawn,
        tables=comparison_tables(comparison, names),
    )


def comparison_tables(comparison: SideBySide, names: Sequence[str]) -> dict[str, Table]:
    """The tables of reports side by side; of more than two each change stands behind its value."""
    two = len(names) == 2
    rows = [
        (row.name, *row.values, *row.changes)
        if two
        else (
            row.name,
            row.values[0],
            *(
                f"{value} ({change})" if change else value
                for value, change in zip(row.values[1:], row.changes, strict=True)
            ),
        )
        for row in comparison.rows
    ]
    tables = {
        "figures": Table(
            caption="Figures of all" + ("" if two else "; in brackets, against the first"),
            headings=("of", *names, *(("second to first",) if two else ())),
            rows=rows,
        ),
        "rates": Table(
            caption="Non-zero outputs a unit and step",
            headings=("layer", *names),
            rows=[
                (layer.name, *("absent" if rate is None else f"{rate:.4f}" for rate in layer.rates))
                for layer in comparison.layers
            ],
        ),
    }
    if comparison.trades:
        tables["trades"] = Table(
            caption=f"Accuracy, energy under {comparison.profile}"
            + (f", cores of {comparison.chip}" if comparison.chip else ""),
            headings=("run", "accuracy", "energy", "cores", "beaten by another in all three"),
            rows=[
                (
                    trade.name,
                    percent(trade.accuracy),
                    quantity(trade.energy, "J"),
                    "" if trade.cores is None else f"{trade.cores:,}",
                    "no" if trade.front else "yes",
                )
                for trade in comparison.trades
            ],
        )
    return tables


def comparison_plots(comparison: SideBySide, names: Sequence[str]) -> dict[str, Plot]:
    """The figures that show all reports in one."""
    drawn = {"rates_of_all": spike_figures.rates_of_all(comparison.layers, names)}
    if comparison.trades:
        drawn["trades"] = cost_figures.trades(comparison.trades, comparison.profile, comparison.chip)
    return drawn
