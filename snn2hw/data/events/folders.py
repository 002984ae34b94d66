"""The folders of DVS128 Gesture, CIFAR10-DVS and N-MNIST: as they are published, and as SpikingJelly caches them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Generator

from snn2hw.data.events import readers
from snn2hw.data.events.frames import By, make_frames
from snn2hw.data.folders import Entry, FolderDataset, files_in, in_fixed_order, shown
from snn2hw.errors import DataError, OptionError

Split = Literal["train", "test"]
TRAIN_SHARE = 0.9  # of each class, where a set has no split: that of the SEW ResNet authors for CIFAR10-DVS


@dataclass(frozen=True, kw_only=True)
class EventSet:
    """A set of recordings as it is published.

    size: of the camera. classes: the names of the class folders, label 0 first. samples: how many there are, by split,
    or under "all" where the set has no split. find: lists the samples of a published folder. tree: that folder, for
    people.
    """

    title: str
    size: readers.Size
    classes: tuple[str, ...]
    samples: dict[str, int]
    find: Find
    read: readers.Reader
    tree: str

    def label(self, name: str, choice: Choice) -> int:
        """The label of a class folder."""
        return (sorted(self.classes) if choice.classes == "spikingjelly" else self.classes).index(name)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is asked for: which split, how many steps, how events are shared among them, and the options of the name.

    classes: "numbers" counts class folders as their names do, "spikingjelly" as it sorts them: 0, 1, 10, 2, ...
    incomplete: take what is there of a set that is not.
    """

    split: Split
    timesteps: int
    by: By = "count"
    classes: Literal["numbers", "spikingjelly"] = "numbers"
    incomplete: bool = False

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise OptionError(f"{self.timesteps} time steps: at least 1 is needed. Use --timesteps T.")


Find = Callable[[str, Path, Choice], list[Entry] | None]
"""The samples of a published folder of the named set; None if it is not one."""


@dataclass(frozen=True)
class ReadEvents:
    """Reads one sample's events and counts them into frames."""

    read: readers.Reader
    size: readers.Size
    timesteps: int
    by: By

    def __call__(self, entry: Entry, _generator: Generator | None) -> NDArray[np.float32]:
        span = () if entry.span is None else (entry.span,)
        events = self.read(Path(entry.path), self.size, *span)
        return make_frames(events, self.timesteps, self.size, self.by)


@dataclass(frozen=True)
class ReadFrames:
    """Reads one sample's frames from SpikingJelly's cache."""

    shape: tuple[int, ...]

    def __call__(self, entry: Entry, _generator: Generator | None) -> NDArray[np.float32]:
        return readers.read_frames(Path(entry.path), self.shape)


def open_events(name: str, folder: Path, choice: Choice) -> FolderDataset:
    """Open an event set by its name in EVENT_SETS; samples are frames [T,2,H,W], in a fixed order that mixes classes.

    Of what the folder holds, SpikingJelly's frames of so many steps are taken before its events, and those before the
    published files: all three give the same frames.

    Raises DataError, with the folder that is expected, for one that is missing, incomplete or of another version.
    """
    known = EVENT_SETS[name]
    shape = (2, *known.size)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder. {_expected(known)}")
    cached = folder / f"frames_number_{choice.timesteps}_split_by_{'number' if choice.by == 'count' else 'time'}"
    read: ReadFrames | ReadEvents
    if cached.is_dir():
        entries = _cached(name, cached, choice)
        read = ReadFrames((choice.timesteps, *shape))
    elif (cached := folder / "events_np").is_dir():
        entries = _cached(name, cached, choice)
        read = ReadEvents(readers.read_npz, known.size, choice.timesteps, choice.by)
    else:
        published = known.find(name, folder, choice)
        if published is None:
            raise DataError(
                f"{folder}: this is no folder of {known.title}; it holds {shown(folder)}. {_expected(known)}"
            )
        entries = published
        read = ReadEvents(known.read, known.size, choice.timesteps, choice.by)
    title = f"{known.title} ({'training' if choice.split == 'train' else 'test'})"
    return FolderDataset(title, in_fixed_order(entries), read, shape, choice.timesteps)


def _cached(name: str, folder: Path, choice: Choice) -> list[Entry]:
    """The samples of a folder that SpikingJelly wrote: its class folders below train and test, if the set has those."""
    if folder.with_name(folder.name + ".building").exists():
        raise DataError(
            f"{folder}: SpikingJelly did not finish writing it; {folder.name}.building beside it says so. Remove both "
            "and let it write the folder again."
        )
    has_splits = "all" not in EVENT_SETS[name].samples
    return _class_folders(name, folder / choice.split if has_splits else folder, ".npz", choice)


def _class_folders(name: str, folder: Path, suffix: str, choice: Choice) -> list[Entry]:
    """The samples of a folder with a folder of files for every class, of a set without a split those of the split."""
    known = EVENT_SETS[name]
    files = {}
    for label in known.classes:
        place = folder / label
        files[label] = files_in(place, suffix) if place.is_dir() else []
        if not files[label] and not choice.incomplete:
            holds = f"it holds {shown(place)}" if place.is_dir() else "there is no such folder"
            raise DataError(f"{place}: no {suffix} files of {known.title} are there; {holds}. {_expected(known)}")
    count, whole = sum(map(len, files.values())), known.samples.get(choice.split) or known.samples["all"]
    if count < whole and not choice.incomplete:
        raise DataError(
            f"{folder}: {count:,} of {whole:,} samples of {known.title} are there. Extract it again, or take what is "
            f"there: {name},incomplete=yes:FOLDER. {_expected(known)}"
        )
    if "all" in known.samples:
        files = {label: _part(listed, choice.split) for label, listed in files.items()}
    return [Entry(str(file), known.label(label, choice)) for label, listed in files.items() for file in listed]


def _part(files: list[Path], split: Split) -> list[Path]:
    """The files of one class that are in a split, where the first ones are the training set."""
    first = math.ceil(len(files) * TRAIN_SHARE)
    return files[:first] if split == "train" else files[first:]


def _find_gestures(name: str, folder: Path, choice: Choice) -> list[Entry] | None:
    """Published: recordings with a label file each, which hold several samples; a text file lists those of a split."""
    known = EVENT_SETS[name]
    trials = f"trials_to_{choice.split}.txt"
    root = _root(
        folder, ("trials_to_train.txt", "trials_to_test.txt"), ("", "extract", "DvsGesture", "extract/DvsGesture")
    )
    if root is None:
        return None
    if not (root / trials).exists():
        raise DataError(f"{root}: there is no {trials}. {_expected(known)}")
    files = [root / line for line in (root / trials).read_text(encoding="utf-8", errors="replace").split()]
    labels = {file: file.with_name(f"{file.stem}_labels.csv") for file in files}
    missing = [file for file, table in labels.items() if not (file.is_file() and table.is_file())]
    if missing and not choice.incomplete:
        raise DataError(
            f"{root}: {len(missing)} of the {len(files)} recordings in {trials} or their labels are missing, first "
            f"{missing[0].name}. Extract it again, or take what is there: {name},incomplete=yes:FOLDER. "
            f"{_expected(known)}"
        )
    return [
        Entry(str(file), known.label(str(label.gesture - 1), choice), (label.start, label.end))
        for file in files
        if file not in missing
        for label in readers.read_labels(labels[file])
    ]


def _find_n_mnist(name: str, folder: Path, choice: Choice) -> list[Entry] | None:
    """Published: the folders Train and Test with a folder of .bin files for every digit."""
    root = _root(folder, ("Train", "Test"), ("", "extract"))
    return None if root is None else _class_folders(name, root / choice.split.capitalize(), ".bin", choice)


def _find_cifar10(name: str, folder: Path, choice: Choice) -> list[Entry] | None:
    """Published: a folder of .aedat files for every class, without a split."""
    root = _root(folder, EVENT_SETS[name].classes, ("", "extract"))
    return None if root is None else _class_folders(name, root, ".aedat", choice)


def _root(folder: Path, names: tuple[str, ...], places: tuple[str, ...]) -> Path | None:
    """The first of these places in a folder that has one of these names."""
    return next((root for root in map(folder.joinpath, places) if any((root / name).exists() for name in names)), None)


def _expected(known: EventSet) -> str:
    return f"Expected of {known.title}:\n{known.tree}"


EVENT_SETS = {
    "dvs128-gesture": EventSet(
        title="DVS128 Gesture",
        size=(128, 128),
        classes=tuple(map(str, range(11))),
        samples={"train": 1176, "test": 288},
        tree="""    FOLDER/trials_to_train.txt, trials_to_test.txt
    FOLDER/user01_fluorescent.aedat (AEDAT 3.1), user01_fluorescent_labels.csv, ...
all of DvsGesture.tar.gz, in FOLDER, FOLDER/DvsGesture or FOLDER/extract/DvsGesture; or what SpikingJelly writes:
    FOLDER/events_np/train/0/user01_fluorescent_0.npz, ... (train and test, classes 0 to 10)
    FOLDER/frames_number_16_split_by_number/train/0/user01_fluorescent_0.npz, ...""",
        find=_find_gestures,
        read=readers.read_aedat3,
    ),
    "cifar10-dvs": EventSet(
        title="CIFAR10-DVS",
        size=(128, 128),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        samples={"all": 10_000},
        tree="""    FOLDER/airplane/cifar10_airplane_0.aedat (AEDAT 2.0), ... (10 classes of 1000)
in FOLDER or FOLDER/extract; or what SpikingJelly writes:
    FOLDER/events_np/airplane/cifar10_airplane_0.npz, ...
    FOLDER/frames_number_16_split_by_number/airplane/cifar10_airplane_0.npz, ...""",
        find=_find_cifar10,
        read=readers.read_aedat2,
    ),
    "n-mnist": EventSet(
        title="N-MNIST",
        size=(34, 34),
        classes=tuple(map(str, range(10))),
        samples={"train": 60_000, "test": 10_000},
        tree="""    FOLDER/Train/0/00002.bin, ... (60,000 files of digits 0 to 9)
    FOLDER/Test/0/00004.bin, ... (10,000 files)
in FOLDER or FOLDER/extract; or what SpikingJelly writes:
    FOLDER/events_np/train/0/00002.npz, ... (train and test)
    FOLDER/frames_number_16_split_by_number/train/0/00002.npz, ...""",
        find=_find_n_mnist,
        read=readers.read_n_mnist,
    ),
}
