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
    Plot,
    label,
    layer_plot,
    plot,
)


def engines(report: Report) -> tuple[Accuracy, ...]:
    """The accuracies of the waterfall, with Lava's where a verification holds it."""
    verification = report.verification
    if verification is None or verification.accuracy is None or "lava" not in verification.accuracy:
        return report.waterfall
    count = int(verification.accuracy["n"])
    return (*report.waterfall, wilson("lava", round(verification.accuracy["lava"] * count), count))


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
    figure = plot([trace], height=300, x=x, y="accuracy, %", showlegend=False)
    figure["layout"]["xaxis"] |= {"type": "category", "range": [-0.4, len(rows) - 0.3]}
    return figure


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
        arriving = [(layer, synapses) for layer, synapses in layers if synapses.carries == kind]
        bars.append(
            go.Bar(
                x=[sum(synapses.operations) / report.samples for _, synapses in arriving],
                y=[label(layer.name) for layer, _ in arriving],
                orientation="h",
                marker={"color": colour},
                customdata=[
                    [sum(synapses.by_value) / report.samples, sum(synapses.nonzero_weights) / report.samples]
                    for _, synapses in arriving
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
