"""ImageNet from its folders, with the usual preparation of its images, by Pillow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator

from snn2hw.data.folders import Entry, FolderDataset, files_in, in_fixed_order, shown
from snn2hw.errors import CorruptFile, DataError

CLASSES = 1000
FOLDERS = {"train": "train", "test": "val"}  # the labels of ImageNet's test set are not public
SHORT_SIDE, SIZE = 256, 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of a random crop: share of the image, width / height

_TREE = """Expected of ImageNet, 1000 folders of images in each:
    FOLDER/train/n01440764/n01440764_10026.JPEG, ...
    FOLDER/val/n01440764/ILSVRC2012_val_00000293.JPEG, ..."""


def open_imagenet(folder: Path, split: Literal["train", "test"]) -> FolderDataset:
    """Open ImageNet, "train" its training images, "test" its validation images: [3,224,224], in a fixed order.

    Labels count the class folders by name. An image is resized to a shorter side of 256 and cropped at its centre; with
    a generator it gets a random crop of 8 to 100 % of its area, resized, and is mirrored half of the time. Both are as
    in torchvision's reference training (RandomResizedCrop, RandomHorizontalFlip; Resize, CenterCrop; Normalize).

    Raises DataError for a folder that is missing or has not 1000 class folders with images.
    """
    place = folder / FOLDERS[split]
    if not place.is_dir():
        there = f"it holds {shown(folder)}" if folder.is_dir() else "there is no such folder"
        raise DataError(f"{folder}: no folder {place.name} is there; {there}. {_TREE}")
    classes = sorted(path for path in place.iterdir() if path.is_dir())
    if len(classes) != CLASSES:
        raise DataError(
            f"{place}: {len(classes)} class folders are there, not {CLASSES}; it holds {shown(place)}. Extract the "
            f"images of every class into a folder of its own. {_TREE}"
        )
    entries = []
    for label, name in enumerate(classes):
        images = files_in(name, ".jpeg", ".jpg", ".png")
        if not images:
            raise DataError(f"{name}: no images are there; it holds {shown(name)}. Extract that class again. {_TREE}")
        entries += [Entry(str(image), label) for image in images]
    title = f"ImageNet ({'training' if split == 'train' else 'validation'})"
    return FolderDataset(title, in_fixed_order(entries), read_image, (3, SIZE, SIZE), None)


def read_image(entry: Entry, generator: Generator | None) -> NDArray[np.float32]:
    """Read an image as [3,224,224], normalised; a generator draws crop and mirroring. Raises CorruptFile."""
    try:
        with Image.open(entry.path) as file:
            image = file.convert("RGB")
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # damage leads Pillow's decoders into errors of many types
        raise CorruptFile(f"{entry.path}: this is no readable image ({error}).") from None
    image = _centre_crop(image) if generator is None else _random_crop(image, generator)
    pixels = np.asarray(image, np.float32) / 255
    return np.ascontiguousarray(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1), dtype=np.float32)


def _centre_crop(image: Image.Image) -> Image.Image:
    short = min(image.size)
    width, height = (SHORT_SIDE * side // short for side in image.size)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + SIZE, top + SIZE))


def _random_crop(image: Image.Image, generator: Generator) -> Image.Image:
    left, top, width, height = _random_window(*image.size, generator)
    box = (left, top, left + width, top + height)
    crop = image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if _uniform(generator, 0, 1) < 0.5 else crop


def _random_window(width: int, height: int, generator: Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height of a random part; the largest centred one of a fitting shape if none is found."""
    for _ in range(TRIES):
        area = width * height * _uniform(generator, *AREA)
        ratio = math.exp(_uniform(generator, *map(math.log, RATIO)))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = _below(generator, width - across + 1), _below(generator, height - down + 1)
            return left, top, across, down
    across, down = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    return (width - across) // 2, (height - down) // 2, across, down


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _below(generator: Generator, end: int) -> int:
    return int(torch.randint(end, (), generator=generator))
