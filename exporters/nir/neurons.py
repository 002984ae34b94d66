"""Neurons and gates in the words that several clients understand alike.

Each encoding first writes the neuron so that its input has a factor of 1 and its membrane starts and resets at 0: what
SpikingJelly, norse and snnTorch all ask for. A factor g of the input divides the threshold instead, and the reset value
is subtracted from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker, UnsupportedError
from snn2hw.network.neuron_rule import DT, Float, NeuronRule, narrow, rule_of

NO_LEAK = DT * 2.0**64
"""A time constant that no arithmetic can tell from an infinite one, and whose factors are powers of two: norse steps
v + dt/tau * (r * I - v), which then is exactly v + I, in float32 and in float64."""

Unit: TypeAlias = nir.IF | nir.LIF | nir.CubaLIF | nir.Threshold
EncodeNeuron: TypeAlias = Callable[[str, Unit, Shape, bool], nir.NIRNode]


def cuba_lif(name: str, node: Unit, shape: Shape, whole: bool) -> nir.NIRNode:
    """Any neuron or gate as CubaLIF. Raises UnsupportedError where neurons of one layer differ."""
    if isinstance(node, nir.Threshold):
        return _cuba(shape, DT, DT, _between(name, np.asarray(node.threshold), whole), {})
    rule = rule_of(name, node)
    keep, current_keep = (_one(name, what, rule) for what in ("keep", "current_keep"))
    threshold = _threshold(name, rule, whole)
    return _cuba(shape, _time_constant(current_keep), _time_constant(keep), threshold, node.metadata)


def if_only(name: str, node: Unit, shape: Shape, whole: bool) -> nir.NIRNode:
    """A neuron without a leak as IF. Raises UnsupportedError for every other, and for gates."""
    if isinstance(node, nir.Threshold):
        raise _refused(name, "a gate or max pool: sinabs has no memoryless unit", "Use --profile portable")
    rule = rule_of(name, node)
    if np.any(rule.keep != 1) or np.any(rule.current_keep != 0):
        raise _refused(
            name, "a neuron with a leak, which sinabs computes by other equations than NIR", "Use --profile portable"
        )
    return nir.IF(
        r=_everywhere(1 / DT, shape),
        v_threshold=np.broadcast_to(narrow(_threshold(name, rule, whole)), shape),
        v_reset=_everywhere(0, shape),
        metadata=node.metadata,
    )


def _cuba(shape: Shape, tau_syn: float, tau_mem: float, threshold: float, metadata: dict[str, object]) -> nir.CubaLIF:
    """float64: SpikingJelly takes a tau of float32(1e-4) for one below the time step."""
    return nir.CubaLIF(
        tau_syn=_everywhere(tau_syn, shape),
        tau_mem=_everywhere(tau_mem, shape),
        r=_everywhere(tau_mem / DT, shape),
        v_leak=_everywhere(0, shape),
        v_threshold=np.broadcast_to(narrow(threshold), shape),
        v_reset=_everywhere(0, shape),
        w_in=_everywhere(tau_syn / DT, shape),
        metadata=metadata,
    )


def _time_constant(keep: float) -> float:
    return NO_LEAK if keep == 1 else DT / (1 - keep)


def _threshold(name: str, rule: NeuronRule, whole: bool) -> float:
    gain = _one(name, "gain", rule)
    if gain <= 0:
        raise _refused(name, f"its input has the factor {gain:g}", "Turn the signs of the weights before it")
    threshold = (rule.threshold - rule.reset_value) / gain
    if whole:
        return _only(name, "threshold", threshold)
    return _only(name, "threshold", _next(threshold, -np.inf if rule.at_least else np.inf))


def _between(name: str, threshold: Float, whole: bool) -> float:
    """The threshold of a gate, where neither > nor >= meets a sum of spikes."""
    on_lattice = not whole and np.all(threshold == np.rint(threshold))
    return _only(name, "threshold", threshold + 0.5 if on_lattice else threshold)


def _next(values: Float, towards: float) -> Float:
    return np.nextafter(values.astype(np.float32), np.float32(towards)).astype(np.float64)


def _one(name: str, what: str, rule: NeuronRule) -> float:
    return _only(name, what, getattr(rule, what))


def _only(name: str, what: str, values: Float) -> float:
    low, high = float(np.min(values)), float(np.max(values))
    if low != high:
        raise _refused(
            name,
            f"its neurons differ (their {what} goes from {low:g} to {high:g}); SpikingJelly and snnTorch take one "
            "value for a layer",
            "Use --profile plain",
        )
    return low


def _everywhere(value: float, shape: Shape) -> Float:
    return np.broadcast_to(np.float64(value), shape)


def _refused(name: str, problem: str, advice: str) -> UnsupportedError:
    return UnsupportedError([Blocker(layer=name, problem=problem, advice=advice)])
