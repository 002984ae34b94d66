"""What reaches the terminal: the one place where characters that would steer it are made visible instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and new line: escape sequences begin with one
    "\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff"  # marks that turn the direction of writing
    "\ud800-\udfff]"  # halves of characters, which no terminal can be sent
)


def harmless(text: str) -> str:
    """A text in which every character that steers a terminal is written as Python writes it: \\x1b, \\u202e."""
    return STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class Terminal(Console):
    """A console for names and texts from files of strangers: they are shown, and do nothing."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as it is laid out: harmless before its width is measured."""
        return super().render_str(harmless(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever is printed, also what was no string; the escape sequences of rich itself are no segments of text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))
