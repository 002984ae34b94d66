"""When a residual block is the identity: SEW ResNet, section 3 (Fang et al., NeurIPS 2021, arXiv 2102.04159).

A block whose branch adds nothing must hand its input on, spike for spike, for depth to cost nothing. Whether it does is
seen by running blocks, not from formulas: the last BatchNorm of the branch starts as the paper says, and every
sequence of spikes is tried.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from snn2hw.models.blocks import BasicBlock, Block, zero_initialise
from snn2hw.models.neurons import IFNode, LIFNode, ParametricLIFNode, reset_states

STEPS = 6  # all 64 sequences of so many steps: a membrane that is left over has shown itself by then
CONNECTS = ("ADD", "AND", "IAND", "IAND reversed", "spiking", "plain")
NEURONS: dict[str, Callable[..., nn.Module]] = {
    "IF": IFNode,
    "IF, soft reset": partial(IFNode, v_reset=None),
    "LIF, tau 2": partial(LIFNode, tau=2.0),
    "LIF, tau 4": partial(LIFNode, tau=4.0),
    "PLIF, tau 2": partial(ParametricLIFNode, tau=2.0),
}
THRESHOLDS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Condition:
    """For a connect function and neurons: the thresholds of those tried at which a block is the identity."""

    connect: str
    neuron: str
    thresholds: tuple[float, ...]

    def __str__(self) -> str:
        if not self.thresholds:
            return "never"
        if self.thresholds == THRESHOLDS:
            return "any"
        below = tuple(value for value in THRESHOLDS if value <= self.thresholds[-1])
        if self.thresholds == below:
            return f"<= {self.thresholds[-1]:g}"
        return ", ".join(f"{value:g}" for value in self.thresholds)


def conditions(
    connects: Sequence[str] = CONNECTS, neurons: dict[str, Callable[..., nn.Module]] = NEURONS
) -> Iterator[Condition]:
    """Every connect function with every neuron, the shortcut without downsampling."""
    for connect, (name, neuron) in product(connects, neurons.items()):
        holds = (value for value in THRESHOLDS if is_identity(make_block(connect, neuron, value)))
        yield Condition(connect, name, tuple(holds))


def make_block(connect: str, neuron: Callable[..., nn.Module], threshold: float) -> Block:
    """A block of one channel with the paper's start."""
    gate, _, reversed_order = connect.partition(" ")
    order = "reversed" if reversed_order else "paper"
    block = BasicBlock(1, 1, 1, gate, partial(neuron, v_threshold=threshold), iand_order=order)
    zero_initialise(block)
    return block


def is_identity(block: Block) -> bool:
    """Whether a block with the paper's start repeats every sequence of spikes; one that changes the shape cannot.

    The block is left as it was.
    """
    if block.downsample is not None:
        return False
    copied = copy.deepcopy(block).eval()
    zero_initialise(copied)
    steps = _all_sequences(copied.get_submodule("conv1").get_parameter("weight").shape[1])
    reset_states(copied)
    with torch.no_grad():
        return all(torch.equal(copied(x), x) for x in steps)


def _all_sequences(channels: int) -> Tensor:
    """Images [STEPS, 2^STEPS, channels, 1, 1]: every sequence of spikes of a pixel, the same in all channels."""
    sequences = torch.tensor(list(product((0.0, 1.0), repeat=STEPS))).T
    return sequences.reshape(STEPS, -1, 1, 1, 1).expand(-1, -1, channels, 1, 1).contiguous()
