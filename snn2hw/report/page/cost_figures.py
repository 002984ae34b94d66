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
    priced = [found for found in report.energy if found.total]
    titles = {profile.name: profile.title for profile in report.profiles}
    rows = [f"{label(titles[found.profile])}: {quantity(found.total or 0, 'J')}" for found in priced]
    bars = []
    for (component, title), colour in zip(COMPONENTS.items(), (*PALETTE, "#b07aa1"), strict=True):
        values = [found.components.get(component, 0.0) for found in priced]
        if any(values):
            bars.append(
                go.Bar(
                    x=[100 * value / (found.total or 1) for value, found in zip(values, priced, strict=True)],
                    y=rows,
                    orientation="h",
                    marker={"color": colour},
                    customdata=[quantity(value, "J") for value in values],
                    hovertemplate="%{y}<br>" + title + ": %{customdata}, %{x:.1f} %<extra></extra>",
                    name=title,
                )
            )
    made = plot(bars, height=150 + 2 * ROW * len(rows), x="% of the energy of a sample", barmode="stack")
    made["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return made


def energy_totals(report: Report) -> Plot:
    """Energy a sample under every profile, with what the other rules of counting would give, and the baselines."""
    titles = {profile.name: profile.title for profile in report.profiles}
    priced = [found for found in report.energy if found.total]
    spans = go.Scatter(
        x=[found.total for found in priced],
        y=[label(titles[found.profile]) for found in priced],
        error_x={
            "type": "data",
            "array": [max(found.by_rule.values()) - (found.total or 0) for found in priced],
            "arrayminus": [(found.total or 0) - min(found.by_rule.values()) for found in priced],
        },
        mode="markers",
        marker={"size": 11, "color": BLUE},
        customdata=[
            ", ".join(f"{rule} {quantity(value, 'J')}" for rule, value in found.by_rule.items()) for found in priced
        ],
        hovertemplate="%{y}<br>%{customdata}<extra></extra>",
        name="this network; the line spans the rules of counting",
    )
    twins = {f"ANN, one dense pass, {found.profile}": found.ann for found in report.baselines}
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
    made = plot([spans, *others], height=140 + ROW * 2 * (len(priced) + 3), x="joules a sample (log)")
    made["layout"]["xaxis"] |= {"type": "log", "exponentformat": "SI", "ticksuffix": "J"}
    made["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return made


def layer_times(report: Report) -> Plot:
    """Mean seconds a cycle that each layer takes; the slowest sets the pace."""
    bars = [
        go.Bar(
            x=[layer.seconds for layer in found.layers],
            y=[label(layer.name) for layer in found.layers],
            orientation="h",
            customdata=[[quantity(layer.seconds, "s"), layer.cores] for layer in found.layers],
            hovertemplate="%{y}<br>%{customdata[0]} a cycle on %{customdata[1]} cores<extra></extra>",
            name=found.profile,
        )
        for found in report.latency.steps
    ]
    names = [layer.name for found in report.latency.steps[:1] for layer in found.layers]
    made = layer_plot(bars, names, x="seconds a cycle", barmode="group")
    made["layout"]["xaxis"] |= {"exponentformat": "SI", "ticksuffix": "s"}
    return made
