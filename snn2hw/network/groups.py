"""Grouped convolutions: as dense kernels in NIR, by their blocks in the integer graph."""

from __future__ import annotations

import math

import numpy as np


def without_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """A kernel [O, I / groups, kh, kw] as a dense one [O, I, kh, kw], zero between groups.

    nir 1.0.8 rejects groups in its type check.
    """
    if groups == 1:
        return weight
    outputs, per_group, *kernel = weight.shape
    dense = np.zeros((outputs, per_group * groups, *kernel), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return dense


def with_groups(weight: np.ndarray) -> tuple[np.ndarray, int]:
    """The opposite: a dense kernel [O, I, kh, kw] as one of the most groups that it has, and their number.

    Between groups it is zero; what is left is [O, I / groups, kh, kw].
    """
    outputs, inputs = weight.shape[:2]
    used = (weight != 0).any(axis=(2, 3))
    if used.all():
        return weight, 1
    for groups in range(math.gcd(outputs, inputs), 1, -1):
        if outputs % groups or inputs % groups:
            continue
        blocks = used.reshape(groups, outputs // groups, groups, inputs // groups).any(axis=(1, 3))
        if not (blocks & ~np.eye(groups, dtype=bool)).any():
            return only_groups(weight, groups), groups
    return weight, 1


def only_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """The blocks [O, I / groups, kh, kw] of a dense kernel that a convolution of so many groups holds."""
    outputs, inputs = weight.shape[:2]
    rows, columns = outputs // groups, inputs // groups
    blocks = [weight[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] for g in range(groups)]
    return np.concatenate(blocks)
