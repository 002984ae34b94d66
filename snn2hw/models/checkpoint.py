"""Checkpoints of this project's models: their configurations, building and writing.

A checkpoint is a dict {"schema", "arch", "config", "state_dict"} that `torch.load(..., weights_only=True)` reads, with
"data", the name of the data set, where it was trained on a named one. The config holds everything that rebuilds the
model but its weights:

    connect        "ADD", "AND" or "IAND"; None where the architecture has no connect function
    input_shape    [C,H,W] of one image
    timesteps      T that the model was trained with
    neuron         {"kind": "Leaky", "beta": 0 to 1, "threshold": above 0}, or a neuron with SpikingJelly's meaning:
                   {"kind": "IFNode", "v_threshold": above 0, "v_reset": number, or None for a soft reset},
                   {"kind": "LIFNode" or "ParametricLIFNode", ...the same, "tau": above 1, "decay_input": bool}, where
                   the tau of a ParametricLIFNode is the one that training starts from
    stem           {"kernel": 1, 3 or 7, "channels": int}
    block          "basic" or "bottleneck"
    stages         [{"channels", "blocks", "stride": int, "transition", "max_pool": bool}, ...]
    global_pool    bool
    classes        K
    groups, width_per_group    of a bottleneck's 3x3 convolutions; 1 and 64 where they are left out
    iand_order     "paper", also where it is left out, or "reversed": see models/blocks.py
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snn2hw.errors import ModelError
from snn2hw.files import write_bytes
from snn2hw.models.blocks import BLOCKS, GATES, IAND_ORDERS, STANDARD_WIDTH
from snn2hw.models.neurons import IFNode, LIFNode, NeuronFactory, ParametricLIFNode, leaky
from snn2hw.models.safetensors_file import ENDING, safetensors_bytes
from snn2hw.models.sew_resnet import STEM_KERNELS, SEWResNet, Stage

SCHEMA = "snn2hw.checkpoint/1"

Config = Mapping[str, Any]
Check = tuple[Callable[[Any], bool], str]
"""Tells whether a value of a config is good, and says in words what is."""


def _size(value: object) -> bool:
    return type(value) is int and value >= 1


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


SIZE: Check = (_size, "a whole number of at least 1")
FLAG: Check = (_flag, "true or false")

COMMON: dict[str, Check] = {
    "input_shape": (
        lambda value: isinstance(value, list | tuple) and len(value) == 3 and all(map(_size, value)),
        "three sizes [C,H,W]",
    ),
    "timesteps": SIZE,
    "neuron": (lambda value: isinstance(value, Mapping), "a mapping"),
    "stem": (lambda value: isinstance(value, Mapping), "a mapping"),
    "block": (lambda value: value in tuple(BLOCKS), f"one of {', '.join(BLOCKS)}"),
    "stages": (lambda value: isinstance(value, list | tuple) and len(value) > 0, "a list of at least one stage"),
    "global_pool": FLAG,
    "classes": SIZE,
}
WITH_GATE: dict[str, Check] = {"connect": (lambda value: value in GATES, f"one of {', '.join(GATES)}"), **COMMON}
WITHOUT_GATE: dict[str, Check] = {"connect": (lambda value: value is None, "None for this architecture"), **COMMON}
OPTIONAL: dict[str, Check] = {
    "groups": SIZE,
    "width_per_group": SIZE,
    "iand_order": (lambda value: value in IAND_ORDERS, f"one of {', '.join(IAND_ORDERS)}"),
}
POSITIVE: Check = (lambda value: _number(value) and value > 0, "a number above 0")
FIRING: dict[str, Check] = {
    "v_threshold": POSITIVE,
    "v_reset": (lambda value: value is None or _number(value), "a number, or None for a soft reset"),
}
LEAK: dict[str, Check] = {"tau": (lambda value: _number(value) and value > 1, "a number above 1"), "decay_input": FLAG}
NEURONS: dict[str, tuple[Callable[..., nn.Module], dict[str, Check]]] = {
    "Leaky": (
        leaky,
        {"beta": (lambda value: _number(value) and 0 <= value <= 1, "a number from 0 to 1"), "threshold": POSITIVE},
    ),
    "IFNode": (IFNode, FIRING),
    "LIFNode": (LIFNode, FIRING | LEAK),
    "ParametricLIFNode": (ParametricLIFNode, FIRING | LEAK),
}
"""What makes the neurons of each kind, and the parameters that it takes."""
STEM: dict[str, Check] = {
    "kernel": (lambda value: _size(value) and value in STEM_KERNELS, f"one of {', '.join(map(str, STEM_KERNELS))}"),
    "channels": SIZE,
}
STAGE: dict[str, Check] = {"channels": SIZE, "blocks": SIZE, "stride": SIZE, "transition": FLAG, "max_pool": FLAG}


def _check_keys(
    where: str, values: object, checks: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> None:
    """Raise a ModelError that lists every missing, unknown and wrong entry of `values`."""
    if not isinstance(values, Mapping):
        raise ModelError(f"{where} is {values!r}; it must be a mapping with the keys {', '.join(checks)}")
    problems = [f"key {key!r} is missing: give {meaning}" for key, (_, meaning) in checks.items() if key not in values]
    checks = {**checks, **(optional or {})}
    problems += [f"key {key!r} is unknown: remove it" for key in values if key not in checks]
    problems += [
        f"{key!r} is {values[key]!r}; it must be {meaning}"
        for key, (is_good, meaning) in checks.items()
        if key in values and not is_good(values[key])
    ]
    if problems:
        raise ModelError("\n".join(f"{where}: {problem}" for problem in problems))


def _neuron(where: str, values: Mapping[str, Any]) -> NeuronFactory:
    """What makes the neurons that a config asks for. Raises ModelError for an unknown kind and wrong parameters."""
    kind = (lambda value: value in tuple(NEURONS), f"one of {', '.join(NEURONS)}")
    if values.get("kind") not in tuple(NEURONS):
        _check_keys(where, {"kind": values.get("kind")} if "kind" in values else {}, {"kind": kind})
    make, checks = NEURONS[values["kind"]]
    _check_keys(where, values, {"kind": kind, **checks})
    return partial(make, **{key: values[key] for key in checks})


def _residual_net(config: Config, *, arch: str, connect: str | None) -> nn.Module:
    """Build a net of the family; `connect` None takes the connect function from the config."""
    where = f"config of {arch}"
    _check_keys(where, config, WITH_GATE if connect is None else WITHOUT_GATE, OPTIONAL)
    neuron = _neuron(f"{where}, neuron", config["neuron"])
    _check_keys(f"{where}, stem", config["stem"], STEM)
    for number, stage in enumerate(config["stages"], start=1):
        _check_keys(f"{where}, stage {number}", stage, STAGE)
    return SEWResNet(
        connect=connect or config["connect"],
        input_shape=config["input_shape"],
        stem_kernel=config["stem"]["kernel"],
        stem_channels=config["stem"]["channels"],
        stages=[Stage(**stage) for stage in config["stages"]],
        classes=config["classes"],
        neuron=neuron,
        block=config["block"],
        groups=config.get("groups", 1),
        width_per_group=config.get("width_per_group", STANDARD_WIDTH),
        iand_order=config.get("iand_order", "paper"),
        global_pool=config["global_pool"],
    )


ARCHITECTURES: dict[str, Callable[[Config], nn.Module]] = {
    "sew_resnet": partial(_residual_net, arch="sew_resnet", connect=None),
    "spiking_resnet": partial(_residual_net, arch="spiking_resnet", connect="spiking"),
    "plain_net": partial(_residual_net, arch="plain_net", connect="plain"),
}


def build_model(arch: str, config: Config) -> nn.Module:
    """Build the model of a checkpoint with fresh weights; its state_dict then loads with `strict=True`.

    Raises ModelError for an unknown `arch` and for a config with missing, unknown or wrong entries, naming all of them.
    """
    if arch not in ARCHITECTURES:
        raise ModelError(f"unknown architecture {arch!r}; the known ones are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](config)


def save_checkpoint(path: Path | str, model: nn.Module, arch: str, config: Config, *, data: str | None = None) -> None:
    """Write a checkpoint to `path`, complete or not at all; as .safetensors where its name ends so. `data` names the
    data set that the model was trained on.

    Raises ModelError if `arch` and `config` do not rebuild `model`, and OSError if the file cannot be written.
    """
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    try:
        with torch.random.fork_rng(devices=[]):  # the initial weights of this copy are nobody's concern
            build_model(arch, config).load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"cannot save {path}: the config of {arch} builds another model: {error}") from error

    content: dict[str, Any] = {"schema": SCHEMA, "arch": arch, "config": dict(config), "state_dict": state}
    content |= {} if data is None else {"data": data}
    if Path(path).suffix == ENDING:
        write_bytes(Path(path), safetensors_bytes(content))
        return
    # Through memory, because torch.save names the parts of the archive after a file that it writes itself.
    archive = io.BytesIO()
    torch.save(content, archive)
    write_bytes(Path(path), archive.getvalue())
