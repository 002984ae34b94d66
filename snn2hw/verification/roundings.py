"""Which integers are the stated rounding of real numbers, neuron by neuron. docs/exactness.md states the roundings.

Written from the statement alone: nothing here is shared with the passes that make the integers. Every function takes
integers and real numbers that broadcast against each other and answers with the integer nearest to what is stated, for
people, and with what is wrong. A real number that is no number at all is wrong too.
"""

from __future__ import annotations

import numpy as np

from snn2hw import ir
from snn2hw.ir.fixed_point import Bool, Int
from snn2hw.ir.numerics import Numerics
from snn2hw.network.neuron_rule import Float, NeuronRule
from snn2hw.verification.findings import Findings

TIE = 1e-9  # so near to .5, two ways to multiply the same factors may round to different sides
WHOLE = 1e-12  # relative: a product of a scale and a threshold is a whole number up to float64's rounding
FLOAT64 = 2.0**-50  # of the numbers that a sum is made of: what rounding may add to it
Judged = tuple[Float, Bool]


def nearest(actual: Int, real: Float, *, noise: Float | float = 0.0) -> Judged:
    """Integers that round real numbers to the nearest, ties to either side; the same shape.

    `noise` is the error of `real`.
    """
    return np.rint(real), ~(np.abs(actual - real) <= 0.5 + TIE + noise)


def thresholds(actual: Int, real: Float, *, at_least: bool) -> Judged:
    """Integers t [*shape] for which v > t says of whole numbers v what v > real (or, `at_least`, v >= real) says.

    Where `real` is so near to a whole number that it may be meant, both readings count; where it is one, only the rule.
    """
    size = np.maximum(np.abs(real), 1.0)
    whole = np.rint(real)
    off = np.abs(real - whole)
    meets = whole - 1 if at_least else whole
    passes = np.floor(real)
    stated = np.where(off <= WHOLE * size, meets, passes)
    right = (actual == stated) | ((off <= TIE * size) & (off > WHOLE * size) & (actual == meets))
    return stated, ~right


def biases(
    mantissa: Int,
    exponent: Int,
    real: Float,
    numerics: Numerics,
    *,
    noise: Float | float = 0.0,
    exact: bool = False,
) -> tuple[Float, Bool, Bool]:
    """Mantissas and exponents of the numbers nearest to real ones [*shape] that a chip represents, in membrane units.

    `noise` is the error of the real numbers; `exact`: they must be representable themselves. Returns the mantissas that
    stand for the nearest numbers at the exponents as they are, which mantissas are wrong, and which exponents no bias
    can have.
    """
    mantissa_max, exponent_max = numerics.bias_mantissa_max, numerics.bias_exponent_max
    gap, best = np.full(np.shape(real), np.inf), np.zeros(np.shape(real))
    for power in range(exponent_max + 1):
        step = float(1 << power)
        candidate = np.clip(np.rint(real / step), -mantissa_max, mantissa_max) * step
        nearer = np.abs(candidate - real) < gap
        best = np.where(nearer, candidate, best)
        gap = np.where(nearer, np.abs(candidate - real), gap)
    illegal = (exponent < 0) | (exponent > exponent_max)
    unit = 2.0 ** np.clip(exponent, 0, exponent_max)
    right = (np.abs(mantissa * unit - real) <= (0.0 if exact else gap) + TIE + noise) & (
        np.abs(mantissa) <= mantissa_max
    )
    return best / unit, ~right, illegal


def judge_neuron(
    findings: Findings, neuron: ir.Neuron, rule: NeuronRule, scale: Float, offset: Float, size: Float
) -> None:
    """Judge all that an integer neuron holds, but not what feeds it, by the rule that it is made from.

    scale: input units of one unit of the float membrane. offset: the constant part of the currents that feed it, in
    their real unit; size: how large the numbers are that were added up to it. All broadcast to [*shape].
    """
    name, numerics = neuron.name, findings.numerics
    units, most = float(numerics.no_memory), numerics.no_memory
    findings.same(name, "reset", expected=rule.reset.value, actual=neuron.reset.value)
    real = scale * (rule.threshold - rule.reset_value)
    expected, wrong = thresholds(neuron.threshold, real, at_least=rule.at_least)
    findings.numbers(name, "threshold", actual=neuron.threshold, expected=expected, wrong=wrong)
    for what, actual, real in (
        ("decay", neuron.decay, np.clip(units * (1 - rule.keep), 0, most - 1)),
        ("current_decay", neuron.current_decay, np.clip(units * (1 - rule.current_keep), 1, most)),
        ("reset_amount", neuron.reset_amount, scale * rule.reset_amount),
    ):
        expected, wrong = nearest(actual, real)
        findings.numbers(name, what, actual=actual, expected=expected, wrong=wrong)
    fine = scale * (1 << numerics.membrane_shift)
    drive = rule.drive - (1 - rule.keep) * rule.reset_value
    noise = FLOAT64 * np.abs(fine) * (np.abs(rule.drive) + np.abs(rule.reset_value) + np.abs(rule.gain) * size)
    judge_bias(findings, neuron, fine * (drive + rule.gain * offset), noise=noise)


def judge_bias(
    findings: Findings, neuron: ir.Neuron, real: Float, *, noise: Float | float = 0.0, exact: bool = False
) -> None:
    """Judge a neuron's bias by a real one [*shape] in membrane units; `noise` and `exact` as in `biases`."""
    numerics = findings.numerics
    noise = noise + FLOAT64 * np.abs(real)
    expected, wrong, illegal = biases(
        neuron.bias_mantissa, neuron.bias_exponent, real, numerics, noise=noise, exact=exact
    )
    legal = np.clip(neuron.bias_exponent, 0, numerics.bias_exponent_max)
    findings.numbers(neuron.name, "bias_mantissa", actual=neuron.bias_mantissa, expected=expected, wrong=wrong)
    findings.numbers(neuron.name, "bias_exponent", actual=neuron.bias_exponent, expected=legal, wrong=illegal)
