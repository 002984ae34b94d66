"""SpikingJelly: its IF and LIF neurons, under the several names that training gives them.

All fire at v >= v_threshold. v_reset None subtracts v_threshold, and v may start anywhere below it; a number is the
hard reset, and where v starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

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


def _half_threshold_if(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + x from v_threshold / 2, minus v_threshold for a spike; the NIR neuron counts from that start.

    Without a leak only the distance to the threshold matters.
    """
    start, threshold = spread("v", _start(module), shape), spread("v_threshold", module.v_threshold, shape)
    if module.v_reset is not None or np.any(start >= threshold):
        raise NeuronProblem(
            f"its membrane starts at {number_or_range(start)}, its v_threshold is {number_or_range(threshold)} and its "
            f"v_reset {module.v_reset}",
            "Leave them as the constructor sets them: half the threshold, and None",
        )
    return write_neuron(
        shape,
        dtype,
        keep=np.ones(()),
        gain=np.ones(()),
        threshold=threshold - start,
        at_least=True,
        reset=Reset.SUBTRACT,
        amount=threshold,
    )


def _activation_aware_if(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """IFNode that fires at v + v_offset >= v_threshold, each one number or one a channel."""
    threshold, offset = (
        spread(name, _along(value, int(module.channel_dim), shape), shape)
        for name, value in (("v_threshold", module.v_threshold), ("v_offset", module.v_offset))
    )
    return _write(
        module, shape, dtype, keep=np.ones(()), gain=np.ones(()), threshold=threshold - offset, amount=threshold
    )


def _along(values: Tensor, dim: int, shape: Shape) -> Tensor:
    """One value, or one for each channel of neurons [N, *shape], which lie along `dim` of that."""
    if not values.dim():
        return values
    axis = dim % (len(shape) + 1)
    return values.view([-1 if place == axis else 1 for place in range(len(shape) + 1)])


def _cuba_lif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """c = c_decay c + x; v = v_decay v + c, back to v_reset behind a spike, or minus v_threshold."""
    keep, current_keep = spread("v_decay", module.v_decay, shape), spread("c_decay", module.c_decay, shape)
    if np.any(numbers(_rest(module)) != 0) and np.any(keep != 1):
        raise NeuronProblem(
            f"its membrane decays towards 0, but a spike resets it to {module.v_reset}", "Set v_reset to 0.0 or None"
        )
    return _write(module, shape, dtype, keep=keep, gain=np.ones(()), current_keep=current_keep)


def _mpbn_lif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """LIFNode whose BatchNorm over the membrane has become a threshold for each channel, which alone decides."""
    if not isinstance(module.vbn, nn.Identity) or module.normalize_residual:
        raise NeuronProblem(
            "a BatchNorm changes its membrane in every step",
            "Call re_parameterize_v_threshold() on it, which makes a threshold of the BatchNorm",
        )
    threshold = module.v_threshold
    if module.learnable_vth:
        threshold = module.a.detach().double().exp()
    elif module.fold_bn:
        deviation = (module.sigma2.double() + module.eps).sqrt()
        threshold = (threshold - module.beta.double()) * deviation / module.gamma.double() + module.mu.double()
    if isinstance(threshold, Tensor) and threshold.dim():
        threshold = threshold.detach().view(-1, *(1 for _ in shape[1:]))
    amount = module.v_threshold
    if isinstance(amount, Tensor) and amount.dim():
        raise NeuronProblem("its reset subtracts a learned amount", "Build it with learnable_vth=False")
    share = spread("tau", 1 / numbers(module.tau), shape)
    gain = share if module.decay_input else np.ones(())
    return _write(module, shape, dtype, keep=1 - share, gain=gain, threshold=spread("v_threshold", threshold, shape))


def _write(
    module: Any,
    shape: Shape,
    dtype: type[np.floating],
    *,
    keep: Float,
    gain: Float,
    current_keep: Float | None = None,
    threshold: Float | None = None,
    amount: Float | None = None,
) -> Neuron:
    """threshold: where it fires, if not at v_threshold. amount: what a reset by subtraction takes away, if not that."""
    rest = spread("v_reset", _rest(module), shape)
    amount = spread("v_threshold", module.v_threshold, shape) if amount is None else amount
    threshold = amount if threshold is None else threshold
    start = _start_within(module, shape)
    if module.v_reset is not None and not np.all(start == rest):
        raise NeuronProblem(
            f"its membrane starts at {number_or_range(start)}, but its v_reset is {module.v_reset}, as after "
            "set_reset_value('v', ...) or where v_reset is set after the neuron was built: a hard reset leads back to "
            "the start in NIR and on the chip",
            "Give v_reset to the constructor, and no other start value; or subtract the threshold (v_reset=None)",
        )
    if module.v_reset is None and np.any(start >= threshold):
        raise NeuronProblem(
            f"its membrane starts at {number_or_range(start)}, at or above its threshold of "
            f"{number_or_range(threshold)}: it fires without input",
            "Start it below the threshold",
        )
    return write_neuron(
        shape,
        dtype,
        keep=keep,
        gain=gain,
        threshold=threshold,
        at_least=True,
        reset=Reset.SUBTRACT if module.v_reset is None else Reset.ZERO,
        amount=amount,
        rest=rest,
        start=start,
        current_keep=current_keep,
    )


def _start(module: Any) -> Any:
    """What reset() gives v."""
    return getattr(module, "_memories_rv", {}).get("v", _rest(module))


def _start_within(module: Any, shape: Shape) -> Float:
    """What reset() gives v, one number or what broadcasts to the neurons [*shape]."""
    return spread("v", _start(module), shape)


def _rest(module: Any) -> Any:
    return 0.0 if module.v_reset is None else module.v_reset


def _convention(module: Any) -> Convention:
    reset = "by subtraction" if module.v_reset is None else f"to {number_or_range(_rest(module))}"
    return Convention(
        framework="SpikingJelly", fires="v >= threshold", reset=reset, start=number_or_range(_start(module))
    )


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


def _reader(to_nir: Callable[..., Neuron], *attributes: str, rounds: bool = False) -> Reader:
    return Reader(
        to_nir=to_nir,
        convention=_convention,
        reset_state=_reset_state,
        required_attributes=("v_threshold", "v_reset", "reset", *attributes),
        run=_run,
        restart=_reset_state,
        suspects=_suspects,
        rounds=rounds,
    )


READERS = {
    "IFNode": _reader(_if),
    "LIFNode": _reader(_lif, "tau", "decay_input"),
    "ParametricLIFNode": _reader(_plif, "w", "decay_input"),
    "SimpleIFNode": _reader(_if),
    "SimpleLIFNode": _reader(_lif, "tau", "decay_input"),
    "OTTTLIFNode": _reader(_lif, "tau", "decay_input"),
    "SLTTLIFNode": _reader(_lif, "tau", "decay_input"),
    "HalfThresholdIFNode": _reader(_half_threshold_if, rounds=True),
    "ActivationAwareIFNode": _reader(_activation_aware_if, "v_offset", "channel_dim", rounds=True),
    "CUBALIFNode": _reader(_cuba_lif, "c_decay", "v_decay"),
    "MPBNLIFNode": _reader(_mpbn_lif, "tau", "decay_input", "vbn", "fold_bn", "learnable_vth", "normalize_residual"),
}
"""rounds: HalfThresholdIFNode counts from another start than its NIR neuron, ActivationAwareIFNode adds its offset in
each step.
"""
