"""Samples by name: .npz files, named sets, and sets in folders."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn2hw.data.aliases import Progress, Shape
from snn2hw.data.folders import FolderDataset
from snn2hw.data.samples import Samples, check_shape, make_samples
from snn2hw.errors import CorruptFile, DataError, did_you_mean


def load_samples(
    source: str,
    shape: Shape,
    *,
    split: Literal["test", "train"] = "test",
    timesteps: int | None = None,
    count: int | None = None,
    corrupt: Callable[[CorruptFile], None] | None = None,
    progress: Progress | None = None,
) -> Samples:
    """Read samples of one step's `shape` from an .npz file or a named set.

    Args:
        source: path of an .npz with `x` [N, *shape] or [N, T, *shape] and optional `y` [N]; the name of a set; or
            NAME:FOLDER for a set in a folder (data/sources.py).
        split: which part of a named set, "test" or "train".
        timesteps: T of named sets that have a frame a step.
        count: take the first samples only; of a folder no more are read.
        corrupt: told of each sample in a folder that cannot be read and is left out. Without it the first is an error.
        progress: told (read, of how many) while a folder is read.
    Raises:
        DataError: no such file or set, not an .npz, no `x`, a wrong shape or type, values that are not finite, labels
            that are not whole numbers from 0 or whose number differs; a folder that does not hold the set.
        OptionError: options in the name of a set that it does not take.
    """
    from snn2hw.data.folders import FolderDataset  # slow to import: they bring torch
    from snn2hw.data.sources import KNOWN, NAMES, open_samples

    dataset = open_samples(source, split, timesteps)
    if isinstance(dataset, FolderDataset):
        return _read_folder(dataset, shape, count, corrupt, progress)
    if dataset is not None:
        return make_samples(dataset.x.numpy(), dataset.y.numpy(), shape, name=source)[:count]
    path = Path(source)
    if not path.exists():
        raise DataError(
            f"{source}: there is no such file, and no data set of that name (known: {KNOWN})."
            f"{did_you_mean(source, NAMES)}"
        )
    return _read_npz(path, source, shape)[:count]


def _read_folder(
    data: FolderDataset,
    shape: Shape,
    count: int | None,
    corrupt: Callable[[CorruptFile], None] | None,
    progress: Progress | None,
) -> Samples:
    """The first samples of a folder, on disk and not in memory, for there may be many."""
    check_shape(data.name, data.shape, shape)
    total = len(data) if count is None else min(count, len(data))
    steps = () if data.timesteps is None else (data.timesteps,)
    x = _array_on_disk((total, *steps, *shape), data.name)
    y: list[int] = []

    def stop(error: CorruptFile) -> None:
        raise CorruptFile(f"{error} Or leave out what cannot be read: --skip-corrupt.")

    for entry, sample in data.readable(corrupt or stop):
        x[len(y)] = sample
        y.append(entry.label)
        if progress:
            progress(len(y), total)
        if len(y) == total:
            break
    if not y:
        raise DataError(f"{data.name}: not one of its {len(data):,} samples can be read.")
    return Samples(x[: len(y)], np.array(y, np.int64), data.timesteps is not None, data.name)


def _array_on_disk(shape: Shape, name: str) -> NDArray[np.float32]:
    """An array in a file without a name, gone with the array. Raises DataError where the disk cannot hold it."""
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    try:
        with tempfile.TemporaryFile(prefix="snn2hw-") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told here, and does not end the process later
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{name}: {shape[0]:,} samples take {size / 1e9:.1f} GB, which {tempfile.gettempdir()} cannot hold "
            f"({error.strerror}). Take fewer with --samples N, or let the variable TMPDIR name another folder."
        ) from None


def _read_npz(path: Path, source: str, shape: Shape) -> Samples:
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(f"{source}: this is a single array. Save it with np.savez(file, x=..., y=...).")
            arrays = {name: file[name] for name in file.files if name in ("x", "y")}
    except DataError:
        raise
    except Exception as error:  # a damaged archive leads zipfile, zlib and numpy into errors of many types
        reason = "it holds Python objects, or is no archive at all" if "pickle" in str(error) else error
        raise DataError(
            f"{source}: this is not a readable .npz file of plain arrays ({reason}). Save it with np.savez(file, "
            "x=..., y=...)."
        ) from None
    if "x" not in arrays:
        raise DataError(f"{source}: the file holds no array `x`. Save the inputs under that name.")
    return make_samples(arrays["x"], arrays.get("y"), shape, name=source)
