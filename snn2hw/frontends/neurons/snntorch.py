"""snnTorch: Leaky, Synaptic and Lapicque.

All fire at mem > threshold. A subtraction is taken off in the next step, after its decay (SUBTRACT_LATE). A reset to
zero differs: Leaky clears the old membrane, so the next input counts, which is NIR's reset; Synaptic and Lapicque
multiply the next membrane by 0, so the next input is lost, which NIR has no name for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.frontends.neurons.nir_neuron import write_neuron
from snn2hw.frontends.neurons.parameters import numbers, spread
from snn2hw.frontends.neurons.reader import NeuronProblem, Reader, Suspect, package_of
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Float, Neuron

LAYERS = "snntorch._neurons"  # modules whose names begin so define the layers
_RESETS = {"zero": Reset.ZERO, "subtract": Reset.SUBTRACT_LATE, "none": Reset.NONE}
_REASONS = {
    "Alpha": "its membrane is the difference of two filtered currents",
    "RLeaky": "it feeds its spikes back to its input",
    "RSynaptic": "it feeds its spikes back to its input",
    "SLSTM": "its gates are floats in every step",
    "SConv2dLSTM": "its gates are floats in every step",
    "DeltaLeaky": "it fires at changes of its membrane",
}


def _leaky(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """mem = beta mem + x."""
    _check(module)
    return _write(module, shape, dtype, keep=_decay(module, "beta", shape))


def _synaptic(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """syn = alpha syn + x; mem = beta mem + syn."""
    _check(module)
    if module.reset_mechanism == "zero" and module.reset_delay:
        raise _lost_input(module, "Build it with reset_delay=False, or with reset_mechanism='subtract'")
    alpha, beta = _decay(module, "alpha", shape), _decay(module, "beta", shape)
    return _write(module, shape, dtype, keep=beta, current_keep=alpha)


def _lapicque(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """mem = (1 - time_step / (R C)) mem + (time_step / C) x: one Euler step of the RC circuit, not beta mem."""
    _check(module)
    if module.reset_mechanism == "zero":
        raise _lost_input(module, "Use reset_mechanism='subtract', or Leaky")
    resistance, capacitance, step = numbers(module.R), numbers(module.C), numbers(module.time_step)
    keep = 1 - step / (resistance * capacitance)
    gain = resistance * (1 / (resistance * capacitance)) * step
    return _write(module, shape, dtype, keep=spread("R C", keep, shape), gain=spread("C", gain, shape))


def _check(module: Any) -> None:
    kind = type(module).__name__
    if module.inhibition or module.state_quant:
        raise NeuronProblem(f"{kind} uses inhibition or state_quant", "Build it without them")
    if not np.all(numbers(module.graded_spikes_factor) == 1):
        raise NeuronProblem(f"{kind} has a graded_spikes_factor other than 1", "Set graded_spikes_factor=1")
    if module.reset_mechanism == "subtract" and not getattr(module, "reset_delay", True):
        raise NeuronProblem(
            f"{kind} subtracts its threshold with reset_delay=False, which takes the reset back where a neuron stays "
            "above its threshold",
            "Use reset_delay=True (the default) or reset_mechanism='zero'",
        )


def _lost_input(module: nn.Module, advice: str) -> NeuronProblem:
    return NeuronProblem(
        f"{type(module).__name__} with reset_mechanism='zero' discards the input of the step behind a spike, which no "
        "reset of NIR does",
        advice,
    )


def _decay(module: Any, attribute: str, shape: Shape) -> Float:
    return spread(attribute, getattr(module, attribute), shape).clip(0, 1)  # as its forward clamps it


def _write(
    module: Any,
    shape: Shape,
    dtype: type[np.floating],
    *,
    keep: Float,
    gain: Float | None = None,
    current_keep: Float | None = None,
) -> Neuron:
    threshold = spread("threshold", module.threshold, shape)
    return write_neuron(
        shape,
        dtype,
        keep=keep,
        gain=np.ones(()) if gain is None else gain,
        threshold=threshold,
        reset=_RESETS[str(module.reset_mechanism)],
        amount=threshold,
        current_keep=current_keep,
    )


def _convention(module: Any) -> Convention:
    reset = {"zero": "to 0", "subtract": "by subtraction, one step later", "none": "none"}[str(module.reset_mechanism)]
    return Convention(framework="snnTorch", fires="v > threshold", reset=reset, start="0")


def _reset_state(module: Any) -> None:
    """snnTorch starts from zeros whenever the shape differs."""
    for name in ("mem", "syn"):
        if isinstance(getattr(module, name, None), torch.Tensor):
            setattr(module, name, torch.zeros(0, device=module.mem.device))


def _returns_state(module: Any) -> bool:
    return bool(module.output or not module.init_hidden)


def _restart(module: Any) -> None:
    module.reset_mem()


_STATE_FUNCTIONS = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}


def _suspects(module: Any) -> list[Suspect]:
    suspects = []
    if package_of(module.spike_grad) != "snntorch":
        name = getattr(module.spike_grad, "__name__", type(module.spike_grad).__name__)
        suspects.append(
            Suspect(
                what=f"its spike_grad, {name}, is not snnTorch's",
                advice="Let spike_grad return 1 above 0 and 0 elsewhere, as those of snntorch.surrogate do",
            )
        )
    chosen = getattr(module.state_function, "__name__", "")
    if chosen != _STATE_FUNCTIONS[str(module.reset_mechanism)]:
        suspects.append(
            Suspect(
                what=f"its reset_mechanism is {str(module.reset_mechanism)!r}, but its state_function is {chosen}, as "
                "where reset_mechanism is set after the neuron was built",
                advice="Give reset_mechanism to the constructor",
            )
        )
    return suspects


def refuse(kind: type) -> NeuronProblem | None:
    """Why a class of LAYERS that has no reader cannot be deployed; None for one that is no neuron."""
    reason = _REASONS.get(kind.__name__, "no NIR neuron computes the same")
    return NeuronProblem(
        f"snnTorch's {kind.__name__} is not supported: {reason}", f"Use {', '.join(READERS)} with init_hidden=True"
    )


OWN_STATE = "Keep the state in the neuron (init_hidden=True)"
READERS = {
    name: Reader(
        to_nir=to_nir,
        convention=_convention,
        reset_state=_reset_state,
        returns_state=_returns_state,
        keeping_state=OWN_STATE,
        restart=_restart,
        suspects=_suspects,
        rounds=name == "Lapicque",
        required_attributes=("threshold", "reset_mechanism", "init_hidden", "mem"),
    )
    for name, to_nir in {"Leaky": _leaky, "Synaptic": _synaptic, "Lapicque": _lapicque}.items()
}
