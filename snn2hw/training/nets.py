"""The nets that can be trained by name: configurations of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from snn2hw.data.aliases import Shape
from snn2hw.errors import OptionError
from snn2hw.models.blocks import CONNECTS, GATES
from snn2hw.models.sew_resnet import IMAGENET_NETS, SEVEN_B_STAGES, WIDE_SEVEN_B_STAGES, Stage, imagenet_stages

Config = dict[str, Any]

IF: Config = {"kind": "IFNode", "v_threshold": 1.0, "v_reset": 0.0}
PLIF: Config = {"kind": "ParametricLIFNode", "v_threshold": 1.0, "v_reset": 0.0, "tau": 2.0, "decay_input": True}


"""[C,H,W] of one step of one sample."""


def digits(connect: str, shape: Shape = (1, 8, 8), classes: int = 10, *, beta: float = 1.0) -> Config:
    """Small, as for scikit-learn's digits; two of its three blocks change the image size. `beta` 1 is IF."""
    stages = [Stage(channels=16), Stage(channels=32, stride=2, blocks=2), Stage(channels=64, stride=2)]
    return _config(connect, shape, {"kind": "Leaky", "beta": beta, "threshold": 1.0}, (3, 16), stages, classes)


def little_7b(connect: str, shape: Shape = (2, 16, 16), classes: int = 12) -> Config:
    """7B-Net's little sister, as for moving-digits: PLIF, three blocks, each with a max pooling."""
    return _config(connect, shape, PLIF, (3, 16), [Stage(channels=16, max_pool=True)] * 3, classes, global_pool=False)


def narrow(connect: str, shape: Shape = (1, 8, 8), classes: int = 10, *, blocks: int) -> Config:
    """As many blocks of 8 channels as one wants: what depth does to training. A block is two layers."""
    return _config(connect, shape, IF, (3, 8), [Stage(channels=8, blocks=blocks)], classes)


def seven_b(connect: str, shape: Shape = (2, 128, 128), classes: int = 11) -> Config:
    """The paper's 7B-Net for DVS128 Gesture."""
    return _config(connect, shape, PLIF, (1, 32), SEVEN_B_STAGES, classes, global_pool=False)


def wide_seven_b(connect: str, shape: Shape = (2, 128, 128), classes: int = 10) -> Config:
    """The paper's Wide-7B-Net for CIFAR10-DVS."""
    return _config(connect, shape, PLIF, (1, 64), WIDE_SEVEN_B_STAGES, classes, global_pool=False)


def imagenet(connect: str, shape: Shape = (3, 224, 224), classes: int = 1000, *, name: str) -> Config:
    """A net for ImageNet by its name in models/sew_resnet.py."""
    layout = IMAGENET_NETS[name]
    config = _config(connect, shape, IF, (7, 64), imagenet_stages(layout), classes, block=layout.block)
    return config | {"groups": layout.groups, "width_per_group": layout.width_per_group}


NETS: dict[str, Callable[..., Config]] = {
    "digits": digits,
    "little-7b": little_7b,
    "7b": seven_b,
    "wide-7b": wide_seven_b,
    **{name: partial(imagenet, name=name) for name in IMAGENET_NETS},
}
"""Make the config of a net from a connect function, [C,H,W] and a number of classes; `timesteps` is to be added."""


def architecture(connect: str) -> str:
    """The name of the architecture with a connect function. Raises OptionError for an unknown one."""
    if connect not in CONNECTS:
        raise OptionError(f"connect is {connect!r}; it must be one of {', '.join(CONNECTS)}")
    return {"spiking": "spiking_resnet", "plain": "plain_net"}.get(connect, "sew_resnet")


def _config(
    connect: str,
    shape: Shape,
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
        "input_shape": list(shape),
        "neuron": neuron,
        "stem": {"kernel": stem[0], "channels": stem[1]},
        "block": block,
        "stages": [asdict(stage) for stage in stages],
        "global_pool": global_pool,
        "classes": classes,
    }
