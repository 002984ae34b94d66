"""How the work talks to people while it is done: the command line prints, Python logs."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from snn2hw.shown import progress
from snn2hw.shown.progress import Bars

LOGGER = logging.getLogger("snn2hw")


class Talk(Protocol):
    """Who is told what people must know, what takes long, and how far it is."""

    def say(self, message: str, /) -> None:
        """Something that people must know to read the result."""

    def note(self, message: str, /) -> None:
        """What is being done, where it takes long."""

    def bars(self) -> AbstractContextManager[Bars]:
        """Progress bars for the length of a task."""


@dataclass(frozen=True)
class InPython:
    """What must be known is logged as a warning, the rest as information. shown: whether there are bars; None: on a
    terminal and in a notebook.
    """

    shown: bool | None = None

    def say(self, message: str) -> None:
        LOGGER.warning(message)

    def note(self, message: str) -> None:
        LOGGER.info(message)

    def bars(self) -> AbstractContextManager[Bars]:
        return progress.bars(self.shown)
