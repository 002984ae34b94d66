"""Running an .onnx file of `snn2hw export` in onnxruntime, with the spikes of every layer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import Progress, Shape
from snn2hw.data.samples import Samples
from snn2hw.errors import BackendError, BundleError, FixedPointOverflow
from snn2hw.exporters.onnx.graph import INPUT, PEAKS, PREFIX, SCHEMA, Layer, Watched, add_spikes

BATCH_BYTES = 64 << 20  # of the spikes of the samples that run at once
ERRORS_ONLY = 3  # of onnxruntime's levels of what it writes to stderr
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxFile:
    """A file as it was read: its model, and what its metadata say.

    input: its kind (real values or payloads), shape, scale, low and high.
    """

    path: Path
    model: onnx.ModelProto
    timesteps: int
    program_sha256: str
    input: Mapping[str, Any]
    layers: tuple[Layer, ...]
    watched: tuple[Watched, ...]


def read_file(path: Path) -> OnnxFile:
    """Read a file that `snn2hw export --target onnx` wrote. Raises BundleError if it is none, or damaged."""
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
        about = {
            entry.key.removeprefix(PREFIX): entry.value
            for entry in model.metadata_props
            if entry.key.startswith(PREFIX)
        }
        if about["schema"] != SCHEMA:
            raise BundleError(
                f"{path}: schema {about['schema']!r}; this version of snn2hw reads {SCHEMA!r}. Export again."
            )
        return OnnxFile(
            path=path,
            model=model,
            timesteps=json.loads(about["timesteps"]),
            program_sha256=about["program_sha256"],
            input=json.loads(about["input"]),
            layers=tuple(Layer(**{**layer, "shape": tuple(layer["shape"])}) for layer in json.loads(about["layers"])),
            watched=tuple(Watched(**watch) for watch in json.loads(about["watched"])),
        )
    except (OSError, ValueError, KeyError, TypeError, DecodeError) as error:
        raise BundleError(f"{path}: it is no ONNX file of snn2hw, or damaged ({error}). Export it again.") from None


def run_file(file: OnnxFile, samples: Samples, *, threads: int, progress: Progress) -> ir.Spikes:
    """The logits int64 [N, K] and each layer's spikes [N, T, *shape] of samples.

    Raises DataError if the samples do not fit, FixedPointOverflow if a number leaves its limits, BackendError if
    onnxruntime cannot run the file.
    """
    shape = tuple(file.input["shape"])
    samples.check_shape(shape)
    samples.check_timesteps(file.timesteps)
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    outputs = {output.name for output in model.graph.output}
    if file.watched and PEAKS not in outputs:
        raise BundleError(f"{file.path}: it has no output {PEAKS}, which shows what leaves its range. Export it again.")
    add_spikes(model, [layer for layer in file.layers if layer.name not in outputs], file.timesteps)
    session = _in_onnxruntime(file.path, lambda: start(model.SerializeToString(), threads))
    parts: list[ir.Spikes] = []
    done = 0
    for batch in samples.batches(_batch_size(file)):
        given = _given(file, batch)
        made = _in_onnxruntime(file.path, partial(run_session, session, given))
        if file.watched:
            _check(file, made.pop(PEAKS), done)
        parts.append(made)
        done += len(batch)
        progress(done, len(samples))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def start(model: bytes | str, threads: int) -> onnxruntime.InferenceSession:
    """A session of onnxruntime on the CPU for a model, or the file that holds it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """All outputs by name, for inputs [N, 1 or T, *shape]."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: x}), strict=True))


def _in_onnxruntime(path: Path, call: Callable[[], Result]) -> Result:
    try:
        return call()
    except Exception as error:  # another package's code, whose errors have no common class
        told = str(error).partition("\n")[0]
        raise BackendError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot run it ({told}). Export it again."
        ) from None


def _given(file: OnnxFile, samples: Samples) -> NDArray[Any]:
    """What the file takes of samples: real values or integers [N, 1 or T, *shape]."""
    x, about = samples.x if samples.per_step else samples.x[:, None], file.input
    if about["kind"] != "payloads":
        return x
    payloads: NDArray[np.int32] = np.clip(
        np.rint(x.astype(np.float64) / about["scale"]), about["low"], about["high"]
    ).astype(np.int32)
    return payloads


def _check(file: OnnxFile, peaks: NDArray[np.int64], first_sample: int) -> None:
    """Raise FixedPointOverflow for the first of peaks [N, T, watched] that reaches its limit."""
    beyond = np.argwhere(peaks >= [watch.limit for watch in file.watched])
    if len(beyond):
        place = sample, step, number = tuple(beyond[0])
        watch, sample = file.watched[number], first_sample + sample
        cycle = sample * file.timesteps + step + watch.latency + 1
        raise FixedPointOverflow(
            f"{watch.layer}, sample {sample}, step {step}, cycle {cycle}: {watch.what} reaches {peaks[place]} in "
            f"onnxruntime, the limit is {watch.limit - 1}. Calibrate with samples that cover such inputs, or use fewer "
            "weight bits."
        )


def _batch_size(file: OnnxFile) -> int:
    """How many samples BATCH_BYTES hold of the largest layer's sums."""
    shapes: list[Shape] = [tuple(file.input["shape"]), *(layer.shape for layer in file.layers)]
    largest = max(map(math.prod, shapes))
    return max(1, BATCH_BYTES // (largest * file.timesteps * np.dtype(np.int32).itemsize))
