"""The temporary folder of a run. What killed runs have left is removed when the next one starts."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from program import ProgramError
from system import unlink_shared_memory

PREFIX = "snn2hw-run-"
SOCKET_PATH_MAX = 107 - len("/pymp-12345678/listener-12345678")  # what a folder may take of a Unix socket's path


def new_prefix() -> str:
    """What the names of a run's shared memory start with: who started it, and something that never comes again."""
    return f"s2h{os.getpid()}_{secrets.token_hex(4)}_"


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. Its lock is held as long as this process lives. Raises ProgramError."""
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        if len(os.fsencode(folder)) > SOCKET_PATH_MAX:
            raise ProgramError(
                f"the temporary folder's name is too long for a socket: {folder}. Set TMPDIR to a shorter one."
            )
        with (folder / "lock.part").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(lock.name, folder / "lock")  # under its name it is never seen unlocked while this process lives
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove the folders, and the shared memory, of runs of this user that were killed before they could."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with suppress(OSError), lock.open("r") as opened:  # another run may be removing it
            if os.fstat(opened.fileno()).st_uid != os.getuid():
                continue
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(ValueError, KeyError):
                job = json.loads((lock.parent / "job.json").read_text(encoding="utf-8"))
                unlink_shared_memory(job["shared_memory"])
            shutil.rmtree(lock.parent, ignore_errors=True)
