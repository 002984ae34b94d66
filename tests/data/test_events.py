"""Event files read as they were written, and events counted into frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from event_files import AEDAT2_HEADER, AEDAT3_HEADER, aedat2, aedat3, events, joined, n_mnist
from hypothesis import given
from hypothesis import strategies as st

from snn2hw.data.events.frames import make_frames
from snn2hw.data.events.readers import (
    Events,
    Label,
    Reader,
    Size,
    read_aedat2,
    read_aedat3,
    read_frames,
    read_labels,
    read_n_mnist,
    read_npz,
)
from snn2hw.errors import CorruptFile, DataError

DVS128, ATIS34 = (128, 128), (34, 34)


def equal(one: Events, other: Events) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("t", "x", "y", "p"))


def file(folder: Path, content: bytes) -> Path:
    path = folder / "events.bin"
    path.write_bytes(content)
    return path


# Files


@pytest.mark.parametrize("packet", [1, 7, 1000])
def test_aedat3_reads_the_polarity_events_of_every_packet(tmp_path: Path, packet: int) -> None:
    written = events(100, seed=0)
    assert equal(read_aedat3(file(tmp_path, aedat3(written, packet=packet)), DVS128), written)


def test_aedat3_times_go_on_where_their_31_bits_overflow(tmp_path: Path) -> None:
    written = events(20, seed=0, start=2**31 - 50_000)
    assert written.t.min() < 2**31 < written.t.max()
    assert equal(read_aedat3(file(tmp_path, aedat3(written)), DVS128), written)


def test_aedat3_reads_a_span_of_time_alone(tmp_path: Path) -> None:
    written = events(100, seed=0)
    start, end = int(written.t[20]), int(written.t[70])
    read = read_aedat3(file(tmp_path, aedat3(written)), DVS128, (start, end))
    assert read.t.tolist() == [t for t in written.t if start <= t < end] and len(read) < len(written)
    with pytest.raises(CorruptFile, match=r"holds no events from 7 to 7 microseconds"):
        read_aedat3(file(tmp_path, aedat3(written)), DVS128, (7, 7))


def test_aedat2_turns_image_and_polarity_as_spikingjelly_does(tmp_path: Path) -> None:
    address = 5 << 8 | 3 << 1 | 1  # in the file y = 5, x = 3, darker
    read = read_aedat2(file(tmp_path, AEDAT2_HEADER + address.to_bytes(4) + (77).to_bytes(4)), DVS128)
    assert (read.t, read.x, read.y, read.p) == (77, 122, 124, 0)
    written = events(100, seed=1)
    assert equal(read_aedat2(file(tmp_path, aedat2(written)), DVS128), written)


def test_n_mnist_reads_five_bytes_an_event(tmp_path: Path) -> None:
    content = bytes([31, 17, 0x80 | 0x12, 0x34, 0x56])
    read = read_n_mnist(file(tmp_path, content), ATIS34)
    assert (read.t, read.x, read.y, read.p) == (0x123456, 31, 17, 1)
    written = events(100, seed=2, size=34)
    assert equal(read_n_mnist(file(tmp_path, n_mnist(written)), ATIS34), written)


def test_n_mnist_row_240_puts_later_times_forward(tmp_path: Path) -> None:
    content = bytes([1, 1, 0, 0, 9, 0, 240, 0, 0, 0, 2, 2, 0, 0, 9])
    read = read_n_mnist(file(tmp_path, content), ATIS34)
    assert read.t.tolist() == [9, 2**13 + 9] and read.x.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.int16])
def test_npz_reads_what_spikingjelly_writes(tmp_path: Path, dtype: type[np.generic]) -> None:
    written = events(50, seed=3, duration=30_000)
    arrays = {name: getattr(written, name).astype(dtype) for name in ("t", "x", "y")}
    np.savez(tmp_path / "events.npz", **arrays, p=written.p == 1)
    assert equal(read_npz(tmp_path / "events.npz", DVS128), written)


def test_a_label_file_has_a_gesture_a_line(tmp_path: Path) -> None:
    path = file(tmp_path, b"class,startTime_usec,endTime_usec\r\n1,10,20\r\n11,20,30\r\n")
    assert read_labels(path) == [Label(1, 10, 20), Label(11, 20, 30)]


GOOD = events(20, seed=4, size=34)

BAD_FILES: dict[str, tuple[Reader, bytes, str]] = {
    "aedat3, nothing": (read_aedat3, b"", "begins with '', not with #!AER-DAT3.1: another format or version"),
    "aedat3, version 2": (read_aedat3, aedat2(GOOD), "begins with '#!AER-DAT2.0', not with #!AER-DAT3.1"),
    "aedat3, cut in its header": (read_aedat3, AEDAT3_HEADER[:-20], "the header has no line #!END-HEADER"),
    "aedat3, no events": (read_aedat3, AEDAT3_HEADER, "holds no events"),
    "aedat3, cut in a packet": (read_aedat3, aedat3(GOOD)[:-1], r"a packet of 48 bytes .* where the file holds 47"),
    "aedat3, cut before it": (read_aedat3, aedat3(GOOD)[: -6 * 8 - 1], "its last 27 bytes are no whole packet"),
    "aedat3, events of 12 bytes": (
        read_aedat3,
        aedat3(GOOD).replace(b"\x01\x00\x01\x00\x08\0\0\0", b"\x01\x00\x01\x00\x0c\0\0\0"),
        "polarity event of 12 bytes",
    ),
    "aedat2, version 4": (read_aedat2, b"#!AER-DAT4.0\r\n", "'#!AER-DAT4.0', not with #!AER-DAT2.0: another format"),
    "aedat2, half an event": (read_aedat2, aedat2(GOOD)[:-4], "156 bytes of events are no multiple of 8"),
    "aedat2, no events": (read_aedat2, AEDAT2_HEADER, "holds no events"),
    "n-mnist, nothing": (read_n_mnist, b"", "holds no events"),
    "n-mnist, half an event": (read_n_mnist, n_mnist(GOOD)[:-2], "98 bytes are no multiple of 5"),
    "n-mnist, too far right": (
        read_n_mnist,
        bytes([1, 1, 0, 0, 0, 34, 2, 0, 0, 0]),
        "1 of 2 events lie outside the 34x34 pixels, the first at row 2, column 34",
    ),
    "npz, noise": (read_npz, bytes(range(200)), "this is no .npz with t, x, y, p"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_corrupt_file_is_named_with_what_is_wrong(tmp_path: Path, case: str) -> None:
    read, content, message = BAD_FILES[case]
    path = file(tmp_path, content)
    with pytest.raises(CorruptFile, match=message) as raised:
        read(path, ATIS34)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": [1, 2], "x": [1], "y": [1], "p": [1]}, r"must be lists of one length, not t \[2\], x \[1\]"),
        ({"t": 1, "x": 1, "y": 1, "p": 1}, "must be lists of one length"),
        ({"t": [1], "x": [1], "y": [1]}, "no .npz with t, x, y, p"),
        ({"t": ["a"], "x": [1], "y": [1], "p": [1]}, "t has type <U1; whole numbers"),
        ({"t": [0.5], "x": [1], "y": [1], "p": [1]}, "t has type float64; whole numbers"),
        ({"t": [1], "x": [128], "y": [1], "p": [1]}, "1 of 1 events lie outside the 128x128"),
        ({"t": [1], "x": [-1], "y": [1], "p": [1]}, "1 of 1 events lie outside the 128x128"),
        ({"t": [], "x": [], "y": [], "p": []}, "whole numbers|no events"),
    ],
)
def test_a_cached_file_of_other_arrays_is_named(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = tmp_path / "events.npz"
    np.savez(path, **{name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(CorruptFile, match=message):
        read_npz(path, DVS128)


def test_cached_frames_of_another_shape_or_without_numbers_are_named(tmp_path: Path) -> None:
    path, shape = tmp_path / "frames.npz", (4, 2, 3, 3)
    np.savez(path, frames=np.ones(shape))
    assert np.array_equal(read_frames(path, shape), np.ones(shape, np.float32))
    with pytest.raises(CorruptFile, match=r"shape \[4, 2, 3, 3\]; \[5, 2, 3, 3\] is expected"):
        read_frames(path, (5, 2, 3, 3))
    np.savez(path, frames=np.full(shape, np.nan))
    with pytest.raises(CorruptFile, match="not finite"):
        read_frames(path, shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"class\n1,2\n", "is not `class,startTime_usec,endTime_usec`"), (b"class\n12,1,2\n", "gesture 12"),
     (b"class\na,1,2\n", "is not `class"), (b"class\n\xff,1,2\n", "is not `class")],
)  # fmt: skip
def test_a_label_file_of_other_lines_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(file(tmp_path, content))


@pytest.mark.parametrize("write", [(read_aedat3, aedat3), (read_aedat2, aedat2), (read_n_mnist, n_mnist)])
def test_damage_anywhere_is_named_or_harmless(tmp_path: Path, write: tuple[Reader, Callable[[Events], bytes]]) -> None:
    read, to_bytes = write
    good, refused = to_bytes(GOOD), 0
    for at in range(len(good)):
        for damaged in (good[:at], good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :]):
            try:
                read(file(tmp_path, damaged), ATIS34)
            except CorruptFile:
                refused += 1
    assert refused > len(good) / 2


# Frames


def slow_frames(given: Events, timesteps: int, size: Size, by: str) -> np.ndarray:
    """One event after the other, as the facts say it."""
    frames = np.zeros((timesteps, 2, *size), np.float32)
    number, first = len(given), int(given.t.min())
    duration = (int(given.t.max()) - first) // timesteps
    for index in range(number):
        if by == "count":
            each = number // timesteps
            at = index // each if each else timesteps
        else:
            at = (int(given.t[index]) - first) // duration if duration else timesteps
        frames[min(at, timesteps - 1), given.p[index], given.y[index], given.x[index]] += 1
    return frames


@given(
    st.integers(1, 60), st.integers(1, 9), st.sampled_from(["count", "time"]), st.integers(1, 100), st.integers(0, 99)
)
def test_frames_are_those_of_the_definition(number: int, timesteps: int, by: str, duration: int, seed: int) -> None:
    given_events = events(number, seed=seed, size=3, duration=duration)
    frames = make_frames(given_events, timesteps, (3, 4), by)  # type: ignore[arg-type]
    assert frames.dtype == np.float32 and frames.sum() == number
    assert np.array_equal(frames, slow_frames(given_events, timesteps, (3, 4), by))


def test_by_count_the_last_frame_gets_the_rest() -> None:
    frames = make_frames(events(23, seed=0), 5, DVS128, "count")
    assert frames.sum(axis=(1, 2, 3)).tolist() == [4, 4, 4, 4, 7]
    assert make_frames(events(3, seed=0), 5, DVS128, "count").sum(axis=(1, 2, 3)).tolist() == [0, 0, 0, 0, 3]


def test_by_time_a_pause_is_an_empty_frame() -> None:
    given_events = joined(events(5, seed=0, duration=10), events(6, seed=1, start=990, duration=10))
    assert make_frames(given_events, 4, DVS128, "time").sum(axis=(1, 2, 3)).tolist() == [5, 0, 0, 6]
