"""The figures of the page but the network's graph: each takes a report and returns a plot."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from snn2hw.report.accuracy import Accuracy, wilson
from snn2hw.report.comparing import LayerRates
from snn2hw.report.document import Report
from snn2hw.report.page.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    RED,
    ROW,
    Plot,
    label,
    layer_plot,
    plot,
)
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


def engines(report: Report) -> tuple[Accuracy, ...]:
    """The accuracies of the waterfall, with Lava's where a verification holds it."""
    found = report.verification
    if found is None or found.accuracy is None or "lava" not in found.accuracy:
        return report.waterfall
    count = int(found.accuracy["n"])
    return (*report.waterfall, wilson("lava", round(found.accuracy["lava"] * count), count))


def waterfall(report: Report) -> Plot:
    """Accuracy of each engine with its interval."""
    return _accuracies(engines(report), "")


def over_time(report: Report) -> Plot:
    """Accuracy of the program if it stopped after each step."""
    return _accuracies(report.over_time, "", joined=True)


def _accuracies(rows: tuple[Accuracy, ...], x: str, *, joined: bool = False) -> Plot:
    share = [100 * row.accuracy for row in rows]
    trace = go.Scatter(
        x=[label(row.name) for row in rows],
        y=share,
        error_y={
            "type": "data",
            "array": [100 * (row.interval[1] - row.accuracy) for row in rows],
            "arrayminus": [100 * (row.accuracy - row.interval[0]) for row in rows],
            "thickness": 1.5,
            "width": 6,
        },
        mode="lines+markers+text" if joined else "markers+text",
        text=[f" {value:.2f} %" for value in share],
        textposition="bottom right" if joined else "middle right",
        cliponaxis=False,
        marker={"size": 11, "color": BLUE},
        line={"color": BLUE, "width": 1},
        customdata=[[row.correct, row.n, 100 * row.interval[0], 100 * row.interval[1]] for row in rows],
        hovertemplate="%{customdata[0]} of %{customdata[1]} right<br>95 %: %{customdata[2]:.2f} to "
        "%{customdata[3]:.2f} %<extra></extra>",
        name="accuracy",
    )
    made = plot([trace], height=300, x=x, y="accuracy, %", showlegend=False)
    made["layout"]["xaxis"] |= {"type": "category", "range": [-0.4, len(rows) - 0.3]}
    return made


def rates(report: Report) -> Plot:
    """Non-zero outputs a unit and step, layer by layer."""
    rows = report.activity
    bars = go.Bar(
        x=[row.rate for row in rows],
        y=[label(row.name) for row in rows],
        orientation="h",
        marker={"color": BLUE},
        customdata=[[row.units, row.value] for row in rows],
        hovertemplate="%{y}<br>rate %{x:.4f}, mean value %{customdata[1]:.4f}<br>%{customdata[0]:,} units"
        "<extra></extra>",
        name="rate",
    )
    return layer_plot([bars], [row.name for row in rows], x="non-zero outputs a unit and step", showlegend=False)


def rates_of_both(layers: Sequence[LayerRates], names: tuple[str, str]) -> Plot:
    """The firing rates of two reports, layer by layer."""
    bars = [
        go.Bar(
            x=[getattr(layer, side) for layer in layers],
            y=[label(layer.name) for layer in layers],
            orientation="h",
            marker={"color": colour},
            hovertemplate="%{y}<br>rate %{x:.4f}<extra>" + label(name) + "</extra>",
            name=label(name),
        )
        for side, name, colour in zip("ab", names, (BLUE, ORANGE), strict=True)
    ]
    return layer_plot(bars, [layer.name for layer in layers], x="non-zero outputs a unit and step", barmode="group")


def dead_and_saturated(report: Report) -> Plot:
    """Shares of units that never fire, and that fire in every step."""
    rows = report.activity
    bars = [
        go.Bar(
            x=[100 * getattr(row, kind) / row.units for row in rows],
            y=[label(row.name) for row in rows],
            orientation="h",
            marker={"color": colour},
            customdata=[[getattr(row, kind), row.units] for row in rows],
            hovertemplate="%{y}<br>%{customdata[0]:,} of %{customdata[1]:,} units<extra>" + title + "</extra>",
            name=title,
        )
        for kind, title, colour in (("dead", "never fire", GREY), ("saturated", "always fire", RED))
    ]
    return layer_plot(bars, [row.name for row in rows], x="% of the layer's units", barmode="stack")


def operations(report: Report) -> Plot:
    """Synaptic operations of every layer, by what arrives; beside them the dense pass of the ANN twin."""
    layers = [(layer, layer.synapses) for layer in report.events.layers if layer.synapses is not None]
    names = [layer.name for layer, _ in layers]
    kinds = {"binary": "binary spikes", "graded": "graded spikes, by count", "input": "the network's input"}
    bars: list[go.Bar | go.Scatter] = []
    for (kind, title), colour in zip(kinds.items(), PALETTE, strict=False):
        own = [(layer, synapses) for layer, synapses in layers if synapses.carries == kind]
        bars.append(
            go.Bar(
                x=[sum(synapses.operations) / report.samples for _, synapses in own],
                y=[label(layer.name) for layer, _ in own],
                orientation="h",
                marker={"color": colour},
                customdata=[
                    [sum(synapses.by_value) / report.samples, sum(synapses.nonzero_weights) / report.samples]
                    for _, synapses in own
                ],
                hovertemplate="%{y}<br>%{x:,.1f} by count, %{customdata[0]:,.1f} by value<br>%{customdata[1]:,.1f} "
                "on weights that are not zero<extra></extra>",
                name=title,
            )
        )
    bars.append(
        go.Scatter(
            x=[synapses.dense for _, synapses in layers],
            y=[label(name) for name in names],
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 13, "color": RED, "line": {"width": 2}},
            hovertemplate="%{y}<br>%{x:,} in one dense pass of the ANN<extra></extra>",
            name="one dense pass of the ANN",
        )
    )
    return layer_plot(bars, names, x="synaptic operations a sample", barmode="overlay")


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


def headroom(report: Report) -> Plot:
    """Bits between what a layer can reach and the limit, for its accumulator and its membrane."""
    traces = []
    for kind, colour in (("proved", GREEN), ("calibrated", ORANGE)):
        rows = [row for row in report.headroom if row.bound == kind]
        for quantity_of, symbol in (("accumulator", "circle"), ("membrane", "diamond-open")):
            if not rows:
                continue
            traces.append(
                go.Scatter(
                    x=[getattr(row, f"{quantity_of}_bits_free") for row in rows],
                    y=[label(row.name) for row in rows],
                    mode="markers",
                    marker={"size": 10, "color": colour, "symbol": symbol},
                    customdata=[
                        [getattr(row, quantity_of), getattr(row, f"{quantity_of}_limit"), row.observed] for row in rows
                    ],
                    hovertemplate="%{y}<br>%{x:.2f} bits free: %{customdata[0]:,} of %{customdata[1]:,}"
                    + ("<br>calibration saw %{customdata[2]:.1%} of the limit" if kind == "calibrated" else "")
                    + f"<extra>{quantity_of}, {kind}</extra>",
                    name=f"{quantity_of}, {kind}",
                )
            )
    return layer_plot(traces, [row.name for row in report.headroom], x="bits free")


def mismatch(report: Report) -> Plot:
    """Share of outputs in which the integers differ from the float model."""
    rows = report.mismatches
    bars = go.Bar(
        x=[100 * row.different / row.compared for row in rows],
        y=[label(row.name) for row in rows],
        orientation="h",
        marker={"color": ORANGE},
        customdata=[[row.different, row.compared] for row in rows],
        hovertemplate="%{y}<br>%{customdata[0]:,} of %{customdata[1]:,} outputs differ<extra></extra>",
        name="different",
    )
    return layer_plot([bars], [row.name for row in rows], x="% of the outputs that differ", showlegend=False)


def sqnr(report: Report) -> Plot:
    """Signal over quantisation noise, of the weights and of what the layers emit."""
    traces = [
        go.Scatter(
            x=[row.sqnr_db for row in rows],
            y=[label(row.name) for row in rows],
            mode="markers",
            marker={"size": 10, "color": colour, "symbol": symbol},
            hovertemplate="%{y}<br>%{x:.1f} dB<extra>" + title + "</extra>",
            name=title,
        )
        for rows, title, colour, symbol in (
            (report.weights, "weights", BLUE, "square"),
            (report.mismatches, "outputs", ORANGE, "circle"),
        )
        if rows
    ]
    known = {row.name for row in report.weights} | {row.name for row in report.mismatches}
    return layer_plot(traces, [node.name for node in report.nodes if node.name in known], x="SQNR, dB")
