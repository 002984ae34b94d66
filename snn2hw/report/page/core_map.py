"""Cores as they lie on the mesh of a chip, coloured by how full they are."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from snn2hw.report.mapping import Mapping
from snn2hw.report.page.plots import GREY, RATES, Plot, label, plot

PIXELS = 26  # of a core where few are shown
WIDEST = 3  # chips in a row
MOST_NAMED = 5000  # cores whose layer is named; of more its number, or the page grows too large


def core_map(mapping: Mapping) -> Plot:
    """All cores of all chips; a core's colour is its largest share of a limit. Free cores are blank."""
    if mapping.placement is None:
        raise ValueError(f"{mapping.chip}: the layers have no places")
    cores, limits = mapping.placement["core_list"], mapping.placement["limits"]
    wide, high, per_tile = mapping.mesh
    side = math.ceil(math.sqrt(per_tile))  # the cores of a tile in rows of so many
    chips = mapping.placement["chips"]
    per_row = min(chips, WIDEST)
    width, height = wide * side, high * math.ceil(per_tile / side)  # of a chip
    columns = per_row * (width + 1) - 1
    rows = math.ceil(chips / per_row) * (height + 1) - 1
    share: list[list[float | None]] = [[None] * columns for _ in range(rows)]
    text: list[list[str]] = [[""] * columns for _ in range(rows)]
    filled: dict[tuple[int, int, int], int] = {}
    layers = [layer["name"] for layer in mapping.placement["layers"]]
    names = {
        name: label(name) if len(cores) <= MOST_NAMED else f"layer {at}" for at, name in enumerate(layers, start=1)
    }
    for core in cores:
        tile = (core["chip"], core["x"], core["y"])
        place = filled[tile] = filled.get(tile, -1) + 1
        row = core["chip"] // per_row * (height + 1) + core["y"] * math.ceil(per_tile / side) + place // side
        column = core["chip"] % per_row * (width + 1) + core["x"] * side + place % side
        share[row][column] = round(100 * fullest_share(core, limits), 1)
        text[row][column] = names[core["layer"]]
    heat = go.Heatmap(
        z=share,
        text=text,
        hovertemplate="%{text}<br>%{z} % used<extra></extra>",
        colorscale=RATES,
        zmin=0,
        zmax=100,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "% used"}, "thickness": 10},
    )
    figure = plot([heat], height=60 + max(160, min(PIXELS * rows, 700)))
    corners = [(chip % per_row * (width + 1) - 0.5, chip // per_row * (height + 1) - 0.5) for chip in range(chips)]
    figure["layout"]["shapes"] = [
        {"type": "rect", "x0": x, "x1": x + width, "y0": y, "y1": y + height, "line": {"color": GREY, "width": 1}}
        for x, y in corners
    ]
    figure["layout"]["xaxis"] |= {"visible": False}
    figure["layout"]["yaxis"] |= {"visible": False, "autorange": "reversed"}
    return figure


def fullest_share(core: dict[str, Any], limits: dict[str, int | None]) -> float:
    """The largest share of a limit that a core takes."""
    return float(max(core[name] / limit for name, limit in limits.items() if limit))
