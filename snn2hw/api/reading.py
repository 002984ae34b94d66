"""Samples as users have them: tensors, arrays, (x, y), data sets, loaders, files and the names of sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from snn2hw import ir
from snn2hw.api.talk import Talk
from snn2hw.data.aliases import Shape
from snn2hw.data.folders import FolderDataset
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples, check_labels, is_map, make_samples
from snn2hw.data.sources import open_samples
from snn2hw.errors import CorruptFile, DataError, OptionError
from snn2hw.ir.fixed_point import is_saturated

TOLD = 5  # samples left out that are named
IN_MEMORY = "the data given"

Array = torch.Tensor | NDArray[Any]
Loadable = TorchDataset[Any] | DataLoader[Any] | Iterable[Any]
SamplesLike = str | Path | Samples | Array | tuple[Array, Array] | list[Array] | Loadable
"""An .npz file or the name of a set; x [N, *shape] (every step shows the same) or [N, T, *shape]; (x, y) with labels y
[N]; a torch Dataset of samples or (sample, label); a DataLoader of batches of them.
"""


def read_samples(
    given: SamplesLike,
    shape: Shape,
    count: int | None,
    talk: Talk,
    *,
    split: Literal["test", "train"] = "test",
    timesteps: int | None = None,
    skip_corrupt: bool = False,
) -> Samples:
    """The first `count` samples; people are told what is left out.

    shape: of one step of one sample. Raises OptionError for a count below 1, DataError for what is no set of samples.
    """
    check_count(count)
    if isinstance(given, Samples):
        given.check_shape(shape)
        return given[:count]
    if not isinstance(given, (str, Path)):
        x, y = arrays_of(given, count)
        return make_samples(x, y, shape, name=IN_MEMORY)[:count]
    left_out: list[CorruptFile] = []
    with talk.bars() as shown:
        samples = load_samples(
            str(given),
            shape,
            split=split,
            timesteps=timesteps,
            count=count,
            corrupt=left_out.append if skip_corrupt else None,
            progress=lambda done, of: shown("reading", done, of),
        )
    say_left_out(str(given), left_out, talk)
    return samples


def take_samples(
    given: SamplesLike,
    program: ir.Program,
    count: int | None,
    talk: Talk,
    *,
    saturate: bool = False,
    skip_corrupt: bool = False,
) -> Samples:
    """The first `count` samples, checked against a program: shape, range, labels, steps."""
    steps, readout = program.schedule.timesteps, program.graph.readout
    samples = read_samples(given, program.graph.input.shape, count, talk, timesteps=steps, skip_corrupt=skip_corrupt)
    check_range(samples, program.graph.input, talk, saturate=saturate)
    samples = with_labels_for(samples, readout.shape, talk)
    check_labels(samples, readout.first.stop)
    samples.check_timesteps(steps)
    return samples


def arrays_of(given: Any, count: int | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """x [N, ...] and, where there are labels, y [N] of what a user holds; of loaders no more than `count` are read."""
    if isinstance(given, (torch.Tensor, np.ndarray)):
        return _array(given), None
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(_is_array(part) for part in given):
        return _array(given[0]), _array(given[1])
    if isinstance(given, DataLoader):
        return _joined(_batches(given, count), np.concatenate)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        size = len(given) if count is None else min(count, len(given))
        return _joined((given[index] for index in range(size)), np.stack)
    if isinstance(given, Iterable):
        return _joined(_batches(given, count), np.concatenate)
    raise DataError(
        f"{type(given).__name__}: this is no set of samples. Give a tensor or array, (x, y), a Dataset, a DataLoader, "
        "or the name of a file or set."
    )


def read_once(given: SamplesLike, count: int) -> SamplesLike:
    """The first `count` samples of a loader, whose batches may come only once, as (x, y); anything else as it is."""
    if isinstance(given, (str, Path, Samples, torch.Tensor, np.ndarray)):
        return given
    x, y = arrays_of(given, count)
    return x if y is None else (x, y)


def shape_in(given: SamplesLike, timesteps: int | None, split: Literal["test", "train"]) -> Shape | None:
    """The sizes of x as it is given, [N, ...], with the samples' number left out; None where that is not known."""
    if isinstance(given, Samples):
        return tuple(given.x.shape[1:])
    if isinstance(given, (str, Path)):
        return _shape_of_named(str(given), timesteps, split)
    x, _ = arrays_of(given, 1)
    return tuple(x.shape[1:])


def check_count(count: int | None) -> None:
    """Raise OptionError for a number of samples below 1."""
    if count is not None and count < 1:
        raise OptionError(f"--samples {count}: at least 1 is needed.")


def with_labels_for(samples: Samples, output: Shape, talk: Talk) -> Samples:
    """The samples; without their labels, and people are told, where the model's `output` is a map of classes."""
    if samples.y is None or not is_map(output):
        return samples
    talk.say(
        f"{samples.name}: its labels are left out, for the model gives a map {list(output)}, not one number a class: "
        "there is no accuracy."
    )
    return replace(samples, y=None)


def _batches(batches: Iterable[Any], count: int | None) -> Iterator[Any]:
    """Batches until they hold `count` samples, or all of them."""
    seen = 0
    for batch in batches:
        yield batch
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        seen += len(x)
        if count is not None and seen >= count:
            return


def _joined(parts: Iterator[Any], join: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Samples or batches of them, each alone or with its labels, as x and y."""
    xs, ys = [], []
    for part in parts:
        labelled = isinstance(part, (tuple, list)) and len(part) >= 2
        xs.append(_array(part[0] if isinstance(part, (tuple, list)) else part))
        if labelled:
            ys.append(_array(part[1]))
    if not xs:
        raise DataError(f"{IN_MEMORY}: there is not one sample. At least one is needed.")
    try:
        return join(xs), join(ys) if len(ys) == len(xs) else None
    except ValueError as error:
        raise DataError(f"{IN_MEMORY}: its samples are not all of one shape ({error}).") from None


def _is_array(part: Any) -> bool:
    return isinstance(part, (torch.Tensor, np.ndarray))


def _array(part: Any) -> NDArray[Any]:
    """A tensor on any device, an array or a number as an array."""
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu()
        return np.asarray((part.float() if part.dtype == torch.bfloat16 else part).numpy())
    array = np.asarray(part)
    if array.dtype == object:
        raise DataError(
            f"{IN_MEMORY}: {type(part).__name__} is no array of numbers. Give tensors or arrays, or a Dataset "
            "with a transform that makes tensors of them."
        )
    return array


def _shape_of_named(source: str, timesteps: int | None, split: Literal["test", "train"]) -> Shape | None:
    if Path(source).suffix == ".npz" and Path(source).is_file():
        try:
            with np.load(source, allow_pickle=False) as file:
                return tuple(file["x"].shape[1:])
        except Exception:  # whoever reads the samples tells what is wrong with the file
            return None
    dataset = open_samples(source, split, timesteps)
    if dataset is None:
        return None
    if isinstance(dataset, FolderDataset):
        return dataset.shape if dataset.timesteps is None else (dataset.timesteps, *dataset.shape)
    return tuple(dataset.x.shape[1:])


def say_left_out(data: str, errors: Sequence[object], talk: Talk) -> None:
    """Which samples of a data set cannot be read, the first few by name; nothing if all can."""
    if not errors:
        return
    talk.say(f"{data}: {len(errors):,} samples cannot be read and are left out:")
    for error in errors[:TOLD]:
        talk.say(f"  {error}")
    if len(errors) > TOLD:
        talk.say(f"  and {len(errors) - TOLD:,} more")


def check_range(samples: Samples, node: ir.Input, talk: Talk, *, saturate: bool) -> None:
    """Raise DataError if values lie outside what the program's input holds; say how many do if they may saturate."""
    outside = 0
    for part in samples.batches(64):
        outside += int(is_saturated(part.x, scale=node.scale, low=node.low, high=node.high).sum())
    if not outside:
        return
    told = (
        f"{samples.name}: {outside:,} of {samples.x.size:,} values of x, which goes from {samples.x.min():g} to "
        f"{samples.x.max():g}, lie outside the range seen in calibration, {node.low * node.scale:g} to "
        f"{node.high * node.scale:g}."
    )
    if not saturate:
        raise DataError(f"{told} Calibrate on samples that cover it, or clip those values as a chip does: --saturate.")
    talk.say(f"{told} They saturate.")
