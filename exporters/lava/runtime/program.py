"""The program that a bundle carries, as process models see it, and Lava's order of the axes of its arrays.

They import the records from here (ruff.toml and mypy.ini allow it), wherever program_npz/ lies.
"""

from __future__ import annotations

import numpy as np

from program_npz.records import (
    SYNAPSES,
    Array,
    BaseNode,
    Conv,
    Edge,
    Input,
    Limits,
    Linear,
    MaxPool,
    Merge,
    Neuron,
    Node,
    Pair,
    Program,
    ProgramError,
    Readout,
    Region,
    Relay,
    Scale,
    Shape,
    SumPool,
    Synapse,
    Threshold,
)


class RangeError(ProgramError):
    """A neuron left its range while a sample ran: what comes after would be wrong, so the run ends."""


def lava_order(array: Array) -> Array:
    """[C, H, W] to [W, H, C], Lava's order, or back; [K] stays. A view."""
    turned: Array = array.T
    return turned


def lava_parameter(array: Array, shape: Shape) -> Array:
    """A parameter that broadcasts to `shape`, turned into Lava's order; a 0-d array where all its values are equal."""
    if array.size and (array == array.flat[0]).all():
        return np.array(array.flat[0])
    return lava_order(array.reshape((1,) * (len(shape) - array.ndim) + array.shape))
