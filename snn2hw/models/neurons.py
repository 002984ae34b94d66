"""The spiking neurons of the models that snn2hw builds itself, and models of any spiking neurons run in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from snn2hw.errors import DataError, ModelError, OptionError

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


class _Fire(torch.autograd.Function):
    """1 where the input is at least 0. The gradient is that of ATan: alpha / 2 / (1 + (pi / 2 * alpha * x)^2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x: Tensor = ctx.saved_tensors[0]
        return gradient * (ctx.alpha / 2) / (1 + (math.pi / 2 * ctx.alpha * x) ** 2), None


class IFNode(nn.Module):
    """Integrate-and-fire neurons as SpikingJelly defines them, one time step a call: [N,...] -> spikes [N,...].

    h = v + x; a neuron fires where h >= v_threshold; there v becomes v_reset, or h - v_threshold if v_reset is None
    (soft reset); elsewhere it becomes h. v starts at v_reset, or at 0 for a soft reset. No gradient flows through the
    reset; that of firing is ATan's, `surrogate_alpha` its steepness. The names are SpikingJelly's, so that the front
    end reads both alike. Raises ModelError for a v_threshold that is not above 0 and a v_reset that is not finite.
    """

    surrogate_alpha = 2.0  # as SEW ResNet has it

    def __init__(self, *, v_threshold: float = 1.0, v_reset: float | None = 0.0) -> None:
        super().__init__()
        if not (math.isfinite(v_threshold) and v_threshold > 0):
            raise ModelError(f"v_threshold is {v_threshold}; it must be a number above 0")
        if v_reset is not None and not math.isfinite(v_reset):
            raise ModelError(f"v_reset is {v_reset}; it must be a number, or None for a soft reset")
        self.v_threshold = float(v_threshold)
        self.v_reset = None if v_reset is None else float(v_reset)
        self.v: Tensor | None = None

    @property
    def rest(self) -> float:
        """Where the membrane starts, and what a leak draws it to."""
        return 0.0 if self.v_reset is None else self.v_reset

    def reset(self) -> None:
        """Forget the membrane: the next call is the first time step."""
        self.v = None

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """The membrane [N,...] before it may fire, from the one before and the current of the step."""
        return v + x

    def forward(self, x: Tensor) -> Tensor:
        v = torch.full_like(x, self.rest) if self.v is None else self.v
        h = self.charge(v, x)
        spikes: Tensor = _Fire.apply(h - self.v_threshold, self.surrogate_alpha)  # type: ignore[no-untyped-call]
        fired = spikes.detach()
        if self.v_reset is None:
            self.v = h - fired * self.v_threshold
        else:
            self.v = torch.where(fired > 0, self.v_reset, h)
        return spikes


class _LeakyNode(IFNode):
    """Neurons with a leak. Raises ModelError also for a tau that is not above 1."""

    def __init__(
        self,
        *,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
    ) -> None:
        super().__init__(v_threshold=v_threshold, v_reset=v_reset)
        if not (math.isfinite(tau) and tau > 1):
            raise ModelError(f"tau is {tau}; it must be a number above 1")
        self.decay_input = decay_input
        self.set_tau(float(tau))

    def set_tau(self, tau: float) -> None:
        """Start from this tau."""
        raise NotImplementedError


class LIFNode(_LeakyNode):
    """Leaky integrate-and-fire neurons as SpikingJelly defines them.

    Like IFNode but for h = v + (x - (v - rest)) / tau with `decay_input`, h = v - (v - rest) / tau + x without, where
    rest is v_reset, or 0 for a soft reset. Raises ModelError also for a tau that is not above 1.
    """

    def set_tau(self, tau: float) -> None:
        self.tau = tau

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """The membrane [N,...] before it may fire, with a leak towards `rest`."""
        if self.decay_input:
            return v + (x - (v - self.rest)) / self.tau
        return v - (v - self.rest) / self.tau + x


class ParametricLIFNode(_LeakyNode):
    """LIFNode whose 1 / tau is sigmoid(w), with one learned number w a layer; `tau` is where the learning starts.

    PLIF is from Fang et al., ICCV 2021, arXiv 2007.05785.
    """

    def set_tau(self, tau: float) -> None:
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1.0)))

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """The membrane [N,...] before it may fire, with a leak of the learned share."""
        share = self.w.sigmoid()
        if self.decay_input:
            return v + (x - (v - self.rest)) * share
        return v - (v - self.rest) * share + x


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
