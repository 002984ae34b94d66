"""The SEW ResNet authors' networks for DVS Gesture and CIFAR10-DVS: a list of layers conv.0, conv.1, ..., then `out`.

Poolings have no tensors: each is a number missing between two blocks. Whether one follows the last block shows in the
number of inputs of the read-out.
"""

from __future__ import annotations

import re
from dataclasses import asdict

from snn2hw.data.aliases import Shape
from snn2hw.errors import ModelError, OptionError
from snn2hw.frontends.checkpoints.state_formats import NetworkFacts, State, has_learned_tau, renamed, sizes, under
from snn2hw.models.sew_resnet import Stage

PIXELS = 128
SHOWN_LAYERS = 30


def read_authors_events(state: State, input_shape: Shape | None) -> NetworkFacts:
    """The structure and names of a network for events; images are 128x128 where `input_shape` does not say otherwise.

    Raises ModelError for layers that none of these networks has, and OptionError if the images do not fit the read-out.
    """
    kinds = _event_layers(state)
    if not re.fullmatch(r"u(u?b+p)*u?b+", kinds):
        words = [{"u": "convolution", "b": "block", "p": "pooling"}[kind] for kind in kinds[:SHOWN_LAYERS]]
        words += ["..."] * (len(kinds) > SHOWN_LAYERS)
        raise ModelError(
            f"its layers are {', '.join(words)}; the authors' networks are a convolution and then stages of a 1x1 "
            "convolution or none, blocks, and a pooling."
        )
    is_spiking = any(re.match(r"conv\.\d+\.conv\.1\.module\.", key) for key in state)
    stem = sizes(state, "conv.0.0.module.0.weight", 4)
    channels, maps, stages = stem[0], _unit_names(0, ("conv1", "bn1", "neuron1")), []
    for number, match in enumerate(re.finditer(r"(u?)(b+)(p?)", kinds[1:]), start=1):
        first, layer = match.start() + 1, f"layer{number}"
        transition, blocks, pool = match.groups()
        if transition:
            channels = _expect(state, f"conv.{first}.0.module.0.weight", (None, channels, 1, 1))
            maps |= _unit_names(first, tuple(f"{layer}.{part}" for part in range(3)))
        before = 3 if transition else 0  # convolution, BN and neuron
        for block in range(len(blocks)):
            index = first + len(transition) + block
            for half in ("0.0", "1" if is_spiking else "1.0"):
                _expect(state, f"conv.{index}.conv.{half}.module.0.weight", (channels, channels, 3, 3))
            maps |= _block_names(index, f"{layer}.{before + block}", is_spiking)
        stage = Stage(channels=channels, blocks=len(blocks), transition=bool(transition), max_pool=bool(pool))
        stages.append(asdict(stage))

    classes, inputs = sizes(state, "out.weight", 2)
    shape = input_shape or (stem[1], PIXELS, PIXELS)
    stages[-1]["max_pool"] = _pooled_last(shape, channels, inputs, pools=kinds.count("p"))
    maps[r"out\."] = "fc."
    tensors = under(state, {key: renamed(key, {f"^{old}": new for old, new in maps.items()}) for key in state})
    return NetworkFacts(
        format="the SEW ResNet authors' code for DVS Gesture and CIFAR10-DVS",
        families=("spiking_resnet",) if is_spiking else ("sew_resnet", "plain_net"),
        state=tensors,
        structure={
            "stem": {"kernel": stem[2], "channels": stem[0]},
            "block": "basic",
            "stages": stages,
            "global_pool": False,
            "classes": classes,
        },
        channels=stem[1],
        learned=has_learned_tau(tensors),
        connect_decides=True,
        input_shape=shape,
    )


def _event_layers(state: State) -> str:
    """One letter a layer: u for a convolution with BN and neuron, b for a block, p for the pooling in a gap."""
    layers: dict[int, str] = {}
    for key in state:
        if layer_name := re.match(r"conv\.(\d{1,6})\.(conv\.)?", key):
            index = int(layer_name[1])
            layers[index] = "b" if layer_name[2] else layers.get(index, "u")
    count = min(max(layers) + 1, 2 * len(state))  # a number far beyond the others makes no list of its size
    return "".join(layers.get(index, "p") for index in range(count))


def _unit_names(index: int, parts: tuple[str, ...]) -> dict[str, str]:
    """Patterns of the names of a convolution, its BN and its neuron -> their names here, which `parts` are."""
    conv, norm, neuron = parts
    start = rf"conv\.{index}\."
    return {rf"{start}0\.module\.0\.": f"{conv}.", rf"{start}0\.module\.1\.": f"{norm}.", rf"{start}1\.": f"{neuron}."}


def _block_names(index: int, block: str, is_spiking: bool) -> dict[str, str]:
    """Patterns of the names of a residual block -> their names here, where the block is called `block`."""
    start = rf"conv\.{index}\.conv\."
    second = "" if is_spiking else r"0\."
    last = rf"conv\.{index}\.sn\." if is_spiking else rf"{start}1\.1\."
    return {
        rf"{start}0\.0\.module\.0\.": f"{block}.conv1.",
        rf"{start}0\.0\.module\.1\.": f"{block}.bn1.",
        rf"{start}0\.1\.": f"{block}.neuron1.",
        rf"{start}1\.{second}module\.0\.": f"{block}.conv2.",
        rf"{start}1\.{second}module\.1\.": f"{block}.bn2.",
        last: f"{block}.neuron2.",
    }


def _pooled_last(shape: Shape, channels: int, inputs: int, *, pools: int) -> bool:
    """Whether a pooling must follow the last block, so that the read-out gets as many inputs as it has."""
    height, width = (size >> pools for size in shape[-2:])
    if inputs == channels * height * width:
        return False
    if inputs == channels * (height // 2) * (width // 2) > 0:
        return True
    raise OptionError(
        f"its read-out takes {inputs} numbers, but from images of {shape[-2]}x{shape[-1]} the {pools} or {pools + 1} "
        f"poolings leave {channels} channels of {height}x{width} or {height // 2}x{width // 2}. Give the size of the "
        "images that it was trained on with --input-shape C,H,W."
    )


def _expect(state: State, key: str, wanted: tuple[int | None, ...]) -> int:
    """The first size of a tensor. Raises ModelError where a size is given in `wanted` and is not the tensor's."""
    shape = sizes(state, key, len(wanted))
    if any(size not in (None, actual) for size, actual in zip(wanted, shape, strict=True)):
        words = "x".join("any" if size is None else str(size) for size in wanted)
        raise ModelError(f"{key} has shape {list(shape)}; in the authors' networks it is {words}.")
    return shape[0]
