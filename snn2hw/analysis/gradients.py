"""How gradients fare through depth: SEW ResNet, section 3.3 (Fang et al., NeurIPS 2021, arXiv 2102.04159).

Through blocks that are the identity a gradient is multiplied, for each block, by the slope of the connect function: 1
for ADD, AND and IAND; for the Spiking ResNet by the surrogate's slope at shortcut - threshold: it vanishes or explodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from snn2hw.frontends.torch.trace import Traced
from snn2hw.models.blocks import GATES, BasicBlock, zero_initialise
from snn2hw.models.neurons import IFNode, NeuronFactory
from snn2hw.network.heads import leaves

ALPHAS = (1.0, 2.0, 4.0)  # of the ATan surrogate, whose slope at the threshold is alpha / 2
CHANNELS, SIZE, SAMPLES = 2, 4, 8  # of the spikes that the chain of blocks is shown


def through_identities(connect: str, neuron: NeuronFactory, *, depth: int = 100, rate: float = 0.5) -> list[float]:
    """The norm of the gradient at the input of each of `depth` blocks at the paper's start, over that at the end.

    depth + 1 numbers, the last 1: the first block's comes first. One step of random spikes of a `rate`; the loss is a
    random weighting of the last block's output.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = nn.Sequential(*(BasicBlock(CHANNELS, CHANNELS, 1, connect, neuron) for _ in range(depth)))
        x = (torch.rand(SAMPLES, CHANNELS, SIZE, SIZE) < rate).double().requires_grad_()
        weights = torch.rand_like(x)
    zero_initialise(blocks)
    blocks.double().eval()  # a hundred slopes below a half or above two leave float32
    shown = nn.Identity()
    outputs, norms = _watch([shown, *blocks], lambda: blocks(shown(x)))
    at_blocks = norms((outputs * weights).sum())
    return [norm / at_blocks[-1] for norm in at_blocks]


@dataclass(frozen=True)
class Course:
    """What became of a gradient on its way through identities: `norms` as through_identities gives them."""

    connect: str
    alpha: float
    norms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """What is left of it at the first block."""
        return self.norms[0]


def courses(depth: int = 100) -> list[Course]:
    """IF neurons of threshold 1: each connect function with surrogates of the slopes 1/2, 1 and 2 at the threshold."""
    return [
        Course(connect, alpha, tuple(through_identities(connect, steep(alpha), depth=depth)))
        for connect in (*GATES, "spiking")
        for alpha in ALPHAS
    ]


def steep(alpha: float) -> NeuronFactory:
    """What makes IF neurons whose surrogate has the slope alpha / 2 at the threshold."""

    def make() -> IFNode:
        node = IFNode()
        node.surrogate_alpha = alpha
        return node

    return make


def through_layers(traced: Traced, x: Tensor) -> dict[str, float]:
    """For each layer of neurons of a model, by its path: the norm of the gradient at its spikes, all steps together.

    Of the largest mean logits of the first head, summed over the samples; the slopes are those of the model's
    surrogates. x: [T, N, *input shape].
    """
    with torch.enable_grad():
        x = x.to(traced.dtype).requires_grad_()
        outputs: list[Tensor] = []
        spikes: dict[str, list[Tensor]] = {path: [] for path in traced.neurons}
        for run, _ in traced.runs(x):
            outputs.append(_first(run.returned))
            for path, emissions in traced.origin.items():
                if path in spikes:
                    spikes[path] += [run.seen[emission.call] for emission in emissions]
        logits, time = torch.stack(outputs), traced.heads[0].time
        mean = logits.mean(dim=0) if time is None else logits.mean(dim=(0, 1 + time))
        at_layers = _norms(mean.max(dim=1).values.sum(), list(spikes.values()))
    return dict(zip(spikes, at_layers, strict=True))


def _first(returned: object) -> Tensor:
    _, head = next(leaves(returned))
    return cast(Tensor, head)


Outputs = TypeVar("Outputs")
Norms = Callable[[Tensor], list[float]]


def _watch(modules: Sequence[nn.Module], run: Callable[[], Outputs]) -> tuple[Outputs, Norms]:
    """What `run` returns, and what gives the norms of a loss's gradient at all that each module returned meanwhile."""
    outputs: list[list[Tensor]] = [[] for _ in modules]

    def append_to(tensors: list[Tensor]) -> Callable[..., None]:
        return lambda _module, _inputs, output: tensors.append(output[0] if isinstance(output, tuple) else output)

    hooks = [module.register_forward_hook(append_to(tensors)) for module, tensors in zip(modules, outputs, strict=True)]
    try:
        returned = run()
    finally:
        for hook in hooks:
            hook.remove()

    return returned, lambda loss: _norms(loss, outputs)


def _norms(loss: Tensor, groups: Sequence[Sequence[Tensor]]) -> list[float]:
    """The norm of a loss's gradient at each group of tensors, all of a group together."""
    flat = [tensor for group in groups for tensor in group]
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
    return [_norm([next(gradients) for _ in group]) for group in groups]


def _norm(gradients: Sequence[Tensor | None]) -> float:
    """Of all together; where nothing depends on a value its gradient is 0."""
    squares = [gradient.double().square().sum().item() for gradient in gradients if gradient is not None]
    return math.sqrt(math.fsum(squares))
