"""SpikingJelly: IFNode, LIFNode and ParametricLIFNode.

All fire at v >= v_threshold. v_reset None subtracts v_threshold; a number is the hard reset, and where v starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.frontends.neurons.nir_neuron import write_neuron
from snn2hw.frontends.neurons.parameters import number_or_range, numbers, spread
from snn2hw.frontends.neurons.reader import NeuronProblem, Reader, Suspect, package_of, spikes_of, step_by_step
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Float, Neuron

LAYERS = "spikingjelly."  # modules whose names begin so define the layers


def _if(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + x."""
    return _write(module, shape, dtype, keep=np.ones(()), gain=np.ones(()))


def _lif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + (x - (v - v_reset)) / tau, or with decay_input=False v = v - (v - v_reset) / tau + x."""
    return _leak(module, shape, dtype, spread("tau", 1 / numbers(module.tau), shape))


def _plif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """LIFNode with 1 / tau = sigmoid(w), w learned."""
    return _leak(module, shape, dtype, spread("w", module.w.detach().double().sigmoid(), shape))


def _leak(module: Any, shape: Shape, dtype: type[np.floating], share: Float) -> Neuron:
    return _write(module, shape, dtype, keep=1 - share, gain=share if module.decay_input else np.ones(()))


def _write(module: Any, shape: Shape, dtype: type[np.floating], *, keep: Float, gain: Float) -> Neuron:
    threshold, rest = spread("v_threshold", module.v_threshold, shape), spread("v_reset", _rest(module), shape)
    start = getattr(module, "_memories_rv", {}).get("v", rest)  # what reset() gives v
    if not np.all(numbers(start) == rest):
        raise NeuronProblem(
            f"its membrane starts at {number_or_range(start)}, but its v_reset is {module.v_reset}, as after "
            "set_reset_value('v', ...) or where v_reset is set after the neuron was built",
            "Give v_reset to the constructor, and no other start value",
        )
    return write_neuron(
        shape,
        dtype,
        keep=keep,
        gain=gain,
        threshold=threshold,
        at_least=True,
        reset=Reset.SUBTRACT if module.v_reset is None else Reset.ZERO,
        amount=threshold,
        rest=rest,
    )


def _rest(module: Any) -> Any:
    return 0.0 if module.v_reset is None else module.v_reset


def _convention(module: Any) -> Convention:
    start = number_or_range(_rest(module))
    reset = "by subtraction" if module.v_reset is None else f"to {start}"
    return Convention(framework="SpikingJelly", fires="v >= threshold", reset=reset, start=start)


def _reset_state(module: Any) -> None:
    module.reset()


def _run(module: Any, x: Tensor) -> Tensor:
    return spikes_of(module(x)) if getattr(module, "step_mode", "s") == "m" else step_by_step(module, x)


def _suspects(module: Any) -> list[Suspect]:
    suspects = []
    surrogate = getattr(module, "surrogate_function", None)
    if not getattr(surrogate, "spiking", True):
        suspects.append(
            Suspect(
                what="its surrogate_function has spiking=False, so that it emits real numbers",
                advice="Set surrogate_function.spiking to True",
            )
        )
    elif surrogate is not None and package_of(surrogate) != "spikingjelly":
        name = getattr(surrogate, "__name__", type(surrogate).__name__)
        suspects.append(
            Suspect(
                what=f"its surrogate_function, {name}, is not SpikingJelly's",
                advice="Let surrogate_function return 1 from 0 upwards and 0 below, as those of SpikingJelly do",
            )
        )
    return suspects


def refuse(kind: type) -> NeuronProblem | None:
    """Why a class of LAYERS that has no reader cannot be deployed; None for one that is no neuron."""
    if "neuron" not in kind.__module__.split(".") or not kind.__name__.endswith("Node"):
        return None
    return NeuronProblem(
        f"SpikingJelly's {kind.__name__} is not supported: no NIR neuron computes the same", f"Use {', '.join(READERS)}"
    )


READERS = {
    name: Reader(
        to_nir=to_nir,
        convention=_convention,
        reset_state=_reset_state,
        required_attributes=("v_threshold", "v_reset", "reset", *attributes),
        run=_run,
        restart=_reset_state,
        suspects=_suspects,
    )
    for name, to_nir, attributes in (
        ("IFNode", _if, ()),
        ("LIFNode", _lif, ("tau", "decay_input")),
        ("ParametricLIFNode", _plif, ("w", "decay_input")),
    )
}
