"""What a report writes beside its page: figures for papers, and tables."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from snn2hw.cli import console
from snn2hw.cli.asked import Report
from snn2hw.files import check_folder, write_bytes, write_text
from snn2hw.page.frame import Table
from snn2hw.page.plots import Plot
from snn2hw.page.written import as_csv, as_latex


def check_extras(asked: Report) -> None:
    """Raise OptionError if a folder cannot be written, and import Matplotlib now, before the work, if it is needed."""
    for folder in (asked.figures, asked.tables):
        if folder is not None:
            check_folder(folder)
    if asked.figures is not None:
        importlib.import_module("matplotlib")


def write_extras(asked: Report, plots: Mapping[str, Plot], tables: Mapping[str, Table]) -> None:
    """Write into the folders that were asked for."""
    if asked.figures is not None:
        from snn2hw.page.vector import draw  # Matplotlib is slow to import, and an extra

        asked.figures.mkdir(exist_ok=True)
        for name, plot in plots.items():
            for ending, content in draw(plot).items():
                write_bytes(asked.figures / f"{name}.{ending}", content)
        console.say(f"Wrote {len(plots)} figures as SVG and PDF into {asked.figures}.")
    if asked.tables is not None:
        asked.tables.mkdir(exist_ok=True)
        for name, table in tables.items():
            write_text(asked.tables / f"{name}.csv", as_csv(table))
            write_text(asked.tables / f"{name}.tex", as_latex(table))
        console.say(f"Wrote {len(tables)} tables as CSV and LaTeX into {asked.tables}.")
