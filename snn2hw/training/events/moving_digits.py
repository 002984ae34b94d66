"""moving-digits: a synthetic event set whose classes differ in the order of their frames alone.

A digit of scikit-learn moves one pixel a step over a square that is joined at its edges, and every pixel that becomes
brighter or darker emits events, as an event camera does. The class is the direction and the digit.

Every movement is there twice: a bright digit on dark ground that moves one way, and a dark one on bright ground that
moves the same way back. Where the first makes a pixel brighter, so does the second, later: its frames are exactly those
of the first in reverse order. So the two samples of a pair, whose classes differ in direction, hold the same frames, and
have the same sum over time. Whatever does not look at the order of the frames gets at least one of the two wrong, and
half of all samples at most right.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw.errors import OptionError
from snn2hw.training.datasets import TEST_FRACTION, Dataset

SIZE = 16  # pixels of the square's side
DIGITS = (0, 1, 7)
DIRECTIONS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
"""Steps in rows and columns; the class of a sample is direction * len(DIGITS) + digit, both by their place here."""

AXES = (("right", "left"), ("down", "up"))
LEVELS = 4  # steps of brightness between dark and bright, and events that a pixel emits from one to the other
TIMESTEPS = 8


def load_moving_digits(timesteps: int = TIMESTEPS, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Make the training and the test set: x [N,T,2,16,16], y from 0 to 11, four samples of each image of a digit.

    Channel 0 counts the events of pixels that become darker, channel 1 those of pixels that become brighter, 0 to 4 a
    step. `seed` sets where each movement starts, which digit of a pair is the bright one, and which fifth of the images
    is the test set: no image is in both. Raises OptionError for fewer than 2 steps, which have no order.
    """
    if timesteps < 2:
        raise OptionError(f"moving-digits of {timesteps} time steps: at least 2 are needed, for order is the class.")
    from sklearn import datasets  # as datasets.load_digits, not before it is needed

    images, labels = datasets.load_digits(return_X_y=True)
    random = np.random.RandomState(seed)  # NumPy promises that its stream never changes
    chosen = random.permutation(np.flatnonzero(np.isin(labels, DIGITS)))
    x, y = [], []
    for index in chosen:
        level = np.zeros((SIZE, SIZE), np.int64)
        level[:8, :8] = images[index].reshape(8, 8) // (16 // LEVELS)
        for way, back in AXES:
            frames = _frames(np.roll(level, random.randint(SIZE, size=2), (0, 1)), DIRECTIONS[way], timesteps)
            if random.randint(2):  # the bright digit moves back, and the dark one this way
                frames = frames[:, ::-1]
            x += [frames, frames[::-1]]
            y += [_class(direction, labels[index]) for direction in (way, back)]
    samples, classes = torch.from_numpy(np.stack(x)).float(), torch.tensor(y)
    train_size = (len(chosen) - round(len(chosen) * TEST_FRACTION)) * 2 * len(AXES)
    return (
        Dataset(samples[:train_size], classes[:train_size], "moving-digits (training)"),
        Dataset(samples[train_size:], classes[train_size:], "moving-digits (test)"),
    )


def moving_digits_train(timesteps: int = TIMESTEPS) -> Dataset:
    """The training set of `load_moving_digits()`."""
    return load_moving_digits(timesteps)[0]


def moving_digits_test(timesteps: int = TIMESTEPS) -> Dataset:
    """The test set of `load_moving_digits()`."""
    return load_moving_digits(timesteps)[1]


def _frames(level: NDArray[np.int64], step: tuple[int, int], timesteps: int) -> NDArray[np.int64]:
    """The events [T,2,H,W] of an image that moves by `step` before each frame, darkening ones first."""
    places = np.stack([np.roll(level, (step[0] * t, step[1] * t), (0, 1)) for t in range(timesteps + 1)])
    change = np.diff(places, axis=0)
    return np.stack([np.maximum(-change, 0), np.maximum(change, 0)], axis=1)


def _class(direction: str, digit: int) -> int:
    return list(DIRECTIONS).index(direction) * len(DIGITS) + DIGITS.index(digit)
