"""SpikingJelly: IFNode, LIFNode and ParametricLIFNode.

All fire at v >= v_threshold. v_reset None subtracts v_threshold; a number is the hard reset, and where v starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from snn2hw.fixed_point import Reset
from snn2hw.frontends.neurons.nir_neuron import write_neuron
from snn2hw.frontends.neurons.reader import Convention, NeuronProblem, Reader, Shape, just_below
from snn2hw.neuron_rule import Neuron


def _if(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + x."""
    return _write(module, shape, dtype, keep=1.0, gain=1.0)


def _lif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + (x - (v - v_reset)) / tau, or with decay_input=False v = v - (v - v_reset) / tau + x."""
    return _leak(module, shape, dtype, 1.0 / float(module.tau))


def _plif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """LIFNode with 1 / tau = sigmoid(w), w learned."""
    return _leak(module, shape, dtype, float(module.w.detach().double().sigmoid()))


def _leak(module: Any, shape: Shape, dtype: type[np.floating], share: float) -> Neuron:
    return _write(module, shape, dtype, keep=1.0 - share, gain=share if module.decay_input else 1.0)


def _write(module: Any, shape: Shape, dtype: type[np.floating], *, keep: float, gain: float) -> Neuron:
    threshold = np.array(float(module.v_threshold))
    soft = module.v_reset is None
    return write_neuron(
        shape,
        dtype,
        keep=np.array(keep),
        gain=np.array(gain),
        threshold=just_below(threshold, dtype),
        reset=Reset.SUBTRACT if soft else Reset.ZERO,
        amount=threshold,
        rest=0.0 if soft else float(module.v_reset),
    )


def _convention(module: Any) -> Convention:
    soft = module.v_reset is None
    reset = "by subtraction" if soft else f"to {float(module.v_reset):g}"
    start = "0" if soft else f"{float(module.v_reset):g}"
    return Convention(framework="SpikingJelly", fires="v >= threshold", reset=reset, start=start)


def _reset_state(module: Any) -> None:
    module.reset()


def refuse(module: nn.Module) -> NeuronProblem | None:
    """Why a neuron of this framework that has no reader cannot be deployed."""
    kind = type(module)
    root, _, inside = kind.__module__.partition(".")
    if root != "spikingjelly" or "neuron" not in inside.split(".") or not kind.__name__.endswith("Node"):
        return None
    return NeuronProblem(
        f"SpikingJelly's {kind.__name__} is not supported: no NIR neuron computes the same", f"Use {', '.join(READERS)}"
    )


READERS = {
    name: Reader(
        to_nir=to_nir, convention=_convention, reset_state=_reset_state, needs=("v_threshold", "v_reset", "reset", *own)
    )
    for name, to_nir, own in (
        ("IFNode", _if, ()),
        ("LIFNode", _lif, ("tau", "decay_input")),
        ("ParametricLIFNode", _plif, ("w", "decay_input")),
    )
}
