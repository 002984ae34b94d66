"""The residual blocks of SEW ResNet and Spiking ResNet (Fang et al., NeurIPS 2021, arXiv 2102.04159)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn2hw.errors import ModelError
from snn2hw.models.neurons import NeuronFactory

GATES = ("ADD", "AND", "IAND")
CONNECTS = (*GATES, "spiking", "plain")
IAND_ORDERS = ("paper", "reversed")
STANDARD_WIDTH = 64  # `width_per_group` at which the convolutions of a bottleneck are as wide as its stage says


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Make a convolution without bias (the BN after it has one) that keeps the image size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class Block(nn.Module):
    """A residual branch and its shortcut [N,C,H,W] -> [N,C',H',W'], joined as `connect` says.

    With A the spikes of the branch and S the shortcut, the paper's element-wise functions are ADD: A + S, AND: A * S,
    and IAND: (1 - A) * S; the `iand_order` "reversed" makes IAND A * (1 - S), as SpikingJelly's bottlenecks compute it.
    "spiking" is the block of the Spiking ResNet, whose last neuron sees the sum of the branch's current and the
    shortcut; "plain" has no shortcut.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        connect: str,
        neuron: NeuronFactory,
        *,
        iand_order: str = "paper",
        groups: int = 1,
        width_per_group: int = STANDARD_WIDTH,
    ) -> None:
        super().__init__()
        self.connect, self.iand_order = connect, iand_order
        out_channels = channels * self.expansion
        self.downsample: nn.Sequential | None = None
        if connect != "plain" and (stride != 1 or in_channels != out_channels):
            layers = [convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)]
            self.downsample = nn.Sequential(*layers, *([] if connect == "spiking" else [neuron()]))
        self.add_branch(in_channels, channels, stride, neuron, groups, width_per_group)

    def add_branch(
        self, in_channels: int, channels: int, stride: int, neuron: NeuronFactory, groups: int, width_per_group: int
    ) -> None:
        """Make the layers of the branch, which `forward` runs: both are what kinds of blocks differ in."""
        raise NotImplementedError

    def join(self, x: Tensor, current: Tensor, last_neuron: nn.Module) -> Tensor:
        """Join the shortcut of the block's input `x` with the `current` that the branch gives its last neuron."""
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        spikes: Tensor = last_neuron(current + shortcut if self.connect == "spiking" else current)
        if self.connect == "ADD":
            return spikes + shortcut
        if self.connect == "AND":
            return spikes * shortcut
        if self.connect == "IAND":
            return spikes * (1 - shortcut) if self.iand_order == "reversed" else (1 - spikes) * shortcut
        return spikes


class BasicBlock(Block):
    """A block with two 3x3 convolutions; the first one has the stride. It has no groups and one width."""

    def add_branch(
        self, in_channels: int, channels: int, stride: int, neuron: NeuronFactory, groups: int, width_per_group: int
    ) -> None:
        if (groups, width_per_group) != (1, STANDARD_WIDTH):
            raise ModelError(
                f"{groups} groups of width {width_per_group}: a basic block has 1 group of width {STANDARD_WIDTH}; use "
                "the block 'bottleneck'"
            )
        self.conv1 = convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.neuron1 = neuron()
        self.conv2 = convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.neuron2 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [N,C',H',W'] of one step for spikes x [N,C,H,W]; after ADD they may be 2 and more."""
        spikes = self.neuron1(self.bn1(self.conv1(x)))
        return self.join(x, self.bn2(self.conv2(spikes)), self.neuron2)


class Bottleneck(Block):
    """A block with 1x1, 3x3 and 1x1 convolutions; the 3x3 one has the stride, and groups as in ResNeXt.

    The first two put out channels * width_per_group / 64 channels in each of the `groups`, as in Wide ResNet and
    ResNeXt.
    """

    expansion = 4

    def add_branch(
        self, in_channels: int, channels: int, stride: int, neuron: NeuronFactory, groups: int, width_per_group: int
    ) -> None:
        width = channels * width_per_group // STANDARD_WIDTH * groups
        if width < 1:
            raise ModelError(
                f"{groups} groups of width {width_per_group}: no channel is left of {channels} * {width_per_group} / "
                f"{STANDARD_WIDTH}"
            )
        self.conv1 = convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.neuron1 = neuron()
        self.conv2 = convolution(width, width, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.neuron2 = neuron()
        self.conv3 = convolution(width, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.neuron3 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [N,C',H',W'] of one step for spikes x [N,C,H,W]; after ADD they may be 2 and more."""
        spikes = self.neuron1(self.bn1(self.conv1(x)))
        spikes = self.neuron2(self.bn2(self.conv2(spikes)))
        return self.join(x, self.bn3(self.conv3(spikes)), self.neuron3)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


def zero_initialise(model: nn.Module) -> None:
    """Make every block of `model` without a downsampling an identity at the start of training, as the paper does.

    The last BN of each block gets weight 0, so that a branch never fires, as ADD and IAND need. AND needs a branch that
    always fires: there the BN gets bias 1, or rather the next larger float32, for snnTorch's neurons fire above, not
    at, their threshold; it holds for thresholds up to 1. The Spiking ResNet's blocks repeat their input for IF neurons
    with a threshold below 1 only (SpikingJelly's: up to 1). A reversed IAND has no such start.
    """
    for block in model.modules():
        if isinstance(block, Block):
            last_norm = block.get_submodule("bn3" if isinstance(block, Bottleneck) else "bn2")
            nn.init.zeros_(last_norm.get_parameter("weight"))
            if block.connect == "AND":
                nn.init.constant_(last_norm.get_parameter("bias"), 1.0 + torch.finfo(torch.float32).eps)
