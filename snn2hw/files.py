"""Files that commands write: complete or absent, and refused before the work where nothing can be written."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn2hw.errors import CannotWrite, ModelError, OptionError
from snn2hw.scratch import remove_leftovers, scratch_folder

if TYPE_CHECKING:  # numpy is slow to import, and --help does without
    from numpy.typing import NDArray

VERSION = "0.1.0"
"""Of snn2hw, which every file that it writes names."""

VERIFY_SCHEMA = "snn2hw.verify/1"
"""Of the document that `snn2hw verify --json` writes and `snn2hw report --verify` reads."""


def write_text(path: Path, text: str) -> None:
    """Write a file complete or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file complete and on the disk, or leave what was there."""
    with beside(path, size=len(content)) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_npz(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays as .npz, complete or not at all."""
    import numpy as np

    with beside(path, ".npz", size=sum(array.nbytes for array in arrays.values())) as part:
        np.savez_compressed(part, allow_pickle=False, **arrays)


@contextmanager
def beside(path: Path, ending: str = "", *, size: int | None = None) -> Iterator[Path]:
    """The name of a file on the disk of `path` that takes its place when all went well, and is gone otherwise.

    ending: of that name, for a writer that would add its own. size: how many bytes it will have at most, if known.
    Raises CannotWrite where the disk does not take it.
    """
    with telling_what_is_needed(path, size), scratch_folder(path.parent) as folder:
        part = folder / f"{path.name}{ending}"
        yield part
        os.replace(part, path)


@contextmanager
def arrays_on_disk(folder: Path) -> Iterator[Callable[[str, tuple[int, ...], Any], NDArray[Any]]]:
    """What makes arrays that live in files in `folder`, not in memory; they are gone when this ends.

    It is called with a name, a shape and a type, and gives an array [*shape]. Raises CannotWrite on a full disk.
    """
    import numpy as np

    with scratch_folder(folder) as place:
        numbers = count()

        def make(name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
            file = place / f"{next(numbers)}.npy"
            size = math.prod(shape) * np.dtype(dtype).itemsize
            with telling_what_is_needed(folder.resolve(), size, f"the spikes of {name}"):
                array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
                with file.open("r+b") as opened:  # a full disk is told here, and does not end the process later
                    os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            return array

        yield make


@contextmanager
def telling_what_is_needed(path: Path, size: int | None = None, what: str = "it") -> Iterator[None]:
    """Raise CannotWrite in place of an OSError, with `path`, the reason, and how many bytes `what` takes, if known."""
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        needed = "" if size is None else f" {what[:1].upper()}{what[1:]} takes up to {_in_words(size)}."
        raise CannotWrite(f"{path}: it cannot be written ({error.strerror or error}).{needed}") from error


def _in_words(size: int) -> str:
    return f"{size:,} bytes" if size < 100_000 else f"{size / 1e6:,.1f} MB"


def check_place(path: Path) -> None:
    """Raise OptionError if nothing can be written beside `path`: known before the work begins, not after it."""
    remove_leftovers(path.parent)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OptionError(
            f"{path}: nothing can be written in {path.parent} ({error.strerror}). Make that folder, or name another."
        ) from None


def check_folder(path: Path) -> None:
    """Raise OptionError if no folder can be made at `path`, or nothing written in the one that is there."""
    if path.exists() and not path.is_dir():
        raise OptionError(f"-o {path}: a file stands there. Name a folder.")
    check_place(path / "report.html" if path.is_dir() else path)


def check_file(path: Path | None) -> None:
    """Raise OptionError if a file cannot be written to `path`."""
    if path is not None:
        if path.is_dir():
            raise OptionError(f"{path} is a directory. Name a file, in it or elsewhere.")
        check_place(path)


def sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_readable(path: Path) -> None:
    """Raise ModelError if there is no readable, non-empty file."""
    if not path.exists():
        raise ModelError(f"{path}: there is no such file.")
    if path.is_dir():
        raise ModelError(f"{path}: this is a directory, not a model file.")
    if not path.is_file():
        raise ModelError(f"{path}: this is not a regular file.")
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: the file is empty.")
