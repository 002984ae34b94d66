"""Limits and leftovers of the operating system: descriptors, shared memory, children that must not outlive parents."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.shared_memory
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from program import ProgramError

SHARED_MEMORY = Path("/dev/shm")  # where Linux shows shared memory as files
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
OPEN_FILES = Path("/proc/sys/fs/file-nr")  # where Linux tells how many files are open, and may be, in the whole system
DESCRIPTORS_PER_PROCESS = 11  # in the main process, measured; each process inherits those of all before it
DESCRIPTORS_AT_START = 100
FEWER = "--processes fused --lava-processes N"


def _control_process(option: int, value: int) -> None:
    """prctl(2); it exists on Linux alone, and elsewhere the supervisor's clean-up has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent, the process `parent`, ends for whatever reason."""
    _control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of the Lava processes when the worker ends, so that `reap` sees the last of them go."""
    _control_process(PR_SET_CHILD_SUBREAPER, 1)


def end_group(leader: subprocess.Popen[bytes], grace: float = 1.0, patience: float = 10.0) -> None:
    """End a process group and wait until every child of this process is gone, `patience` seconds at most.

    Its leader is asked first and has `grace` seconds: killed while it makes a semaphore, it would leave that behind.
    """
    leader.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        leader.wait(grace)
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(leader.pid, signal.SIGKILL)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return


def is_alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def name_shared_memory(prefix: str) -> None:
    """Let the names of all shared memory and semaphores that this process makes start with `prefix`."""
    multiprocessing.current_process()._config["semprefix"] = f"/{prefix}"  # type: ignore[attr-defined]
    module = multiprocessing.shared_memory
    module._SHM_NAME_PREFIX = f"/{prefix}"  # type: ignore[attr-defined]
    module._SHM_SAFE_NAME_LENGTH = len(prefix) + 17  # type: ignore[attr-defined]


def unlink_shared_memory(prefix: str) -> None:
    """Remove all that `name_shared_memory` named. On other systems Python's tracker does it."""
    if SHARED_MEMORY.is_dir():
        for pattern in (f"{prefix}*", f"sem.{prefix}*"):
            for path in SHARED_MEMORY.glob(pattern):
                path.unlink(missing_ok=True)


def check_limits(processes: int, channel_bytes: int) -> None:
    """Raise the limit on open files as far as allowed, and raise ProgramError if this run would still not fit."""
    needed = DESCRIPTORS_AT_START + DESCRIPTORS_PER_PROCESS * processes
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ProgramError(
            f"{processes} Lava processes need about {needed} open files, the hard limit is {hard}. Raise it "
            f"(ulimit -Hn {needed}) or use fewer processes: {FEWER}."
        )
    if OPEN_FILES.is_file():
        used, _, most = map(int, OPEN_FILES.read_text(encoding="ascii").split())
        if needed * processes > most - used:
            raise ProgramError(
                f"{processes} Lava processes need about {needed * processes} open files between them, the system has "
                f"{most - used} left (fs.file-max). Use fewer processes: {FEWER}."
            )
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        if channel_bytes > free:
            raise ProgramError(
                f"the channels between {processes} Lava processes need {channel_bytes / 1e6:.1f} MB of shared memory, "
                f"{SHARED_MEMORY} has {free / 1e6:.1f} MB free. Enlarge it (Docker: --shm-size) or use fewer "
                f"processes: {FEWER}."
            )
