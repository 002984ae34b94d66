"""moving-digits: a synthetic event set whose classes differ in the order of their frames alone.

A handwritten digit moves one pixel a step over a square that is joined at its edges, and every pixel that becomes
brighter or darker emits events, as an event camera does. The class is the direction and the digit.

Every movement is there twice: a bright digit on dark ground that moves one way, and a dark one on bright ground that
moves the same way back. Where the first makes a pixel brighter, so does the second at its time: its frames are those of
the first in reverse order. So the two samples of a pair, whose classes differ in direction, hold the same frames and
have the same sum over time. Whatever does not look at the order of the frames gets at least one of the two wrong: at
most half of all samples are right.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn2hw.data.digit_images import digit_images
from snn2hw.errors import OptionError

Part = tuple[Tensor, Tensor]
"""Samples x, float32 [N,T,2,16,16], and their classes y, int64 [N], 0 to 11."""

SIZE = 16  # pixels of the square's side
DIGITS = (0, 1, 7)
DIRECTIONS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
"""Steps in rows and columns; the class of a sample is direction * len(DIGITS) + digit, both by their place here."""

AXES = (("right", "left"), ("down", "up"))
BRIGHTEST = 16  # of the digits
LEVELS = 4  # steps of brightness between dark and bright, and events that a pixel emits from one to the other
TIMESTEPS = 8


def make_moving_digits(timesteps: int, seed: int, *, test_fraction: float) -> tuple[Part, Part]:
    """Make the training and the test set, four samples of each image of a digit.

    Channel 0 of a frame counts the events of pixels that become darker, channel 1 those of pixels that become brighter,
    0 to 4 a step. `seed` sets where each movement starts, which digit of a pair is the bright one, and which images are
    in the test set: no image is in both. Raises OptionError for fewer than 2 steps, which have no order.
    """
    if timesteps < 2:
        raise OptionError(f"moving-digits of {timesteps} time steps: at least 2 are needed, for order is the class.")
    images, labels = digit_images()
    random = np.random.RandomState(seed)  # NumPy promises that its stream never changes
    chosen = random.permutation(np.flatnonzero(np.isin(labels, DIGITS)))
    x, y = [], []
    for index in chosen:
        level = np.zeros((SIZE, SIZE), np.int64)
        level[:8, :8] = images[index] // (BRIGHTEST // LEVELS)
        for way, back in AXES:
            frames = _frames(np.roll(level, random.randint(SIZE, size=2), (0, 1)), DIRECTIONS[way], timesteps)
            if random.randint(2):  # the digit that moves this way is the dark one
                frames = frames[:, ::-1]
            x += [frames, frames[::-1]]
            y += [_class(direction, labels[index]) for direction in (way, back)]
    samples, classes = torch.from_numpy(np.stack(x)).float(), torch.tensor(y)
    train_size = (len(chosen) - round(len(chosen) * test_fraction)) * 2 * len(AXES)
    return (samples[:train_size], classes[:train_size]), (samples[train_size:], classes[train_size:])


def _frames(level: NDArray[np.int64], step: tuple[int, int], timesteps: int) -> NDArray[np.int64]:
    """The events [T,2,H,W] of an image that moves by `step` before each frame, darkening ones first."""
    places = np.stack([np.roll(level, (step[0] * t, step[1] * t), (0, 1)) for t in range(timesteps + 1)])
    change = np.diff(places, axis=0)
    return np.stack([np.maximum(-change, 0), np.maximum(change, 0)], axis=1)


def _class(direction: str, digit: int) -> int:
    return list(DIRECTIONS).index(direction) * len(DIGITS) + DIGITS.index(digit)
