"""sinabs: IAF, LIF and their Squeeze forms.

They fire at v >= spike_threshold. Their input has a time axis, [N, T, ...], or time folded into the batch, [N T, ...];
in a traced model a Step runs them on one step [N, ...].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.frontends.neurons.nir_neuron import write_neuron
from snn2hw.frontends.neurons.parameters import number_or_range, numbers, spread
from snn2hw.frontends.neurons.reader import NeuronProblem, Reader, Suspect, Wrapper, package_of, spikes_of
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Float, Neuron

LAYERS = "sinabs."  # modules whose names begin so define the layers
_NAMES = ("IAF", "IAFSqueeze", "LIF", "LIFSqueeze")
_RESHAPING = ("FlattenTime", "UnflattenTime", "Repeat")


class Step(Wrapper):
    """A neuron of sinabs that takes one step [N, ...] a call; its state stays in its buffers."""

    @property
    def v_threshold(self) -> Any:
        """sinabs's spike_threshold."""
        neuron: Any = self.inner
        return neuron.spike_threshold

    @v_threshold.setter
    def v_threshold(self, value: float) -> None:
        neuron: Any = self.inner
        neuron.spike_threshold = nn.Parameter(torch.tensor(value, dtype=torch.float64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The spikes of one step."""
        neuron: Any = self.inner
        squeeze = _squeeze(neuron)
        timed: Any = super(squeeze, neuron) if squeeze else neuron  # the form with a time axis
        spikes: Tensor = timed.forward(x.unsqueeze(1))
        return spikes.squeeze(1)


def _lif(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """i = alpha_syn (i + x), or x without tau_syn; v = alpha v + (1 - alpha) i, or + i with norm_input=False.

    alpha = exp(-1 / tau), of IAF 1. MembraneSubtract takes off the threshold or its subtract_value.
    """
    kind = type(module).__name__
    fires = getattr(module.spike_fn, "__name__", type(module.spike_fn).__name__)
    if fires != "SingleSpike":
        raise NeuronProblem(
            f"{kind} with spike_fn {fires} does not emit at most one spike a step",
            "Build and train it with spike_fn=SingleSpike and min_v_mem=None",
        )
    if module.min_v_mem is not None:
        raise NeuronProblem(
            f"{kind} clips its membrane at min_v_mem = {number_or_range(module.min_v_mem)}, which no NIR neuron does",
            "Build and train it with min_v_mem=None",
        )
    threshold = spread("spike_threshold", module.spike_threshold, shape)
    reset, amount = _reset(module, threshold)
    alpha = _alpha(module, "mem")
    gain = spread("tau_mem", 1 - alpha if module.norm_input else 1.0, shape)
    current_keep = None if module.alpha_syn_calculated is None else spread("tau_syn", _alpha(module, "syn"), shape)
    return write_neuron(
        shape,
        dtype,
        keep=spread("tau_mem", alpha, shape),
        gain=gain if current_keep is None else gain * current_keep,
        threshold=threshold,
        at_least=True,
        reset=reset,
        amount=amount,
        current_keep=current_keep,
    )


def _alpha(module: Any, state: str) -> Float:
    """What one step leaves of a state, in float64 whatever the module computes in; 1 for IAF's membrane."""
    tau = None if module.train_alphas else getattr(module, f"tau_{state}")
    return numbers(getattr(module, f"alpha_{state}_calculated")) if tau is None else np.exp(-1 / numbers(tau))


def _reset(module: Any, threshold: np.ndarray) -> tuple[Reset, np.ndarray]:
    kind, reset_fn = type(module).__name__, module.reset_fn
    match type(reset_fn).__name__:
        case "MembraneSubtract":
            amount = reset_fn.subtract_value
            return Reset.SUBTRACT, threshold if amount is None else numbers(amount)
        case "MembraneReset" if reset_fn.reset_value == 0:
            return Reset.ZERO, threshold
        case "MembraneReset":
            raise NeuronProblem(
                f"{kind} with MembraneReset({reset_fn.reset_value:g}): sinabs adds that value to every neuron in every "
                "step, whether it fired or not",
                "Use MembraneReset(0) or MembraneSubtract()",
            )
        case other:
            raise NeuronProblem(f"{kind} with the reset {other}", "Use MembraneReset(0) or MembraneSubtract()")


def _convention(module: Any) -> Convention:
    soft = type(module.reset_fn).__name__ == "MembraneSubtract"
    reset = "by subtraction" if soft else "to 0"
    return Convention(framework="sinabs", fires="v >= threshold", reset=reset, start="0")


def _reset_state(module: Any) -> None:
    """An empty buffer takes the shape of the next input; any other would be resampled to another batch size."""
    for name, buffer in list(module.named_buffers()):
        module.register_buffer(name, torch.zeros(0, device=buffer.device))


def _squeeze(module: Any) -> type | None:
    """The class of sinabs's that folds time into the batch, of which a module is one."""
    bases = (kind for kind in type(module).__mro__ if package_of(kind) == "sinabs")
    return next((kind for kind in bases if kind.__name__.endswith("Squeeze")), None)


def _run(module: Any, x: Tensor) -> Tensor:
    by_sample = x.transpose(0, 1)
    if _squeeze(module) is None:
        return spikes_of(module(by_sample)).transpose(0, 1)
    module.batch_size, module.num_timesteps = by_sample.shape[:2]  # they only say how to unfold
    return spikes_of(module(by_sample.flatten(0, 1))).reshape(by_sample.shape).transpose(0, 1)


def _restart(module: Any) -> None:
    module.reset_states()


def _suspects(module: Any) -> list[Suspect]:
    return [
        Suspect(what=f"its {name} is not sinabs's", advice=f"Use a {name} of sinabs.activation")
        for name in ("spike_fn", "reset_fn")
        if package_of(getattr(module, name)) != "sinabs"
    ]


def refuse(kind: type) -> NeuronProblem | None:
    """Why a class of LAYERS that has no reader cannot be deployed; None for one that is no neuron."""
    if kind.__name__ in _RESHAPING:
        return NeuronProblem(
            f"sinabs's {kind.__name__} rearranges the time axis, which one step does not have",
            "Leave it out: write the net for one step, with the layers themselves between IAFSqueeze or LIFSqueeze",
        )
    if "StatefulLayer" not in (base.__name__ for base in kind.__mro__):
        return None
    recurrent = "Recurrent" in kind.__name__
    reason = "it feeds its spikes back to its input" if recurrent else "no NIR neuron computes the same"
    return NeuronProblem(f"sinabs's {kind.__name__} is not supported: {reason}", f"Use {', '.join(_NAMES)}")


READERS = dict.fromkeys(
    _NAMES,
    Reader(
        to_nir=_lif,
        convention=_convention,
        reset_state=_reset_state,
        wrap=Step,
        run=_run,
        restart=_restart,
        suspects=_suspects,
    ),
)
