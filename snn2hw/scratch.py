"""Folders for what is not finished: gone when they are left, however that is, or with the next run after a kill.

Whoever makes one holds a lock in it as long as the process lives. A folder whose lock nobody holds was left by a
process that was killed; the next run that needs a folder at the same place removes it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HIDDEN_PREFIX, PREFIX = ".snn2hw-", "snn2hw-"
"""Of folders beside an output, and of those in the folder for temporary files."""
LOCK = "lock"
RUNS_OF_LAVA = "snn2hw-run-"  # their run time locks and removes them itself, with their shared memory
OLD = 86400  # seconds; so old is what no lock and no process number tells about, as former versions left it
EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder in `parent`, hidden there, or among the temporary files; gone afterwards with all it holds.

    Whatever it becomes part of is on the same disk as `parent`. What killed runs left there is removed first.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    remove_leftovers(place)
    prefix = f"{PREFIX if parent is None else HIDDEN_PREFIX}{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        with (folder / f"{LOCK}.part").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(lock.name, folder / LOCK)  # under its name it is never seen unlocked while this process lives
            inside = folder / "content"
            inside.mkdir()
            yield inside
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(place: Path) -> list[Path]:
    """Remove the scratch folders in `place` that this user's killed processes left. Returns them."""
    removed = []
    with suppress(OSError):  # the folder is not there, or cannot be read
        for folder in sorted(place.iterdir()):
            if folder.name.startswith((PREFIX, HIDDEN_PREFIX)) and not folder.name.startswith(RUNS_OF_LAVA):
                with suppress(OSError):  # another process may be removing it
                    if _is_left(folder):
                        shutil.rmtree(folder)
                        removed.append(folder)
    return removed


def replace_folder(new: Path, place: Path) -> None:
    """Let the folder `new` stand at `place`; a folder that stood there is at `new` afterwards.

    On Linux there is always one of them at `place`.
    """
    if not place.exists():
        os.replace(new, place)
        return
    with suppress(AttributeError):  # another system, or an old C library
        rename = ctypes.CDLL(None).renameat2
        if rename(HERE, os.fsencode(new), HERE, os.fsencode(place), EXCHANGE) == 0:
            return
    old = new.with_name(f"{new.name}.old")
    os.replace(place, old)
    os.replace(new, place)
    os.replace(old, new)


def _is_left(folder: Path) -> bool:
    """Whether a folder is this user's and nobody works in it."""
    status = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or status.st_uid != os.getuid():
        return False
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        number = re.match(r"\.?snn2hw-(\d+)-", folder.name)
        return time.time() - status.st_mtime > OLD if number is None else not _is_alive(int(number[1]))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True
