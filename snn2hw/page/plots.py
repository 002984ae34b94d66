"""How every figure of a page looks: colours that suit light and dark, and one row a layer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

Plot = dict[str, Any]
"""A figure as Plotly's JSON: data and layout."""

# Of about the same weight on white and on the dark ground. tests/report/test_colours.py measures how far they stay
# apart for eyes that see no green, and in print without colours.
BLUE, RUST, PETROL, OCHRE, NAVY, TURQUOISE, VIOLET, SAND = (
    "#458ccc",
    "#a75421",
    "#056678",
    "#c2a60a",
    "#054ba8",
    "#00cdbf",
    "#5369ff",
    "#b3935b",
)
PALETTE = (BLUE, RUST, PETROL, OCHRE, NAVY, TURQUOISE, VIOLET, SAND)
GREY = "#8c929b"  # of lines that carry no class
DASHES = ("solid", "dash", "dot", "dashdot")
ROW = 22  # pixels of one layer
RATES = ((0.0, "#3f6fb5"), (0.5, "#8f9a9a"), (1.0, "#f0b429"))  # lighter as it grows: readable by everybody


def plot(traces: Sequence[Any], *, height: int, x: str = "", y: str = "", **layout: Any) -> Plot:
    """A figure from its traces. Axes are named by `x` and `y`; the page adds the colours of its theme."""
    figure = go.Figure(list(traces))
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 44},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1, "xanchor": "left", "x": 0},
        hoverlabel={"align": "left"},
        template=None,
        colorway=PALETTE,
        xaxis={"title": {"text": x}, "automargin": True},
        yaxis={"title": {"text": y}, "automargin": True},
    )
    figure.update_layout(**layout)
    data_and_layout: Plot = figure.to_plotly_json()
    return data_and_layout


def layer_plot(traces: Sequence[Any], layers: Sequence[str], *, x: str, **layout: Any) -> Plot:
    """A figure of one row a layer, the first on top; its traces are horizontal."""
    # A range that is given: Plotly would leave room for marks, a share of the height, which is much above many layers.
    ends = [len(layers) - 0.5, -0.5]
    rows = {"categoryorder": "array", "categoryarray": [label(name) for name in layers], "range": ends}
    height = 90 + ROW * len(layers)
    figure = plot(traces, height=height, x=x, **layout)
    figure["layout"]["yaxis"] |= rows | {"type": "category", "dtick": 1}
    return figure


def label(name: str) -> str:
    """A name as Plotly shows it: without the markup that it would otherwise read in it."""
    return escape(name, quote=False)


def shades(count: int) -> list[str]:
    """So many colours of RATES at even distances, the first the darkest."""
    return [shade(place / max(count - 1, 1)) for place in range(count)]


def shade(share: float) -> str:
    """The colour of RATES for a share from 0 to 1."""
    (low, dark), (high, light) = next(pair for pair in pairwise(RATES) if share <= pair[1][0])
    part = (share - low) / (high - low)
    mixed = (round(a + (b - a) * part) for a, b in zip(_channels(dark), _channels(light), strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
