"""The spiking neuron of the models that snn2hw trains itself, and models of any spiking neurons run in time."""

from __future__ import annotations

from collections.abc import Callable

import snntorch
import torch
from torch import Tensor, nn

from snn2hw.errors import DataError, OptionError

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


def run_timesteps(model: nn.Module, x: Tensor, timesteps: int) -> Tensor:
    """Return the mean over time of the logits [N,K] that `model` gives from its start state.

    x is static, [N,C,H,W], and repeated `timesteps` times, or has one frame a step, [N,T,C,H,W] with T = timesteps.
    Raises OptionError for timesteps below 1 and DataError for an x of another shape.
    """
    if timesteps < 1:
        raise OptionError(f"timesteps is {timesteps}; it must be at least 1")
    if x.dim() not in (4, 5):
        raise DataError(f"input has shape {list(x.shape)}; it must be [N,C,H,W] or [N,T,C,H,W]")
    if x.dim() == 5 and x.shape[1] != timesteps:
        raise DataError(f"input of shape {list(x.shape)} holds {x.shape[1]} time steps, but timesteps is {timesteps}")
    image_shape = getattr(model, "input_shape", tuple(x.shape[-3:]))
    if tuple(x.shape[-3:]) != image_shape:
        raise DataError(
            f"input of shape {list(x.shape)} holds images {list(x.shape[-3:])}, but the model takes {list(image_shape)}"
        )
    reset_states(model)
    frames = [x] * timesteps if x.dim() == 4 else list(x.unbind(dim=1))
    logits: Tensor = torch.stack([model(frame) for frame in frames]).mean(dim=0)
    return logits
