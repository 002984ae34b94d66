"""The figures of accuracy and of the integers: each takes a report and returns a plot."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from snn2hw.page.plots import BLUE, OCHRE, PETROL, RUST, VIOLET, Plot, label, layer_plot, plot
from snn2hw.page.quantity import prefix_of, quantity
from snn2hw.report.document import Report
from snn2hw.report.network import Headroom
from snn2hw.report.page.engines import engines, name_of
from snn2hw.report.shares import Accuracy

MOST_SAMPLES = 2000  # drawn one by one; of more every so manieth


def waterfall(report: Report) -> Plot:
    """Accuracy of each engine with its interval; one that ran on fewer samples is named so and drawn hollow."""
    rows = engines(report)
    symbols = ["circle" if row.n == report.samples else "circle-open" for row in rows]
    marks = _accuracies(rows, [name_of(row, report) for row in rows], symbols)
    figure = plot([marks], height=320, y="accuracy, %", showlegend=False)
    figure["layout"]["xaxis"] |= {"type": "category", "range": [-0.4, len(rows) - 0.3]}
    return figure


def against_time(report: Report) -> Plot:
    """Accuracy if the program stopped after each step, the answers that are final by then, and what it costs."""
    exits = report.early_exits
    steps = [row.steps for row in exits] or list(range(1, len(report.over_time) + 1))
    traces: list[go.Scatter] = []
    if report.over_time:
        traces.append(_accuracies(report.over_time, steps, ["circle"] * len(steps)))
        traces[0].update(mode="lines+markers", name="accuracy")
    if exits:
        traces.append(
            go.Scatter(
                x=steps,
                y=[100 * row.settled / report.samples for row in exits],
                mode="lines+markers",
                line={"color": OCHRE, "dash": "dot"},
                marker={"symbol": "square", "size": 8},
                hovertemplate="after %{x}: %{y:.2f} % of the answers are final<extra></extra>",
                name="answers that are final",
            )
        )
    figure = plot(traces, height=360, x="stopped after time steps (cycles of one sample alone)", y="% of the samples")
    labels = [f"{row.steps} ({row.cycles})" for row in exits]
    ticks = {"tickmode": "array", "tickvals": steps, "ticktext": labels} if labels and len(steps) <= 16 else {}
    figure["layout"]["xaxis"] |= ticks
    first = report.headline.profile if report.headline else ""
    if exits and first in exits[-1].energy:
        joules = [row.energy[first] for row in exits]
        scale, prefix = prefix_of(max(joules))
        line = go.Scatter(
            x=steps,
            y=[value / scale for value in joules],
            yaxis="y2",
            mode="lines+markers",
            line={"color": RUST, "dash": "dash"},
            marker={"symbol": "diamond", "size": 8},
            customdata=[quantity(value, "J") for value in joules],
            hovertemplate="after %{x}: %{customdata}<extra></extra>",
            name="energy",
        )
        figure["data"].append(line.to_plotly_json())
        title = {"title": {"text": f"{prefix}J a sample, {first}"}, "automargin": True}
        figure["layout"]["yaxis2"] = title | {
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "tickmode": "auto",
            "showgrid": False,
        }
    return figure


def _accuracies(rows: tuple[Accuracy, ...], x: list[str] | list[int], symbols: list[str]) -> go.Scatter:
    return go.Scatter(
        x=[label(place) if isinstance(place, str) else place for place in x],
        y=[100 * row.accuracy for row in rows],
        error_y={
            "type": "data",
            "array": [100 * (row.interval[1] - row.accuracy) for row in rows],
            "arrayminus": [100 * (row.accuracy - row.interval[0]) for row in rows],
            "thickness": 1.5,
            "width": 6,
        },
        mode="markers+text",
        text=[f" {100 * row.accuracy:.2f} %" for row in rows],
        textposition="middle right",
        cliponaxis=False,
        marker={"size": 11, "color": BLUE, "symbol": symbols},
        line={"color": BLUE, "width": 1.5},
        customdata=[[row.correct, row.n, 100 * row.interval[0], 100 * row.interval[1]] for row in rows],
        hovertemplate="%{customdata[0]} of %{customdata[1]} right<br>95 %: %{customdata[2]:.2f} to "
        "%{customdata[3]:.2f} %<extra></extra>",
        name="accuracy",
    )


def margins(report: Report) -> Plot:
    """How far the float model's answer lies above the others, in its own logits and in the program's."""
    answers = report.answers
    if answers is None:
        raise ValueError("a report without answers")
    every = range(0, len(answers.program), math.ceil(len(answers.program) / MOST_SAMPLES))
    traces = []
    for title, colour, symbol, changed in (
        ("the same answer", BLUE, "circle", False),
        ("another answer", RUST, "x", True),
    ):
        chosen = [at for at in every if (answers.program[at] != answers.float_model[at]) == changed]
        traces.append(
            go.Scatter(
                x=[answers.float_margins[at] for at in chosen],
                y=[answers.program_margins[at] for at in chosen],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 8},
                customdata=[[at, answers.float_model[at], answers.program[at]] for at in chosen],
                hovertemplate="sample %{customdata[0]}: %{customdata[1]} float, %{customdata[2]} program"
                "<extra></extra>",
                name=title,
            )
        )
    return plot(traces, height=360, x="margin of the float model's logits", y="margin of the program's logits")


def parting(report: Report) -> Plot:
    """In how many samples each layer is the first whose spikes differ from the float model's."""
    rows = [row for row in report.mismatches if row.first is not None]
    bars = go.Bar(
        x=[row.first for row in rows],
        y=[label(row.name) for row in rows],
        orientation="h",
        marker={"color": RUST},
        hovertemplate="%{y}<br>the first to differ in %{x} samples<extra></extra>",
        name="first to differ",
    )
    return layer_plot([bars], [row.name for row in rows], x="samples whose spikes differ here first", showlegend=False)


def headroom(report: Report) -> Plot:
    """Bits between the limit and the proved bound, or the worst case if none is proved, and what calibration saw."""
    kinds = (
        ("accumulator, proved bound", PETROL, "circle", lambda row: row.accumulator_bits_free, "proved"),
        ("membrane, proved bound", PETROL, "diamond-open", lambda row: row.membrane_bits_free, "proved"),
        ("accumulator, worst case", RUST, "circle", lambda row: row.accumulator_bits_free, "calibrated"),
        ("membrane, worst case", RUST, "diamond-open", lambda row: row.membrane_bits_free, "calibrated"),
        ("what calibration observed", VIOLET, "line-ns-open", _observed_bits, ""),
    )
    traces = []
    for title, colour, symbol, bits, bound in kinds:
        rows = [row for row in report.headroom if bound in ("", row.bound) and bits(row) is not None]
        if rows:
            traces.append(
                go.Scatter(
                    x=[bits(row) for row in rows],
                    y=[label(row.name) for row in rows],
                    mode="markers",
                    marker={"size": 10, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}},
                    hovertemplate="%{y}<br>%{x:.2f} bits free<extra>" + title + "</extra>",
                    name=title,
                )
            )
    return layer_plot(traces, [row.name for row in report.headroom], x="bits free; below 0 the limit is passed")


def _observed_bits(row: Headroom) -> float | None:
    return -math.log2(row.observed) if row.observed else None


def mismatch(report: Report) -> Plot:
    """Share of outputs in which the integers differ from the float model."""
    rows = report.mismatches
    bars = go.Bar(
        x=[100 * row.different / row.compared for row in rows],
        y=[label(row.name) for row in rows],
        orientation="h",
        marker={"color": RUST},
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
            (report.mismatches, "outputs", RUST, "circle"),
        )
        if rows
    ]
    known = {row.name for row in report.weights} | {row.name for row in report.mismatches}
    return layer_plot(traces, [node.name for node in report.nodes if node.name in known], x="SQNR, dB")
