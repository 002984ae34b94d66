"""moving-digits: the class is in the order of the frames, and in nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from snn2hw.data.events.moving_digits import DIGITS, DIRECTIONS
from snn2hw.data.load import load_samples
from snn2hw.data.named import NAMED_DATASETS, Dataset, load_moving_digits
from snn2hw.errors import DataError, OptionError

BOTH = pytest.mark.parametrize("data", load_moving_digits(), ids=["train", "test"])
OPPOSITE = {"right": "left", "left": "right", "down": "up", "up": "down"}
Key = tuple[bytes, ...] | bytes


def direction(label: int) -> str:
    return list(DIRECTIONS)[label // len(DIGITS)]


def digit(label: int) -> int:
    return DIGITS[label % len(DIGITS)]


def without_order(x: torch.Tensor) -> tuple[bytes, ...]:
    """The frames of a sample as a heap: which there are and how often."""
    return tuple(sorted(frame.numpy().tobytes() for frame in x))


def most_that_can_be_right(keys: list[Key], y: list[int]) -> float:
    """The accuracy of the best function of these keys: for every key it answers the most frequent class."""
    counts_of_classes: dict[Key, Counter[int]] = defaultdict(Counter)
    for key, label in zip(keys, y, strict=True):
        counts_of_classes[key][label] += 1
    return sum(max(labels.values()) for labels in counts_of_classes.values()) / len(y)


@BOTH
def test_whoever_does_not_look_at_the_order_of_frames_is_wrong_half_of_the_time(data: Dataset) -> None:
    labels = data.y.tolist()
    assert most_that_can_be_right([without_order(x) for x in data.x], labels) == 0.5
    assert most_that_can_be_right([x.sum(dim=0).numpy().tobytes() for x in data.x], labels) == 0.5
    assert most_that_can_be_right([x.numpy().tobytes() for x in data.x], labels) == 1


@BOTH
def test_directions_are_pairs_of_the_same_frames_in_reverse_order(data: Dataset) -> None:
    pairs = defaultdict(list)
    for index, x in enumerate(data.x):
        pairs[without_order(x)].append(index)
    for one, other in pairs.values():
        assert torch.equal(data.x[one], data.x[other].flip(0))
        assert not torch.equal(data.x[one], data.x[other])
        labels = int(data.y[one]), int(data.y[other])
        assert digit(labels[0]) == digit(labels[1])
        assert OPPOSITE[direction(labels[0])] == direction(labels[1])


@BOTH
def test_the_order_tells_the_direction(data: Dataset) -> None:
    """Each frame is the one before it, moved: a net that remembers one frame can tell the class."""
    steps = torch.tensor(list(DIRECTIONS.values()))
    moved = torch.stack([data.x[:, :-1].roll(tuple(step), (3, 4)) for step in steps.tolist()])
    fits = (moved == data.x[:, 1:]).flatten(2).all(dim=2)
    assert torch.equal(fits.long().argmax(dim=0), data.y // len(DIGITS))
    assert (fits.sum(dim=0) == 1).all()


@BOTH
def test_frames_count_events_of_both_polarities_alike(data: Dataset) -> None:
    assert data.x.shape[1:] == (8, 2, 16, 16)
    assert data.x.min() == 0 and data.x.max() == 4 and torch.equal(data.x, data.x.round())
    assert not (data.x[:, :, 0] * data.x[:, :, 1]).any()  # a pixel becomes darker or brighter
    assert torch.equal(data.x[:, :, 0].sum((2, 3)), data.x[:, :, 1].sum((2, 3)))
    assert Counter(data.y.tolist()).keys() == set(range(12))


def test_no_image_is_in_both_parts() -> None:
    """The events of one step show the outline of a digit, wherever it is: its circular autocorrelation."""
    prints = []
    for data in load_moving_digits():
        frames = data.x[:, 0].abs().sum(dim=1).double()
        spectra = torch.fft.fft2(frames).abs().square()
        prints.append({np.round(torch.fft.ifft2(one).real.numpy()).tobytes() for one in spectra})
    assert not prints[0] & prints[1]


def test_the_seed_decides_everything() -> None:
    one, same, other = (load_moving_digits(seed=seed) for seed in (0, 0, 1))
    for a, b, c in zip(one, same, other, strict=True):
        assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
        assert not torch.equal(a.x, c.x)
    assert (len(one[0]), len(one[1])) == (1724, 432)


@pytest.mark.parametrize("timesteps", [2, 12, 20])
def test_any_number_of_steps_from_two_can_be_had(timesteps: int) -> None:
    data = load_moving_digits(timesteps)[1]
    assert data.x.shape[1] == timesteps
    assert most_that_can_be_right([without_order(x) for x in data.x], data.y.tolist()) == 0.5
    with pytest.raises(OptionError, match="of 1 time steps: at least 2 are needed"):
        load_moving_digits(1)


def test_it_is_a_named_set_with_the_steps_that_are_asked_for() -> None:
    named = NAMED_DATASETS["moving-digits"]
    assert (len(named.train()), len(named.test())) == (1724, 432)
    samples = load_samples("moving-digits", (2, 16, 16), timesteps=10, count=6)
    assert samples.per_step and samples.x.shape == (6, 10, 2, 16, 16) and len(samples) == 6
    assert load_samples("moving-digits", (2, 16, 16)).x.shape[1] == 8
    with pytest.raises(DataError, match=r"moving-digits: x has shape \[432, 8, 2, 16, 16\], but the model takes"):
        load_samples("moving-digits", (1, 8, 8))
