"""Ctrl-C and other requests to end: none may come between the clean-up and what it cleans up."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupted(Exception):
    """The run was asked to end."""


NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into Interrupted: at once, but once `held` only where `check` is called."""

    def __init__(self) -> None:
        self.held = False
        self.received: int | None = None
        for number in NUMBERS:
            signal.signal(number, self._receive)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.received is not None:
            raise Interrupted(f"interrupted by {signal.Signals(self.received).name}; nothing was written")

    def ignore(self) -> None:
        """From now on nothing is left to end. Python itself would take the handlers away before it ends."""
        for number in NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        if not self.held:
            self.check()
