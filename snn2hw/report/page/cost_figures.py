"""The figures of what a sample costs: energy and time."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from snn2hw.page.plots import BLUE, GREY, PALETTE, PETROL, ROW, RUST, Plot, label, layer_plot, plot
from snn2hw.page.quantity import decades, prefix_of, quantity
from snn2hw.report.comparing import Trade
from snn2hw.report.document import Report

COMPONENTS = {
    "synapses_binary": "synapses, binary spikes",
    "synapses_graded": "synapses, graded spikes",
    "synapses_input": "synapses, the input",
    "neuron_active": "active neurons",
    "neuron_inactive": "inactive neurons",
    "spike": "firing",
    "messages": "messages",
    "bias": "biases",
    "hops": "hops",
}
PATTERNS = ("", "/", "", "x", "", ".", "", "\\", "x")  # neighbours differ in print too


def energy_components(report: Report) -> Plot:
    """What each profile's energy is spent on, as shares of its total."""
    priced = [energy for energy in report.energy if energy.total]
    titles = {profile.name: profile.title for profile in report.profiles}
    rows = [f"{label(titles[energy.profile])}: {quantity(energy.total or 0, 'J')}" for energy in priced]
    bars = []
    for (component, title), colour, pattern in zip(COMPONENTS.items(), (*PALETTE, BLUE), PATTERNS, strict=True):
        values = [energy.components.get(component, 0.0) for energy in priced]
        if any(values):
            bars.append(
                go.Bar(
                    x=[100 * value / (energy.total or 1) for value, energy in zip(values, priced, strict=True)],
                    y=rows,
                    orientation="h",
                    marker={
                        "color": colour,
                        "pattern": {
                            "shape": pattern,
                            "fillmode": "overlay",
                            "fgcolor": "#ffffff",
                            "size": 7,
                            "solidity": 0.25,
                        },
                    },
                    customdata=[quantity(value, "J") for value in values],
                    hovertemplate="%{y}<br>" + title + ": %{customdata}, %{x:.1f} %<extra></extra>",
                    name=title,
                )
            )
    figure = plot(
        bars,
        height=150 + 2 * ROW * len(rows),
        x="% of the energy of a sample",
        barmode="stack",
        legend_traceorder="normal",
    )
    figure["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return figure


def energy_totals(report: Report) -> Plot:
    """Energy a sample under every profile, with what the other rules of counting would give, and the baselines."""
    titles = {profile.name: profile.title for profile in report.profiles}
    priced = [energy for energy in report.energy if energy.total]
    spans = go.Scatter(
        x=[energy.total for energy in priced],
        y=[label(titles[energy.profile]) for energy in priced],
        error_x={
            "type": "data",
            "array": [max(energy.by_rule.values()) - (energy.total or 0) for energy in priced],
            "arrayminus": [(energy.total or 0) - min(energy.by_rule.values()) for energy in priced],
        },
        mode="markers",
        marker={"size": 11, "color": BLUE},
        customdata=[
            ", ".join(f"{rule} {quantity(value, 'J')}" for rule, value in energy.by_rule.items()) for energy in priced
        ],
        hovertemplate="%{y}<br>%{customdata}<extra></extra>",
        name="this network; the line spans the rules of counting",
    )
    twins = {f"ANN, one dense pass, {twin.profile}": twin.ann for twin in report.baselines}
    formula = {f"formula of the papers, {report.paper_formula.profile}": report.paper_formula.energy}
    others = [
        go.Scatter(
            x=list(values.values()),
            y=list(values),
            mode="markers",
            marker={"size": 11, "color": colour, "symbol": "diamond"},
            hovertemplate="%{y}: %{customdata}<extra></extra>",
            customdata=[quantity(value, "J") for value in values.values()],
            name=title,
        )
        for values, colour, title in ((twins, RUST, "the same network without spikes"), (formula, PETROL, "formula"))
    ]
    figure = plot([spans, *others], height=140 + ROW * 2 * (len(priced) + 3), x="energy of a sample, logarithmic")
    every = [
        *(value for energy in priced for value in (energy.total or 0, *energy.by_rule.values())),
        *(value for values in (twins, formula) for value in values.values()),
    ]
    positive = [value for value in every if value > 0]
    ticks, texts = decades(min(positive), max(positive), "J") if positive else ([], [])
    figure["layout"]["xaxis"] |= {"type": "log", "tickmode": "array", "tickvals": ticks, "ticktext": texts}
    figure["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return figure


def without_spikes(report: Report) -> Plot:
    """The network's synaptic operations beside one dense pass of the ANN, under the prices of the same arithmetic."""
    rows = [baseline.profile for baseline in report.baselines]
    every = [joules for row in report.baselines for joules in (row.ann, row.spiking)]
    scale, prefix = prefix_of(max(every, default=1.0))
    bars = []
    rates = [
        ""
        if row.rate is None
        else f"<br>rate {row.rate:.4f}, "
        + ("no break-even" if row.break_even_rate is None else f"break-even at {row.break_even_rate:.4f}")
        for row in report.baselines
    ]
    for title, colour, values in (
        ("ANN, one dense pass", RUST, [row.ann for row in report.baselines]),
        ("this network's operations", BLUE, [row.spiking for row in report.baselines]),
    ):
        bars.append(
            go.Bar(
                x=[value / scale for value in values],
                y=rows,
                orientation="h",
                marker={"color": colour},
                text=[quantity(value, "J") for value in values],
                customdata=rates,
                textposition="auto",
                hovertemplate="%{y}: %{text}%{customdata}<extra>" + title + "</extra>",
                name=title,
            )
        )
    figure = plot(bars, height=130 + 3 * ROW * len(rows), x=f"{prefix}J a sample", barmode="group")
    figure["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return figure


def layer_times(report: Report) -> Plot:
    """Mean time of a cycle that each layer takes; the slowest sets the pace."""
    scale, prefix = prefix_of(max(layer.seconds for times in report.latency.steps for layer in times.layers))
    bars = [
        go.Bar(
            x=[layer.seconds / scale for layer in times.layers],
            y=[label(layer.name) for layer in times.layers],
            orientation="h",
            customdata=[[quantity(layer.seconds, "s"), layer.cores] for layer in times.layers],
            hovertemplate="%{y}<br>%{customdata[0]} a cycle on %{customdata[1]} cores<extra></extra>",
            name=times.profile,
        )
        for times in report.latency.steps
    ]
    names = [layer.name for times in report.latency.steps[:1] for layer in times.layers]
    return layer_plot(bars, names, x=f"{prefix}s a cycle", barmode="group")


def trades(trades: Sequence[Trade], profile: str, chip: str) -> Plot:
    """Accuracy against energy, each mark with its cores; a line joins those that no other beats in all three."""
    trades = sorted(trades, key=lambda trade: trade.energy)
    front = [trade for trade in trades if trade.front]
    scale, prefix = prefix_of(max(trade.energy for trade in trades))
    line = go.Scatter(
        x=[trade.energy / scale for trade in front],
        y=[100 * trade.accuracy for trade in front],
        mode="lines",
        line={"color": GREY, "dash": "dash"},
        hoverinfo="skip",
        name="not beaten in all three",
    )
    cores = [f", {trade.cores:,} cores" if trade.cores is not None else "" for trade in trades]
    marks = go.Scatter(
        x=[trade.energy / scale for trade in trades],
        y=[100 * trade.accuracy for trade in trades],
        error_y={
            "type": "data",
            "array": [100 * (trade.interval[1] - trade.accuracy) for trade in trades],
            "arrayminus": [100 * (trade.accuracy - trade.interval[0]) for trade in trades],
            "thickness": 1,
        },
        mode="markers+text",
        text=[f" {label(trade.name)}{more}" for trade, more in zip(trades, cores, strict=True)],
        textposition=[
            "top center" if at % 2 == 0 else "bottom center" for at in range(len(trades))
        ],  # neighbours apart
        cliponaxis=False,
        marker={"size": 11, "color": BLUE, "symbol": ["circle" if trade.front else "circle-open" for trade in trades]},
        hovertemplate="%{text}<br>%{y:.2f} %, %{customdata}<extra></extra>",
        customdata=[quantity(trade.energy, "J") for trade in trades],
        name=f"a run; cores of {chip}" if chip else "a run",
    )
    figure = plot([line, marks], height=420, x=f"{prefix}J a sample under {profile}", y="accuracy, %")
    least, most = trades[0].energy / scale, trades[-1].energy / scale
    room = 0.3 * (most - least) or 0.1 * most or 1.0  # for the names at both ends
    figure["layout"]["xaxis"] |= {"range": [least - room, most + room]}
    return figure
