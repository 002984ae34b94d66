"""Temporal reversed training: a net learns from its input and from the same reversed in time.

Zuo, Ding et al., arXiv 2408.09108. What is deployed is the net alone, unchanged. Of the paper this follows: reversal
of events, or for static data of the spikes that encode them; consistency of the two outputs by the Kullback-Leibler
divergence; a hybrid of the two spike rates by their element-wise product (the star operation). The weights of the
terms, the temperature, one classifier for all three and which output is the target are not known from the paper: what
stands here is this project's choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snn2hw.errors import DataError, ModelError, OptionError
from snn2hw.models.neurons import reset_states
from snn2hw.models.sew_resnet import SEWResNet


@dataclass(frozen=True)
class Parts:
    """A model in three, each a module of one time step: images [N,C,H,W] -> encoder -> spikes -> body -> features [N,D]
    -> classifier -> logits [N,K]. The classifier has no memory. The parts share their parameters with the model.
    """

    encoder: nn.Module
    body: nn.Module
    classifier: nn.Module


def split(model: nn.Module) -> Parts:
    """The parts of a model of this project's family: the stem with its neuron, the blocks and pools, the last layer.

    Raises ModelError for any other model, whose Parts are to be given by hand.
    """
    if not isinstance(model, SEWResNet):
        raise ModelError(
            f"{type(model).__name__} is no network of this project's family. Say what its encoder, body and classifier "
            "are: Parts(encoder, body, classifier)."
        )
    layers = list(model)
    after_stem = layers.index(model.get_submodule("neuron1")) + 1
    return Parts(nn.Sequential(*layers[:after_stem]), nn.Sequential(*layers[after_stem:-1]), layers[-1])


@dataclass(frozen=True)
class Terms:
    """The loss and what it is made of, each a scalar, unweighted; and the logits [N,K] of the input as it was."""

    loss: Tensor
    classification: Tensor
    consistency: Tensor
    hybrid: Tensor
    logits: Tensor


@dataclass(frozen=True, kw_only=True)
class TemporalReversedTraining:
    """The loss of TRT: CE(o, y) + consistency * KL(o || o_reversed) + hybrid * CE(o_hybrid, y).

    With r and r_reversed the features of the body averaged over the steps, o = classifier(r), o_reversed =
    classifier(r_reversed), o_hybrid = classifier(r * r_reversed). The divergence is that of softmax(o / temperature)
    from softmax(o_reversed / temperature), times temperature^2 as in distillation (Hinton et al. 2015, arXiv
    1503.02531), averaged over the samples.

    - consistency, hybrid: weights of the terms; at 0 for both the loss is that of plain training.
    - detach_target: o is what o_reversed is drawn to and takes no gradient from it.
    - one_pass: both orders in one batch of twice the size, so that BatchNorm sees them together; else one after the
      other. Raises OptionError for weights below 0 and a temperature not above 0.
    """

    consistency: float = 1.0
    hybrid: float = 1.0
    temperature: float = 2.0
    detach_target: bool = True
    one_pass: bool = True

    def __post_init__(self) -> None:
        for name in ("consistency", "hybrid"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise OptionError(f"{name} is {getattr(self, name)}; it must be a number from 0")
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise OptionError(f"temperature is {self.temperature}; it must be above 0")

    def __call__(self, parts: Parts, x: Tensor, y: Tensor, timesteps: int) -> Terms:
        """The loss for samples x, static [N,C,H,W] or one frame a step [N,T,C,H,W], of classes y [N].

        Raises DataError where x holds another number of steps.
        """
        rates, reversed_rates = self.rates(parts, x, timesteps)
        logits, reversed_logits = parts.classifier(rates), parts.classifier(reversed_rates)
        classification = F.cross_entropy(logits, y)
        target = logits.detach() if self.detach_target else logits
        divergence = F.kl_div(
            F.log_softmax(reversed_logits / self.temperature, dim=1),
            F.log_softmax(target / self.temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        divergence = divergence * self.temperature**2
        star = F.cross_entropy(parts.classifier(rates * reversed_rates), y)
        loss = classification + self.consistency * divergence + self.hybrid * star
        return Terms(loss, classification, divergence, star, logits)

    def rates(self, parts: Parts, x: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        """Features [N,D] averaged over the steps, of the samples in time and reversed."""
        if x.dim() == 5:
            if x.shape[1] != timesteps:
                raise DataError(
                    f"input of shape {list(x.shape)} holds {x.shape[1]} time steps, but timesteps is {timesteps}"
                )
            frames = x.movedim(1, 0)
            if self.one_pass:
                encoded = _run(parts.encoder, torch.cat([frames, frames.flip(0)], dim=1))
                return _halves(_run(parts.body, encoded).mean(0))
            encoded, backwards = _run(parts.encoder, frames), _run(parts.encoder, frames.flip(0))
        else:
            encoded = _run(parts.encoder, x.expand(timesteps, *x.shape))
            backwards = encoded.flip(0)
            if self.one_pass:
                return _halves(_run(parts.body, torch.cat([encoded, backwards], dim=1)).mean(0))
        return _run(parts.body, encoded).mean(0), _run(parts.body, backwards).mean(0)


def _run(module: nn.Module, steps: Tensor) -> Tensor:
    """A module from its start state over steps [T,N,...]."""
    reset_states(module)
    return torch.stack([module(x) for x in steps])


def _halves(rates: Tensor) -> tuple[Tensor, Tensor]:
    """What a batch of samples and then the same reversed gave."""
    forwards, backwards = rates.chunk(2)
    return forwards, backwards
