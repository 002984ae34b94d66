"""Tables as files: CSV for programs, LaTeX with booktabs for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from snn2hw.page.frame import Table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "µ": r"\textmu{}",
    "×": r"$\times$",
    "−": "-",
}


def as_csv(table: Table) -> str:
    """Headings and rows, as the page shows them but for the commas in numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.headings)
    for row in table.rows:
        writer.writerow([*row[: table.words], *(_plain(cell) for cell in row[table.words :])])
    return file.getvalue()


def _plain(cell: str) -> str:
    """A number without the commas between its thousands; anything else as it is."""
    bare = cell.replace(",", "")
    try:
        float(bare)
    except ValueError:
        return cell
    return bare


def as_latex(table: Table) -> str:
    """A table environment with \\usepackage{booktabs}; words to the left, numbers to the right."""
    columns = "l" * table.words + "r" * (len(table.headings) - table.words)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(table.headings),
        r"\midrule",
        *map(_line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
