"""A thin extension of Lava's LIFReset: parameters per neuron, the other resets, and the range check."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.variable import Var
from lava.proc.lif.models import PyLifResetModelBitAcc
from lava.proc.lif.process import LIFReset

from engine import Job
from neuron import check_range
from program import Array, Neuron, lava_parameter

# What Lava's neuron holds: beyond the first it wraps, beyond the second it saturates, and biases lose bits.
LAVA_INPUT_LIMIT = 1 << 17  # in input units
LAVA_MEMBRANE_LIMIT = 1 << 23  # in 1/64 of one
LAVA_BIAS_MANTISSA_MAX = 4095


class CheckedLIFReset(LIFReset):
    """LIFReset whose vth, dv and reset amount may differ between neurons; `node` names its reset and its parameters."""

    def __init__(self, *, name: str, job: Job, node: Neuron) -> None:
        shape = node.shape[::-1]

        def full(array: Array) -> Array:
            return np.array(np.broadcast_to(lava_parameter(array, node.shape), shape), np.int32)

        super().__init__(
            shape=shape,
            du=4095,
            bias_mant=full(node.bias_mantissa),
            bias_exp=full(node.bias_exponent),
            reset_interval=job.program.timesteps,
            reset_offset=node.reset_offset,
            name=name,
        )
        self.vth = Var(shape=shape, init=full(node.threshold))
        self.dv = Var(shape=shape, init=full(node.decay))
        self.du = Var(shape=shape, init=full(node.current_decay) - 1)  # Loihi adds the 1 itself
        self.reset_amount = Var(shape=shape, init=full(node.reset_amount))
        self.proc_params["job"], self.proc_params["node"] = job, node


class CheckedLIFResetModel(PyLifResetModelBitAcc):
    """Lava's arithmetic; what it takes off the membrane, and when, is up to the reset."""

    # The decorator that usually says so refuses a model whose parent implements a Process. Tags, resources and protocol
    # are the parent's.
    implements_process = CheckedLIFReset

    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    dv: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    du: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    bias_mant: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    reset_amount: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.node: Neuron = proc_params["node"]
        job: Job = proc_params["job"]
        self.clock, self.limits = job.clock(self.node.name), job.program.limits
        self.is_wider = self.limits.membrane_limit > LAVA_MEMBRANE_LIMIT
        self.remembers = bool((self.node.current_decay != 4096).any())
        self.node_bias = lava_parameter(self.node.bias, self.node.shape).astype(np.int64)

    def scale_bias(self) -> None:
        """Take a late reset off together with the bias: after the decay, before the membrane saturates."""
        super().scale_bias()
        if self.node.reset == "subtract_late":
            late = np.left_shift(self.reset_amount, self.vth_shift)
            late = np.where(self.v > self.effective_vth, late, 0)
            self.effective_bias: Array = np.asarray(self.effective_bias, np.int64) - late

    def subthr_dynamics(self, activation_in: Array) -> None:
        """Integrate as Lava does, but let the bias of a current with a memory go through it.

        Raises RangeError where a sample leaves the limits of the chip. Where these are Lava's, its arithmetic runs.
        """
        index = self.clock.index(self.time_step)
        bias = self.node_bias if self.remembers else np.int64(0)
        current = (
            self._decay(self.u, self.du + self.ds_offset) + (activation_in.astype(np.int64) << self.act_shift) + bias
        )
        membrane = self._decay(self.v, self.dv) + current + np.asarray(self.effective_bias, np.int64) - bias
        limit = self.limits.membrane_limit
        if index is not None:
            name = self.node.name
            check_range(activation_in, self.limits.input_limit, quantity="summed input", layer=name, index=index)
            check_range(current, limit, quantity="current", layer=name, index=index)
            check_range(membrane, limit, quantity="membrane", layer=name, index=index)
        if self.remembers or self.is_wider:
            self.u[:] = np.clip(current, 1 - limit, limit - 1)
            self.v[:] = np.clip(membrane, 1 - limit, limit - 1)
        else:
            super().subthr_dynamics(activation_in)

    def _decay(self, state: Array, decay: Array) -> Array:
        """A state after its decay, in int64."""
        magnitude: Array = np.abs(state.astype(np.int64)) * (self.decay_unity - decay) >> self.decay_shift
        return np.sign(state) * magnitude

    def reset_voltage(self, spike_vector: Array) -> None:
        """What a spike does to the membrane at once."""
        if self.node.reset == "zero":
            self.v[spike_vector] = 0
        elif self.node.reset == "subtract":
            self.v[spike_vector] -= np.left_shift(self.reset_amount, self.vth_shift)[spike_vector]


def why_not_stock(job: Job, node: Neuron) -> str | None:
    """What keeps LIFReset itself from computing this neuron exactly, or None."""
    threshold, decay = (lava_parameter(array, node.shape) for array in (node.threshold, node.decay))
    if node.reset != "zero":
        return f"its reset is {node.reset!r}, LIFReset knows 'zero' alone"
    if threshold.ndim or decay.ndim:
        return "its threshold or decay differs between neurons, LIFReset has one for all"
    if (node.current_decay != 4096).any():
        return "its current has a memory, and LIFReset adds the bias behind that"
    if np.abs(node.bias_mantissa).max() > LAVA_BIAS_MANTISSA_MAX:
        return f"its bias has a mantissa beyond {LAVA_BIAS_MANTISSA_MAX}, which LIFReset does not hold"
    input_bound = job.program.input_bound(node.name, job.program.payload_bounds())
    charge = 64 * input_bound + int(np.abs(node.bias).max())  # in one step; from 0, over at most T steps
    if input_bound >= LAVA_INPUT_LIMIT or charge * job.program.timesteps >= LAVA_MEMBRANE_LIMIT:
        return f"its input may reach {input_bound}, its membrane {charge * job.program.timesteps}, and LIFReset wraps"
    return None


def make_neuron(name: str, job: Job, node: Neuron) -> LIFReset:
    """The stock LIFReset where it suffices, else CheckedLIFReset."""
    if why_not_stock(job, node):
        return CheckedLIFReset(name=name, job=job, node=node)
    return LIFReset(
        shape=node.shape[::-1],
        du=4095,
        dv=int(node.decay.flat[0]),
        vth=int(node.threshold.flat[0]),
        bias_mant=np.broadcast_to(lava_parameter(node.bias_mantissa, node.shape), node.shape[::-1]),
        bias_exp=np.broadcast_to(lava_parameter(node.bias_exponent, node.shape), node.shape[::-1]),
        reset_interval=job.program.timesteps,
        reset_offset=node.reset_offset,
        name=name,
    )
