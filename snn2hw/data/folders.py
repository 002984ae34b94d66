"""Data sets that lie in folders: every sample is read when it is asked for, so memory holds one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from snn2hw.data.aliases import Progress, Shape
from snn2hw.errors import CorruptFile, DataError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one sample lies, and its class; in a recording of several also its start and end in microseconds."""

    path: str
    label: int
    span: tuple[int, int] | None = None


Read = Callable[[Entry, Generator | None], NDArray[np.float32]]
"""Reads one sample; a generator draws its augmentation, if the set has one. Raises CorruptFile."""


@dataclass(frozen=True, eq=False)
class FolderDataset:
    """Samples in files: static ones of `shape` [C,H,W], or frames [T,C,H,W] of `timesteps` steps.

    `batch` gives what the same method of named.Dataset gives. Raises DataError where there are no samples.
    """

    name: str
    entries: tuple[Entry, ...]
    read: Read
    shape: Shape
    timesteps: int | None

    def __post_init__(self) -> None:
        if not self.entries:
            raise DataError(f"{self.name}: there is not one sample.")

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def y(self) -> Tensor:
        """The class of every sample, int64 [N]."""
        return torch.tensor([entry.label for entry in self.entries])

    def batch(self, indices: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """The samples of these indices, float32 [B,C,H,W] or [B,T,C,H,W], and their classes [B].

        A generator draws the augmentation of training; without one there is none. Raises CorruptFile.
        """
        x = [self.read(self.entries[index], generator) for index in indices.tolist()]
        return torch.from_numpy(np.stack(x)), self.y[indices]

    def readable(self, corrupt: Callable[[CorruptFile], None]) -> Iterator[tuple[Entry, NDArray[np.float32]]]:
        """Every sample in order, but those that cannot be read, whose errors `corrupt` is told."""
        for entry in self.entries:
            try:
                x = self.read(entry, None)
            except CorruptFile as error:
                corrupt(error)
                continue
            yield entry, x


def without_corrupt(data: FolderDataset, progress: Progress | None = None) -> tuple[FolderDataset, list[str]]:
    """Read everything once and leave out what cannot be read; return the rest, and what is wrong with each left out.

    Raises DataError where nothing is left.
    """
    reasons: list[str] = []
    good: list[Entry] = []
    for entry, _ in data.readable(lambda error: reasons.append(str(error))):
        good.append(entry)
        if progress:
            progress(len(good) + len(reasons), len(data))
    if not good:
        raise DataError(f"{data.name}: not one of {len(data):,} samples can be read; the first: {reasons[0]}")
    return replace(data, entries=tuple(good)), reasons


def in_fixed_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries in an order that is always the same for so many, and in which the first ones are of all classes."""
    listed = list(entries)
    return tuple(listed[index] for index in np.random.RandomState(0).permutation(len(listed)))


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files of a folder with one of these endings, sorted by name as SpikingJelly and torchvision sort them."""
    shown_ones = (path for path in folder.iterdir() if not path.name.startswith("."))  # macOS adds some
    return sorted(path for path in shown_ones if path.suffix.lower() in suffixes)


def shown(folder: Path) -> str:
    """What is in a folder, for a message: its first names."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return (", ".join(names[:6]) + (", ..." if len(names) > 6 else "")) or "nothing"
