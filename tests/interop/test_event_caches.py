"""SpikingJelly reads the same published files, and its caches of them hold the frames that ours are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from event_files import write_cifar10, write_gestures, write_n_mnist

from snn2hw.data.folders import FolderDataset
from snn2hw.data.sources import open_samples

SCRIPT = Path(__file__).with_name("spikingjelly_events.py")
T = 4
BY = ("number", "time")

SETS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "dvs128-gesture": ("dvs128_gesture", "DVS128Gesture", lambda extract: write_gestures(extract / "DvsGesture")),
    "cifar10-dvs": ("cifar10_dvs", "CIFAR10DVS", write_cifar10),
    "n-mnist": ("n_mnist", "NMNIST", write_n_mnist),
}


def samples(source: str, split: str) -> list[tuple[int, bytes]]:
    """Every label and frame, in one order whatever the files are called."""
    data = open_samples(source, split, T)  # type: ignore[arg-type]
    assert isinstance(data, FolderDataset)
    x, y = data.batch(torch.arange(len(data)))
    return sorted((int(label), frames.numpy().tobytes()) for label, frames in zip(y, x, strict=True))


@pytest.mark.parametrize("name", SETS)
def test_published_files_and_spikingjellys_caches_give_the_same_samples(tmp_path: Path, name: str) -> None:
    module, dataset, write = SETS[name]
    root = tmp_path / "root"
    write(root / "extract")
    sources = [
        (f"{name},incomplete=yes,classes={classes},by={by}:{root}", split)
        for classes in ("numbers", "spikingjelly")
        for by in ("count", "time")
        for split in ("train", "test")
    ]
    published = [samples(*source) for source in sources]
    command = [sys.executable, str(SCRIPT), module, dataset, str(root), str(T)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "extract")
    assert {path.name for path in root.iterdir()} == {"events_np", *(f"frames_number_{T}_split_by_{by}" for by in BY)}
    assert [samples(*source) for source in sources] == published  # of the frames
    for by in BY:
        shutil.rmtree(root / f"frames_number_{T}_split_by_{by}")
    assert [samples(*source) for source in sources] == published  # of events_np
    assert published[0] != published[2]  # frames by count and by time
