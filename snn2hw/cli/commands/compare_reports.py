"""snn2hw report --compare: reports side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snn2hw.cli import console
from snn2hw.cli.asked import Report
from snn2hw.cli.commands.report_extras import check_extras, write_extras
from snn2hw.cli.report_tables import show_side_by_side
from snn2hw.errors import OptionError
from snn2hw.files import check_folder, write_text
from snn2hw.report.comparing import names_of, side_by_side
from snn2hw.report.page.compare import comparison_plots, comparison_tables, render_comparison
from snn2hw.report.reading import read_report


def compare_reports(paths: Sequence[Path], asked: Report) -> None:
    """Print reports side by side; with a folder `output`, write compare.html there too."""
    if len(paths) < 2:
        raise OptionError("--compare: name two reports or more, as in --compare A B C.")
    names, output = names_of(paths), asked.output
    if output is not None:
        check_folder(output)
    check_extras(asked)
    reports = [read_report(path) for path in paths]
    compared = side_by_side(reports, names)
    if output is not None:
        page = render_comparison(reports, names)
        output.mkdir(exist_ok=True)
        write_text(output / "compare.html", page)
    show_side_by_side(compared, names)
    if output is not None:
        console.say(f"Wrote {output / 'compare.html'}.")
    write_extras(asked, comparison_plots(compared, names), comparison_tables(compared, names))
