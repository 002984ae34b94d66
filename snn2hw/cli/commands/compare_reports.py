"""snn2hw report --compare: two reports side by side."""

from __future__ import annotations

from pathlib import Path

from snn2hw.cli import console
from snn2hw.cli.report_tables import show_side_by_side
from snn2hw.errors import OptionError
from snn2hw.files import check_folder, write_text
from snn2hw.report.comparing import read_report, side_by_side
from snn2hw.report.page.render import render_comparison


def compare_reports(one: Path, other: Path, output: Path | None) -> None:
    """Print two reports side by side; with a folder `output`, write compare.html there too."""
    if one == other:
        raise OptionError(f"--compare {one} {other}: that is the same report twice.")
    if output is not None:
        check_folder(output)
    a, b = read_report(one), read_report(other)
    names = (str(one), str(other))
    if output is not None:
        page = render_comparison(a, b, names)
        output.mkdir(exist_ok=True)
        write_text(output / "compare.html", page)
    show_side_by_side(side_by_side(a, b), names)
    if output is not None:
        console.say(f"Wrote {output / 'compare.html'}.")
