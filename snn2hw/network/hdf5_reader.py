"""What an HDF5 file holds, read by a child process (hdf5_child.py): a crash or stall there is an error message here."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw.errors import ModelError

CHILD = Path(__file__).with_name("hdf5_child.py")
ADDRESS_SPACE = 48 << 30  # bytes: three times what a file may claim
PATIENCE = 15.0  # seconds, and one more for each of SPEED bytes
SPEED = 2_000_000

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None


def read_tree(path: Path) -> dict[str, Any] | None:
    """The group `node` of a file as nested dicts of arrays and text; None if it has none.

    Raises ModelError if the file is damaged, claims more data than its size explains, or holds anything else.
    """
    with _lock:
        child = _running()
        timer = threading.Timer(PATIENCE + path.stat().st_size / SPEED, child.kill)
        timer.start()
        try:
            header, arrays = _ask(child, path)
        except (OSError, ValueError):  # it ended, killed by the timer or by what the file made of it
            code = _stop()
            raise ModelError(
                f"{path}: this is not a readable NIR file (reading it ended with signal {abs(code)}). "
                "Copy or export it again."
            ) from None
        finally:
            timer.cancel()
    if "refused" in header:
        raise ModelError(f"{path}: {header['refused']}.")
    if "broken" in header:
        raise ModelError(f"{path}: this is not a readable NIR file ({header['broken']}).")
    return None if header["node"] is None else _group(header["node"], arrays)


def _running() -> subprocess.Popen[bytes]:
    global _child
    if _child is None or _child.poll() is not None:
        command = [sys.executable, "-P", str(CHILD), str(ADDRESS_SPACE)]
        _child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    return _child


@atexit.register
def _stop() -> int:
    """End the child, if there is one, and return its exit code."""
    global _child
    if _child is None:
        return 0
    child, _child = _child, None
    child.kill()
    child.communicate()
    return child.returncode


def _ask(child: subprocess.Popen[bytes], path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    assert child.stdin is not None and child.stdout is not None  # both are pipes
    child.stdin.write(json.dumps(str(path.resolve())).encode() + b"\n")
    child.stdin.flush()
    header: dict[str, Any] = json.loads(child.stdout.readline())
    arrays = []
    for dtype, size in header.get("arrays", ()):
        array = np.empty(size, dtype)
        view = memoryview(array.view(np.uint8).reshape(-1))  # type: ignore[arg-type]
        if size and child.stdout.readinto(view) < array.nbytes:  # type: ignore[attr-defined]
            raise ValueError("the child ended in the middle of an array")
        arrays.append(array)
    return header, arrays


def _group(entries: dict[str, Any], arrays: list[np.ndarray]) -> dict[str, Any]:
    return {key: _value(entry, arrays) for key, entry in entries.items()}


def _value(entry: dict[str, Any], arrays: list[np.ndarray]) -> Any:
    if "group" in entry:
        return _group(entry["group"], arrays)
    if "text" in entry:
        return entry["text"]
    if "texts" in entry:
        return np.array(entry["texts"], dtype=object)
    array, shape = arrays[entry["array"]], entry["shape"]
    if not shape:
        return array[0]
    return array.reshape(shape) if array.size != 1 or np.prod(shape) == 1 else np.broadcast_to(array, shape)
