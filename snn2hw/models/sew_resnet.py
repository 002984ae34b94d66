"""The family of SEW ResNet: deep residual spiking networks (Fang et al., NeurIPS 2021, arXiv 2102.04159).

One class covers the networks of the paper and the small ones of the examples; `imagenet_net`, `seven_b_net` and
`wide_seven_b_net` are its configurations that the paper trains.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snn2hw.errors import ModelError
from snn2hw.models.neurons import NeuronFactory

GATES = ("ADD", "AND", "IAND")
CONNECTS = (*GATES, "spiking", "plain")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Blocks of the same width, one after the other.

    `channels` is the width of the 3x3 convolutions; a bottleneck puts out four times as many. `stride` is that of the
    first block. `transition` puts a 1x1 convolution, BN and neuron before the blocks to change the number of channels;
    without it the shortcut of the first block does. `max_pool` ends the stage with a 2x2 max pooling.
    """

    channels: int
    blocks: int = 1
    stride: int = 1
    transition: bool = False
    max_pool: bool = False


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution without bias (the BN after it has one) that keeps the image size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """A residual branch and its shortcut [N,C,H,W] -> [N,C',H',W'], joined as `connect` says.

    With A the spikes of the branch and S the shortcut, the paper's element-wise functions are ADD: A + S, AND: A * S,
    and IAND: (1 - A) * S. "spiking" is the block of the Spiking ResNet, whose last neuron sees the sum of the branch's
    current and the shortcut; "plain" has no shortcut.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, connect: str, neuron: NeuronFactory) -> None:
        super().__init__()
        self.connect = connect
        out_channels = channels * self.expansion
        self.downsample: nn.Sequential | None = None
        if connect != "plain" and (stride != 1 or in_channels != out_channels):
            layers = [convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)]
            self.downsample = nn.Sequential(*layers, *([] if connect == "spiking" else [neuron()]))

    def join(self, x: Tensor, current: Tensor, last_neuron: nn.Module) -> Tensor:
        """Join the shortcut of the block's input `x` with the `current` that the branch gives its last neuron."""
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        spikes: Tensor = last_neuron(current + shortcut if self.connect == "spiking" else current)
        if self.connect == "ADD":
            return spikes + shortcut
        if self.connect == "AND":
            return spikes * shortcut
        if self.connect == "IAND":
            return (1 - spikes) * shortcut
        return spikes


class BasicBlock(Block):
    """A block with two 3x3 convolutions; the first one has the stride."""

    def __init__(self, in_channels: int, channels: int, stride: int, connect: str, neuron: NeuronFactory) -> None:
        super().__init__(in_channels, channels, stride, connect, neuron)
        self.conv1 = convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.neuron1 = neuron()
        self.conv2 = convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.neuron2 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.bn1(self.conv1(x)))
        return self.join(x, self.bn2(self.conv2(spikes)), self.neuron2)


class Bottleneck(Block):
    """A block with 1x1, 3x3 and 1x1 convolutions; the 3x3 one has the stride."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, connect: str, neuron: NeuronFactory) -> None:
        super().__init__(in_channels, channels, stride, connect, neuron)
        self.conv1 = convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.neuron1 = neuron()
        self.conv2 = convolution(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.neuron2 = neuron()
        self.conv3 = convolution(channels, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.neuron3 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.bn1(self.conv1(x)))
        spikes = self.neuron2(self.bn2(self.conv2(spikes)))
        return self.join(x, self.bn3(self.conv3(spikes)), self.neuron3)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
STEM_KERNELS = (1, 3, 7)


class SEWResNet(nn.Sequential):
    """A residual spiking network; the call computes one time step, [N,C,H,W] -> logits [N,K].

    The neurons keep their membranes from call to call; `run_timesteps` starts them afresh.

    - connect: "ADD", "AND" or "IAND" for the SEW ResNet, "spiking" for the Spiking ResNet, "plain" for no shortcuts;
    - input_shape: [C,H,W] of one image;
    - stem_kernel: 1, 3, or 7 for the stem of ImageNet networks, which has stride 2 and a 3x3 max pooling after it;
    - block: "basic" or "bottleneck";
    - global_pool: average the last feature maps over the image before the linear layer, or keep every pixel;
    - neuron: makes each neuron layer, one call a layer.

    The layers have torchvision's names (conv1, bn1, layer1.0.conv1, ..., fc). Raises ModelError for sizes or names that
    make no network.
    """

    def __init__(
        self,
        *,
        connect: str,
        input_shape: Sequence[int],
        stem_kernel: int,
        stem_channels: int,
        stages: Sequence[Stage],
        classes: int,
        neuron: NeuronFactory,
        block: str = "basic",
        global_pool: bool = True,
    ) -> None:
        _check_choice("connect", connect, CONNECTS)
        _check_choice("block", block, tuple(BLOCKS))
        _check_choice("stem_kernel", stem_kernel, STEM_KERNELS)
        _check_sizes("input_shape", *input_shape)
        _check_sizes("stem_channels and classes", stem_channels, classes)
        if len(input_shape) != 3 or not stages:
            raise ModelError(
                f"a SEW ResNet needs input_shape [C,H,W] and at least one stage, not {input_shape}, {stages}"
            )

        channels, height, width = input_shape
        is_large = stem_kernel == 7
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv1"] = convolution(channels, stem_channels, stem_kernel, stride=2 if is_large else 1)
        layers["bn1"] = nn.BatchNorm2d(stem_channels)
        layers["neuron1"] = neuron()
        if is_large:
            layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
            height, width = -(-height // 4), -(-width // 4)

        channels = stem_channels
        for number, stage in enumerate(stages, start=1):
            _check_sizes(f"stage {number}", stage.channels, stage.blocks, stage.stride)
            layers[f"layer{number}"], channels = _make_stage(stage, channels, BLOCKS[block], connect, neuron)
            height, width = -(-height // stage.stride), -(-width // stage.stride)
            if stage.max_pool:
                height, width = height // 2, width // 2
            _check_sizes(f"the image after stage {number}", height, width)

        if global_pool:
            layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(channels if global_pool else channels * height * width, classes)
        super().__init__(layers)
        self.input_shape = tuple(input_shape)


def _make_stage(
    stage: Stage, in_channels: int, block: type[BasicBlock] | type[Bottleneck], connect: str, neuron: NeuronFactory
) -> tuple[nn.Sequential, int]:
    """Return the layers of a stage and the number of channels that it puts out."""
    out_channels = stage.channels * block.expansion
    layers: list[nn.Module] = []
    if stage.transition:
        layers += [convolution(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels), neuron()]
        in_channels = out_channels
    for index in range(stage.blocks):
        stride = stage.stride if index == 0 else 1
        layers.append(block(in_channels, stage.channels, stride, connect, neuron))
        in_channels = out_channels
    if stage.max_pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers), out_channels


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise ModelError(f"{name} is {value!r}; it must be one of {', '.join(repr(choice) for choice in choices)}")


def _check_sizes(name: str, *sizes: int) -> None:
    if min(sizes, default=0) < 1:
        raise ModelError(f"{name}: sizes {sizes} must all be at least 1")


def zero_initialise(model: nn.Module) -> None:
    """Make every block of `model` without a downsampling an identity at the start of training, as the paper does.

    The last BN of each block gets weight 0, so that a branch never fires, as ADD and IAND need. AND needs a branch that
    always fires: there the BN gets bias 1, or rather the next larger float32, for snnTorch's neurons fire above, not
    at, their threshold; it holds for thresholds up to 1. The Spiking ResNet's blocks repeat their input for IF neurons
    with a threshold below 1 only.
    """
    for block in model.modules():
        if isinstance(block, Block):
            last_norm = block.get_submodule("bn3" if isinstance(block, Bottleneck) else "bn2")
            nn.init.zeros_(last_norm.get_parameter("weight"))
            if block.connect == "AND":
                nn.init.constant_(last_norm.get_parameter("bias"), 1.0 + torch.finfo(torch.float32).eps)


IMAGENET_NETS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def imagenet_net(depth: int, connect: str, neuron: NeuronFactory) -> SEWResNet:
    """The paper's network for ImageNet: `depth` 18, 34, 50, 101 or 152, images [3,224,224], 1000 classes."""
    _check_choice("depth", depth, tuple(IMAGENET_NETS))
    block, (first, *others) = IMAGENET_NETS[depth]
    stages = [Stage(channels=64, blocks=first)]
    stages += [Stage(channels=64 * 2**i, blocks=blocks, stride=2) for i, blocks in enumerate(others, start=1)]
    return SEWResNet(
        connect=connect,
        input_shape=(3, 224, 224),
        stem_kernel=7,
        stem_channels=64,
        stages=stages,
        classes=1000,
        neuron=neuron,
        block=block,
    )


def seven_b_net(connect: str, neuron: NeuronFactory) -> SEWResNet:
    """The paper's 7B-Net for DVS128 Gesture: frames [2,128,128], 11 classes."""
    return _event_net(connect, neuron, 32, [Stage(channels=32, max_pool=True)] * 7, 11)


def wide_seven_b_net(connect: str, neuron: NeuronFactory) -> SEWResNet:
    """The paper's Wide-7B-Net for CIFAR10-DVS: frames [2,128,128], 10 classes."""
    narrow, wide = Stage(channels=64, max_pool=True), Stage(channels=128, max_pool=True)
    transition = Stage(channels=128, transition=True, max_pool=True)
    return _event_net(connect, neuron, 64, [narrow] * 4 + [transition] + [wide] * 2, 10)


def _event_net(connect: str, neuron: NeuronFactory, stem_channels: int, stages: list[Stage], classes: int) -> SEWResNet:
    return SEWResNet(
        connect=connect,
        input_shape=(2, 128, 128),
        stem_kernel=1,
        stem_channels=stem_channels,
        stages=stages,
        classes=classes,
        neuron=neuron,
        global_pool=False,
    )
