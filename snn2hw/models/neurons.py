"""The spiking neuron of the models that snn2hw trains itself, and the reset that every neuron library needs."""

from __future__ import annotations

from collections.abc import Callable

import snntorch
from torch import nn

NeuronFactory = Callable[[], nn.Module]
"""Makes one neuron layer: a module that maps the current of one time step to spikes and keeps its membrane itself."""


def leaky(*, beta: float = 1.0, threshold: float = 1.0) -> nn.Module:
    """Make one layer of leaky integrate-and-fire neurons; `beta` 1 makes it IF.

    Each step computes h = beta * v + x, fires where h > threshold, and sets v to 0 there, to h elsewhere (hard reset).
    The gradient of the step function is the ATan surrogate with alpha 2, and none flows through the reset, as in
    SEW ResNet (Fang et al., NeurIPS 2021, arXiv 2102.04159).

    The layer is unknown to `snntorch.utils.reset`: use `reset_states`.
    """
    neuron: nn.Module = snntorch.Leaky(
        beta=float(beta),
        threshold=float(threshold),
        spike_grad=snntorch.surrogate.atan(alpha=2.0),
        init_hidden=True,
        reset_mechanism="zero",
    )
    # snnTorch keeps every neuron ever made in a list of the class, so that no model would ever be freed.
    snntorch.SpikingNeuron.instances.remove(neuron)
    return neuron


def reset_states(model: nn.Module) -> None:
    """Put every neuron of `model` into its start state: snnTorch's and every other module with a `reset()` method."""
    for module in model.modules():
        reset = getattr(module, "reset_mem", None) or getattr(module, "reset", None)
        if callable(reset):
            reset()
