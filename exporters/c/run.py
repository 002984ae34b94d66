"""Runs a written network: compiles it with its host program, hands it payloads, and takes logits and spikes."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.errors import BackendError, BundleError, FixedPointOverflow
from snn2hw.exporters.c.build import find_compiler, make_program
from snn2hw.exporters.c.payloads import channels_first
from snn2hw.files import sha256

SCHEMA = "snn2hw.c/1"
BATCH_BYTES = 128 << 20
"""Of results that one call gives."""
OUT_OF_RANGE = 3
"""How the host program ends where a layer left its range."""

Execute = Callable[[bytes, int, bool], bytes]
"""Runs payloads of so many samples, with an input for each step or one for all; gives what the host program writes."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that spikes: its number and name, its shape, and the type of its values."""

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """What layers.json says of a written network: its input, steps, logits and layers."""

    steps: int
    input: dict[str, Any]
    logits: dict[str, Any]
    heads: dict[str, tuple[int, int]]
    layers: tuple[Layer, ...]
    names: tuple[str, ...]

    def payloads(self, samples: Samples) -> NDArray[Any]:
        """Payloads [N, T or 1, H, W, C] of samples, in the input's type."""
        from snn2hw.exporters.c.payloads import payloads_of

        samples.check_timesteps(self.steps)
        shape, scale = tuple(self.input["shape"]), self.input["scale"]
        samples.check_shape(shape)
        node = ir.Input(name="input", shape=shape, scale=scale, low=self.input["low"], high=self.input["high"])
        return payloads_of(node, samples).astype(self.input["dtype"])


def describe(folder: Path) -> Description:
    """What a written folder holds. Raises BundleError if it is not one."""
    file = folder / "layers.json"
    try:
        document = json.loads(file.read_text())
        if document["schema"] != SCHEMA:
            raise BundleError(f"{file}: its schema is {document['schema']}, not {SCHEMA}. Export it again.")
        return Description(
            steps=document["steps"],
            input=document["input"],
            logits=document["logits"],
            heads={name: tuple(place) for name, place in document["heads"].items()},
            layers=tuple(
                Layer(number=number, name=layer["name"], shape=tuple(layer["shape"]), dtype=layer["dtype"])
                for number, layer in enumerate(document["layers"], 1)
                if layer["dtype"]
            ),
            names=tuple(layer["name"] for layer in document["layers"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file}: it cannot be read ({type(error).__name__}: {error}). Export it again.") from None


def run_compiled(
    folder: Path, samples: Samples, *, compiler: str | None, optimise: tuple[str, ...], progress: Progress
) -> ir.Spikes:
    """What engines give, logits [N, K] and spikes [N, T, *shape], computed by the compiled sources of a folder."""
    command = tuple(find_compiler(compiler))
    program = _built(folder.resolve(), command, optimise, _digest(folder))

    def execute(payloads: bytes, count: int, per_step: bool) -> bytes:
        done = subprocess.run(
            [str(program), str(count), str(int(per_step))], input=payloads, capture_output=True, check=False
        )
        if done.returncode == OUT_OF_RANGE:
            raise LeftRange(*map(int, done.stderr.split()))
        if done.returncode:
            raise BackendError(
                f"{folder}: the compiled network ended with code {done.returncode} "
                f"({done.stderr.decode(errors='replace').strip()}). Export it again."
            )
        return done.stdout

    return run_with(describe(folder), samples, execute, progress)


class LeftRange(Exception):
    """A layer's number, and the sample and step in which a value of it left its range."""


def run_with(about: Description, samples: Samples, execute: Execute, progress: Progress) -> ir.Spikes:
    """Run samples batch by batch: logits [N, K], spikes [N, T, *shape].

    Raises FixedPointOverflow with the layer, sample and step that left its range.
    """
    payloads = about.payloads(samples)
    parts: list[ir.Spikes] = []
    for start, stop in _batches(about, len(payloads)):
        part = payloads[start:stop]
        try:
            written = execute(part.tobytes(), len(part), samples.per_step)
        except LeftRange as left:
            number, sample, step = left.args
            raise FixedPointOverflow(
                f"{about.names[number - 1]}, sample {start + sample}, step {step}: its sum or membrane left the range "
                "that it was compiled for. Calibrate with samples that cover such inputs, or use fewer weight bits."
            ) from None
        parts.append(_read(about, written, len(part)))
        progress(stop, len(payloads))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(about: Description, count: int) -> Iterator[tuple[int, int]]:
    each = about.steps * sum(int(np.prod(layer.shape)) * np.dtype(layer.dtype).itemsize for layer in about.layers)
    size = max(1, BATCH_BYTES // (each + 1))
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _read(about: Description, written: bytes, count: int) -> ir.Spikes:
    """What the host program wrote of `count` samples, as arrays of the layers' shapes."""
    values = np.frombuffer(written, np.uint8)
    sizes = [int(np.prod(layer.shape)) * np.dtype(layer.dtype).itemsize for layer in about.layers]
    logit = np.dtype(about.logits["dtype"]).itemsize * int(np.prod(about.logits["shape"]))
    if values.size != count * (about.steps * sum(sizes) + logit):
        raise BackendError(f"the network gave {values.size} bytes for {count} samples. Export it again.")
    of_sample = values.reshape(count, -1)
    steps = of_sample[:, : about.steps * sum(sizes)].reshape(count, about.steps, sum(sizes))
    spikes: ir.Spikes = {}
    start = 0
    for layer, size in zip(about.layers, sizes, strict=True):
        raw = np.ascontiguousarray(steps[:, :, start : start + size]).view(layer.dtype)
        full = channels_first(raw.reshape(count, about.steps, *_last(layer.shape)), layer.shape)
        small = full if layer.dtype == "uint8" else full.astype(np.int32)
        spikes[layer.name] = np.ascontiguousarray(small)
        start += size
    shape = tuple(about.logits["shape"])
    totals = np.ascontiguousarray(of_sample[:, about.steps * sum(sizes) :]).view(about.logits["dtype"])
    logits = channels_first(totals.reshape(count, *_last(shape)), shape).astype(np.int64)
    heads = {f"logits.{name}": logits[:, first:stop] for name, (first, stop) in about.heads.items()}
    return {**spikes, "logits": logits, **heads}


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[C, H, W] or [K] as height, width, channels."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else (1, 1, shape[0])


def _digest(folder: Path) -> str:
    """What a folder's sources are, so that what was compiled of others is not taken for them."""
    return "".join(sha256(file) for file in sorted(folder.glob("*.[ch]")))


@cache
def _built(folder: Path, command: tuple[str, ...], optimise: tuple[str, ...], digest: str) -> Path:
    """The compiled host program of a folder, once a process."""
    place = Path(tempfile.mkdtemp(prefix="snn2hw-c-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return make_program(command, folder, place, "host", optimise)
