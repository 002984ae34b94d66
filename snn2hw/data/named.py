"""Data sets for training and for the command line's named data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snn2hw.data.digit_images import digit_images
from snn2hw.data.events.moving_digits import TIMESTEPS, make_moving_digits
from snn2hw.errors import DataError

TEST_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples x, static [N,C,H,W] or one frame a step [N,T,C,H,W], float32; and their classes y [N], int64.

    Raises DataError where x and y are not that.
    """

    x: Tensor
    y: Tensor
    name: str

    def __post_init__(self) -> None:
        if self.x.dtype != torch.float32 or self.x.dim() not in (4, 5):
            raise DataError(
                f"{self.name}: x is {self.x.dtype} {list(self.x.shape)}; it must be float32 [N,C,H,W] or [N,T,C,H,W]"
            )
        if not torch.isfinite(self.x).all():
            raise DataError(f"{self.name}: x holds values that are not finite numbers")
        if self.y.dtype != torch.int64 or self.y.shape != self.x.shape[:1] or len(self.y) == 0:
            raise DataError(
                f"{self.name}: y is {self.y.dtype} {list(self.y.shape)}; "
                f"it must be int64 with one class for each of the {len(self.x)} samples of x, at least one"
            )

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The samples of these indices and their classes; there is nothing that a generator would draw."""
        return self.x[indices], self.y[indices]


def load_digits(seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return 1797 handwritten digits, those of scikit-learn, as training and test set, shuffled by `seed`.

    x is [N,1,8,8] from 0 to 1, y from 0 to 9; the last fifth of the shuffled samples is the test set.
    """
    images, labels = digit_images()
    # RandomState, for NumPy promises that its stream never changes: the published accuracies depend on the split.
    order = np.random.RandomState(seed).permutation(len(labels))
    x = torch.from_numpy(images[order]).float().div(16).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels[order]).long()
    train_size = len(y) - round(len(y) * TEST_FRACTION)
    return (
        Dataset(x[:train_size], y[:train_size], "digits (training)"),
        Dataset(x[train_size:], y[train_size:], "digits (test)"),
    )


def digits_train() -> Dataset:
    """The training set of `load_digits()`: 1438 samples."""
    return load_digits()[0]


def digits_test() -> Dataset:
    """The test set of `load_digits()`: 359 samples."""
    return load_digits()[1]


def load_moving_digits(timesteps: int = TIMESTEPS, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the training and the test set of moving-digits, frames [T,2,16,16] of 12 classes.

    See events/moving_digits.py. Raises OptionError for fewer than 2 steps.
    """
    train, test = make_moving_digits(timesteps, seed, test_fraction=TEST_FRACTION)
    return Dataset(*train, "moving-digits (training)"), Dataset(*test, "moving-digits (test)")


def moving_digits_train(timesteps: int = TIMESTEPS) -> Dataset:
    """The training set of `load_moving_digits()`: 1724 samples."""
    return load_moving_digits(timesteps)[0]


def moving_digits_test(timesteps: int = TIMESTEPS) -> Dataset:
    """The test set of `load_moving_digits()`: 432 samples."""
    return load_moving_digits(timesteps)[1]


@dataclass(frozen=True)
class NamedDataset:
    """A data set known by name: `test` is what a command measures on, `train` what it calibrates on.

    takes_timesteps: both can be called with the number of steps that a sample shall have.
    """

    train: Callable[..., Dataset]
    test: Callable[..., Dataset]
    takes_timesteps: bool = False


NAMED_DATASETS: dict[str, NamedDataset] = {
    "digits": NamedDataset(train=digits_train, test=digits_test),
    "moving-digits": NamedDataset(train=moving_digits_train, test=moving_digits_test, takes_timesteps=True),
}
