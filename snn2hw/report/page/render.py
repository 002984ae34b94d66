"""report.html from a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from snn2hw.page.frame import page
from snn2hw.page.plots import BLUE, RATES, Plot
from snn2hw.report.document import Report
from snn2hw.report.page import cost_figures, figures, spike_figures, tables
from snn2hw.report.page.core_map import core_map
from snn2hw.report.page.network_figure import network
from snn2hw.report.prices import load_arithmetic

PACKAGE = "snn2hw.report.page"
SECTIONS = (
    ("overview", "Overview"),
    ("accuracy", "Accuracy"),
    ("parting", "Float and integers"),
    ("network", "Network"),
    ("spikes", "Spikes"),
    ("operations", "Operations"),
    ("energy", "Energy"),
    ("latency", "Latency"),
    ("cores", "Cores"),
    ("reproducibility", "Reproducibility"),
)
TITLES = {
    "waterfall": "What survives",
    "against_time": "Against time",
    "margins": "Margins before and after",
    "parting": "Where samples part from the float model",
    "network": "From input to read-out",
    "rates": "Firing rate",
    "rate_classes": "Rates of the single units",
    "membranes": "Membranes against their thresholds",
    "operations": "Where the operations are done",
    "energy_totals": "A sample, under every profile",
    "energy_components": "What the energy is spent on",
    "without_spikes": "Against the ANN",
    "layer_times": "Work of each layer in a cycle",
    "headroom": "Room in accumulators and membranes",
    "sqnr": "Signal over quantisation noise",
    "mismatch": "Outputs that differ from the float model",
}


def plots_of(report: Report) -> dict[str, Plot]:
    """The figures that this report has something to draw in."""
    wanted: dict[str, tuple[Callable[[Report], Plot], object]] = {
        "waterfall": (figures.waterfall, report.waterfall),
        "against_time": (figures.against_time, report.over_time or report.early_exits),
        "margins": (figures.margins, report.answers and report.answers.float_margins),
        "parting": (figures.parting, any(row.first for row in report.mismatches)),
        "network": (network, True),
        "rates": (spike_figures.rates, True),
        "rate_classes": (spike_figures.rate_classes, any(row.rates for row in report.activity)),
        "membranes": (spike_figures.membranes, report.membranes and report.membranes.layers),
        "operations": (spike_figures.operations, True),
        "energy_totals": (cost_figures.energy_totals, True),
        "energy_components": (cost_figures.energy_components, True),
        "without_spikes": (cost_figures.without_spikes, report.baselines),
        "layer_times": (cost_figures.layer_times, report.latency.steps),
        "headroom": (figures.headroom, True),
        "sqnr": (figures.sqnr, True),
        "mismatch": (figures.mismatch, report.mismatches),
    }
    return {name: draw(report) for name, (draw, content) in wanted.items() if content}


def name_of(report: Report) -> str:
    """What people call the model: its file without the folders, or the factory's name."""
    return report.reproducibility.model.replace("\\", "/").rsplit("/", 1)[-1]


def render(report: Report) -> str:
    """The whole page as text."""
    profiles = {profile.name: profile for profile in report.profiles}
    totals = {energy.profile: energy.total for energy in report.energy}
    first = report.headline
    drawn = plots_of(report)
    return page(
        "report.html",
        package=PACKAGE,
        title=f"snn2hw: {name_of(report)}",
        data={
            "timesteps": report.timesteps,
            "colour": BLUE,
            "colours": RATES,
            "figures": drawn,
            "rasters": [asdict(raster) for raster in report.rasters],
        },
        name=name_of(report),
        report=report,
        sections=SECTIONS,
        drawn=drawn,
        figure_titles=TITLES,
        titles={name: profile.title for name, profile in profiles.items()},
        main_energy=totals[first.profile] if first else None,
        main_profile=profiles[first.profile] if first else None,
        total_operations=report.operations.binary + report.operations.graded + report.operations.input,
        difference=tables.difference(report),
        tables=tables.tables_of(report),
        matrix=tables.is_matrix(report),
        maps={mapping.chip: core_map(mapping) for mapping in report.mappings if mapping.placement},
        paper_prices=[1e12 * price for price in load_arithmetic()],
        record_rows=list(tables.record(report)),
    )
