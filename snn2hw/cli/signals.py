"""SIGTERM and SIGHUP end a command as Ctrl-C does: whatever is under way cleans up behind itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


class Asked:
    """Which signal asked the command to end; Ctrl-C until another one does."""

    def __init__(self) -> None:
        self.number = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """What shells give a command that a signal ended."""
        return 128 + self.number

    def end(self, number: int, _frame: FrameType | None) -> None:
        """Begin to end, once: what comes later must not disturb the clean-up."""
        for each in NUMBERS:
            signal.signal(each, signal.SIG_IGN)
        self.number = signal.Signals(number)
        raise KeyboardInterrupt


@contextmanager
def ending_in_order() -> Iterator[Asked]:
    """Let those signals raise KeyboardInterrupt while this lasts. One that is ignored, as under nohup, stays so."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():  # the only one that may set handlers
        yield asked
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, asked.end)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
