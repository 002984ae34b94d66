"""The fixed-point neuron in int32 numpy, with the check that no sample meets a wrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from program import INPUT_LIMIT, MEMBRANE_LIMIT, Array, Neuron, RangeError, Shape, lava_order, lava_parameter

DECAY_ONE = 4096


@dataclass(frozen=True)
class Clock:
    """Which cycles belong to which step of which sample, for a node of the given latency."""

    latency: int
    timesteps: int
    samples: int

    def index(self, cycle: int) -> tuple[int, int] | None:
        """(sample, step) of a cycle, both from 0; None while the pipeline fills or drains."""
        position = cycle - self.latency - 1
        if not 0 <= position < self.samples * self.timesteps:
            return None
        return divmod(position, self.timesteps)


def check_range(value: Array, limit: int, *, quantity: str, layer: str, index: tuple[int, int]) -> None:
    """Raise RangeError unless |value| < limit everywhere; `value` is in Lava's order."""
    if value.max() < limit and value.min() > -limit:
        return
    place = np.unravel_index(int(np.argmax(np.abs(lava_order(value).astype(np.int64)))), value.shape[::-1])
    found = int(lava_order(value)[place])
    raise RangeError(
        f"layer {layer}: sample {index[0]}, step {index[1]}: the {quantity} of neuron {[int(i) for i in place]} is "
        f"{found}, outside the limit of +-{limit - 1}. Calibrate with data like this or use smaller weights, then "
        "export again."
    )


class NeuronState:
    """The membranes of one neuron node, in Lava's order.

    While the pipeline fills or drains, values beyond a limit are cut off and nothing is reported: no sample sees them.
    """

    def __init__(self, node: Neuron, clock: Clock, input_bound: int) -> None:
        def parameter(array: Array) -> Array:
            return lava_parameter(array, node.shape).astype(np.int32)

        self.node, self.clock = node, clock
        self.shape: Shape = node.shape[::-1]
        self.bias = parameter(node.bias)
        self.threshold = parameter(node.threshold) << 6
        self.amount = parameter(node.reset_amount) << 6
        self.keep = DECAY_ONE - parameter(node.decay)
        self.current_keep = DECAY_ONE - parameter(node.current_decay)
        self.remembers = bool(self.current_keep.any())
        self.has_bias = bool(self.bias.any())
        self.input_is_proved = input_bound < INPUT_LIMIT
        self.v = np.zeros(self.shape, np.int32)
        self.u = np.zeros(self.shape, np.int32)

    def step(self, cycle: int, a: Array) -> Array:
        """Take the summed input of one cycle, return the spikes as int32. Raises RangeError inside a sample."""
        index = self.clock.index(cycle)
        if cycle % self.clock.timesteps == self.node.reset_offset:
            self.v = np.zeros(self.shape, np.int32)
            self.u = np.zeros(self.shape, np.int32)
        if not self.input_is_proved:
            if index is not None:
                check_range(a, INPUT_LIMIT, quantity="summed input", layer=self.node.name, index=index)
            a = np.clip(a, -INPUT_LIMIT, INPUT_LIMIT)
        current = a << 6
        if self.has_bias:
            current += self.bias
        if self.remembers:
            current += _decayed(self.u, self.current_keep)
            self._limit(current, "current", index)
            self.u = current
        v = _decayed(self.v, self.keep)
        if self.node.reset == "subtract_late":
            v = v - np.where(self.v > self.threshold, self.amount, 0)
        v = v + current
        self._limit(v, "membrane", index)
        spikes: Array = v > self.threshold
        if self.node.reset == "zero":
            v[spikes] = 0
        elif self.node.reset == "subtract":
            v -= np.where(spikes, self.amount, 0)
        self.v = v
        return spikes.astype(np.int32)

    def _limit(self, values: Array, quantity: str, index: tuple[int, int] | None) -> None:
        """Raise RangeError if a sample meets the limit of 24 bits; outside the samples cut off, in place."""
        if index is not None:
            check_range(values, MEMBRANE_LIMIT, quantity=quantity, layer=self.node.name, index=index)
        else:
            np.clip(values, 1 - MEMBRANE_LIMIT, MEMBRANE_LIMIT - 1, out=values)


def _decayed(state: Array, keep: Array) -> Array:
    """sign(x) * ((|x| * keep) >> 12), split at bit 12 so that no product leaves int32."""
    if (keep == DECAY_ONE).all():
        return state
    magnitude = np.abs(state)
    decayed: Array = (magnitude >> 12) * keep + (((magnitude & 4095) * keep) >> 12)
    return np.where(state < 0, -decayed, decayed)
