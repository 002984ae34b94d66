"""How other code names the tensors of a residual spiking network, brought to the names and configs of snn2hw.models.

docs/checkpoint.md has the maps as tables. Sizes are read from the tensors; strides and the stem's pooling, which no
tensor shows, are those of the classes that write these names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.errors import ModelError
from snn2hw.models.blocks import BLOCKS, STANDARD_WIDTH
from snn2hw.models.sew_resnet import IMAGENET_STRIDES, Stage

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What the tensors of a state dict say about their network.

    format: who names tensors so. families: the architectures it may be. state: the tensors under this project's names.
    structure: the config without connect, neuron, timesteps and input shape. channels: of the input. learned: whether
    its neurons have a learned tau. neuron: the kind that the format's code uses where no tensor shows it, if it is one.
    iand_orders: in which orders a network of this format may compute IAND. connect_decides: whether code of this format
    is given a connect function for a SEW ResNet only. input_shape: where the format's code knows one size only.
    """

    format: str
    families: tuple[str, ...]
    state: dict[str, Tensor]
    structure: dict[str, Any]
    channels: int
    learned: bool
    neuron: str | None = None
    iand_orders: tuple[str, ...] = ("paper",)
    connect_decides: bool = False
    input_shape: Shape | None = None


def read_spikingjelly(state: State) -> NetworkFacts:
    """SpikingJelly's sew_resnet and spiking_resnet. Raises ModelError for sizes that none of them has."""
    names = {key: renamed(key, _SPIKINGJELLY_NAMES) for key in state}
    structure, channels = _resnet(tensors := under(state, names))
    learned = has_learned_tau(tensors)
    families: tuple[str, ...] = ("sew_resnet", "spiking_resnet")
    if learned:  # the neuron in the shortcut, which only SEW ResNet has, has a tensor then
        families = families[:1] if any("downsample_sn." in key for key in state) else families[1:]
    return NetworkFacts(
        format="SpikingJelly",
        families=families,
        state=tensors,
        structure=structure,
        channels=channels,
        learned=learned,
        iand_orders=("paper", "reversed") if structure["block"] == "bottleneck" else ("paper",),
    )


def read_authors_imagenet(state: State) -> NetworkFacts:
    """The networks of the SEW ResNet authors' ImageNet code. Raises ModelError for sizes that none of them has."""
    names = {key: renamed(key, _AUTHORS_NAMES) for key in state}
    structure, channels = _resnet(tensors := under(state, names))
    return NetworkFacts(
        format="the SEW ResNet authors' ImageNet code",
        families=("sew_resnet",) if any(".downsample.0.module." in key for key in state) else ("spiking_resnet",),
        state=tensors,
        structure=structure,
        channels=channels,
        learned=has_learned_tau(tensors),
        neuron="IFNode",
    )


LEARNED_TAU = r"(neuron\d|\.2)\.w$"
_SPIKINGJELLY_NAMES = {r"(^|\.)downsample_sn\.": r"\1downsample.2.", r"(^|\.)sn(\d)\.": r"\1neuron\2."}
_AUTHORS_NAMES = {
    r"\.conv(\d)\.module\.0\.": r".conv\1.",
    r"\.conv(\d)\.module\.1\.": r".bn\1.",
    r"\.downsample\.1\.": r".downsample.2.",  # the neuron: before the next line makes the BN a downsample.1
    r"\.downsample\.(?:0\.)?module\.": r".downsample.",
    r"(^|\.)sn(\d)\.": r"\1neuron\2.",
}


def _resnet(state: State) -> tuple[dict[str, Any], int]:
    """The structure of a network with the names of torchvision's ResNet, and the channels of its input."""
    blocks = _blocks(state)
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    stem, read_out = sizes(state, "conv1.weight", 4), sizes(state, "fc.weight", 2)
    if stem[2:] != (7, 7) or len(blocks) != len(IMAGENET_STRIDES):
        raise ModelError(
            f"its first convolution is {stem[2]}x{stem[3]} and it has {len(blocks)} stages; SpikingJelly's and the "
            f"authors' networks have 7x7 and {len(IMAGENET_STRIDES)}, and only of these the strides and the pooling, "
            f"which no tensor shows, are known."
        )
    kind = "bottleneck" if last == "conv3" else "basic"
    outputs = [sizes(state, f"layer{number}.0.{last}.weight", 4)[0] for number in range(1, len(blocks) + 1)]
    channels = [size // BLOCKS[kind].expansion for size in outputs]
    groups, width = 1, STANDARD_WIDTH
    if kind == "bottleneck":
        inner = sizes(state, "layer1.0.conv2.weight", 4)
        groups = max(inner[0] // max(inner[1], 1), 1)
        width = inner[0] // groups * STANDARD_WIDTH // max(channels[0], 1)
    stages = [
        asdict(Stage(channels=size, blocks=count, stride=stride))
        for size, count, stride in zip(channels, blocks, IMAGENET_STRIDES, strict=True)
    ]
    structure = {
        "stem": {"kernel": 7, "channels": stem[0]},
        "block": kind,
        "groups": groups,
        "width_per_group": width,
        "stages": stages,
        "global_pool": True,
        "classes": read_out[0],
    }
    return structure, stem[1]


def _blocks(state: State) -> list[int]:
    """The number of blocks of each stage."""
    seen: dict[int, set[int]] = {}
    for key in state:
        if match := re.match(r"layer(\d{1,6})\.(\d{1,6})\.", key):
            stage, block = map(int, match.groups())
            seen.setdefault(stage, set()).add(block)
    for number in range(1, len(seen) + 1):
        if (blocks := seen.get(number, set())) != set(range(len(blocks))) or not blocks:
            there = ", ".join(map(str, sorted(blocks))) or "none"
            raise ModelError(
                f"of layer{number} there are the blocks {there}: some are missing. Save the whole state dict."
            )
    return [len(seen[number]) for number in range(1, len(seen) + 1)]


def sizes(state: State, key: str, rank: int) -> Shape:
    """The shape of a tensor. Raises ModelError if it is not there, empty, or of another rank."""
    if key not in state:
        raise ModelError(f"{key} is missing. Save the whole state dict.")
    shape = tuple(state[key].shape)
    if len(shape) != rank or 0 in shape:
        raise ModelError(f"{key} has shape {list(shape)}; it must have {rank} sizes of at least 1.")
    return shape


def renamed(key: str, names: Mapping[str, str]) -> str:
    """A name with every pattern of `names` replaced, in their order."""
    for pattern, new in names.items():
        key = re.sub(pattern, new, key)
    return key


def under(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The state under its new names, each learned tau as one number, []: other code has lists of one, [1], too.

    Raises ModelError if two names become one.
    """
    tensors: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if names[key] in tensors:
            raise ModelError(f"{key}: a second tensor for {names[key]}. The file mixes two ways of naming.")
        is_tau = re.search(LEARNED_TAU, names[key]) and tuple(tensor.shape) == (1,)
        tensors[names[key]] = tensor.reshape(()) if is_tau else tensor
    return tensors


def has_learned_tau(state: State) -> bool:
    """Whether a neuron has a learned tau."""
    return any(re.search(LEARNED_TAU, key) for key in state)
