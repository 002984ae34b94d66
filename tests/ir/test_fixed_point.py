"""The integer arithmetic against docs/program.md, repeated in plain Python integers and fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snn2hw.ir.fixed_point import (
    Reset,
    accumulate_current,
    decay_state,
    fires,
    floor_to_int,
    join_bias,
    quantise_payload,
    round_to_int,
    split_bias,
    step_neuron,
)
from snn2hw.ir.numerics import load_numerics

LOIHI2 = load_numerics("loihi2")
MEMBRANE_LIMIT, BIAS_MAX = LOIHI2.membrane_limit, LOIHI2.bias_max
LEGAL = {"mantissa_max": 4095, "exponent_max": 7}
membranes = st.integers(1 - MEMBRANE_LIMIT, MEMBRANE_LIMIT - 1)
decays = st.integers(0, 4095)


@dataclass
class PlainNeuron:
    """The neuron of docs/program.md, one neuron, plain integers; what is subtracted late is owed to the next cycle."""

    threshold: int
    decay: int
    bias: int
    reset: str
    amount: int
    current_decay: int = 4096

    def __post_init__(self) -> None:
        self.u = self.v = self.owed = 0

    def step(self, a: int) -> tuple[int, bool]:
        """The membrane before the reset, and whether it spikes."""
        self.u = int(Fraction(self.u * (4096 - self.current_decay), 4096)) + 64 * a + self.bias
        v = int(Fraction(self.v * (4096 - self.decay), 4096)) + self.u - self.owed
        spike = v > 64 * self.threshold
        self.owed = 64 * self.amount if spike and self.reset == "subtract_late" else 0
        self.v = v
        if spike and self.reset == "zero":
            self.v = 0
        if spike and self.reset == "subtract":
            self.v = v - 64 * self.amount
        return v, spike


plain_neurons = st.builds(
    PlainNeuron,
    threshold=st.integers(0, 300),
    decay=st.sampled_from([0, 1, 410, 2048, 4095]) | decays,
    bias=st.integers(-4000, 4000),
    reset=st.sampled_from([reset.value for reset in Reset]),
    amount=st.integers(0, 300),
    current_decay=st.sampled_from([1, 2048, 4095, 4096]),
)


@given(membranes, decays)
def test_decay_multiplies_and_truncates_towards_zero(v: int, decay: int) -> None:
    decayed = decay_state(np.array(v), np.array(decay)).item()
    assert decayed == int(Fraction(v * (4096 - decay), 4096))
    assert abs(decayed) <= abs(v)


@given(plain_neurons, st.lists(st.integers(-400, 400), min_size=1, max_size=12))
def test_a_neuron_steps_as_the_document_says(plain: PlainNeuron, inputs: list[int]) -> None:
    u = v = np.array(0)
    for a in inputs:
        u = accumulate_current(u, np.array(a), current_decay=np.array(plain.current_decay), bias=np.array(plain.bias))
        charged, v, spike = step_neuron(
            v,
            u,
            threshold=np.array(plain.threshold),
            decay=np.array(plain.decay),
            reset=Reset(plain.reset),
            amount=np.array(plain.amount),
        )
        assert (charged.item(), bool(spike)) == plain.step(a)


@given(st.lists(st.tuples(st.integers(0, 90), decays, st.integers(-200, 200), st.integers(0, 90)), min_size=1))
def test_each_neuron_of_an_array_follows_its_own_parameters(drawn: list[tuple[int, int, int, int]]) -> None:
    threshold, decay, bias, amount = (np.array(column) for column in zip(*drawn, strict=True))
    plain = [PlainNeuron(t, d, b, "subtract", m) for t, d, b, m in drawn]
    v = np.zeros(len(drawn), np.int64)
    for a in (40, 70, -3):
        charged, v, spike = step_neuron(
            v, 64 * a + bias, threshold=threshold, decay=decay, reset=Reset.SUBTRACT, amount=amount
        )
        assert list(zip(charged.tolist(), spike.tolist(), strict=True)) == [neuron.step(a) for neuron in plain]


def test_a_late_subtraction_comes_after_the_next_decay() -> None:
    for reset, second in ((Reset.SUBTRACT, 4 * 64 // 2), (Reset.SUBTRACT_LATE, 10 * 64 // 2 - 6 * 64)):
        parameters = dict(threshold=np.array(5), decay=np.array(2048), reset=reset, amount=np.array(6))
        _, v, spike = step_neuron(np.array(0), np.array(640), **parameters)
        charged, _, _ = step_neuron(v, np.array(0), **parameters)
        assert spike and charged.item() == second


@given(st.integers(0, (1 << 17) - 1))
def test_a_neuron_fires_only_above_its_threshold(threshold: int) -> None:
    levels = np.array([64 * threshold - 1, 64 * threshold, 64 * threshold + 1])
    assert fires(levels, np.array(threshold)).tolist() == [False, False, True]


biases = st.integers(-BIAS_MAX, BIAS_MAX) | st.floats(-BIAS_MAX, BIAS_MAX) | st.integers(-8200, 8200)


@given(biases)
@example(4095.6)
@example(-8191.4)
def test_a_bias_is_split_legally_at_its_smallest_exponent_and_to_the_nearest(bias: float) -> None:
    mantissa, exponent = (part.item() for part in split_bias(bias, **LEGAL))
    assert abs(mantissa) <= 4095 and 0 <= exponent <= 7
    exact = Fraction(bias)
    for smaller in range(exponent):
        assert abs(round(exact / 2**smaller)) > 4095
    nearest = min(
        abs(exact - max(-4095, min(4095, round(exact / 2**e))) * 2**e) for e in range(8)
    )  # over all that mantissas and exponents can write
    assert abs(exact - mantissa * 2**exponent) == nearest


@given(st.integers(-4095, 4095), st.integers(0, 7))
def test_a_bias_that_can_be_written_is_kept(mantissa: int, exponent: int) -> None:
    value = mantissa * 2**exponent
    assert join_bias(np.array(mantissa), np.array(exponent)).item() == value
    assert join_bias(*split_bias(value, **LEGAL)).item() == value


@given(st.integers(1 - 2**31, 2**31 - 1))
def test_a_bias_of_plain_integers_is_kept(bias: int) -> None:
    mantissa, exponent = split_bias(bias, mantissa_max=2**31 - 1, exponent_max=0)
    assert (mantissa.item(), exponent.item()) == (bias, 0)


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(1e-6, 1e6),
    st.integers(-128, 0),
    st.integers(0, 127),
)
def test_payloads_are_rounded_and_saturate(x: float, scale: float, low: int, high: int) -> None:
    payload = quantise_payload(np.float32(x), scale=scale, low=low, high=high).item()
    assert payload == max(low, min(high, round(x / scale)))


@pytest.mark.parametrize(("x", "payload"), [(3.4e38, 9), (-3.4e38, -5), (8.5, 8), (7.5, 8), (-0.5, 0)])
def test_payloads_of_enormous_and_of_halfway_inputs(x: float, payload: int) -> None:
    assert quantise_payload(x, scale=1.0, low=-5, high=9).item() == payload


@given(st.floats(-(2.0**52), 2.0**52))
def test_rounding_is_to_nearest_even_and_flooring_is_down(x: float) -> None:
    assert round_to_int(x).item() == round(x)
    assert floor_to_int(x).item() == math.floor(x)
