"""The fixed-point neuron in numpy, with the check that no sample meets a wrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from program import Array, Limits, Neuron, RangeError, lava_order, lava_parameter

DECAY_ONE = 4096
PART = 1 << 15  # neurons


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
    reached = int(lava_order(value)[place])
    raise RangeError(
        f"layer {layer}: sample {index[0]}, step {index[1]}: the {quantity} of neuron {[int(i) for i in place]} is "
        f"{reached}, outside the limit of +-{limit - 1}. Calibrate with data like this or use smaller weights, then "
        "export again."
    )


@dataclass(frozen=True)
class _Part:
    """Some rows of a layer: their state, as views, and their parameters."""

    place: slice
    v: Array
    u: Array
    bias: Array
    threshold: Array
    amount: Array
    keep: Array
    current_keep: Array


class NeuronState:
    """The membranes of one neuron node, in Lava's order; int32, or int64 on a chip whose overflows int32 cannot hold.

    While the pipeline fills or drains, values beyond a limit are cut off and nothing is reported: no sample sees them.
    """

    def __init__(self, node: Neuron, clock: Clock, input_bound: int, limits: Limits) -> None:
        dtype = np.int32 if limits.int32_sees_overflow else np.int64

        def parameter(array: Array) -> Array:
            return lava_parameter(array, node.shape).astype(dtype)

        self.node, self.clock, self.limits = node, clock, limits
        self.input_is_proved = input_bound < limits.input_limit
        shape = node.shape[::-1]
        self.v, self.u = np.zeros(shape, dtype), np.zeros(shape, dtype)
        current_keep = DECAY_ONE - parameter(node.current_decay)
        self.remembers = bool(current_keep.any())
        self.has_bias, self.leaks = bool(node.bias.any()), bool(node.decay.any())
        # Rows are done some at a time, so that all passes over them find them in the core's cache.
        rows = max(1, PART * shape[0] // self.v.size)
        parameters = (
            parameter(node.bias),
            parameter(node.threshold) << 6,
            parameter(node.reset_amount) << 6,
            DECAY_ONE - parameter(node.decay),
            current_keep,
        )
        self.parts = []
        for start in range(0, shape[0], rows):
            part = slice(start, start + rows)
            of_part = [p[part] if p.ndim and len(p) == shape[0] else p for p in parameters]
            self.parts.append(_Part(part, self.v[part], self.u[part], *of_part))
        self.current = np.empty_like(self.v[:rows])
        self.spikes = np.empty(self.current.shape, bool)

    def step(self, cycle: int, a: Array, out: Array) -> None:
        """Take the summed input of one cycle, write the spikes as 0 and 1. Raises RangeError inside a sample."""
        index = self.clock.index(cycle)
        if cycle % self.clock.timesteps == self.node.reset_offset:
            self.v.fill(0)
            self.u.fill(0)
        if not self.input_is_proved:
            limit = self.limits.input_limit
            if index is not None:
                check_range(a, limit, quantity="summed input", layer=self.node.name, index=index)
            a = np.clip(a, -limit, limit)
        for part in self.parts:
            self._step(part, a[part.place], out[part.place], index)

    def _step(self, part: _Part, a: Array, out: Array, index: tuple[int, int] | None) -> None:
        current, spikes, v = self.current[: len(a)], self.spikes[: len(a)], part.v
        np.left_shift(a, 6, out=current, dtype=current.dtype)
        if self.has_bias:
            current += part.bias
        if self.remembers:
            current += _decayed(part.u, part.current_keep)
            self._limit(current, part, "current", index)
            part.u[...] = current
        if self.node.reset == "subtract_late":
            np.greater(v, part.threshold, out=spikes)  # those of the last cycle
            current -= spikes * part.amount
        if self.leaks:
            v[...] = _decayed(v, part.keep)
        v += current
        self._limit(v, part, "membrane", index)
        np.greater(v, part.threshold, out=spikes)
        out[...] = spikes
        if self.node.reset == "zero":
            np.logical_not(spikes, out=spikes)
            v *= spikes
        elif self.node.reset == "subtract":
            np.multiply(out, part.amount, out=current)
            v -= current

    def _limit(self, values: Array, part: _Part, quantity: str, index: tuple[int, int] | None) -> None:
        """Raise RangeError if a sample meets the membrane's limit; outside the samples cut off, in place."""
        limit = self.limits.membrane_limit
        if index is None:
            np.clip(values, 1 - limit, limit - 1, out=values)
        elif values.max() >= limit or values.min() <= -limit:
            whole = np.zeros_like(self.v)
            whole[part.place] = values
            check_range(whole, limit, quantity=quantity, layer=self.node.name, index=index)


def _decayed(state: Array, keep: Array) -> Array:
    """sign(x) * ((|x| * keep) >> 12), split at bit 12 so that no product leaves 32 bits."""
    magnitude = np.abs(state)
    decayed: Array = (magnitude >> 12) * keep + (((magnitude & 4095) * keep) >> 12)
    return np.where(state < 0, -decayed, decayed)
