"""The vocabulary of NIR metadata: what snn2hw writes beside the parameters of a node, and what each key means.

NIR files keep a node's metadata, and other tools pass them by: nothing needs them to run a graph but RESET, where a
neuron does not reset to v_reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snn2hw.ir.fixed_point import Int, quantise_payload

FIRES = "fires"
"""Of a neuron: ">=" where it fires at its threshold and v_threshold is the number just below it; else ">"."""

RESET = "reset"
"""Of a neuron: what a spike does to the membrane, a value of `Reset`; without it the membrane goes to v_reset."""

RESET_AMOUNT = "reset_amount"
"""Of a neuron: what a spike subtracts, one number or one for each neuron; without it the threshold."""

DECAY = "decay"
"""Of an integer neuron: its leak in 1/4096, which truncates towards zero; broadcasts to the shape of its layer."""

CURRENT_DECAY = "current_decay"
"""Of an integer neuron: the leak of its current in 1/4096; 4096 leaves nothing."""

SCALE = "scale"
"""How integers become the model's numbers. Of the input: the real value of one unit. Of a neuron: units for 1 of
the float membrane, one number or one a channel. Of a relay: units of its payload for 1 of the current. Of the output:
units for 1 of a logit, one number or one a logit."""

LOW = "low"
"""Of the input or a relay: the smallest payload."""

HIGH = "high"
"""Of the input or a relay: the largest payload."""

POOL = "pool"
"""Of a sum pool: "max" where it takes the largest value of each window, padding left out, in place of the sum."""

SHIFT = "shift"
"""Of an integer relay, a Scale of 1 / 2^shift: its product is rounded, halves up, and saturates at low and high. What
takes no notice of it computes the same but for that rounding."""

HEADS = "heads"
"""Of the output: the names of several heads and their numbers of logits, [[name, size], ...] as JSON."""

NAMES = (RESET, FIRES, POOL)
"""Keys whose values are words."""

NUMBERS = (SCALE, LOW, HIGH, SHIFT, RESET_AMOUNT, DECAY, CURRENT_DECAY)
"""Keys whose values are numbers."""


@dataclass(frozen=True, kw_only=True)
class Payloads:
    """The integers that a quantised network takes: of low to high, one unit stands for the real value `scale`."""

    scale: float
    low: int
    high: int

    def of(self, x: ArrayLike) -> Int:
        """Real inputs as payloads, of the same shape."""
        return quantise_payload(x, scale=self.scale, low=self.low, high=self.high)


def has_payloads(metadata: Mapping[str, Any]) -> bool:
    """Whether the metadata of an input say that it takes payloads."""
    return {SCALE, LOW, HIGH} <= metadata.keys()


def payloads_in(metadata: Mapping[str, Any]) -> Payloads:
    """The payloads that the metadata of an input name."""
    scale, low, high = (np.asarray(metadata[key]).item() for key in (SCALE, LOW, HIGH))
    return Payloads(scale=float(scale), low=int(low), high=int(high))
