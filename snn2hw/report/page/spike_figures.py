"""The figures of spikes, membranes and operations: each takes a report and returns a plot."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from snn2hw.page.plots import BLUE, DASHES, PALETTE, VIOLET, Plot, label, layer_plot, shades
from snn2hw.report.comparing import LayerRates
from snn2hw.report.document import Report
from snn2hw.report.events import RATE_EDGES


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


def rates_of_all(layers: Sequence[LayerRates], names: Sequence[str]) -> Plot:
    """The firing rates of reports, layer by layer."""
    marks = [
        go.Scatter(
            x=[layer.rates[place] for layer in layers],
            y=[label(layer.name) for layer in layers],
            mode="lines+markers",
            line={"color": PALETTE[place % len(PALETTE)], "dash": DASHES[place % len(DASHES)], "width": 1},
            marker={"size": 8, "symbol": place % 6},
            hovertemplate="%{y}<br>rate %{x:.4f}<extra>" + label(name) + "</extra>",
            name=label(name),
        )
        for place, name in enumerate(names)
    ]
    return layer_plot(marks, [layer.name for layer in layers], x="non-zero outputs a unit and step")


def rate_classes(report: Report) -> Plot:
    """How the rates of a layer's units are spread, from those that never fire to those that always do."""
    edges = ("0", *(f"{edge:g}" for edge in RATE_EDGES))
    between = [f"up to {edge}" for edge in edges[1:-1]] + ["below 1"]
    rows = [(row.name, row.rates) for row in report.activity if row.rates]
    return _spread(rows, ("never fire", *between, "always fire"), "% of the layer's units, by their rate")


def membranes(report: Report) -> Plot:
    """How membranes lie to their thresholds; those above 1 fire."""
    if report.membranes is None:
        raise ValueError("a report without membranes")
    edges = [f"{edge:g}" for edge in report.membranes.edges]
    titles = (f"up to {edges[0]}", *(f"up to {edge}" for edge in edges[1:]), f"above {edges[-1]}")
    rows = [(row.name, row.counts) for row in report.membranes.layers]
    return _spread(rows, titles, "% of the membranes, in thresholds")


def _spread(rows: Sequence[tuple[str, Sequence[int]]], titles: Sequence[str], x: str) -> Plot:
    """A bar of 100 % for each layer, parted into classes that grow lighter."""
    bars = [
        go.Bar(
            x=[100 * counts[place] / max(sum(counts), 1) for _, counts in rows],
            y=[label(name) for name, _ in rows],
            orientation="h",
            marker={"color": colour},
            customdata=[[counts[place], sum(counts)] for _, counts in rows],
            hovertemplate="%{y}<br>%{customdata[0]:,} of %{customdata[1]:,}<extra>" + title + "</extra>",
            name=title,
        )
        for place, (title, colour) in enumerate(zip(titles, shades(len(titles)), strict=True))
    ]
    return layer_plot(bars, [name for name, _ in rows], x=x, barmode="stack", legend_traceorder="normal")


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
            marker={"symbol": "line-ns-open", "size": 13, "color": VIOLET, "line": {"width": 2}},
            hovertemplate="%{y}<br>%{x:,} in one dense pass of the ANN<extra></extra>",
            name="one dense pass of the ANN",
        )
    )
    return layer_plot(bars, names, x="synaptic operations a sample", barmode="overlay")
