"""Damaged .nir files: a correct graph or one clear error, whatever was done to the bytes or the structure."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from nir_graphs import IMAGE, affine, chain, conv, flat, full, if_, inner, leaky, scale

from snn2hw.errors import Snn2hwError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.network import hdf5_reader
from snn2hw.network.layout import lay_out
from snn2hw.network.nir_file import read_nir
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated

BYTES, STRUCTURES = 1400, 900
ROUNDS = 4  # tests that share the work, so that workers can


def graphs() -> list[nir.NIRGraph]:
    pool = nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0]))
    image = chain(IMAGE, 3, c=conv(4, 2, 3, 3), n=if_(4, 6, 6), p=pool, f=flat(4, 3, 3), a=affine(3, 36))
    nested = chain(IMAGE, IMAGE, one=inner(*IMAGE), t=nir.Threshold(threshold=full(0.5, *IMAGE)))
    vector = chain((4,), 4, s=scale(2, 4), n=leaky(metadata={"reset": "subtract", "reset_amount": full(1, 4)}))
    return [image, nested, vector]


@pytest.fixture
def sources(tmp_path: Path) -> list[bytes]:
    contents = []
    for graph in graphs():
        nir.write(tmp_path / "net.nir", graph)
        read_nir(tmp_path / "net.nir")
        contents.append((tmp_path / "net.nir").read_bytes())
    return contents


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 really does stall on some of these files: here it is given up on sooner."""
    monkeypatch.setattr(hdf5_reader, "PATIENCE", 2.0)


def peak() -> int:
    """The most memory that this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def outcome(path: Path) -> str:
    """Read, normalise and compile a file: "graph", or the one error. Anything but our own errors gets out of here."""
    try:
        loaded = load_model(str(path), ModelOptions(timesteps=1))
        lay_out(loaded.network)
        compile_calibrated(loaded.network, UNCALIBRATED, Options(timesteps=1))
    except Snn2hwError as error:
        assert str(error) and "Traceback" not in str(error)
        return "error"
    return "graph"


def damaged_bytes(random: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    match random.integers(5):
        case 0:
            return bytes(changed[: random.integers(len(changed))])
        case 1:
            at, size = random.integers(len(changed)), random.integers(1, 64)
            changed[at : at + size] = random.bytes(min(size, len(changed) - at))
        case 2:
            at, to, size = random.integers(len(changed)), random.integers(len(changed)), random.integers(1, 256)
            changed[to : to + size] = changed[at : at + size]
        case _:
            for _ in range(random.integers(1, 6)):
                changed[random.integers(min(len(changed), 8192))] = random.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("part", range(ROUNDS))
def test_damaged_bytes_end_in_a_graph_or_one_error(tmp_path: Path, sources: list[bytes], part: int) -> None:
    before = peak()  # of other tests in this process
    random, path = np.random.default_rng(part), tmp_path / "damaged.nir"
    ends = []
    for at in range(BYTES // ROUNDS):
        path.write_bytes(damaged_bytes(random, sources[at % len(sources)]))
        ends.append(outcome(path))
    assert ends.count("error") > 20 and ends.count("graph") > 5
    assert peak() <= max(before, 8 << 20)


VALUES: list[Any] = [
    -1,
    0,
    1,
    3,
    2**31,
    1e308,
    -0.5,
    float("nan"),
    float("inf"),
    b"text",
    "",
    [],
    [1],
    [1, 2, 3],
    np.zeros((0, 3)),
    np.ones((2, 2, 2, 2, 2)),
    np.full(4, np.nan),
    np.array([b"a", b"b"]),
    np.array(1 + 2j),
    [["input", "output"]],
]


def entries(group: h5py.Group) -> Iterator[tuple[h5py.Group, str]]:
    for key in group:
        yield group, key
        if isinstance(group[key], h5py.Group):
            yield from entries(group[key])


def change(random: np.random.Generator, file: h5py.File) -> None:
    """One change of the structure: an entry is lost, renamed, copied, linked or has another value."""
    all_entries = list(entries(file))
    group, key = all_entries[random.integers(len(all_entries))]
    other, name = all_entries[random.integers(len(all_entries))]
    match random.integers(7):
        case 0:
            del group[key]
        case 1:
            group.move(key, f"{key}{random.integers(3)}")
        case 2:
            content = group[key]
            del group[key]
            if name in other:
                del other[name]
            other[name] = content
        case 3:
            other[f"copy{random.integers(3)}"] = group[key]
        case 4:
            group[f"link{random.integers(3)}"] = h5py.SoftLink(f"/node/nodes/{key}")
        case 5 if isinstance(group[key], h5py.Dataset) and group[key].dtype.kind in "if" and group[key].size:
            values = np.atleast_1d(group[key][()]).astype(float)
            values.flat[random.integers(values.size)] = random.choice([-1.0, 0.0, 0.5, 1e30, np.nan, -np.inf])
            del group[key]
            group[key] = values
        case _:
            del group[key]
            group[key] = VALUES[random.integers(len(VALUES))]


@pytest.mark.parametrize("part", range(ROUNDS))
def test_changed_structures_end_in_a_graph_or_one_error(tmp_path: Path, sources: list[bytes], part: int) -> None:
    random, path = np.random.default_rng(100 + part), tmp_path / "changed.nir"
    ends = []
    for at in range(STRUCTURES // ROUNDS):
        path.write_bytes(sources[at % len(sources)])
        with h5py.File(path, "r+") as file:
            for _ in range(random.integers(1, 4)):
                try:
                    change(random, file)
                except (KeyError, ValueError, RuntimeError, OSError, TypeError):  # HDF5 has its own rules
                    continue
        ends.append(outcome(path))
    assert ends.count("error") > 20 and ends.count("graph") > 5


def test_a_reader_that_stalls_or_dies_is_an_error_and_the_next_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    nir.write(tmp_path / "net.nir", graphs()[2])
    for does in ("import time; input(); time.sleep(60)", "import os; input(); os.abort()", "input(); print('{')"):
        with monkeypatch.context() as patch:
            hdf5_reader._stop()
            child.write_text(does)
            patch.setattr(hdf5_reader, "CHILD", child)
            patch.setattr(hdf5_reader, "PATIENCE", 1.0)
            with pytest.raises(Snn2hwError, match=r"net\.nir: this is not a readable NIR file \(reading it ended"):
                read_nir(tmp_path / "net.nir")
        assert len(read_nir(tmp_path / "net.nir").nodes) == 4


def test_links_that_multiply_are_refused_in_time(tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", graphs()[2])
    with h5py.File(tmp_path / "net.nir", "r+") as file:
        for at in range(3):
            file["node/nodes"][f"again{at}"] = file["node/nodes"]
    with pytest.raises(Snn2hwError, match=r"nested more than 32 deep|more than 1,000,000 entries"):
        read_nir(tmp_path / "net.nir")
