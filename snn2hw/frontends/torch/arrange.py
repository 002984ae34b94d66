"""Where each element of a torch tensor comes from: layout operations run on a tensor of numbers instead of values.

The elements of what a NIR node emits are numbered, steps first, then samples, then places: those of [T, N, *shape].
Whatever flatten, view, permute, chunk, stack and their like do to a tensor, they do to its numbers too, and what comes
out says where each element went: whatever their order, and whether steps and samples stand apart or in one dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn2hw.data.aliases import Shape

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrangement:
    """Where the elements of a tensor lie among those of values [steps, samples, *shape].

    numbers: for each element of the tensor, (step * samples + sample) * size + place. counted: 0, 1, 2, ..., of which
    most numbers are views. steps: 1 where the values are the same in every step. moved_by: the path of the layout
    operation that was the last, for names.
    """

    numbers: Tensor
    counted: Tensor
    steps: int
    samples: int
    shape: Shape
    moved_by: str = ""

    @property
    def size(self) -> int:
        """Elements of one step of one sample."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """Dimensions of the tensor."""
        return self.numbers.dim()

    def moved(self, operation: Callable[[Tensor], Any], path: str) -> Any:
        """What an operation on the tensor makes of it; tuples of tensors become tuples of arrangements."""
        result = operation(self.numbers)
        if isinstance(result, Tensor):
            return replace(self, numbers=result, moved_by=path)
        return tuple(replace(self, numbers=part, moved_by=path) for part in result)

    def inner(self) -> tuple[int, Batch, Inner] | None:
        """The leading dimensions that hold steps and samples, as many as do, and what lies behind them.

        None where samples or steps mix with the places of one sample.
        """
        for lead in range(self.rank, -1, -1):
            if (parts := self.split(lead)) is not None:
                return lead, *parts
        return None

    def split(self, lead: int) -> tuple[Batch, Inner] | None:
        """Steps and samples of the first `lead` dimensions, and places of the others; None where they mix."""
        numbers, size = self.numbers, self.size
        if not numbers.numel():
            return None
        inmost: tuple[Any, ...] = (..., *[0] * (self.rank - lead))
        heads = numbers[inmost].reshape(-1)
        rest = tuple(numbers.shape[lead:])
        counted = self._is_counted()
        if counted and math.prod(rest) == size and numbers[(0,) * lead].is_contiguous():  # in order: nothing to read
            places = None
            mixes = bool((heads % size != 0).any())
        else:
            inside = numbers[(0,) * lead].reshape(-1)
            places = inside % size
            mixes = bool((heads % size != places[0]).any()) or bool((inside // size != heads[0] // size).any())
            mixes = mixes or not (counted or _is_sum(numbers, heads // size * size, places))
        if mixes:
            return None
        return (
            Batch(numbers=(heads // size).numpy(), steps=self.steps, samples=self.samples),
            Inner(given=None if places is None else places.numpy(), tensor_shape=rest, shape=self.shape),
        )

    def is_single(self) -> bool:
        """Whether no element is held twice."""
        return int(torch.unique(self.numbers).numel()) == self.numbers.numel()

    def _is_counted(self) -> bool:
        """Whether the numbers are a view of 0, 1, 2, ...: then each is a sum over its dimensions."""
        return self.numbers.untyped_storage().data_ptr() == self.counted.untyped_storage().data_ptr()


def _is_sum(numbers: Tensor, batch: Tensor, places: Tensor) -> bool:
    return bool((numbers.reshape(len(batch), -1) == batch[:, None] + places[None]).all())


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The steps and samples of leading dimensions, flat: step * samples + sample."""

    numbers: Places
    steps: int
    samples: int

    @property
    def is_static(self) -> bool:
        return self.steps == 1

    def step(self) -> int | None:
        """The step of which these are all samples in order; None where they are anything else."""
        whole = len(self.numbers) == self.samples and (np.diff(self.numbers) == 1).all()
        return int(self.numbers[0]) // self.samples if whole and self.numbers[0] % self.samples == 0 else None

    def order(self, steps: int) -> str | None:
        """ "tn" where all samples of a step stand together, "nt" where all steps of a sample do, else None."""
        first = np.arange(steps * self.samples)
        if self.is_static:
            first %= self.samples
        if len(first) != len(self.numbers):
            return None
        if (self.numbers == first).all():
            return "tn"
        return "nt" if (self.numbers == first.reshape(steps, -1).T.ravel()).all() else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Inner:
    """Which place of one sample each element of the trailing dimensions holds, flat, and these dimensions' sizes."""

    given: Places | None
    tensor_shape: Shape
    shape: Shape

    @property
    def places(self) -> Places:
        return np.arange(math.prod(self.shape)) if self.given is None else self.given

    @property
    def is_identity(self) -> bool:
        """Whether the places stand in their order, every one of them, however they are split into dimensions."""
        if self.given is None:
            return True
        return len(self.given) == math.prod(self.shape) and bool((np.diff(self.given) == 1).all())

    @property
    def is_permutation(self) -> bool:
        return self.given is None or (
            len(self.given) == math.prod(self.shape) and len(np.unique(self.given)) == len(self.given)
        )

    def channels(self) -> Places | None:
        """The channel that each element of the first dimension holds, where whole channels moved; else None."""
        rest = math.prod(self.shape[1:])
        if not self.tensor_shape or self.tensor_shape[1:] != self.shape[1:]:
            return None
        by_channel = self.places.reshape(self.tensor_shape[0], rest)
        whole = bool((by_channel == (by_channel[:, :1] // rest) * rest + np.arange(rest)).all())
        return by_channel[:, 0] // rest if whole else None


class Numbering:
    """Makes arrangements for a net that is run for some steps and samples."""

    def __init__(self, steps: int, samples: int) -> None:
        self.steps, self.samples = steps, samples
        self._counted = torch.arange(0)

    def arrangement(self, shape: Shape, *, steps: int) -> Arrangement:
        """Values [steps, samples, *shape] in their order."""
        count = steps * self.samples * math.prod(shape)
        if len(self._counted) < count:
            self._counted = torch.arange(count)
        numbers = self._counted[:count].view(steps, self.samples, *shape)
        return Arrangement(numbers=numbers, counted=self._counted, steps=steps, samples=self.samples, shape=shape)

    def like(
        self, numbers_of_batch: Places, lead_shape: Shape, shape: Shape, places: Inner | None, steps: int
    ) -> Arrangement:
        """Values of `shape` for the steps and samples `numbers_of_batch` in leading dimensions `lead_shape`.

        places: how the values lie in the trailing dimensions; None for in their order.
        """
        size = math.prod(shape)
        order = np.arange(len(numbers_of_batch))
        inside = shape if places is None else places.tensor_shape
        if places is None and (np.diff(numbers_of_batch) == 1).all():  # a view: no copy, however large
            first = int(numbers_of_batch[0]) * size
            last = first + len(order) * size
            if len(self._counted) < last:
                self._counted = torch.arange(last)
            numbers = self._counted[first:last].view(*lead_shape, *inside)
        else:
            inner = np.arange(size) if places is None else places.places
            numbers = torch.from_numpy(numbers_of_batch[:, None] * size + inner).view(*lead_shape, *inside)
        return Arrangement(numbers=numbers, counted=self._counted, steps=steps, samples=self.samples, shape=shape)


def same_places(a: Arrangement, b: Arrangement) -> bool:
    """Whether two tensors of one shape hold the same place of the same sample and step in each element; what is the
    same in every step fits any.
    """
    if a.numbers.shape != b.numbers.shape or a.size != b.size or a.samples != b.samples:
        return False
    if a.steps == b.steps:
        return _equal(a.numbers, b.numbers)
    whole = a.samples * a.size
    return _equal(a.numbers % whole, b.numbers % whole)


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.stride() == b.stride() and a.data_ptr() == b.data_ptr() and a.shape == b.shape:
        return True
    return bool(torch.equal(a, b))


def joined(parts: Sequence[Arrangement], dim: int, path: str, *, new: bool) -> Arrangement:
    """Tensors that hold parts of the same values, one behind the other; `new`: along a new dimension."""
    numbers = [part.numbers for part in parts]
    return replace(parts[0], numbers=torch.stack(numbers, dim) if new else torch.cat(numbers, dim), moved_by=path)
