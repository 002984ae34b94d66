"""Samples to calibrate, simulate and verify with: .npz files and the named sets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snn2hw.data.aliases import Shape
from snn2hw.errors import DataError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels.

    x: float32 [N, *shape] (static: every step shows the same) or [N, T, *shape] (per_step). y: int64 [N], or None.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None
    per_step: bool
    name: str = "samples"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part: slice) -> Samples:
        return replace(self, x=self.x[part], y=None if self.y is None else self.y[part])

    def batches(self, size: int) -> Iterator[Samples]:
        """The samples in order, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    @property
    def shape(self) -> Shape:
        """Shape of one step of one sample."""
        return self.x.shape[2:] if self.per_step else self.x.shape[1:]

    @property
    def sha256(self) -> str:
        """Digest of the samples and labels, not of the file they came in."""
        digest = hashlib.sha256(repr((self.x.shape, self.per_step)).encode())
        digest.update(np.ascontiguousarray(self.x).data)
        if self.y is not None:
            digest.update(np.ascontiguousarray(self.y).data)
        return digest.hexdigest()

    def check_shape(self, shape: Shape) -> None:
        """Raise DataError if the samples do not have this shape."""
        check_shape(self.name, self.shape, shape)

    def check_timesteps(self, timesteps: int) -> None:
        """Raise DataError if the samples hold a frame a step, and another number of steps."""
        if self.per_step and self.x.shape[1] != timesteps:
            raise DataError(
                f"{self.name}: x holds {self.x.shape[1]} time steps, but {timesteps} are asked for. "
                f"Use --timesteps {self.x.shape[1]} when exporting, or data with {timesteps} steps."
            )

    def steps(self, timesteps: int) -> NDArray[np.float32]:
        """The samples as [T, N, *shape]. Raises DataError if they hold another number of steps."""
        self.check_timesteps(timesteps)
        if not self.per_step:
            return np.repeat(self.x[None], timesteps, axis=0)
        return np.ascontiguousarray(np.moveaxis(self.x, 1, 0))


def check_shape(name: str, of_data: Shape, shape: Shape) -> None:
    """Raise DataError if one step of one sample has not the shape that the model takes."""
    if of_data != shape:
        raise DataError(
            f"{name}: one step of one sample has shape {list(of_data)}, but the model takes {list(shape)}. "
            f"Give x as [N, {', '.join(map(str, shape))}], or with T steps as [N, T, {', '.join(map(str, shape))}]."
        )


def make_samples(x: NDArray[np.generic], y: NDArray[np.generic] | None, shape: Shape, *, name: str) -> Samples:
    """Check x [N, *shape] or [N, T, *shape] and y [N], and wrap them. Raises DataError as `load_samples` says."""
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer) or x.dtype == np.bool_):
        raise DataError(f"{name}: x has type {x.dtype}; numbers are needed. Convert it with x.astype(np.float32).")
    x = _as_images(x, shape)
    per_step = x.ndim == len(shape) + 2
    with np.errstate(over="ignore"):  # what float32 cannot hold is not finite, and told below
        samples = Samples(np.asarray(x, dtype=np.float32), None, per_step, name)
    if x.ndim not in (len(shape) + 1, len(shape) + 2) or samples.shape != shape:
        raise DataError(
            f"{name}: x has shape {list(x.shape)}, but the model takes {list(shape)} a step. Give it as "
            f"[N, {', '.join(map(str, shape))}] or [N, T, {', '.join(map(str, shape))}]."
        )
    if x.size == 0:
        raise DataError(f"{name}: x is empty ({list(x.shape)}). At least one sample is needed.")
    finite = np.isfinite(samples.x)
    if not finite.all():
        where = [int(i) for i in np.argwhere(~finite)[0]]
        raise DataError(
            f"{name}: x holds {int((~finite).sum())} values that are NaN, infinite or too large for float32, the first "
            f"at {where}. Repair or leave out those samples."
        )
    return replace(samples, y=None if y is None else _labels(y, len(x), name))


def _as_images(x: NDArray[np.generic], shape: Shape) -> NDArray[np.generic]:
    """1-D signals [N, C, L] or [N, T, C, L] as images of height 1, where the model takes those."""
    signal = (*shape[:1], *shape[2:])
    flat = len(shape) == 3 and shape[1] == 1 and x.ndim in (3, 4) and x.shape[-2:] == signal and x.shape[1:] != shape
    return x[..., None, :] if flat else x


def check_labels(samples: Samples, classes: int, output: Shape = ()) -> None:
    """Raise DataError if a label is not a class of the model, or if the model's `output` is a map of classes."""
    if samples.y is None:
        return
    if is_map(output):
        raise DataError(
            f"{samples.name}: it has labels, but the model gives a map {list(output)}, not one number a class. End the "
            "model in a layer that pools it, or give samples without `y`."
        )
    bad = np.flatnonzero(samples.y >= classes)
    if bad.size:
        raise DataError(
            f"{samples.name}: label {int(samples.y[bad[0]])} of sample {int(bad[0])} is out of range; the model has "
            f"{classes} classes, so labels go from 0 to {classes - 1}."
        )


def is_map(output: Shape) -> bool:
    """Whether an output [K, ...] holds several numbers for each of K classes, so that a label cannot be right."""
    return math.prod(output[1:]) > 1


def right_answers(scores: NDArray[np.generic], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples have their largest score at their label, [N], for scores [N, K] or [N, K, 1, 1].

    Of equal scores the first counts.
    """
    return np.asarray(scores.reshape(len(y), -1).argmax(axis=1) == y)


def _labels(y: NDArray[np.generic], count: int, name: str) -> NDArray[np.int64]:
    if y.shape != (count,):
        raise DataError(f"{name}: y has shape {list(y.shape)}, but x holds {count} samples. Give y as [{count}].")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: y has type {y.dtype}; labels are whole numbers from 0.")
    if y.min() < 0:
        at = int(np.argmin(y))
        raise DataError(f"{name}: label {int(y[at])} of sample {at} is negative; labels go from 0.")
    largest = np.array(np.iinfo(np.int64).max, np.uint64)  # as good as any other label that no model has
    return np.minimum(y.astype(np.uint64), largest).astype(np.int64)
