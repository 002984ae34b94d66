"""A table, and how it is shown: on a terminal, as text, and as HTML in a notebook."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape_html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console

TEXT_WIDTH = 120  # columns of what is shown where no terminal says how wide it is


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as plain text. numbers: the headings of the columns that stand to the right."""

    title: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()


Part = Table | str
"""What a result shows: a table, or a line."""


def rich_table(table: Table) -> rich.table.Table:
    """The table as rich draws it."""
    from rich.markup import escape
    from rich.table import Table as RichTable

    drawn = RichTable(title=escape(table.title) or None, title_justify="left")
    for heading in table.columns:
        drawn.add_column(heading, justify="right" if heading in table.numbers else "left")
    for row in table.rows:
        drawn.add_row(*map(escape, row))
    return drawn


def show(console: Console, parts: Sequence[Part]) -> None:
    """Print tables and lines one below the other."""
    for part in parts:
        if isinstance(part, str):
            console.print(part, markup=False)
        else:
            console.print(rich_table(part))


def as_text(parts: Sequence[Part]) -> str:
    """The same as plain text."""
    from snn2hw.shown.terminal import Terminal

    file = io.StringIO()
    console = Terminal(  # plain text in a notebook too, where rich would show it instead of writing it
        file=file, width=TEXT_WIDTH, highlight=False, emoji=False, soft_wrap=True, force_jupyter=False
    )
    show(console, parts)
    return file.getvalue().rstrip("\n")


def as_html(parts: Sequence[Part]) -> str:
    """The same for a notebook."""
    return "<div>" + "".join(_html(part) for part in parts) + "</div>"


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{escape_html(part)}</p>"
    styles = [f"text-align:{'right' if heading in part.numbers else 'left'}" for heading in part.columns]
    lines = [f"<caption style='text-align:left'>{escape_html(part.title)}</caption>"] if part.title else []
    for tag, rows in (("th", (part.columns,)), ("td", part.rows)):
        for row in rows:
            cells = zip(styles, row, strict=True)
            inside = "".join(f"<{tag} style='{style}'>{escape_html(cell)}</{tag}>" for style, cell in cells)
            lines.append(f"<tr>{inside}</tr>")
    return f"<table>{''.join(lines)}</table>"
