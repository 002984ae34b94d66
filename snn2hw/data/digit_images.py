"""The images of handwritten digits that come with snn2hw: digits.npz, whose licence is digits.licence.txt."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray


@cache
def digit_images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [1797, 8, 8], 0 to 16, and their labels [1797], 0 to 9, in the order in which scikit-learn gives them."""
    with (files("snn2hw.data") / "digits.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return file["images"], file["labels"]
