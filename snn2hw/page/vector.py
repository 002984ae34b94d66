"""A figure of a page as a vector graphic for a paper: one column wide, with its fonts in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import unescape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn2hw.page.plots import PALETTE, Plot, shade

WIDTH = 3.3  # inches: a column of most conferences
TALLEST = 8.5  # inches
SETTINGS: dict[Any, Any] = {
    "font.size": 6.5,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "lines.linewidth": 0.8,
    "hatch.linewidth": 0.4,
    "pdf.fonttype": 42,  # letters stay letters: journals refuse bitmap fonts
    "svg.fonttype": "path",
    "svg.hashsalt": "snn2hw",  # two runs give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "x": "x",
    "triangle-down": "v",
    "hexagon": "h",
    "line-ns": "|",
    "line-ew": "_",
}
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def draw(plot: Plot) -> dict[str, bytes]:
    """The figure as files, by their endings: svg and pdf."""
    with matplotlib.rc_context(SETTINGS):
        layout = plot["layout"]
        figure = Figure(figsize=(WIDTH, min(TALLEST, max(1.6, layout["height"] / 130))), layout="constrained")
        axes = figure.add_subplot()
        second = axes.twinx() if "yaxis2" in layout else axes
        rows = _Rows(plot)
        for place, trace in enumerate(plot["data"]):
            colour = PALETTE[place % len(PALETTE)]
            on = second if trace.get("yaxis") == "y2" else axes
            if trace["type"] == "bar":
                rows.bar(on, trace, place, colour)
            else:
                _scatter(on, trace, rows, colour)
        _finish(axes, layout, rows)
        if second is not axes:
            second.set_ylabel(layout["yaxis2"]["title"]["text"])
            second.spines["right"].set_visible(True)
            second.set_ylim(bottom=0)
        handles = [pair for of in {id(axes): axes, id(second): second}.values() for pair in _legend(of)]
        if layout.get("showlegend", True) and len(handles) > 1:
            figure.legend(
                [handle for handle, _ in handles],
                [text for _, text in handles],
                loc="outside upper center",
                ncols=2,
                frameon=False,
                fontsize=5.5,
            )
        return {ending: _saved(figure, ending) for ending in ("svg", "pdf")}


def _saved(figure: Figure, ending: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=ending, metadata={"Date" if ending == "svg" else "CreationDate": None})
    return file.getvalue()


def _legend(axes: Axes) -> list[tuple[Any, str]]:
    return list(zip(*axes.get_legend_handles_labels(), strict=True))


class _Rows:
    """The names along each axis that has names, in the order of the page, and the bars that stand there already."""

    def __init__(self, plot: Plot) -> None:
        layout = plot["layout"]
        self.mode = layout.get("barmode", "overlay")
        self.bars = sum(trace["type"] == "bar" for trace in plot["data"])
        self.ends: dict[str, float] = {}
        self.names: dict[str, list[str]] = {}
        for axis in ("x", "y"):
            if layout[f"{axis}axis"].get("type") == "category":
                ordered = layout[f"{axis}axis"].get("categoryarray", ())
                every = (name for trace in plot["data"] for name in trace.get(axis) or ())
                self.names[axis] = list(dict.fromkeys([*ordered, *every]))

    def places(self, values: Sequence[Any], axis: str) -> np.ndarray:
        """Numbers [n] for values: where their names stand, or themselves; NaN for gaps."""
        if axis in self.names:
            return np.array([self.names[axis].index(value) for value in values], np.float64)
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def bar(self, axes: Axes, trace: dict[str, Any], place: int, colour: str) -> None:
        """Bars that lie, one for each row."""
        widths, at = self.places(trace["x"], "x"), self.places(trace["y"], "y")
        left = np.zeros(len(widths))
        height = 0.75
        if self.mode == "stack":
            left = np.array([self.ends.get(name, 0.0) for name in trace["y"]])
            self.ends |= dict(zip(trace["y"], left + np.nan_to_num(widths), strict=True))
        if self.mode == "group":
            height = 0.8 / self.bars
            at = at + height * (place - (self.bars - 1) / 2)
        marker = trace.get("marker", {})
        axes.barh(
            at,
            widths,
            height,
            left,
            color=marker.get("color", colour),
            hatch={"": None, "/": "////", "\\": "\\\\\\\\", "x": "xxxx", ".": "...."}[
                marker.get("pattern", {}).get("shape", "")
            ],
            edgecolor="white",
            linewidth=0.2,
            label=unescape(trace.get("name", "")),
        )


def _scatter(axes: Axes, trace: dict[str, Any], rows: _Rows, colour: str) -> None:
    if not trace["x"]:
        return
    x, y = rows.places(trace["x"], "x"), rows.places(trace["y"], "y")
    marker, line = trace.get("marker", {}), trace.get("line", {})
    style = line.get("color") or (marker.get("color") if isinstance(marker.get("color"), str) else None) or colour
    label = unescape(trace.get("name", "")) if trace.get("showlegend", True) else "_"
    if "lines" in trace["mode"]:
        axes.plot(x, y, LINES[line.get("dash", "solid")], color=style, label=label, zorder=1)
        label = "_"
    if "markers" in trace["mode"]:
        symbols = marker.get("symbol", "circle")
        symbols = symbols if isinstance(symbols, list) else [symbols] * len(x)
        colours = marker.get("color", style)
        if isinstance(colours, list):
            top = marker.get("cmax") or max(colours, default=1) or 1
            colours = [shade(min(1.0, value / top)) for value in colours]
        else:
            colours = [colours] * len(x)
        for kind in dict.fromkeys(symbols):
            chosen = [at for at, symbol in enumerate(symbols) if symbol == kind]
            hollow = str(kind).endswith("-open")
            shape = MARKERS.get(str(kind).removesuffix("-open"), "o")
            own = [colours[at] for at in chosen]
            faces = {"facecolors": "none", "edgecolors": own} if hollow and shape not in "x|_" else {"c": own}
            axes.scatter(
                x[chosen],
                y[chosen],
                s=(marker.get("size", 6) / 2.2) ** 2,
                marker=shape,
                label=label,
                zorder=2,
                linewidths=0.7,
                **faces,
            )
            label = "_"
    if errors := {side: trace[f"error_{side}"] for side in "xy" if f"error_{side}" in trace}:
        spans = {side: [error["arrayminus"], error["array"]] for side, error in errors.items()}
        axes.errorbar(
            x, y, spans.get("y"), spans.get("x"), fmt="none", ecolor=style, elinewidth=0.6, capsize=1.5, zorder=1
        )
    if "text" in trace["mode"]:
        places = trace.get("textposition", "middle right")
        places = places if isinstance(places, list) else [places] * len(x)
        for at_x, at_y, text, place in zip(x, y, trace["text"], places, strict=True):
            if not np.isnan(at_x + at_y):
                side = {"left": (-3, "right"), "right": (3, "left"), "center": (0, "center")}[place.split()[1]]
                up = 4 if place.startswith("top") else 0
                axes.annotate(
                    unescape(text.strip()),
                    (at_x, at_y),
                    (side[0], up),
                    textcoords="offset points",
                    ha=side[1],
                    va="bottom" if up else "center",
                    fontsize=5,
                )


def _finish(axes: Axes, layout: dict[str, Any], rows: _Rows) -> None:
    for name, axis, limits in (("x", axes.xaxis, axes.set_xlim), ("y", axes.yaxis, axes.set_ylim)):
        of = layout[f"{name}axis"]
        axis.set_label_text(of["title"]["text"])
        if of.get("type") == "log":
            axis.set_inverted(False)
            (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        if name in rows.names:
            size = 6.0 if name == "x" else max(1.5, min(6.0, 400 / max(len(rows.names[name]), 1)))
            axis.set_ticks(range(len(rows.names[name])), [unescape(text) for text in rows.names[name]], fontsize=size)
            if name == "x":
                axes.tick_params("x", rotation=20)
        elif "tickvals" in of:
            axis.set_ticks(of["tickvals"], of.get("ticktext"))
        if of.get("range") and of.get("type") != "log":
            limits(*of["range"])
        elif of.get("autorange") == "reversed":
            axis.set_inverted(True)
        axis.set_visible(of.get("visible", True))
    if not layout["xaxis"].get("visible", True):
        axes.spines[:].set_visible(False)
    axes.tick_params(length=2)
