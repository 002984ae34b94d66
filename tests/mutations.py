"""Changes to files, as damage and strangers make them: to bytes, to the values of a document, to arrays.

Each takes a random generator, so that a test can name the one change that broke something.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

Path = tuple[Any, ...]

STRANGE_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    2**31,
    2**63,
    -(2**70),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "text",
    "../../x",
    "/dev/zero",
    "\x1b]0;title\x07",
    "[red]markup[/]",
    "\ud800",
    "\u202etxt",
    [],
    {},
    [1],
    [[1]],
    {"a": 1},
    ["text"],
    [1, 2, 3, 4, 5],
    [None],
)


def changed_bytes(random: np.random.Generator, content: bytes) -> bytes:
    """One part of a file cut off, overwritten, copied elsewhere, or a few bytes replaced."""
    changed = bytearray(content)
    at, to = (int(random.integers(max(len(changed), 1))) for _ in range(2))
    match random.integers(4):
        case 0:
            return bytes(changed[:at])
        case 1:
            changed[at : at + 16] = random.bytes(len(changed[at : at + 16]))
        case 2:
            changed[to : to + 64] = changed[at : at + 64]
        case _:
            for place in random.integers(len(changed), size=3):
                changed[place] = random.integers(256)
    return bytes(changed)


def changed_document(random: np.random.Generator, document: Any) -> Any:
    """A copy of dicts, lists, tensors and plain values in which one to three entries are lost, renamed or another."""
    document = copy.deepcopy(document)
    for _ in range(random.integers(1, 4)):
        paths = list(_paths(document))
        if not paths:
            break
        *parents, key = paths[random.integers(len(paths))]
        parent = document
        for step in parents:
            parent = parent[step]
        _change_entry(random, parent, key)
    return document


def changed_arrays(random: np.random.Generator, arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Arrays by name of which one to three are lost, renamed, added, or have other values, types or shapes."""
    changed: dict[str, Any] = dict(arrays)
    for _ in range(random.integers(1, 4)):
        if not changed:
            break
        name = sorted(changed)[random.integers(len(changed))]
        match random.integers(6):
            case 0:
                del changed[name]
            case 1:
                changed[f"{name}x"] = changed.pop(name)
            case 2:
                changed[("..", "logits", "a/b", "x:weight")[random.integers(4)]] = changed[name]
            case _:
                changed[name] = changed_array(random, changed[name])
    return changed


def changed_array(random: np.random.Generator, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array with other values, another type or another shape."""
    if array.dtype.kind not in "iufb":
        return np.array("text")
    array = np.atleast_1d(array) if random.integers(2) else array
    values = array.astype(np.float64)
    match random.integers(7):
        case 0:
            return array[..., None]
        case 1:
            return array.reshape(-1)
        case 2 if array.ndim:
            return array[:0]
        case 3:
            types: tuple[Any, ...] = (np.int8, np.uint64, np.float16, np.complex64, np.bool_, "U4", ">i4", "V4", "S3")
            with np.errstate(invalid="ignore", over="ignore"):
                return array.astype(types[random.integers(len(types))]) if array.dtype != np.bool_ else values
        case 4 if array.ndim:
            return np.concatenate([array, array], axis=int(random.integers(array.ndim)))
        case 5:
            return np.array([])
        case _:
            if values.size:
                strange = (np.nan, np.inf, -np.inf, 1e30, -1.0, 0.5, 2.0**31)
                values.reshape(-1)[random.integers(values.size)] = strange[random.integers(len(strange))]
            with np.errstate(invalid="ignore", over="ignore"):
                return values.astype(array.dtype) if random.integers(2) else values


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where every entry of nested dicts and lists stands."""
    keys: Any = ()
    if isinstance(value, Mapping):
        keys = value.keys()
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield (*path, key)
        yield from _paths(value[key], (*path, key))


def _change_entry(random: np.random.Generator, parent: Any, key: Any) -> None:
    value = parent[key]
    match random.integers(6):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[f"{key}_"] = parent.pop(key)
        case 2 if isinstance(parent, list):
            parent.append(copy.deepcopy(value))
        case 3 if isinstance(value, int | float) and not isinstance(value, bool):
            parent[key] = (value + 1, -value, value * 1000, value - 1, float(value), str(value))[random.integers(6)]
        case _ if isinstance(value, torch.Tensor):
            if value.dtype in (torch.float32, torch.float64, torch.int64, torch.uint8):
                array = changed_array(random, value.numpy())
                known = array.dtype.kind in "iufbc" and array.dtype.isnative
                parent[key] = torch.from_numpy(array.copy()) if known else str(array.dtype)
        case _:
            parent[key] = copy.deepcopy(STRANGE_VALUES[random.integers(len(STRANGE_VALUES))])
