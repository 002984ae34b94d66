"""snn2hw train: networks of the papers' family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn2hw.api.reading import say_left_out
from snn2hw.cli import console
from snn2hw.cli.asked import Train
from snn2hw.cli.commands.arguments import check_device
from snn2hw.data.folders import FolderDataset, without_corrupt
from snn2hw.data.named import Dataset
from snn2hw.data.samples import make_samples
from snn2hw.data.sources import KNOWN, open_samples
from snn2hw.errors import CorruptFile, DataError, ModelError, OptionError
from snn2hw.files import check_file
from snn2hw.frontends.checkpoints.checkpoint import read_checkpoint
from snn2hw.passes.weight_scales import METHODS as CALIBRATIONS
from snn2hw.training.distributed import process_group
from snn2hw.training.nets import NETS, architecture
from snn2hw.training.recipes import RECIPES, Recipe
from snn2hw.training.run import Job, Tuning, run
from snn2hw.training.trainer import Data

NET_FOR = {
    "digits": "digits",
    "moving-digits": "little-7b",
    "dvs128-gesture": "7b",
    "cifar10-dvs": "wide-7b",
    "imagenet": "resnet18",
}
"""The net that a known set is trained with where none is named."""
MOST_CLASSES = 1_000_000
TUNED_FOR = {"epochs": 10, "learning_rate": 3e-4}  # of few bits, on a net that is trained already


def train(asked: Train) -> None:
    """Train on DATA, or fine-tune for few bits, and write the checkpoint."""
    check_file(asked.output)
    check_file(asked.log)
    check_device(asked.device, 1, "fast")
    known = asked.data.partition(":")[0].partition(",")[0]
    recipe = _recipe(asked.recipe or known, TUNED_FOR | asked.changes if asked.qat is not None else asked.changes)
    if asked.qat is not None:
        tuning = _tuning(asked, asked.qat)
        arch, config, recipe = _trained(tuning.start, recipe)
    else:
        if alone := _given({"start": asked.start, "calibration": asked.calibration}):
            raise OptionError(f"--{next(iter(alone))} goes with --qat BITS, which fine-tunes a network for few bits.")
        if asked.connect is None:
            raise OptionError("--connect: give ADD, AND, IAND, plain, or spiking for the Spiking ResNet.")
        tuning, arch, config = None, architecture(asked.connect), {}
    train_set, test_set = open_sets(asked.data, asked.test, recipe.timesteps)
    if asked.skip_corrupt:
        train_set, test_set = _readable(train_set), _readable(test_set)
    shape, classes = _seen(train_set)
    if tuning is None:
        net = asked.net or NET_FOR.get(known)
        config = _config(net, asked.connect or "", shape, classes, asked.beta) | {"timesteps": recipe.timesteps}
    elif shape != tuple(config["input_shape"]) or classes > config["classes"]:
        raise OptionError(
            f"{tuning.start}: it takes {list(config['input_shape'])} and has {config['classes']} classes, but "
            f"{train_set.name} is {list(shape)} of {classes} classes. Name the data that the network was trained on."
        )
    job = Job(
        arch=arch,
        config=config,
        recipe=recipe,
        data=asked.data,
        method=asked.method or "plain",
        seed=asked.seed,
        tuning=tuning,
    )
    with process_group(asked.device) as (group, device), console.bars() as bars:
        try:
            result = run(
                job,
                train_set,
                test_set,
                asked.output,
                resume=asked.resume,
                log=asked.log,
                device=device,
                group=group,
                on_batch=(lambda done, of: bars("batches", done, of)) if group.leads else None,
                on_epoch=(lambda epoch: bars("epochs", epoch.number, epoch.epochs)) if group.leads else None,
            )
        except CorruptFile as error:
            raise CorruptFile(f"{error} Or leave out what cannot be read: --skip-corrupt.") from None
    if not group.leads:
        return
    told = f"Wrote {asked.output}: test accuracy {100 * result.test_accuracy:.2f} %"
    if tuning is None:
        console.say(f"{told}, trained in {result.seconds:.0f} s.")
        return
    again = f"--weight-bits {asked.qat}" + (f" --calibration {asked.calibration}" if asked.calibration else "")
    console.say(f"{told} with weights of {asked.qat} bits, tuned in {result.seconds:.0f} s. Export it with {again}.")


def open_sets(data: str, test: str | None, timesteps: int) -> tuple[Data, Data]:
    """What to train on and what to measure on: the splits of a known set, or .npz files."""
    opened = open_samples(data, "train", timesteps) or _read(data)
    measured = open_samples(test or data, "test", timesteps)
    if measured is None:
        if test is None:
            raise OptionError(f"{data}: this file has one split. Name the samples to measure on with --test FILE.npz.")
        measured = _read(test)
    return opened, measured


def _readable(data: Data) -> Data:
    """A set without what cannot be read, which is named. One in memory is whole."""
    if not isinstance(data, FolderDataset):
        return data
    with console.bars() as bars:
        rest, reasons = without_corrupt(data, lambda done, of: bars("reading", done, of))
    say_left_out(data.name, reasons, console)
    return rest


def _read(file: str) -> Dataset:
    """Samples and classes of an .npz. Raises DataError as Dataset does, and where the file is no such thing."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file, and no data set of that name (known: {KNOWN}).") from None
    except Exception as error:  # a damaged archive leads zipfile, zlib and numpy into errors of many types
        raise DataError(f"{file}: give an .npz with x and y, for training needs classes ({error}).") from None
    samples = make_samples(x, y, x.shape[-3:], name=file)
    if samples.y is None or samples.y.max() >= MOST_CLASSES:
        raise DataError(f"{file}: label {y.max():,} would make a net of more than {MOST_CLASSES:,} classes.")
    return Dataset(torch.from_numpy(samples.x), torch.from_numpy(samples.y), file)


def _seen(data: Data) -> tuple[tuple[int, ...], int]:
    """[C,H,W] of a data set and how many classes it has."""
    x, _ = data.batch(torch.arange(1))
    return tuple(x.shape[-3:]), int(data.y.max()) + 1


def _recipe(name: str, changes: dict[str, Any]) -> Recipe:
    if name not in RECIPES:
        raise OptionError(f"there is no recipe {name!r}. Name one with --recipe: {', '.join(RECIPES)}.")
    return replace(RECIPES[name], **changes)


def _config(name: str | None, connect: str, shape: tuple[int, ...], classes: int, beta: float | None) -> dict[str, Any]:
    if name not in NETS:
        asked = "say which net is to be trained" if name is None else f"there is no net {name!r}"
        raise OptionError(f"--net: {asked}: {', '.join(NETS)}.")
    if beta is None:
        return NETS[name](connect, shape, classes)
    if name != "digits":
        raise OptionError(f"--beta is for the net digits; {name} has neurons of its own. Leave it out.")
    if not 0 <= beta <= 1:
        raise OptionError(f"beta is {beta}; it must be from 0 to 1")
    return NETS[name](connect, shape, classes, beta=beta)


def _tuning(asked: Train, bits: int) -> Tuning:
    if asked.start is None:
        raise OptionError(f"--qat {bits} fine-tunes a trained network. Name its checkpoint with --start.")
    names = ("net", "connect", "beta", "timesteps", "method")
    if fixed := _given({name: getattr(asked, name) for name in names}):
        raise OptionError(f"--{next(iter(fixed))}: {asked.start} says it. Leave it out.")
    if asked.calibration is not None and asked.calibration not in CALIBRATIONS:
        raise OptionError(f"--calibration {asked.calibration}: choose {', '.join(CALIBRATIONS)}.")
    return Tuning(start=asked.start, weight_bits=bits, calibration=asked.calibration or "max")


def _trained(start: Path, recipe: Recipe) -> tuple[str, dict[str, Any], Recipe]:
    """What a checkpoint holds, and the recipe with its time steps."""
    checkpoint = read_checkpoint(start)
    if checkpoint.arch is None or checkpoint.config is None:
        raise ModelError(f"{start}: this is no network of this project's own family, which alone can be trained here.")
    config = dict(checkpoint.config)
    return checkpoint.arch, config, replace(recipe, timesteps=int(config["timesteps"]))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given: the others have their defaults where the work is done."""
    return {name: value for name, value in options.items() if value is not None}
