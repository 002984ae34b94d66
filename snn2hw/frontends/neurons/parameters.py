"""The tools with which a neuron's parameters are read."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.frontends.neurons.reader import NeuronProblem
from snn2hw.network.neuron_rule import Float, compact


def numbers(value: object) -> np.ndarray:
    """A parameter, tensor [*shape] or number [], as a float64 array of that shape."""
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)


def spread(label: str, value: object, shape: Shape) -> Float:
    """A parameter as the framework broadcasts it over [N, *shape], in the fewest numbers that say it."""
    values = numbers(value)
    try:
        return compact(np.broadcast_to(values, (1, *shape))[0])
    except ValueError:
        raise NeuronProblem(
            f"{label} of shape {list(values.shape)} does not fit neurons of shape {list(shape)}",
            f"Give {label} one value, or one per channel as [C, 1, 1]",
        ) from None


def number_or_range(values: object) -> str:
    """One number, or the range of several, for people to read."""
    array = numbers(values)
    low, high = float(array.min()), float(array.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
