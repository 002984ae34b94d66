"""Progress bars: on a terminal, in a notebook, and nowhere else."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LEAST_CHANGE = 0.02  # of the whole: a notebook is told of no smaller step


class Bars(Protocol):
    """One bar an engine, made when it first reports."""

    def __call__(self, label: str, done: int, total: int, /) -> None: ...


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, which shows what is displayed."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")


@contextmanager
def bars(shown: bool | None = None) -> Iterator[Bars]:
    """Bars on a terminal or in a notebook, silence elsewhere; `shown` says it outright."""
    if shown is False:
        yield lambda label, done, total: None
    elif in_notebook():
        display = _NotebookBars()
        try:
            yield display
        finally:
            display.end()
    else:
        with terminal_bars(shown) as drawn:
            yield drawn


@contextmanager
def terminal_bars(shown: bool | None = None) -> Iterator[Bars]:
    """Bars on stderr, if that is a terminal or `shown` says so; they are gone when the work is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g}/s" if speed else "")

    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    hidden = not (sys.stderr.isatty() if shown is None else shown)
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Speed())
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        yield _TerminalBars(progress)


class Heartbeat:
    """Tells in a line how far a task is, at its first report and then at most every `interval` seconds."""

    def __init__(self, tell: Callable[[str], None], interval: float = 10.0) -> None:
        self._tell, self._interval = tell, interval
        self._last: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._last.get(label, -math.inf) < self._interval:
            return
        self._last[label] = now
        self._tell(f"{label}: {done:,} of {total:,}")


class _TerminalBars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[label], completed=done, total=total)


class _NotebookBars:
    """HTML that is displayed once and updated in its place: no widget library is needed."""

    def __init__(self) -> None:
        self._done: dict[str, tuple[int, int]] = {}
        self._told: dict[str, float] = {}
        self._handle: Any = None

    def __call__(self, label: str, done: int, total: int) -> None:
        share = done / max(total, 1)
        self._done[label] = (done, total)
        if label in self._told and share < 1 and share - self._told[label] < LEAST_CHANGE:
            return
        self._told[label] = share
        self._show(
            "".join(
                f"<div>{escape(name)} <progress value='{some}' max='{of}'></progress> {some:,} of {of:,}</div>"
                for name, (some, of) in self._done.items()
            )
        )

    def end(self) -> None:
        """Take the bars away."""
        if self._handle is not None:
            self._show("")

    def _show(self, html: str) -> None:
        shown: Any = import_module("IPython.display")
        if self._handle is None:
            self._handle = shown.display(shown.HTML(html), display_id=True)
        else:
            self._handle.update(shown.HTML(html))
