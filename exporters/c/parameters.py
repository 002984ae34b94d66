"""The parameters of a stage's node as the C code takes them: constants, one number or an array.

Here stands what docs/program.md says of thresholds, biases and decays; the templates hold the rest of the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.exporters.c.arrays import holding_all, literal
from snn2hw.exporters.c.plan import Stage
from snn2hw.ir.fixed_point import Reset

UNIT, ALL = 64, 4096
"""Membrane units of an input unit; of a decay, what leaves nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameter:
    """A parameter of every channel or neuron of a stage. values: [1], [C], or [H, W, C]."""

    name: str
    values: NDArray[np.int64]

    @property
    def ctype(self) -> str:
        """The smallest C type that holds the values."""
        return holding_all(self.values)

    def expression(self, prefix: str, stem: str) -> str:
        """The C expression of the value of channel `c`, of neuron `i`."""
        if self.values.size == 1:
            return literal(int(self.values.reshape(-1)[0]))
        return f"{prefix}_{self.name}_{stem}[{'c' if self.values.ndim == 1 else 'i'}]"


def parameters_of(stage: Stage) -> tuple[Parameter, ...]:
    """The parameters of a stage's node."""
    node = stage.node
    match node:
        case ir.Neuron():
            values: dict[str, NDArray[Any]] = {
                "threshold": UNIT * node.threshold,
                "kept": ALL - node.decay,
                "kept_current": ALL - node.current_decay,
                "bias": node.bias_mantissa * 2**node.bias_exponent,
            }
            if node.reset in (Reset.SUBTRACT, Reset.SUBTRACT_LATE):
                values["amount"] = UNIT * node.reset_amount
        case ir.Threshold():
            values = {"threshold": np.array(node.threshold)}
        case ir.Relay():
            values = {"bias": node.bias + 2**node.shift // 2}  # with half a unit, so that shifting rounds
        case ir.Readout():
            values = {"bias": node.bias}
        case ir.Merge() | None:
            values = {}
        case _:
            assert_never(node)
    return tuple(
        Parameter(name=name, values=_without_repeats(np.asarray(value, np.int64), node.shape))
        for name, value in values.items()
        if node is not None
    )


def _without_repeats(values: NDArray[np.int64], shape: ir.Shape) -> NDArray[np.int64]:
    """Parameters that broadcast to a shape, channels last, without what repeats: [1], [C] or [H, W, C]."""
    full = np.moveaxis(np.broadcast_to(values, shape).reshape(*shape, *([1, 1] if len(shape) == 1 else [])), 0, -1)
    if (full == full.flat[0]).all():
        return full.reshape(-1)[:1]
    if (full == full[:1, :1]).all():
        return np.ascontiguousarray(full[0, 0])
    return np.ascontiguousarray(full)
