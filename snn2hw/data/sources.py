"""Data sets by what a user calls them: `NAME`, or `NAME:FOLDER` and `NAME,option=value:FOLDER` for those in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn2hw.data.events.folders import EVENT_SETS, Choice, Split, open_events
from snn2hw.data.folders import FolderDataset
from snn2hw.data.images import open_imagenet
from snn2hw.data.named import NAMED_DATASETS, Dataset
from snn2hw.errors import OptionError

IMAGENET = "imagenet"
FOLDER_SETS = (*EVENT_SETS, IMAGENET)

EVENT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "by": {"count": "count", "time": "time"},
    "classes": {"numbers": "numbers", "spikingjelly": "spikingjelly"},
    "incomplete": {"yes": True, "no": False},
}
"""The options of event sets: the values that each takes, and the value of the same field of Choice."""

NAMES = (*NAMED_DATASETS, *FOLDER_SETS)
KNOWN = ", ".join((*NAMED_DATASETS, *(f"{name}:FOLDER" for name in FOLDER_SETS)))


def open_samples(source: str, split: Split, timesteps: int | None = None) -> Dataset | FolderDataset | None:
    """Open the split of a known set; None if `source` names none.

    timesteps: T of sets with one frame a step; without it moving-digits has 8, and event folders cannot be opened.
    Raises DataError for folders that do not hold the set, OptionError for options that it does not take.
    """
    name, colon, folder = source.partition(":")
    name, *options = name.split(",")
    if source in NAMED_DATASETS:
        named = NAMED_DATASETS[source]
        part = named.train if split == "train" else named.test
        return part(timesteps) if named.takes_timesteps and timesteps is not None else part()
    if name in NAMED_DATASETS and (options or colon):
        raise OptionError(f"{source}: {name} takes neither options nor a folder. Write {name}.")
    if name not in FOLDER_SETS or Path(source).exists():
        return None
    if not folder:
        raise OptionError(f"{source}: say in which folder the set lies: {name}:FOLDER.")
    if name == IMAGENET:
        if options:
            raise OptionError(f"{source}: {name} takes no options. Write {name}:{folder}.")
        return open_imagenet(Path(folder), split)
    if timesteps is None:
        raise OptionError(f"{source}: say into how many frames the events of a sample are counted: --timesteps T.")
    return open_events(name, Path(folder), Choice(split=split, timesteps=timesteps, **_chosen(source, options)))


def _chosen(source: str, options: list[str]) -> dict[str, Any]:
    chosen = {}
    for option in options:
        key, _, value = option.partition("=")
        values = EVENT_OPTIONS.get(key, {})
        if value not in values:
            known = "; ".join(f"{name}={'|'.join(choices)}" for name, choices in EVENT_OPTIONS.items())
            raise OptionError(f"{source}: {option!r} is no option of event sets. Choose from {known}.")
        chosen[key] = values[value]
    return chosen
