"""Membranes as the read-out: that of a neuron that does not reset is a sum of its currents over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import fx

from snn2hw.frontends.torch.call import Call, Given, name_of
from snn2hw.frontends.torch.values import Value
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Neuron, rule_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Membrane:
    """A layer of neurons of which nobody reads the spikes, after its calls so far.

    value: the membrane, a sum over steps. currents: of each call. keep: the part of the membrane that a step leaves.
    """

    value: Value
    currents: tuple[Value, ...]
    keep: float


def is_read_alone(node: fx.Node) -> bool:
    """Whether of the neurons that a call runs the states are read, but no spikes."""
    return bool(node.users) and all(name_of(reader) == "state" for reader in node.users)


def keep_of(path: str, node: Neuron) -> float | None:
    """The part of its membrane that each step leaves, of a neuron that does nothing but add up its currents."""
    rule = rule_of(path, node)
    adds_up = rule.reset is Reset.NONE and not rule.current_keep.any() and not rule.drive.any()
    keep = np.unique(rule.keep)
    return float(keep[0]) if adds_up and (rule.gain == 1).all() and len(keep) == 1 else None


def integrated(
    call: Call, path: str, keep: float, before: Membrane | None, value: Value, given: Sequence[Any]
) -> Membrane:
    """The membrane after one more call with the current `value`."""
    step = 0 if before is None else len(before.currents)
    if step >= call.model.steps:
        raise call.refuse("this neuron is called more often than there are steps", "Give each use a neuron of its own")
    for state in given:
        starts = isinstance(state, Given) and not bool(state.values.any())
        if not (starts if before is None else state is before.value):
            raise call.refuse(
                "its membrane does not start from 0, or not from that of the step before", "Pass each state on as it is"
            )
    if before is not None and value.key != before.currents[0].key:
        raise call.refuse(
            f"what feeds this neuron in step {step} is computed in another way than in step 0",
            "Compute every step by the same layers, with the same weights",
        )
    currents = (*(before.currents if before else ()), value)
    factors = [keep ** (step - earlier) if earlier <= step else 0.0 for earlier in range(call.model.steps)]
    at = replace(value.at, numbers=value.at.numbers % (value.at.samples * value.at.size), steps=1)
    summed = replace(currents[0], at=at, over_time=tuple(factors), repeats=(*currents[0].repeats, *currents[1:]))
    return Membrane(value=summed, currents=currents, keep=keep)
