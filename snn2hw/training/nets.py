"""The nets that can be trained by name: configurations of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from snn2hw.errors import OptionError
from snn2hw.models.blocks import CONNECTS, GATES
from snn2hw.models.sew_resnet import IMAGENET_NETS, IMAGENET_STRIDES, Stage

Config = dict[str, Any]

IF: Config = {"kind": "IFNode", "v_threshold": 1.0, "v_reset": 0.0}
PLIF: Config = {"kind": "ParametricLIFNode", "v_threshold": 1.0, "v_reset": 0.0, "tau": 2.0, "decay_input": True}


def digits(connect: str, *, beta: float = 1.0) -> Config:
    """For scikit-learn's digits, images [1,8,8]; two of its three blocks change the image size."""
    stages = [Stage(channels=16), Stage(channels=32, stride=2, blocks=2), Stage(channels=64, stride=2)]
    neuron = {"kind": "Leaky", "beta": beta, "threshold": 1.0}
    return _config(connect, (1, 8, 8), 4, neuron, (3, 16), stages, 10)


def little_7b(connect: str) -> Config:
    """7B-Net's little sister for moving-digits, frames [2,16,16]: PLIF, three blocks, each with a max pooling."""
    stages = [Stage(channels=16, max_pool=True), Stage(channels=16, max_pool=True), Stage(channels=16, max_pool=True)]
    return _config(connect, (2, 16, 16), 8, PLIF, (3, 16), stages, 12, global_pool=False)


def narrow(connect: str, blocks: int) -> Config:
    """As many blocks of 8 channels as one wants, on digits: what depth does to training. A block is two layers."""
    return _config(connect, (1, 8, 8), 4, IF, (3, 8), [Stage(channels=8, blocks=blocks)], 10)


def seven_b(connect: str) -> Config:
    """The paper's 7B-Net for DVS128 Gesture, frames [2,128,128]."""
    stages = [Stage(channels=32, max_pool=True)] * 7
    return _config(connect, (2, 128, 128), 16, PLIF, (1, 32), stages, 11, global_pool=False)


def wide_seven_b(connect: str) -> Config:
    """The paper's Wide-7B-Net for CIFAR10-DVS, frames [2,128,128]."""
    wide = Stage(channels=128, max_pool=True)
    stages = [*[Stage(channels=64, max_pool=True)] * 4, Stage(channels=128, transition=True, max_pool=True), wide, wide]
    return _config(connect, (2, 128, 128), 16, PLIF, (1, 64), stages, 10, global_pool=False)


def imagenet(connect: str, *, name: str) -> Config:
    """A net for ImageNet, images [3,224,224], by its name in models/sew_resnet.py."""
    layout = IMAGENET_NETS[name]
    stages = [
        Stage(channels=64 * 2**i, blocks=blocks, stride=stride)
        for i, (blocks, stride) in enumerate(zip(layout.blocks, IMAGENET_STRIDES, strict=True))
    ]
    config = _config(connect, (3, 224, 224), 4, IF, (7, 64), stages, 1000, block=layout.block)
    return config | {"groups": layout.groups, "width_per_group": layout.width_per_group}


NETS: dict[str, Callable[[str], Config]] = {
    "digits": digits,
    "little-7b": little_7b,
    "7b": seven_b,
    "wide-7b": wide_seven_b,
    **{name: partial(imagenet, name=name) for name in IMAGENET_NETS},
}


def architecture(connect: str) -> str:
    """The name of the architecture with a connect function. Raises OptionError for an unknown one."""
    if connect not in CONNECTS:
        raise OptionError(f"connect is {connect!r}; it must be one of {', '.join(CONNECTS)}")
    return {"spiking": "spiking_resnet", "plain": "plain_net"}.get(connect, "sew_resnet")


def _config(
    connect: str,
    input_shape: Sequence[int],
    timesteps: int,
    neuron: Config,
    stem: tuple[int, int],
    stages: Sequence[Stage],
    classes: int,
    *,
    block: str = "basic",
    global_pool: bool = True,
) -> Config:
    return {
        "connect": connect if connect in GATES else None,
        "input_shape": list(input_shape),
        "timesteps": timesteps,
        "neuron": neuron,
        "stem": {"kernel": stem[0], "channels": stem[1]},
        "block": block,
        "stages": [asdict(stage) for stage in stages],
        "global_pool": global_pool,
        "classes": classes,
    }
