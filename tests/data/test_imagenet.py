"""ImageNet by folder: labels, preparation and augmentation of images, what is missing or corrupt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import write_imagenet
from PIL import Image

from snn2hw.data.folders import Entry, FolderDataset
from snn2hw.data.images import DEVIATION, MEAN, open_imagenet, read_image
from snn2hw.data.load import load_samples
from snn2hw.data.sources import open_samples
from snn2hw.errors import CorruptFile, DataError


def image(folder: Path, pixels: np.ndarray, name: str = "image.png") -> Entry:
    Image.fromarray(pixels).save(folder / name)
    return Entry(str(folder / name), 0)


def colours(normalised: np.ndarray) -> np.ndarray:
    """From [3,H,W] as the net gets it to [H,W,3] from 0 to 255."""
    return (normalised.transpose(1, 2, 0) * DEVIATION + MEAN) * 255


def ramp(height: int, width: int) -> np.ndarray:
    """Red tells the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 255 / (width - 1), rows * 255 / (height - 1), 0 * rows], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagenet")
    write_imagenet(folder, "val")
    return folder


def test_labels_count_the_class_folders_by_name(imagenet: Path) -> None:
    data = open_samples(f"imagenet:{imagenet}", "test")
    assert isinstance(data, FolderDataset) and len(data) == 1000 and data.timesteps is None
    assert all(Path(entry.path).parent.name == f"n{entry.label:08}" for entry in data.entries)
    x, y = data.batch(torch.tensor([3, 7]))
    assert x.shape == (2, 3, 224, 224) and x.dtype == torch.float32
    assert y.tolist() == [data.entries[3].label, data.entries[7].label]


def test_commands_take_the_first_images_in_a_fixed_order(imagenet: Path) -> None:
    samples = load_samples(f"imagenet:{imagenet}", (3, 224, 224), count=4)
    assert not samples.per_step and samples.x.shape == (4, 3, 224, 224)
    assert samples.y is not None and len(set(samples.y.tolist())) == 4


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (100, 150), (256, 256)])
def test_without_a_generator_the_centre_is_shown(tmp_path: Path, height: int, width: int) -> None:
    shown = colours(read_image(image(tmp_path, ramp(height, width)), None))
    for axis, side, channel in ((1, width, 0), (0, height, 1)):
        share = 224 / (256 * side / min(height, width))  # of that side in the crop
        values = shown[..., channel].mean(axis=1 - axis)
        assert values[0] == pytest.approx(255 * (1 - share) / 2, abs=3)
        assert values[-1] == pytest.approx(255 * (1 + share) / 2, abs=3)


def test_grey_and_transparent_images_have_three_colours(tmp_path: Path) -> None:
    for name, pixels in (("grey.png", np.full((300, 300), 77)), ("clear.png", np.full((300, 300, 4), 77))):
        shown = colours(read_image(image(tmp_path, pixels.astype(np.uint8), name), None))
        assert shown.shape == (224, 224, 3) and np.abs(shown - 77).max() < 0.01


def test_a_generator_draws_windows_of_8_to_100_percent_and_mirrors_half(tmp_path: Path) -> None:
    entry, generator = image(tmp_path, ramp(300, 400)), torch.Generator().manual_seed(0)
    areas, ratios, mirrored = [], [], []
    for _ in range(200):
        red, green, _ = colours(read_image(entry, generator)).transpose(2, 0, 1)
        across = (red[:, -1].mean() - red[:, 0].mean()) / 255
        down = (green[-1].mean() - green[0].mean()) / 255
        mirrored.append(across < 0)
        areas.append(abs(across) * down)
        ratios.append(abs(across) * 400 / (down * 300))
    assert 0.07 < min(areas) < 0.15 and 0.85 < max(areas) < 1.01
    assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.4
    assert 70 < sum(mirrored) < 130


def test_the_same_generator_draws_the_same(imagenet: Path) -> None:
    data = open_imagenet(imagenet, "test")
    one, same, other = (data.batch(torch.tensor([0, 1]), torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert not torch.equal(one, data.batch(torch.tensor([0, 1]))[0])


def test_an_image_too_narrow_for_every_window_is_cropped_at_its_centre(tmp_path: Path) -> None:
    entry = image(tmp_path, ramp(1000, 10))
    green = colours(read_image(entry, torch.Generator().manual_seed(0)))[..., 1]
    share = 10 / 0.75 / 1000
    assert green.mean() == pytest.approx(127.5, abs=1) and np.ptp(green) <= 255 * share + 2


def test_what_is_missing_is_told_with_the_tree(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message) as raised:
            open_imagenet(tmp_path, "test")
        assert "FOLDER/val/n01440764/ILSVRC2012_val_00000293.JPEG" in str(raised.value)

    refused("no folder val is there; it holds nothing")
    write_imagenet(tmp_path, "val", classes=3)
    refused("val: 3 class folders are there, not 1000")
    (tmp_path / "val" / "n00000001" / "image_1.JPEG").rename(tmp_path / "val" / "image_1.JPEG")
    for number in range(3, 1000):
        (tmp_path / "val" / f"n{number:08}").mkdir()
    refused("n00000001: no images are there; it holds nothing")
    with pytest.raises(DataError, match=r"none: no folder train is there; there is no such folder"):
        open_imagenet(tmp_path / "none", "train")


def test_a_cut_image_is_corrupt(tmp_path: Path) -> None:
    path = write_imagenet(tmp_path, "val", classes=1)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CorruptFile, match=r"image_0.JPEG: this is no readable image \(image file is truncated"):
        read_image(Entry(str(path), 0), None)
    path.write_bytes(b"no image")
    with pytest.raises(CorruptFile, match=r"this is no readable image \(cannot identify"):
        read_image(Entry(str(path), 0), None)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_image(Entry(str(path), 0), None)
