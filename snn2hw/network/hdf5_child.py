"""Reads HDF5 files in another process, since a damaged file can crash or stall the HDF5 library.

A script without snn2hw: it takes a path a line from stdin, and answers on stdout with a line of JSON and the bytes of
the arrays that it announces. hdf5_reader.py is the other end.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np

DEEPEST, MOST_ENTRIES = 32, 1_000_000  # groups in groups, and all entries: beyond, a file is damaged or a trap
LARGEST = 16 << 30  # bytes that a file may claim
HARMLESS, LARGEST_EXPANSION = 1 << 28, 200  # bytes that any file may claim, and how many times its size a larger one


class Refused(Exception):
    """A file that is no plain tree of arrays and text."""


class Tree:
    """What one file holds: groups as dicts, text, and arrays by their place in `arrays`."""

    def __init__(self, path: str) -> None:
        size = os.path.getsize(path)
        self.arrays: list[np.ndarray] = []
        self.entries = 0
        self.left = min(LARGEST, max(HARMLESS, LARGEST_EXPANSION * size))
        self.limit = self.left
        with h5py.File(path, "r") as file:
            self.node = self.group(file["node"], 0) if isinstance(file.get("node"), h5py.Group) else None

    def group(self, group: h5py.Group, depth: int) -> dict[str, Any]:
        """What a group holds. Raises Refused for what no network needs."""
        if depth > DEEPEST:
            raise Refused(f"groups are nested more than {DEEPEST} deep. The file is damaged")
        read: dict[str, Any] = {}
        for key in group:
            self.entries += 1
            if self.entries > MOST_ENTRIES:
                raise Refused(f"it holds more than {MOST_ENTRIES:,} entries. The file is damaged")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise Refused(f"{key} is a link. Write the file with nir.write")
            item = group[key]
            if isinstance(item, h5py.Group):
                read[key] = {"group": self.group(item, depth + 1)}
            elif isinstance(item, h5py.Dataset):
                read[key] = self.value(key, item)
            else:
                raise Refused(f"{key} is neither a group nor an array. Write the file with nir.write")
        return read

    def value(self, key: str, item: h5py.Dataset) -> dict[str, Any]:
        """Numbers as an array, one number for all where they are the same; text as text."""
        self.left -= item.nbytes or 0
        if self.left < 0:
            raise Refused(f"it claims more than {self.limit >> 20:,} MiB of parameters")
        value = item[()]
        if isinstance(value, bytes):
            return {"text": value.decode("utf8")}
        array = np.asarray(value)
        if array.dtype.kind in "OS":
            return {"texts": text_of(array.tolist())}
        if array.dtype.kind not in "biuf":
            raise Refused(f"{key} holds {array.dtype}, neither numbers nor text. Write the file with nir.write")
        shape = list(array.shape)
        if array.size > 1 and np.all(array == array.flat[0]):
            array = array.reshape(-1)[:1]
        self.arrays.append(np.ascontiguousarray(array))
        return {"array": len(self.arrays) - 1, "shape": shape}


def text_of(value: Any) -> Any:
    """Bytes as text in lists of any depth."""
    if isinstance(value, list):
        return [text_of(item) for item in value]
    return value.decode("utf8") if isinstance(value, bytes) else str(value)


def answer(path: str, out: BinaryIO) -> None:
    """Write what a file holds, or why it cannot be read."""
    header: dict[str, Any]
    try:
        tree = Tree(path)
        kinds = [[array.dtype.str, array.size] for array in tree.arrays]
        header, arrays = {"node": tree.node, "arrays": kinds}, tree.arrays
    except Refused as error:
        header, arrays = {"refused": str(error)}, []
    except BaseException as error:  # h5py raises errors of many types for damaged files
        header, arrays = {"broken": f"{type(error).__name__}: {str(error)[:300]}"}, []
    out.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        out.write(array.data)
    out.flush()


if __name__ == "__main__":
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        answer(json.loads(line), sys.stdout.buffer)
