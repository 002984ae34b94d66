"""What a run reads and writes: samples, recordings, spikes.npz."""

from __future__ import annotations

import glob
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from program import Array, Program, ProgramError
from system import is_alive


def read_payloads(path: Path, program: Program, samples: int | None, *, saturate: bool = False) -> Array:
    """Quantise the real samples `x` of an .npz file to integer payloads.

    `x` is [N, *shape] (static: the same in every step) or [N, T, *shape]. Returns [N, 1 or T, *shape] in the smallest
    type that holds the input's range. `samples` keeps the first ones only. `saturate` clips values outside that range.
    Raises ProgramError.
    """
    node = program.input
    static, stepped = ("N", *node.shape), ("N", program.timesteps, *node.shape)
    expected = f"x of shape {list(static)} or {list(stepped)}".replace("'", "")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "x" not in archive.files:
                raise ProgramError(f"{path} has no array 'x' but {archive.files}; expected {expected}")
            x = archive["x"]
    except (OSError, ValueError, BadZipFile, AttributeError, TypeError) as error:
        raise ProgramError(f"{path} cannot be read as .npz: {error}; expected {expected}") from error
    if x.dtype.kind not in "biuf":
        raise ProgramError(f"{path}: x is of type {x.dtype}; expected real numbers")
    if x.shape[1:] == node.shape:
        x = x[:, None]
    if x.shape[1:] not in ((1, *node.shape), (program.timesteps, *node.shape)):
        raise ProgramError(f"{path}: x has shape {list(x.shape)}; expected {expected}")
    if samples is not None:
        if samples > x.shape[0]:
            raise ProgramError(f"{samples} samples are asked for, but {path} holds {x.shape[0]}")
        x = x[:samples]
    if x.shape[0] == 0:
        raise ProgramError(f"{path} holds no sample")
    payloads = np.empty(x.shape, np.result_type(np.min_scalar_type(node.low), np.min_scalar_type(node.high)))
    outside = 0
    for payload, sample in zip(payloads, x, strict=True):
        real = sample.astype(np.float64)
        if not np.isfinite(real).all():
            raise ProgramError(f"{path}: x holds values that are no finite numbers")
        units = np.rint(real / node.scale)
        outside += np.count_nonzero((units < node.low) | (units > node.high))
        payload[...] = np.clip(units, node.low, node.high)
    if outside and not saturate:
        low, high = node.low * node.scale, node.high * node.scale
        raise ProgramError(
            f"{path}: {outside:,} of {x.size:,} values of x, which goes from {x.min():g} to {x.max():g}, lie outside "
            f"the range seen in calibration, {low:g} to {high:g}. Calibrate on samples that cover it, or clip those "
            "values as a chip does: --saturate."
        )
    return payloads


def recording_paths(folder: Path, program: Program) -> dict[str, Path]:
    """The .npy file of each recorded node and of 'logits', numbered, as layer names may hold any character."""
    paths = {name: folder / f"recorded-{number}.npy" for number, name in enumerate(program.recorded)}
    return {**paths, "logits": folder / "logits.npy"}


def create_recordings(folder: Path, program: Program, samples: int) -> None:
    """Make the memory maps that Processes write into: [N, T, *shape] per node, logits [N, K]. Raises ProgramError."""
    shapes = {name: (samples, program.timesteps, *program.nodes[name].shape) for name in program.recorded}
    dtypes = {**program.recorded, "logits": "int64"}
    shapes["logits"] = (samples, *program.readout.shape)
    size = sum(int(np.prod(shapes[name])) * np.dtype(dtypes[name]).itemsize for name in shapes)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ProgramError(
            f"the recordings of {samples} samples need {size / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free. "
            "Run fewer samples at a time (--samples) or point TMPDIR to a larger disk."
        )
    for name, path in recording_paths(folder, program).items():
        np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtypes[name]), shape=shapes[name])


def write_spikes(folder: Path, program: Program, output: Path, check: Callable[[], None]) -> None:
    """Pack the recordings into `output`, an .npz file that appears complete or not at all.

    `check` is called now and then, and stops it by what it raises. Raises ProgramError.
    """
    for left in output.parent.glob(f".{glob.escape(output.name)}.*"):  # by a run that was killed while it wrote
        owner = left.name.rpartition(".")[2]
        if owner.isdigit() and not is_alive(int(owner)):
            left.unlink(missing_ok=True)
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(beside, "w", allowZip64=True) as archive:
            for name, path in recording_paths(folder, program).items():
                check()
                archive.write(path, f"{name}.npy")
            logits = np.load(recording_paths(folder, program)["logits"], mmap_mode="r")
            for head in program.readout.heads:
                with archive.open(f"logits.{head.name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.ascontiguousarray(logits[:, head.start : head.stop]))
        check()
        os.replace(beside, output)
    except OSError as error:
        raise ProgramError(f"{output} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
