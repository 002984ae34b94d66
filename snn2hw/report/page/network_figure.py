"""The network drawn from top to bottom: units as marks coloured by their rate, synapses on the lines between them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import plotly.graph_objects as go

from snn2hw.page.plots import GREY, RATES, RUST, Plot, label, plot
from snn2hw.report.document import Report
from snn2hw.report.network import GraphNode

SYNAPSES = ("conv", "linear", "scale", "sum_pool")
SYMBOLS = {
    "neuron": "circle",
    "threshold": "diamond",
    "merge": "square",
    "input": "triangle-down",
    "readout": "hexagon",
}
ROW = 40  # pixels from one unit to the next
CURVE = 12  # straight pieces of a bent line


class Line(NamedTuple):
    """From one unit to another, through synapses or none, with the delay of the whole way in cycles."""

    source: str
    target: str
    synapses: tuple[str, ...]
    delay: int


def network(report: Report) -> Plot:
    """The graph of a report's network."""
    nodes = {node.name: node for node in report.nodes}
    lines = lines_of(report)
    rows, columns = places(list(nodes), lines)
    rates = {row.name: row.rate for row in report.activity}
    drawn = [(ways, delayed) for delayed in (False, True) if (ways := [w for w in lines if bool(w.delay) == delayed])]
    traces = [_lines(ways, rows, columns, delayed=delayed) for ways, delayed in drawn]
    traces.append(_delays([line for line in lines if line.delay], rows, columns))
    scale = {"colorscale": RATES, "cmin": 0, "cmax": max(rates.values(), default=0) or 1}
    traces.append(_synapses([line for line in lines if line.synapses], nodes, rows, columns))
    for kind, symbol in SYMBOLS.items():
        units = [node for node in report.nodes if node.kind == kind and node.name in rows]
        if units:
            traces += [_units(units, symbol, kind, rates, scale, rows, columns), _legend(kind, symbol)]
    traces.append(_colour_bar(scale))
    width = max(columns.values(), default=0)
    deepest = max(rows.values(), default=0)
    figure = plot(traces, height=110 + ROW * (deepest + 1), hovermode="closest")
    hidden = {"visible": False, "fixedrange": True}
    figure["layout"]["xaxis"] |= hidden | {"range": [-2.6, width + 2.2], "domain": [0, 0.88]}
    figure["layout"]["yaxis"] |= hidden | {"range": [deepest + 0.7, -0.7]}
    return figure


def lines_of(report: Report) -> list[Line]:
    """Every way from unit to unit, the synapses on it drawn into it."""
    nodes = {node.name: node for node in report.nodes}
    sources: dict[str, list[tuple[str, int]]] = {name: [] for name in nodes}
    for edge in report.edges:
        sources[edge.target].append((edge.source, edge.delay))
    lines = []
    for target, node in nodes.items():
        if node.kind in SYNAPSES:
            continue
        waiting: list[tuple[str, tuple[str, ...], int]] = [(source, (), delay) for source, delay in sources[target]]
        while waiting:
            name, synapses, delay = waiting.pop(0)
            if nodes[name].kind in SYNAPSES:
                waiting += [(source, (name, *synapses), delay + more) for source, more in sources[name]]
            else:
                lines.append(Line(name, target, synapses, delay))
    return lines


def places(names: list[str], lines: list[Line]) -> tuple[dict[str, int], dict[str, int]]:
    """Row and column of every unit: rows by the longest way from the input, columns so that branches run side by side.

    names: in the order of the network. The first reader of a unit goes on in its column; each further one opens the
    next column, and where branches meet, the leftmost goes on.
    """
    before: dict[str, list[str]] = {}
    for line in lines:
        before.setdefault(line.source, [])
        before.setdefault(line.target, []).append(line.source)
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    continued: set[str] = set()
    for name in names:
        if name not in before:
            continue
        sources = before[name]
        rows[name] = 1 + max((rows[source] for source in sources), default=-1)
        free = [source for source in sources if source not in continued]
        column = min((columns[source] for source in free), default=None)
        if column is None:
            column = 1 + min((columns[source] for source in sources), default=-1)
        taken = {columns[other] for other in columns if rows[other] == rows[name]}
        while column in taken:
            column += 1
        columns[name] = column
        continued |= {source for source in free if columns[source] == column}
    return rows, columns


def _bend(line: Line, rows: dict[str, int], columns: dict[str, int]) -> list[tuple[float, float]]:
    """Points of a line; it bows to the right where it would run through the units of its column."""
    x0, x1, y0, y1 = columns[line.source], columns[line.target], rows[line.source], rows[line.target]
    if y1 - y0 == 1 or x0 != x1:
        return [(x0, y0), (x1, y1)] if x0 == x1 else _curve(x0, y0, x1, y1, 0.0)
    return _curve(x0, y0, x1, y1, 0.55)


def _curve(x0: int, y0: int, x1: int, y1: int, bow: float) -> list[tuple[float, float]]:
    parts = [i / CURVE for i in range(CURVE + 1)]
    return [
        (x0 + (x1 - x0) * (3 - 2 * part) * part**2 + bow * math.sin(math.pi * part) ** 0.6, y0 + (y1 - y0) * part)
        for part in parts
    ]


def _lines(lines: list[Line], rows: dict[str, int], columns: dict[str, int], *, delayed: bool) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for line in lines:
        points = _bend(line, rows, columns)
        x += [*(px for px, _ in points), None]
        y += [*(py for _, py in points), None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": RUST if delayed else GREY, "width": 1.5, "dash": "dash" if delayed else "solid"},
        hoverinfo="skip",
        name="delayed by so many cycles" if delayed else "spikes",
    )


def _delays(lines: list[Line], rows: dict[str, int], columns: dict[str, int]) -> go.Scatter:
    """The delays beside their lines; another trace, since Plotly leaves out points of lines."""
    middles = [points[len(points) // 2] for points in (_bend(line, rows, columns) for line in lines)]
    return go.Scatter(
        x=[x for x, _ in middles],
        y=[y for _, y in middles],
        mode="text",
        text=[f"  +{line.delay}" for line in lines],
        textposition="middle right",
        textfont={"color": RUST},
        hoverinfo="skip",
        showlegend=False,
    )


def _synapses(
    lines: list[Line], nodes: dict[str, GraphNode], rows: dict[str, int], columns: dict[str, int]
) -> go.Scatter:
    middles = [
        points[len(points) // 2] if len(points) > 2 else _middle(points)
        for points in (_bend(line, rows, columns) for line in lines)
    ]
    return go.Scatter(
        x=[x for x, _ in middles],
        y=[y for _, y in middles],
        mode="markers",
        marker={"symbol": "line-ew-open", "size": 9, "color": GREY, "line": {"width": 2}},
        customdata=[
            "<br>".join(
                f"{label(name)}: {nodes[name].kind}, {nodes[name].weights:,} weights, {_shape(nodes[name])}"
                for name in line.synapses
            )
            for line in lines
        ],
        hovertemplate="%{customdata}<extra></extra>",
        name="synapses",
    )


def _middle(points: list[tuple[float, float]]) -> tuple[float, float]:
    (x0, y0), (x1, y1) = points
    return (x0 + x1) / 2, (y0 + y1) / 2


def _units(
    units: list[GraphNode],
    symbol: str,
    kind: str,
    rates: dict[str, float],
    scale: dict[str, Any],
    rows: dict[str, int],
    columns: dict[str, int],
) -> go.Scatter:
    counted = all(node.name in rates for node in units)
    return go.Scatter(
        x=[columns[node.name] for node in units],
        y=[rows[node.name] for node in units],
        mode="markers+text",
        marker={"symbol": symbol, "size": 16, "line": {"width": 1, "color": GREY}}
        | ({"color": [rates[node.name] for node in units], **scale} if counted else {"color": GREY}),
        text=[f"{node.gate} {label(node.name)}" if node.gate else label(node.name) for node in units],
        textposition=["middle left" if columns[node.name] == 0 else "middle right" for node in units],
        textfont={"size": 11},
        cliponaxis=False,
        customdata=[[_shape(node), node.latency, rates.get(node.name, 0.0)] for node in units],
        hovertemplate="%{text}<br>%{customdata[0]}, answers %{customdata[1]} cycles after the input"
        + ("<br>rate %{customdata[2]:.4f}" if counted else "")
        + f"<extra>{kind}</extra>",
        showlegend=False,
    )


def _legend(kind: str, symbol: str) -> go.Scatter:
    """An entry by itself: the marks themselves have many colours."""
    name = {"merge": "sum of spikes (ADD)", "threshold": "gate or pool"}.get(kind, kind)
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker={"symbol": symbol, "color": GREY, "size": 12}, name=name
    )


def _colour_bar(scale: dict[str, Any]) -> go.Scatter:
    """The scale of the rates, at the top right, however long the network is."""
    bar = {"title": {"text": "rate"}, "thickness": 10, "lenmode": "pixels", "len": 320, "yanchor": "top", "y": 1}
    marker = scale | {"color": [0], "showscale": True, "colorbar": bar}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def _shape(node: GraphNode) -> str:
    return "x".join(map(str, node.shape))
