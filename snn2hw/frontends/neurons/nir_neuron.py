"""Writing NIR's neurons, so that neuron_rule.py reads back exactly the factors that were meant."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.frontends.neurons.reader import NeuronProblem
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.metadata import FIRES, RESET, RESET_AMOUNT
from snn2hw.network.neuron_rule import AT_LEAST, DT, Float, Neuron, just_below, narrow

NO_LEAK = 2.0**-60  # a share dt/tau so small that 1 - share is 1


def write_neuron(
    shape: Shape,
    dtype: type[np.floating],
    *,
    keep: Float,
    gain: Float,
    threshold: Float,
    at_least: bool = False,
    reset: Reset,
    amount: Float,
    rest: Float | float = 0.0,
    start: Float | None = None,
    current_keep: Float | None = None,
) -> Neuron:
    """The NIR neuron u = current_keep u + gain I; v = keep v + (1 - keep) rest + u, from v = start, or rest.

    Every array broadcasts to [*shape]: keep and current_keep are shares of 0 to 1; gain is what a step adds for a
    current of 1; threshold, amount (what a spike subtracts), rest and start are in units of the membrane. It fires at
    v > threshold, or with `at_least` at v >= threshold. A hard reset leads back to the start.

    Time constants, r and w_in are float64: keep and gain must come back exactly. NIR wants arrays of the full shape;
    these are views of a few numbers, since a deep net has tens of millions of neurons.
    """
    if not np.all(np.isfinite(amount)) or np.any(amount <= 0):
        raise NeuronProblem(f"the threshold is {float(np.min(amount)):g}", "A threshold must be a number above 0")
    _check_share("membrane", keep)

    def full(values: Float | float, kind: type[np.floating] | None = None) -> Float:
        return np.broadcast_to(narrow(values) if kind is None else np.asarray(values, dtype=kind), shape)

    if np.all(keep == 1) and reset is Reset.SUBTRACT_LATE:
        reset = Reset.SUBTRACT  # without a decay the order of decay and subtraction does not matter
    metadata: dict[str, object] = {FIRES: AT_LEAST} if at_least else {}
    if reset is not Reset.ZERO:
        metadata |= {RESET: reset.value, RESET_AMOUNT: full(amount)}
    v_rest = full(rest)
    firing: dict[str, Any] = {
        "v_threshold": full(just_below(threshold) if at_least else threshold),
        "v_reset": v_rest if start is None else full(start),
        "metadata": metadata,
    }
    if current_keep is not None and np.any(current_keep != 0):
        _check_share("current", current_keep)
        if np.any(current_keep == 1):
            raise NeuronProblem("its current never decays", "Give the current a decay below 1")
        tau_mem, r = _time_constant(keep, np.ones(()))
        tau_syn, w_in = _time_constant(current_keep, gain)
        node = nir.CubaLIF(
            tau_mem=full(tau_mem, np.float64),
            tau_syn=full(tau_syn, np.float64),
            r=full(r, np.float64),
            v_leak=v_rest,
            **firing,
        )
        node.w_in = full(w_in, np.float64)  # its constructor would fill an array
        return node
    if np.all(keep == 1):
        return nir.IF(r=full(gain / DT), **firing)
    tau, r = _time_constant(keep, gain)
    return nir.LIF(tau=full(tau, np.float64), r=full(r, np.float64), v_leak=v_rest, **firing)


def _check_share(what: str, keep: Float) -> None:
    if not np.all((keep >= 0) & (keep <= 1)):
        worst = float(keep.ravel()[np.argmax(np.abs(keep - 0.5))])
        raise NeuronProblem(
            f"a step multiplies its {what} by {worst:g}", f"The decay of the {what} must lie between 0 and 1"
        )


def _time_constant(keep: Float, gain: Float) -> tuple[Float, Float]:
    """tau and r that neuron_rule.py turns into exactly this keep and gain, if float64 has such a pair nearby."""
    share = np.maximum(1 - keep, NO_LEAK)
    nearest = DT / share
    tau, r = nearest, gain / share
    best = np.zeros(np.broadcast_shapes(keep.shape, gain.shape))
    for step in sorted(range(-8, 9), key=abs):
        candidate = nearest + step * np.spacing(nearest)
        share = DT / candidate
        for resistance in (gain / share, np.nextafter(gain / share, 0), np.nextafter(gain / share, np.inf)):
            score = 2.0 * (1 - share == keep) + 1.0 * (share * resistance == gain)
            better = score > best
            tau, r, best = np.where(better, candidate, tau), np.where(better, resistance, r), np.maximum(score, best)
    return tau, r
