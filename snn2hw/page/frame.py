"""A page as one file: template, style, script, figures and Plotly in it, and a policy that forbids every request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from snn2hw.page.plots import Plot
from snn2hw.page.quantity import count, large, quantity

TEMPLATES = files("snn2hw.page") / "templates"
PLOTLY = "plotly-basic.min.js"
"""Plotly.js with the traces in use alone: scatter and bar. Of the version that plotly.py writes figures for."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of a plain page: its name, a title, a line of explanation, and what Plotly draws."""

    name: str
    title: str
    note: str
    plot: Plot


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: its caption, its headings, and its rows as texts. The first `words` columns are words, the others
    numbers, which are set to the right.
    """

    caption: str
    headings: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a plain page, from its heading down."""

    name: str
    heading: str
    text: str
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()


def plain_page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A page of sections without a template of its own."""
    figures = {drawing.name: drawing.plot for section in sections for drawing in section.drawings}
    anchors = [(section.name, section.heading) for section in sections]
    return page("plain.html", title=title, data={"figures": figures}, lead=lead, sections=sections, anchors=anchors)


def page(template: str, *, title: str, data: Mapping[str, Any], package: str = "snn2hw.page", **content: Any) -> str:
    """The text of a page.

    Args:
        template: its name in `package`, or in this one.
        data: what the script reads, "figures" among it; `content` is what the template reads.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("snn2hw.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"count": count, "large": large, "joules": lambda value: quantity(value, "J")}
    scripts = [(TEMPLATES / name).read_text() for name in (PLOTLY, "page.js")]
    return environment.get_template(template).render(
        title=title,
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        ),  # no text in it may end the script
        style=(TEMPLATES / "style.css").read_text(),
        scripts=scripts,
        policy=_policy(scripts),
        **content,
    )


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: these scripts run and no other, and nothing is asked of any network.

    Plotly sets styles on its elements, and hands a figure that is saved to the browser as a blob.
    """
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
