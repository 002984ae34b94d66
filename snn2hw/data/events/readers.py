"""Files of event cameras: the events that each format holds, as arrays.

DVS128 Gesture is AEDAT 3.1, CIFAR10-DVS is AEDAT 2.0 (both: inivation.gitlab.io, "AEDAT file formats"), N-MNIST has
another format (garrickorchard.com/datasets/n-mnist); SpikingJelly caches events of all three as .npz.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import CorruptFile, DataError

Size = tuple[int, int]
"""Height and width of a camera's image in pixels."""

Integers = NDArray[np.int64]

_PACKET = np.dtype(
    [
        ("type", "<u2"),
        ("source", "<u2"),
        *((name, "<u4") for name in ("size", "offset", "overflow", "capacity", "number", "valid")),
    ]
)
_POLARITY_EVENTS = 1  # the type of packet that holds brightness changes
_POLARITY_EVENT = 8  # bytes

_N_MNIST_EVENT = 5  # bytes
_N_MNIST_OVERFLOW_ROW, _N_MNIST_OVERFLOW_TIME = 240, 2**13


@dataclass(frozen=True, eq=False)
class Events:
    """Brightness changes in the order of their file, each array int64 [N].

    t: microseconds. x, y: column and row, from 0. p: 1 where a pixel became brighter, 0 where it became darker, as the
    file says it.
    """

    t: Integers
    x: Integers
    y: Integers
    p: Integers

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Label:
    """One row of a DVS128 Gesture label file: a gesture from 1 to 11, and when it starts and ends in microseconds."""

    gesture: int
    start: int
    end: int


Reader = Callable[..., Events]
"""Called with a file and the size of its camera. Raises CorruptFile, which names the file, for what is no such file."""


def read_aedat3(path: Path, size: Size, span: tuple[int, int] | None = None) -> Events:
    """Read an AEDAT 3.1 file: after its header come packets, of which those of polarity events count.

    Words are little-endian. An event is an address, x << 17 | y << 2 | p << 1 | valid, and 31 bits of its time; the
    packet's header has the bits above. span: only the events from its first to before its second microsecond are read.
    """
    content = _body(path, b"#!AER-DAT3.1", end=b"#!END-HEADER")
    addresses, times = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
    at = 0
    while at < len(content):
        if len(content) - at < _PACKET.itemsize:
            raise CorruptFile(
                f"{path}: its last {len(content) - at} bytes are no whole packet. Extract the file again."
            )
        packet = np.frombuffer(content, _PACKET, 1, at)[0]
        at += _PACKET.itemsize
        length = int(packet["size"]) * int(packet["capacity"])
        if length > len(content) - at:
            raise CorruptFile(
                f"{path}: a packet of {length} bytes is announced where the file holds {len(content) - at} more. "
                "Extract the file again."
            )
        if packet["type"] == _POLARITY_EVENTS:
            if packet["size"] != _POLARITY_EVENT:
                raise CorruptFile(
                    f"{path}: a polarity event of {packet['size']} bytes; AEDAT 3.1 has {_POLARITY_EVENT}."
                )
            address, time = np.frombuffer(content, "<u4", length // 4, at).reshape(-1, 2).T
            t = int(packet["overflow"]) << 31 | time.astype(np.int64)
            chosen = slice(None) if span is None else (t >= span[0]) & (t < span[1])
            addresses.append(address[chosen])
            times.append(t[chosen])
        at += length
    words = np.concatenate(addresses).astype(np.int64)
    events = Events(t=np.concatenate(times), x=words >> 17 & 0x7FFF, y=words >> 2 & 0x7FFF, p=words >> 1 & 1)
    return _checked(events, path, size, "" if span is None else f" from {span[0]} to {span[1]} microseconds")


def read_aedat2(path: Path, size: Size) -> Events:
    """Read an AEDAT 2.0 file of a DVS128 camera: pairs of address and time, big-endian.

    Image and polarity are turned as SpikingJelly turns them, which the nets of the SEW ResNet paper were trained on:
    x = 127 - the address's bits 8 to 14, y = 127 - its bits 1 to 7, p = 1 - its bit 0.
    """
    content = _body(path, b"#!AER-DAT2.0")
    if len(content) % 8:
        raise CorruptFile(f"{path}: {len(content)} bytes of events are no multiple of 8. Extract the file again.")
    address, time = np.frombuffer(content, ">u4").reshape(-1, 2).astype(np.int64).T
    events = Events(t=time, x=127 - (address >> 8 & 0x7F), y=127 - (address >> 1 & 0x7F), p=1 - (address & 1))
    return _checked(events, path, size)


def read_n_mnist(path: Path, size: Size) -> Events:
    """Read a file of N-MNIST: 5 bytes an event, x, y, p << 7 | bits 16 to 22 of the time, and the lower bits.

    A y of 240 is no event: from there on times are 2^13 microseconds later.
    """
    content = path.read_bytes()
    if len(content) % _N_MNIST_EVENT:
        raise CorruptFile(f"{path}: {len(content)} bytes are no multiple of 5, as N-MNIST's. Extract the file again.")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, _N_MNIST_EVENT).astype(np.int64).T
    overflow = y == _N_MNIST_OVERFLOW_ROW
    t = ((high & 0x7F) << 16 | middle << 8 | low) + np.cumsum(overflow) * _N_MNIST_OVERFLOW_TIME
    is_event = ~overflow
    return _checked(Events(t[is_event], x[is_event], y[is_event], high[is_event] >> 7), path, size)


def read_npz(path: Path, size: Size) -> Events:
    """Read events that SpikingJelly wrote: an .npz with t, x, y and p, one number an event each."""
    arrays = _arrays(path, ("t", "x", "y", "p"))
    if len({values.shape for values in arrays.values()}) > 1 or arrays["t"].ndim != 1:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in arrays.items())
        raise CorruptFile(f"{path}: t, x, y and p must be lists of one length, not {shapes}.")
    for name, values in arrays.items():
        if values.dtype.kind not in "bui":
            raise CorruptFile(f"{path}: {name} has type {values.dtype}; whole numbers are needed.")
    whole = {name: values.astype(np.int64) for name, values in arrays.items()}
    return _checked(Events(**whole | {"p": (whole["p"] != 0).astype(np.int64)}), path, size)


def read_frames(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read frames [T,2,H,W] that SpikingJelly wrote: an .npz with `frames`. Raises CorruptFile for another shape."""
    frames = _arrays(path, ("frames",))["frames"]
    if frames.shape != shape:
        raise CorruptFile(f"{path}: frames has shape {list(frames.shape)}; {list(shape)} is expected.")
    if frames.dtype.kind not in "buif" or not np.isfinite(frames).all():
        raise CorruptFile(f"{path}: frames holds what are no numbers, or not finite ones. Write it again.")
    return frames.astype(np.float32)


def read_labels(path: Path) -> list[Label]:
    """Read a label file of DVS128 Gesture: a heading, then a gesture, its start and end a line. Raises DataError."""
    try:
        with path.open(newline="", encoding="ascii") as file:
            labels = [Label(*map(int, row)) for row in list(csv.reader(file))[1:] if row]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: a line is not `class,startTime_usec,endTime_usec` in numbers ({error}).") from None
    for label in labels:
        if not 1 <= label.gesture <= 11:
            raise DataError(f"{path}: gesture {label.gesture}; DVS128 Gesture has 1 to 11.")
    return labels


def _body(path: Path, version: bytes, *, end: bytes | None = None) -> bytes:
    """What follows the header of an AEDAT file: lines that begin with #, up to the line `end` where there is one."""
    content = path.read_bytes()
    first = content.partition(b"\n")[0].rstrip()
    if first != version:
        told = ascii(first[:40].decode("latin-1"))
        raise CorruptFile(
            f"{path}: the file begins with {told}, not with {version.decode()}: another format or version."
        )
    at, line = 0, b""
    while content[at : at + 1] == b"#" and line != end:
        stop = content.find(b"\n", at) + 1 or len(content)
        at, line = stop, content[at:stop].rstrip()
    if end not in (None, line):
        raise CorruptFile(f"{path}: the header has no line {end.decode()}. Extract the file again.")
    return content[at:]


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """The named arrays of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged archive leads zipfile, zlib and numpy into errors of many types
        raise CorruptFile(f"{path}: this is no .npz with {', '.join(names)} ({error}). Write it again.") from None


def _checked(events: Events, path: Path, size: Size, where: str = "") -> Events:
    """Events if there are some and all are within the image. Raises CorruptFile."""
    if not len(events):
        raise CorruptFile(f"{path}: the file holds no events{where}.")
    height, width = size
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height)
    if outside.any():
        at = int(outside.argmax())
        raise CorruptFile(
            f"{path}: {int(outside.sum()):,} of {len(events):,} events lie outside the {height}x{width} pixels, the "
            f"first at row {events.y[at]}, column {events.x[at]}. Extract the file again."
        )
    return events
