"""What each framework's spiking neuron means, written as a NIR neuron.

Neurons are recognised by class name, so that no framework is imported. Where a framework fires at v >= threshold, NIR's
v > v_threshold is met with the next smaller float. Resets that NIR does not know travel in the metadata
(neuron_rule.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
import torch
from torch import nn

from snn2hw.fixed_point import Reset
from snn2hw.integer_neuron import IntegerNeuron
from snn2hw.neuron_rule import DT, Float, compact

Shape = tuple[int, ...]


class NeuronProblem(Exception):
    """A neuron that cannot be expressed: what is wrong and what to change. Becomes a blocker with the layer's path."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem, self.advice = problem, advice
        super().__init__(f"{problem}. {advice}")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a framework's neuron behaves where frameworks differ; every report states it."""

    framework: str
    fires: str
    reset: str
    start: str


def is_spiking_neuron(module: nn.Module) -> bool:
    """Whether a module is a neuron that this file knows, by its class name."""
    return type(module).__name__ in _READERS


def known_neurons() -> tuple[str, ...]:
    """Class names of the neurons that can be deployed."""
    return tuple(_READERS)


def to_nir(module: nn.Module, shape: Shape, dtype: torch.dtype) -> nir.IF | nir.LIF:
    """The NIR neuron of a framework's module, for neurons of `shape` computed in `dtype`.

    Raises NeuronProblem if the module does what NIR, with the metadata of neuron_rule.py, cannot express.
    """
    return _READERS[type(module).__name__].to_nir(module, shape, _numpy_dtype(dtype))


def convention(module: nn.Module) -> Convention:
    """The firing, reset and initial-state convention of a neuron module."""
    return _READERS[type(module).__name__].convention(module)


def returns_state(module: nn.Module) -> bool:
    """True where the module returns (spikes, membrane) instead of spikes."""
    return bool(type(module).__name__ == "Leaky" and (module.output or not module.init_hidden))


def is_multi_step(model: nn.Module) -> bool:
    """True for a model that takes all steps at once, [T, N, ...], as SpikingJelly's step mode "m"."""
    return any(getattr(module, "step_mode", "s") == "m" for module in model.modules() if is_spiking_neuron(module))


def reset_state(model: nn.Module) -> None:
    """Set every neuron of a model back to its initial state."""
    for module in model.modules():
        if is_spiking_neuron(module):
            _READERS[type(module).__name__].reset_state(module)
        elif isinstance(module, IntegerNeuron):
            module.reset_state()


def _reset_leaky(module: Any) -> None:
    module.mem = torch.zeros(0, device=module.mem.device)  # snnTorch starts from zeros whenever the shape differs


def _reset_spikingjelly(module: Any) -> None:
    module.reset()


def _leaky(module: Any, shape: Shape, dtype: type[np.floating]) -> nir.IF | nir.LIF:
    """snnTorch Leaky: mem = beta mem + x; fires at mem > threshold; resets by `reset_mechanism` one step later.

    A reset to zero is the same one step later. A subtraction is taken off after that step's decay (SUBTRACT_LATE).
    """
    if not module.init_hidden:
        raise NeuronProblem(
            "Leaky is called with its membrane as an argument",
            "Build it with init_hidden=True, so that the neuron keeps its own state",
        )
    if module.inhibition or module.state_quant:
        raise NeuronProblem("Leaky uses inhibition or state_quant", "Build it without them")
    if not np.all(_numbers(module.graded_spikes_factor) == 1):
        raise NeuronProblem("Leaky has a graded_spikes_factor other than 1", "Set graded_spikes_factor=1")
    beta = _spread(module, "beta", shape).clip(0, 1)
    threshold = _spread(module, "threshold", shape)
    mechanism = str(module.reset_mechanism)
    if mechanism == "subtract" and not module.reset_delay:
        raise NeuronProblem(
            "Leaky subtracts its threshold with reset_delay=False, which takes the reset back where a neuron stays "
            "above its threshold",
            "Use reset_delay=True (the default) or reset_mechanism='zero'",
        )
    reset = {"zero": Reset.ZERO, "subtract": Reset.SUBTRACT_LATE, "none": Reset.NONE}[mechanism]
    if np.all(beta == 1) and reset is Reset.SUBTRACT_LATE:
        reset = Reset.SUBTRACT  # without a decay the order of decay and subtraction does not matter
    return _write(
        shape, dtype, keep=beta, gain=np.ones(()), threshold=threshold, reset=reset, amount=threshold, rest=0.0
    )


def _spikingjelly_if(module: Any, shape: Shape, dtype: type[np.floating]) -> nir.IF | nir.LIF:
    """SpikingJelly IFNode: v = v + x; fires at v >= v_threshold; v_reset None subtracts v_threshold."""
    return _spikingjelly(module, shape, dtype, keep=1.0, gain=1.0)


def _spikingjelly_lif(module: Any, shape: Shape, dtype: type[np.floating]) -> nir.IF | nir.LIF:
    """SpikingJelly LIFNode: v + (x - (v - v_reset)) / tau, or with decay_input=False v - (v - v_reset) / tau + x."""
    return _spikingjelly_leak(module, shape, dtype, 1.0 / float(module.tau))


def _spikingjelly_plif(module: Any, shape: Shape, dtype: type[np.floating]) -> nir.IF | nir.LIF:
    """SpikingJelly ParametricLIFNode: LIFNode with 1 / tau = sigmoid(w), w learned."""
    return _spikingjelly_leak(module, shape, dtype, float(module.w.detach().double().sigmoid()))


def _spikingjelly_leak(module: Any, shape: Shape, dtype: type[np.floating], share: float) -> nir.IF | nir.LIF:
    gain = share if module.decay_input else 1.0
    return _spikingjelly(module, shape, dtype, keep=1.0 - share, gain=gain)


def _spikingjelly(
    module: Any,
    shape: Shape,
    dtype: type[np.floating],
    *,
    keep: float,
    gain: float,
) -> nir.IF | nir.LIF:
    threshold = np.array(float(module.v_threshold))
    soft = module.v_reset is None
    return _write(
        shape,
        dtype,
        keep=np.array(keep),
        gain=np.array(gain),
        threshold=np.nextafter(threshold.astype(dtype), dtype(-np.inf)),
        reset=Reset.SUBTRACT if soft else Reset.ZERO,
        amount=threshold,
        rest=0.0 if soft else float(module.v_reset),
    )


def _write(
    shape: Shape,
    dtype: type[np.floating],
    *,
    keep: Float,
    gain: Float,
    threshold: Float,
    reset: Reset,
    amount: Float,
    rest: float,
) -> nir.IF | nir.LIF:
    """The NIR neuron v = keep v + (1 - keep) rest + gain I; every array broadcasts to `shape`.

    tau and r of a leaky neuron are float64: keep and gain must come back exactly. NIR wants arrays of the full shape;
    these are views of a few numbers, since a deep net has tens of millions of neurons.
    """
    if not np.all(np.isfinite(amount)) or np.any(amount <= 0):
        raise NeuronProblem(f"the threshold is {float(np.min(amount)):g}", "A threshold must be a number above 0")

    def full(values: Float | float, kind: type[np.floating] = dtype) -> Float:
        return np.broadcast_to(np.asarray(values, dtype=kind), shape)

    metadata = {} if reset is Reset.ZERO else {"reset": reset.value, "reset_amount": full(amount)}
    v_threshold, v_reset = full(threshold), full(rest)
    if np.all(keep == 1):
        return nir.IF(r=full(gain / DT), v_threshold=v_threshold, v_reset=v_reset, metadata=metadata)
    if np.any(keep == 1):
        raise NeuronProblem("some of its neurons have a leak and some have none", "Use one kind per layer")
    tau, r = _time_constant(keep, gain)
    return nir.LIF(
        tau=full(tau, np.float64),
        r=full(r, np.float64),
        v_leak=v_reset,
        v_threshold=v_threshold,
        v_reset=v_reset,
        metadata=metadata,
    )


def _time_constant(keep: Float, gain: Float) -> tuple[Float, Float]:
    """tau and r that neuron_rule.py turns into exactly this keep and gain, if float64 has such a pair nearby."""
    nearest = DT / (1 - keep)
    tau, r = nearest, gain / (1 - keep)
    best = np.zeros(np.broadcast_shapes(keep.shape, gain.shape))
    for step in sorted(range(-8, 9), key=abs):
        candidate = nearest + step * np.spacing(nearest)
        share = DT / candidate
        for resistance in (gain / share, np.nextafter(gain / share, 0), np.nextafter(gain / share, np.inf)):
            score = 2.0 * (1 - share == keep) + 1.0 * (share * resistance == gain)
            better = score > best
            tau, r, best = np.where(better, candidate, tau), np.where(better, resistance, r), np.maximum(score, best)
    return tau, r


def _leaky_convention(module: Any) -> Convention:
    reset = {"zero": "to 0", "subtract": "by subtraction, one step later", "none": "none"}[str(module.reset_mechanism)]
    return Convention(framework="snnTorch", fires="v > threshold", reset=reset, start="0")


def _spikingjelly_convention(module: Any) -> Convention:
    soft = module.v_reset is None
    reset = "by subtraction" if soft else f"to {float(module.v_reset):g}"
    start = "0" if soft else f"{float(module.v_reset):g}"
    return Convention(framework="SpikingJelly", fires="v >= threshold", reset=reset, start=start)


def _numbers(value: object) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def _spread(module: nn.Module, attribute: str, shape: Shape) -> Float:
    """A parameter as the framework broadcasts it over [N, *shape], in the fewest numbers that say it."""
    values = _numbers(getattr(module, attribute))
    try:
        return compact(np.broadcast_to(values, (1, *shape))[0])
    except ValueError:
        raise NeuronProblem(
            f"{attribute} of shape {list(values.shape)} does not fit neurons of shape {list(shape)}",
            f"Give {attribute} one value, or one per channel as [C, 1, 1]",
        ) from None


def _numpy_dtype(dtype: torch.dtype) -> type[np.floating]:
    return np.float64 if dtype == torch.float64 else np.float32


@dataclass(frozen=True)
class _Reader:
    to_nir: Callable[[nn.Module, Shape, type[np.floating]], nir.IF | nir.LIF]
    convention: Callable[[nn.Module], Convention]
    reset_state: Callable[[nn.Module], None]


_READERS: dict[str, _Reader] = {
    "Leaky": _Reader(_leaky, _leaky_convention, _reset_leaky),
    "IFNode": _Reader(_spikingjelly_if, _spikingjelly_convention, _reset_spikingjelly),
    "LIFNode": _Reader(_spikingjelly_lif, _spikingjelly_convention, _reset_spikingjelly),
    "ParametricLIFNode": _Reader(_spikingjelly_plif, _spikingjelly_convention, _reset_spikingjelly),
}
