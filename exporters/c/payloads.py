"""Real inputs as the payloads that the C code takes, and what it gives back as arrays of the program's shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.samples import Samples


def payloads_of(node: ir.Input, samples: Samples) -> NDArray[np.int64]:
    """Payloads [N, T or 1, H, W, C] of samples: the nearest whole number of units, halves to even, clipped."""
    x = samples.x if samples.per_step else samples.x[:, None]
    image = x.reshape(*x.shape[:2], *(node.shape if len(node.shape) == 3 else (node.shape[0], 1, 1)))
    units = np.round(np.moveaxis(image, 2, -1).astype(np.float64) / node.scale)
    return np.minimum(np.maximum(units, node.low), node.high).astype(np.int64)


def channels_first(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Values [N, ..., H, W, C] as [N, ..., *shape], with shape [C, H, W] or [K]."""
    return np.moveaxis(values, -1, -3).reshape(*values.shape[:-3], *shape)
