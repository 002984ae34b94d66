"""The neurons of an integer NIR graph in numbers and steps: what models that compute with torch run them by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn2hw.ir.fixed_point import (
    DECAY_SHIFT,
    MEMBRANE_SHIFT,
    NO_MEMORY,
    Bool,
    Int,
    Reset,
    decay_state,
    floor_to_int,
    quantise_decay,
    round_to_int,
    step_neuron,
)
from snn2hw.network.metadata import RESET_AMOUNT
from snn2hw.network.neuron_rule import Neuron, rule_of

HALF_MEMBRANE_UNIT = 0.5 / (1 << MEMBRANE_SHIFT)
"""In input units. A threshold that far above a whole number lies between two membranes: > and >= then say the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerRule:
    """The integers of a layer of neurons; every array broadcasts to the layer's shape. docs/program.md has the rule."""

    threshold: Int
    decay: Int
    current_decay: Int
    reset: Reset
    reset_amount: Int


def integer_rule(name: str, node: Neuron) -> IntegerRule:
    """The integers that a neuron node of an integer graph stands for. Raises ModelError where it is no neuron's."""
    rule = rule_of(name, node)
    return IntegerRule(
        threshold=floor_to_int(node.v_threshold),
        decay=quantise_decay(rule.keep, bits=DECAY_SHIFT, least=0, most=NO_MEMORY),
        current_decay=quantise_decay(rule.current_keep, bits=DECAY_SHIFT, least=0, most=NO_MEMORY),
        reset=rule.reset,
        reset_amount=round_to_int(node.metadata.get(RESET_AMOUNT, 0)),
    )


class IntegerStep:
    """A layer of integer neurons and its state: current `u` and membrane `v`, in membrane units, [N, *shape]."""

    def __init__(self, rule: IntegerRule) -> None:
        self.rule = rule
        self.reset()

    def reset(self) -> None:
        """Back to a current and membrane of 0."""
        self.u: Int = np.zeros((), np.int64)
        self.v: Int = np.zeros((), np.int64)

    def step(self, drawn: Int) -> Bool:
        """The spikes for what the neurons receive in a step, in membrane units, [N, *shape]."""
        rule = self.rule
        self.u = decay_state(self.u, rule.current_decay) + drawn
        _, self.v, spike = step_neuron(
            self.v,
            self.u,
            threshold=rule.threshold,
            decay=rule.decay,
            reset=rule.reset,
            amount=rule.reset_amount,
        )
        return spike
