"""report.html from a report: templates, figures, and the script that draws them, all in one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from snn2hw.report.comparing import side_by_side
from snn2hw.report.document import Report
from snn2hw.report.page import cost_figures, figures, rows
from snn2hw.report.page.core_map import core_map
from snn2hw.report.page.network_figure import network
from snn2hw.report.page.plots import RATES, Plot
from snn2hw.report.quantity import large, quantity

TEMPLATES = files("snn2hw.report.page") / "templates"
HEADLINE = "loihi1-davies"  # the profile of the page's first figure of energy, where it is among those asked for


def plots_of(report: Report) -> dict[str, Plot]:
    """The figures that this report has something to draw in."""
    wanted: dict[str, tuple[Callable[[Report], Plot], object]] = {
        "waterfall": (figures.waterfall, report.waterfall),
        "over_time": (figures.over_time, report.over_time),
        "network": (network, True),
        "rates": (figures.rates, True),
        "dead_and_saturated": (figures.dead_and_saturated, True),
        "operations": (figures.operations, True),
        "energy_totals": (cost_figures.energy_totals, True),
        "energy_components": (cost_figures.energy_components, True),
        "layer_times": (cost_figures.layer_times, report.latency.steps),
        "headroom": (figures.headroom, True),
        "sqnr": (figures.sqnr, True),
        "mismatch": (figures.mismatch, report.mismatches),
    }
    drawn = {name: draw(report) for name, (draw, content) in wanted.items() if content}
    return drawn | {f"cores_{mapping.chip}": core_map(mapping) for mapping in report.mappings if mapping.placement}


def render(report: Report) -> str:
    """The whole page as text."""
    profiles = {profile.name: profile for profile in report.profiles}
    priced = [energy for energy in report.energy if energy.total is not None]
    priced.sort(key=lambda energy: energy.profile != HEADLINE)
    return _page(
        "report.html",
        title=f"snn2hw: {report.reproducibility.model}",
        data={
            "timesteps": report.timesteps,
            "colours": RATES,
            "figures": plots_of(report),
            "rasters": [asdict(raster) for raster in report.rasters],
        },
        report=report,
        titles={name: profile.title for name, profile in profiles.items()},
        main_energy=priced[0] if priced else None,
        main_profile=profiles[priced[0].profile] if priced else None,
        total_operations=report.operations.binary + report.operations.graded + report.operations.input,
        verified_rows=rows.verified(report),
        operation_rows=rows.operations(report),
        footprint_rows=rows.footprint(report),
        energy_rows=rows.energy(report),
        baseline_rows=rows.baselines(report),
        price_rows=rows.prices(report),
        paper_prices=rows.paper_prices(),
        latency_rows=rows.latency(report),
        core_rows={mapping.chip: rows.cores(mapping) for mapping in report.mappings},
        traffic_rows={mapping.chip: rows.traffic(mapping, report.samples) for mapping in report.mappings},
        approximation_rows=rows.approximations(report),
        record_rows=rows.record(report),
    )


def render_comparison(a: Report, b: Report, names: tuple[str, str]) -> str:
    """The page of two reports, called by `names`: every figure of both beside each other."""
    comparison = side_by_side(a, b)
    drawn = [plots_of(report) for report in (a, b)]
    return _page(
        "compare.html",
        title=f"snn2hw: {names[0]} and {names[1]}",
        data={
            "figures": {"rates_of_both": figures.rates_of_both(comparison.layers, names)}
            | {f"{side}.{name}": plot for side, plots in zip("ab", drawn, strict=True) for name, plot in plots.items()}
        },
        reports=(a, b),
        names=names,
        notes=comparison.notes,
        pair_rows=[(pair.name, pair.a, pair.b, pair.change) for pair in comparison.pairs],
        drawn=drawn,
    )


def _page(template: str, *, title: str, data: Mapping[str, Any], **content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("snn2hw.report.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["count"] = rows.count
    environment.filters["large"] = large
    environment.filters["joules"] = lambda value: quantity(value, "J")
    return environment.get_template(template).render(
        title=title,
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        ),  # no text in it may end the script
        style=(TEMPLATES / "style.css").read_text(),
        script=(TEMPLATES / "page.js").read_text(),
        plotly=get_plotlyjs(),
        **content,
    )
