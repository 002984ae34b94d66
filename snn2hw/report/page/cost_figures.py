"""The figures of what a sample costs: energy and time."""

from __future__ import annotations

import plotly.graph_objects as go

from snn2hw.report.document import Report
from snn2hw.report.page.plots import BLUE, GREEN, ORANGE, PALETTE, ROW, Plot, label, layer_plot, plot
from snn2hw.report.quantity import quantity

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


def energy_components(report: Report) -> Plot:
    """What each profile's energy is spent on, as shares of its total."""
    priced = [energy for energy in report.energy if energy.total]
    titles = {profile.name: profile.title for profile in report.profiles}
    rows = [f"{label(titles[energy.profile])}: {quantity(energy.total or 0, 'J')}" for energy in priced]
    bars = []
    for (component, title), colour in zip(COMPONENTS.items(), (*PALETTE, "#b07aa1"), strict=True):
        values = [energy.components.get(component, 0.0) for energy in priced]
        if any(values):
            bars.append(
                go.Bar(
                    x=[100 * value / (energy.total or 1) for value, energy in zip(values, priced, strict=True)],
                    y=rows,
                    orientation="h",
                    marker={"color": colour},
                    customdata=[quantity(value, "J") for value in values],
                    hovertemplate="%{y}<br>" + title + ": %{customdata}, %{x:.1f} %<extra></extra>",
                    name=title,
                )
            )
    figure = plot(bars, height=150 + 2 * ROW * len(rows), x="% of the energy of a sample", barmode="stack")
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
        for values, colour, title in ((twins, ORANGE, "the same network without spikes"), (formula, GREEN, "formula"))
    ]
    figure = plot([spans, *others], height=140 + ROW * 2 * (len(priced) + 3), x="joules a sample (log)")
    figure["layout"]["xaxis"] |= {"type": "log", "exponentformat": "SI", "ticksuffix": "J"}
    figure["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return figure


def layer_times(report: Report) -> Plot:
    """Mean seconds a cycle that each layer takes; the slowest sets the pace."""
    bars = [
        go.Bar(
            x=[layer.seconds for layer in times.layers],
            y=[label(layer.name) for layer in times.layers],
            orientation="h",
            customdata=[[quantity(layer.seconds, "s"), layer.cores] for layer in times.layers],
            hovertemplate="%{y}<br>%{customdata[0]} a cycle on %{customdata[1]} cores<extra></extra>",
            name=times.profile,
        )
        for times in report.latency.steps
    ]
    names = [layer.name for times in report.latency.steps[:1] for layer in times.layers]
    figure = layer_plot(bars, names, x="seconds a cycle", barmode="group")
    figure["layout"]["xaxis"] |= {"exponentformat": "SI", "ticksuffix": "s"}
    return figure
