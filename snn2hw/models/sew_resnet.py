"""The family of SEW ResNet: deep residual spiking networks (Fang et al., NeurIPS 2021, arXiv 2102.04159).

One class covers the networks of the paper, those of SpikingJelly's model zoo and the small ones of the examples;
`imagenet_net`, `seven_b_net` and `wide_seven_b_net` are its named configurations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from snn2hw.errors import ModelError
from snn2hw.models.blocks import (
    BLOCKS,
    CONNECTS,
    GATES,
    IAND_ORDERS,
    STANDARD_WIDTH,
    BasicBlock,
    Block,
    Bottleneck,
    convolution,
    zero_initialise,
)
from snn2hw.models.neurons import NeuronFactory

__all__ = [
    "BLOCKS",
    "CONNECTS",
    "GATES",
    "IMAGENET_NETS",
    "IMAGENET_STRIDES",
    "SEVEN_B_STAGES",
    "STEM_KERNELS",
    "WIDE_SEVEN_B_STAGES",
    "BasicBlock",
    "Bottleneck",
    "Layout",
    "SEWResNet",
    "Stage",
    "imagenet_net",
    "imagenet_stages",
    "seven_b_net",
    "wide_seven_b_net",
    "zero_initialise",
]

STEM_KERNELS = (1, 3, 7)


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


class SEWResNet(nn.Sequential):
    """A residual spiking network; the call computes one time step, [N,C,H,W] -> logits [N,K].

    The neurons keep their membranes from call to call; `run_timesteps` starts them afresh.

    - connect: "ADD", "AND" or "IAND" for the SEW ResNet, "spiking" for the Spiking ResNet, "plain" for no shortcuts;
    - input_shape: [C,H,W] of one image;
    - stem_kernel: 1, 3, or 7 for the stem of ImageNet networks, which has stride 2 and a 3x3 max pooling after it;
    - block: "basic" or "bottleneck"; groups and width_per_group: those of a bottleneck's 3x3 convolution;
    - iand_order: "paper", or "reversed" for the IAND of SpikingJelly's bottlenecks; other connect functions have none;
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
        groups: int = 1,
        width_per_group: int = STANDARD_WIDTH,
        iand_order: str = "paper",
        global_pool: bool = True,
    ) -> None:
        _check_choice("connect", connect, CONNECTS)
        _check_choice("iand_order", iand_order, IAND_ORDERS)
        _check_choice("block", block, tuple(BLOCKS))
        _check_choice("stem_kernel", stem_kernel, STEM_KERNELS)
        _check_sizes("input_shape", *input_shape)
        _check_sizes("stem_channels and classes", stem_channels, classes)
        _check_sizes("groups and width_per_group", groups, width_per_group)
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

        make_block = partial(
            BLOCKS[block],
            connect=connect,
            neuron=neuron,
            iand_order=iand_order,
            groups=groups,
            width_per_group=width_per_group,
        )
        channels = stem_channels
        for number, stage in enumerate(stages, start=1):
            _check_sizes(f"stage {number}", stage.channels, stage.blocks, stage.stride)
            out_channels = stage.channels * BLOCKS[block].expansion
            layers[f"layer{number}"] = _make_stage(stage, channels, out_channels, make_block, neuron)
            channels = out_channels
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
    stage: Stage, in_channels: int, out_channels: int, make_block: Callable[..., Block], neuron: NeuronFactory
) -> nn.Sequential:
    layers: list[nn.Module] = []
    if stage.transition:
        layers += [convolution(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels), neuron()]
        in_channels = out_channels
    for index in range(stage.blocks):
        layers.append(make_block(in_channels, stage.channels, stage.stride if index == 0 else 1))
        in_channels = out_channels
    if stage.max_pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise ModelError(f"{name} is {value!r}; it must be one of {', '.join(repr(choice) for choice in choices)}")


def _check_sizes(name: str, *sizes: int) -> None:
    if min(sizes, default=0) < 1:
        raise ModelError(f"{name}: sizes {sizes} must all be at least 1")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What tells the networks for ImageNet apart."""

    block: str
    blocks: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = STANDARD_WIDTH


IMAGENET_NETS: dict[str, Layout] = {
    "resnet18": Layout(block="basic", blocks=(2, 2, 2, 2)),
    "resnet34": Layout(block="basic", blocks=(3, 4, 6, 3)),
    "resnet50": Layout(block="bottleneck", blocks=(3, 4, 6, 3)),
    "resnet101": Layout(block="bottleneck", blocks=(3, 4, 23, 3)),
    "resnet152": Layout(block="bottleneck", blocks=(3, 8, 36, 3)),
    "resnext50_32x4d": Layout(block="bottleneck", blocks=(3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101_32x8d": Layout(block="bottleneck", blocks=(3, 4, 23, 3), groups=32, width_per_group=8),
    "wide_resnet50_2": Layout(block="bottleneck", blocks=(3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": Layout(block="bottleneck", blocks=(3, 4, 23, 3), width_per_group=128),
}
"""The networks of SpikingJelly's `model.sew_resnet` and `model.spiking_resnet`, without the `sew_` or `spiking_`."""

IMAGENET_STRIDES = (1, 2, 2, 2)


def imagenet_stages(layout: Layout) -> list[Stage]:
    """The four stages of a network for ImageNet."""
    return [
        Stage(channels=64 * 2**i, blocks=blocks, stride=stride)
        for i, (blocks, stride) in enumerate(zip(layout.blocks, IMAGENET_STRIDES, strict=True))
    ]


def imagenet_net(name: int | str, connect: str, neuron: NeuronFactory, *, iand_order: str = "paper") -> SEWResNet:
    """A network for ImageNet, images [3,224,224], 1000 classes.

    `name` is the depth of one of the paper's networks, 18, 34, 50, 101 or 152, or a name in IMAGENET_NETS.
    """
    if isinstance(name, int):
        name = f"resnet{name}"
    _check_choice("name", name, tuple(IMAGENET_NETS))
    layout = IMAGENET_NETS[name]
    return SEWResNet(
        connect=connect,
        input_shape=(3, 224, 224),
        stem_kernel=7,
        stem_channels=64,
        stages=imagenet_stages(layout),
        classes=1000,
        neuron=neuron,
        block=layout.block,
        groups=layout.groups,
        width_per_group=layout.width_per_group,
        iand_order=iand_order,
    )


SEVEN_B_STAGES = [Stage(channels=32, max_pool=True)] * 7
WIDE_SEVEN_B_STAGES = [
    *[Stage(channels=64, max_pool=True)] * 4,
    Stage(channels=128, transition=True, max_pool=True),
    *[Stage(channels=128, max_pool=True)] * 2,
]


def seven_b_net(connect: str, neuron: NeuronFactory) -> SEWResNet:
    """The paper's 7B-Net for DVS128 Gesture: frames [2,128,128], 11 classes."""
    return _event_net(connect, neuron, 32, SEVEN_B_STAGES, 11)


def wide_seven_b_net(connect: str, neuron: NeuronFactory) -> SEWResNet:
    """The paper's Wide-7B-Net for CIFAR10-DVS: frames [2,128,128], 10 classes."""
    return _event_net(connect, neuron, 64, WIDE_SEVEN_B_STAGES, 10)


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
