"""Names for types that all rooms share: the shape of an array, and what long work tells as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Shape = tuple[int, ...]
"""Sizes of the axes of what one layer emits in a step for one sample: [C, H, W] or [K]."""

Note = Callable[[str], None]
"""Told in a line what is being done."""


class Progress(Protocol):
    """Told how much of a task is done."""

    def __call__(self, done: int, total: int, /) -> None: ...


class NamedProgress(Protocol):
    """Told how much of which of several tasks is done: the name of an engine, say."""

    def __call__(self, name: str, done: int, total: int, /) -> None: ...
