"""Tiny data sets in the real formats of DVS128 Gesture, CIFAR10-DVS, N-MNIST and ImageNet."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from snn2hw.data.events.readers import Events

AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-01-01\r\n#!END-HEADER\r\n"
AEDAT2_HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# created Thu May 5 10:00:00 2016\r\n"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def events(number: int, *, seed: int, size: int = 128, start: int = 0, duration: int = 100_000) -> Events:
    """Random events in the order of their times, from `start` on."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(start, start + duration, number))
    return Events(t, *random.integers(0, size, (2, number)), random.integers(0, 2, number))


def joined(*parts: Events) -> Events:
    return Events(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("t", "x", "y", "p")))


def aedat3(recorded: Events, *, packet: int = 7) -> bytes:
    """An AEDAT 3.1 file with a packet of another kind of event amid those of polarity events."""
    parts = [AEDAT3_HEADER]
    for start in range(0, len(recorded), packet):
        t, x, y, p = (getattr(recorded, name)[start : start + packet] for name in ("t", "x", "y", "p"))
        for overflow in np.unique(t >> 31):  # a packet holds times of one overflow
            now = t >> 31 == overflow
            words = np.stack([x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF], axis=1)[now].astype("<u4")
            count = len(words)
            parts.append(struct.pack("<HHIIIIII", 1, 1, 8, 4, int(overflow), count, count, count) + words.tobytes())
        if start == 0:
            parts.append(struct.pack("<HHIIIIII", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8))
    return b"".join(parts)


def aedat2(recorded: Events) -> bytes:
    """An AEDAT 2.0 file of a DVS128 that reads as `recorded`, with SpikingJelly's turn of image and polarity."""
    address = (127 - recorded.x) << 8 | (127 - recorded.y) << 1 | (1 - recorded.p)
    return AEDAT2_HEADER + np.stack([address, recorded.t], axis=1).astype(">u4").tobytes()


def n_mnist(recorded: Events) -> bytes:
    t, rest = recorded.t, (recorded.x, recorded.y)
    columns = (*rest, recorded.p << 7 | t >> 16, t >> 8 & 0xFF, t & 0xFF)
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()


def write_gestures(folder: Path) -> dict[str, list[tuple[int, Events]]]:
    """DVS128 Gesture with two recordings to train and one to test; what each split holds: labels from 0 and events."""
    splits: dict[str, list[tuple[int, Events]]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    recordings = {"train": ("user01_led", "user02_lab"), "test": ("user24_led",)}
    for split, names in recordings.items():
        splits[split] = []
        (folder / f"trials_to_{split}.txt").write_text("".join(f"{name}.aedat\n" for name in names))
        for name in names:
            seed = int(name[4:6])
            samples = [events(50 + 10 * i, seed=100 * seed + i, start=200_000 * (i + 1)) for i in range(4)]
            gestures = (1, 3, 11, 3)
            noise = events(30, seed=seed, start=0)
            (folder / f"{name}.aedat").write_bytes(aedat3(joined(noise, *samples)))
            rows = [
                f"{gesture},{200_000 * (i + 1)},{200_000 * (i + 1) + 100_000}\n" for i, gesture in enumerate(gestures)
            ]
            (folder / f"{name}_labels.csv").write_text("class,startTime_usec,endTime_usec\n" + "".join(rows))
            splits[split] += [(gesture - 1, sample) for gesture, sample in zip(gestures, samples, strict=True)]
    return splits


def write_cifar10(folder: Path, each: int = 12) -> dict[str, list[Events]]:
    """CIFAR10-DVS with some recordings a class; the events of each class, in the order of the files' numbers."""
    recordings = {}
    for label, name in enumerate(CIFAR10):
        (folder / name).mkdir(parents=True)
        recordings[name] = [events(40, seed=1000 * label + number) for number in range(each)]
        for number, recorded in enumerate(recordings[name]):
            (folder / name / f"cifar10_{name}_{number}.aedat").write_bytes(aedat2(recorded))
    return recordings


def write_n_mnist(folder: Path, each: int = 2) -> dict[str, list[list[Events]]]:
    """N-MNIST with some recordings a digit; the events by split and digit."""
    recordings: dict[str, list[list[Events]]] = {}
    for split in ("Train", "Test"):
        recordings[split.lower()] = []
        for digit in range(10):
            (folder / split / str(digit)).mkdir(parents=True)
            seeds = [1000 * digit + number + 500 * (split == "Test") for number in range(each)]
            recorded = [events(40, seed=seed, size=34) for seed in seeds]
            for number, one in enumerate(recorded):
                (folder / split / str(digit) / f"{number:05}.bin").write_bytes(n_mnist(one))
            recordings[split.lower()].append(recorded)
    return recordings


def write_cache(folder: Path, labels: list[str], samples: list[Events]) -> None:
    """Events as SpikingJelly caches them: folder/<class>/<number>.npz."""
    for number, (label, one) in enumerate(zip(labels, samples, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        np.savez(folder / label / f"sample_{number}.npz", t=one.t, x=one.x, y=one.y, p=one.p)


def write_imagenet(folder: Path, split: str, *, classes: int = 1000) -> Path:
    """ImageNet with one image a class, the same file under many names; the image of the first class."""
    first = folder / split / "n00000000" / "image_0.JPEG"
    for label in range(classes):
        image = folder / split / f"n{label:08}" / f"image_{label}.JPEG"
        image.parent.mkdir(parents=True)
        if label:
            os.link(first, image)
        else:
            pixels = np.add.outer(np.arange(300), np.arange(400)).astype(np.float64) / 699 * 255
            Image.fromarray(np.stack([pixels, 255 - pixels, 0 * pixels], axis=-1).astype(np.uint8)).save(first)
    return first
