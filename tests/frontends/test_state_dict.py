"""Checkpoints of other code: the authors' files, bare state dicts, what is asked, what is refused, and what is safe."""

from __future__ import annotations

import argparse
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cli
import numpy as np
import pytest
import torch
import torchvision_stand_in  # noqa: F401
from nets import random_samples, randomise
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model import sew_resnet, spiking_resnet
from torch import Tensor, nn

from snn2hw.errors import ModelError, OptionError
from snn2hw.exporters.bundle import read_bundle
from snn2hw.frontends.checkpoints.checkpoint import read_checkpoint, read_weights
from snn2hw.frontends.checkpoints.hints import Hints
from snn2hw.frontends.checkpoints.state_dict import Recognised, recognise
from snn2hw.frontends.checkpoints.torch_file import read_torch_file
from snn2hw.models.checkpoint import SCHEMA, build_model, save_checkpoint
from snn2hw.models.neurons import run_timesteps
from snn2hw.verification import provenance

SHAPE = (3, 32, 32)
State = Mapping[str, Tensor]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def authors_names(state: State, *, spiking: bool) -> dict[str, Tensor]:
    """A state dict of SpikingJelly under the names of the SEW ResNet authors' ImageNet code."""
    shortcut = "downsample.module." if spiking else "downsample.0.module."
    names = {
        r"(layer.*)\.conv(\d)\.": r"\1.conv\2.module.0.",
        r"(layer.*)\.bn(\d)\.": r"\1.conv\2.module.1.",
        r"downsample\.(\d)\.": rf"{shortcut}\1.",
    }

    def renamed(key: str) -> str:
        for pattern, new in names.items():
            key = re.sub(pattern, new, key)
        return key

    return {renamed(key): tensor for key, tensor in state.items()}


def authors_file(state: State, entry: str = "model", **args: Any) -> Path:
    """A checkpoint as the authors' training writes it, all that is not the weights made up."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=320)
    content = {
        entry: dict(state),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 319,
        "max_test_acc1": 63.18,
    }
    if args:
        content["args"] = argparse.Namespace(device="cuda", distributed=True, data_path="imagenet", **args)
    torch.save(content, "checkpoint_max.pth")
    return Path("checkpoint_max.pth")


def mean_logits(multi_step: nn.Module, x: Tensor, timesteps: int) -> Tensor:
    functional.reset_net(multi_step)
    with torch.no_grad():
        logits: Tensor = multi_step(x if x.dim() == 5 else x.expand(timesteps, *x.shape))
    return logits.mean(0) if logits.dim() == 3 else logits


def same_function(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...], timesteps: int) -> bool:
    """Whether both give the same logits for random images, each model from its start state; and not all the same."""
    samples = random_samples(2, steps=timesteps, shape=shape)
    x = torch.from_numpy(np.array(samples.x))
    with torch.no_grad():
        logits = run_timesteps(ours.eval(), x, timesteps)
    assert logits.std() > 0 and not torch.equal(logits[0], logits[1])
    return torch.allclose(logits, mean_logits(theirs.eval(), x.transpose(0, 1), timesteps), atol=1e-5)


# The authors' files


@pytest.mark.parametrize("prefix", ["", "module.net."])
@pytest.mark.parametrize(
    ("name", "connect", "arguments"),
    [
        ("resnet18", "ADD", {"connect_f": "ADD", "T": 3}),
        ("resnet18", "IAND", {"connect_f": "iand", "T": 3}),
        ("resnet34", "AND", {"cnf": "And", "T": 3}),
        ("resnet50", "IAND", {"connect_f": "IAND", "T": 3}),
        ("resnet18", None, {"connect_f": None, "T": 3}),
        ("resnet50", None, {"connect_f": None, "T": 3}),
    ],
)
def test_imagenet_files_of_the_authors(
    name: str, connect: str | None, arguments: dict[str, Any], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    options = {"spiking_neuron": neuron.IFNode, "num_classes": 7}
    if connect is None:
        theirs = getattr(spiking_resnet, f"spiking_{name}")(**options)
    else:
        theirs = getattr(sew_resnet, f"sew_{name}")(cnf=connect, **options)
        if connect == "IAND" and name == "resnet50":  # as the authors' code computes it, not as SpikingJelly's does
            monkeypatch.setattr(sew_resnet, "sew_function", lambda branch, shortcut, cnf: shortcut * (1.0 - branch))
    functional.set_step_mode(randomise(theirs), "m")
    state = authors_names(theirs.state_dict(), spiking=connect is None)
    # SEW ResNets are called spiking_resnet in the authors' arguments.
    path = authors_file({f"{prefix}{key}": value for key, value in state.items()}, model=f"spiking_{name}", **arguments)

    checkpoint = read_checkpoint(path, Hints(input_shape=SHAPE))
    assert (checkpoint.input_shape, checkpoint.timesteps) == (SHAPE, 3)
    assert [
        note for note in checkpoint.notes if not note.startswith("neurons: IFNode(v_threshold=1.0, v_reset=0.0)")
    ] == []
    assert same_function(checkpoint.model, theirs, SHAPE, 3)


class Container(nn.Module):
    """Layers without state over [T,N,...], named as in the authors' files: module.0, module.1, ..."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.module = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x.flatten(0, 1))
        return y.unflatten(0, x.shape[:2])


def conv(inputs: int, outputs: int, kernel: int) -> Container:
    return Container(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs))


def unit(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs, kernel), neuron.ParametricLIFNode(step_mode="m"))


class EventBlock(nn.Module):
    """A block of the authors' networks for events."""

    def __init__(self, channels: int, connect: str) -> None:
        super().__init__()
        self.connect = connect
        second: nn.Module = conv(channels, channels, 3) if connect == "spiking" else unit(channels, channels, 3)
        self.conv = nn.Sequential(unit(channels, channels, 3), second)
        if connect == "spiking":
            self.sn = neuron.ParametricLIFNode(step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        gates: dict[str, Callable[[], Tensor]] = {
            "ADD": lambda: x + y,
            "AND": lambda: x * y,
            "IAND": lambda: x * (1 - y),
            "spiking": lambda: self.sn(x + y),
            "plain": lambda: y,
        }
        return gates[self.connect]()


class EventNet(nn.Module):
    """The authors' networks for events; `layers` names them: a number of channels, "block" or "pool"."""

    def __init__(self, layers: list[int | str], connect: str, *, inputs: int, classes: int, kernel: int = 1) -> None:
        super().__init__()
        units: list[nn.Module] = []
        channels = 2
        for layer in layers:
            if isinstance(layer, int):
                units.append(unit(channels, layer, kernel if not units else 1))
                channels = layer
            else:
                units.append(EventBlock(channels, connect) if layer == "block" else Container(nn.MaxPool2d(2, 2)))
        self.conv = nn.Sequential(*units, nn.Flatten(2))
        self.out = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.conv(x).mean(0))
        return logits


def event_net(layers: list[int | str], connect: str, **sizes: int) -> EventNet:
    torch.manual_seed(0)
    net = EventNet(layers, connect, **sizes)
    randomise(net)
    for module in net.modules():
        if isinstance(module, neuron.ParametricLIFNode):
            module.w.data.normal_(0.5, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data += 0.8
    return net.eval()


SEVEN_B: list[int | str] = [32, *["block", "pool"] * 7]
WIDE_SEVEN_B: list[int | str] = [64, *["block", "pool"] * 4, 128, *["block", "pool"] * 3]


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND", "spiking", "plain"])
def test_dvs_gesture_files_of_the_authors(connect: str) -> None:
    theirs = event_net(SEVEN_B, connect, inputs=32, classes=11)
    connect_f = connect.lower() if connect.isupper() else None
    names = {"spiking": "SpikingResNet", "plain": "PlainNet"}
    path = authors_file(
        theirs.state_dict(), model=names.get(connect, "SEWResNet"), connect_f=connect_f, T=2, T_train=12
    )
    checkpoint = read_checkpoint(path)
    assert (checkpoint.input_shape, checkpoint.timesteps) == ((2, 128, 128), 2)
    assert sum(p.numel() for p in checkpoint.model.parameters()) == 130_426
    assert same_function(checkpoint.model, theirs, (2, 128, 128), 2)


def test_cifar10_dvs_files_of_the_authors() -> None:
    theirs = event_net(WIDE_SEVEN_B, "ADD", inputs=128, classes=10)
    path = authors_file(theirs.state_dict(), entry="net")
    with pytest.raises(OptionError, match=r"(?s)--arch sew_resnet or --arch plain_net.*--timesteps T"):
        read_checkpoint(path)
    checkpoint = read_checkpoint(path, Hints(connect="ADD", timesteps=2))
    assert checkpoint.timesteps == 2
    assert sum(p.numel() for p in checkpoint.model.parameters()) == 1_192_218
    assert same_function(checkpoint.model, theirs, (2, 128, 128), 2)


@pytest.mark.parametrize(
    ("layers", "inputs", "shape"),
    [
        ([4, "block", "pool", "block", "pool"], 4 * 3 * 2, (2, 12, 8)),
        ([4, "block", "pool", "block", "block"], 4 * 6 * 4, (2, 12, 8)),
        ([4, 6, "block", "block", "pool", 8, "block", "pool"], 8 * 3 * 2, (2, 13, 9)),
    ],
)
def test_poolings_are_found_in_the_gaps(layers: list[int | str], inputs: int, shape: tuple[int, ...]) -> None:
    theirs = event_net(layers, "IAND", inputs=inputs, classes=3, kernel=3)
    path = authors_file(theirs.state_dict(), connect_f="IAND", T=3)
    checkpoint = read_checkpoint(path, Hints(input_shape=shape))
    assert same_function(checkpoint.model, theirs, shape, 3)
    with pytest.raises(OptionError, match=rf"its read-out takes {inputs} numbers, but from images of 128x128"):
        read_checkpoint(path)


# Small nets in the formats of others


def small(arch: str = "sew_resnet", kind: str = "IFNode", *, block: str = "basic", **changes: Any) -> nn.Module:
    """A narrow net with the stem and the four stages of the ImageNet nets, BatchNorms as after training."""
    numbers = {} if kind == "IFNode" else {"tau": 2.0, "decay_input": True}
    stages = [(2, 1, 1), (3, 2, 2), (4, 1, 2), (5, 1, 2)]
    config = {
        "connect": "ADD" if arch == "sew_resnet" else None,
        "input_shape": [2, 32, 32],
        "timesteps": 2,
        "neuron": {"kind": kind, "v_threshold": 1.0, "v_reset": 0.0, **numbers},
        "stem": {"kernel": 7, "channels": 4},
        "block": block,
        "stages": [
            {"channels": 4 * width, "blocks": blocks, "stride": stride, "transition": False, "max_pool": False}
            for width, blocks, stride in stages
        ],
        "global_pool": True,
        "classes": 5,
    }
    torch.manual_seed(0)
    return randomise(build_model(arch, config | changes))


def spikingjelly_names(state: State) -> dict[str, Tensor]:
    return {
        re.sub(r"\bneuron(\d)\.", r"sn\1.", key.replace("downsample.2.", "downsample_sn.")): tensor
        for key, tensor in state.items()
    }


def small_state(*arguments: str, **changes: Any) -> dict[str, Tensor]:
    return spikingjelly_names(small(*arguments, **changes).state_dict())


ALL = Hints(arch="sew_resnet", connect="ADD", neuron="IF", input_shape=(2, 32, 32), timesteps=2)


def recognise_with(state: State, args: Any = None, **hints: Any) -> Recognised:
    """What is recognised with all hints but those given as None."""
    return recognise(state, args, replace(ALL, **hints))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"arch": None, "connect": None}, "--arch sew_resnet or --arch spiking_resnet: both have the same tensors"),
        ({"connect": None}, "--connect ADD, AND or IAND, for a SEW ResNet: no tensor shows its connect function"),
        ({"neuron": None}, "--neuron IF or --neuron LIF: neither has tensors"),
        ({"timesteps": None}, "--timesteps T: the file does not say"),
        ({"input_shape": None}, "--input-shape 2,H,W: the network takes images of any size"),
    ],
)
def test_what_no_tensor_shows_is_asked(missing: dict[str, None], words: str) -> None:
    state = small_state()
    with pytest.raises(OptionError) as caught:
        recognise_with(state, **missing)
    first, *questions = str(caught.value).splitlines()
    assert first == "these are the weights of a network in the format of SpikingJelly."
    assert any(question.startswith(words) for question in questions)
    assert len(questions) == len(missing)


def test_everything_is_asked_at_once() -> None:
    with pytest.raises(OptionError) as caught:
        recognise(small_state(), None, Hints())
    options = [question.split()[0] for question in str(caught.value).splitlines()[1:]]
    assert options == ["--arch", "--connect", "--input-shape", "--timesteps", "--neuron"]


def test_the_order_of_iand_is_asked_for_spikingjellys_bottlenecks_only() -> None:
    deep, flat = small_state(block="bottleneck"), small_state()
    with pytest.raises(OptionError, match=r"--iand-order paper, shortcut \* \(1 - branch\), or --iand-order reversed"):
        recognise_with(deep, connect="IAND")
    assert recognise_with(deep, connect="IAND", iand_order="reversed").config["iand_order"] == "reversed"
    assert recognise_with(flat, connect="IAND").config["iand_order"] == "paper"
    authors = authors_names(deep, spiking=False)
    assert recognise_with(authors, connect="IAND").config["iand_order"] == "paper"
    with pytest.raises(OptionError, match="--iand-order reversed: networks of this file's format and block compute"):
        recognise_with(authors, connect="IAND", iand_order="reversed")


def test_learned_neurons_show_the_family() -> None:
    assert (
        recognise_with(small_state("sew_resnet", "ParametricLIFNode"), arch=None, connect="ADD", neuron=None).arch
        == "sew_resnet"
    )
    spiking = recognise_with(small_state("spiking_resnet", "ParametricLIFNode"), arch=None, connect=None, neuron=None)
    assert (spiking.arch, spiking.config["neuron"]["kind"]) == ("spiking_resnet", "ParametricLIFNode")


def test_neurons_are_what_the_hint_says() -> None:
    config = recognise_with(small_state(), neuron="LIF,tau=1.5,v_reset=none, decay_input=false,v_threshold=0.5").config
    assert config["neuron"] == {
        "kind": "LIFNode", "tau": 1.5, "v_reset": None, "decay_input": False, "v_threshold": 0.5
    }  # fmt: skip
    learned = recognise_with(small_state("sew_resnet", "ParametricLIFNode"), neuron="plif,v_reset=-0.5")
    assert learned.config["neuron"]["v_reset"] == -0.5
    assert any("ParametricLIFNode(v_threshold=1.0, v_reset=-0.5, decay_input=True)" in note for note in learned.notes)


def test_the_arguments_of_a_training_answer_too() -> None:
    state = small_state()
    args = argparse.Namespace(cnf="iAND", T=6, model="spiking_resnet18")
    recognised = recognise_with(state, args, connect=None, timesteps=None)
    assert (recognised.config["connect"], recognised.config["timesteps"]) == ("IAND", 6)
    assert recognise_with(state, {"connect_f": "AND"}, connect=None).config["connect"] == "AND"
    assert recognise_with(state, args, connect="IAND", timesteps=3).config["timesteps"] == 3
    with pytest.raises(OptionError, match="--arch sew_resnet or --arch spiking_resnet"):
        recognise_with(state, args, arch=None, connect=None)
    with pytest.raises(ModelError, match="its arguments name the connect function 'XOR'"):
        recognise_with(state, {"cnf": "XOR"}, connect=None)


def test_a_plain_net_that_was_trained_with_a_connect_function_is_asked_about() -> None:
    state = event_net([4, "block", "pool"], "plain", inputs=4, classes=3).state_dict()
    hints = Hints(timesteps=2, input_shape=(2, 2, 2))
    assert recognise(state, {"connect_f": None, "model": "PlainNet"}, hints).arch == "plain_net"
    assert recognise(state, {"connect_f": "ADD", "model": "SEWResNet"}, hints).arch == "sew_resnet"
    with pytest.raises(OptionError, match="--arch sew_resnet or --arch plain_net"):
        recognise(state, {"connect_f": "ADD", "model": "PlainNet"}, hints)


@pytest.mark.parametrize(
    ("kind", "hints", "words"),
    [
        ("sew_resnet", {"arch": "vgg"}, "--arch vgg: choose sew_resnet, spiking_resnet, plain_net, sew_resnet18"),
        (
            "sew_resnet",
            {"arch": "plain_net"},
            "--arch plain_net: the tensors of this file are those of a sew_",
        ),
        ("sew_resnet", {"arch": "sew_resnet50"}, r"the file has basic blocks \[1, 2, 1, 1\], 1 groups of width 64"),
        ("sew_resnet", {"connect": "OR"}, "--connect OR: choose ADD, AND, IAND"),
        ("sew_resnet", {"arch": "spiking_resnet"}, "--connect ADD: this is a spiking_resnet, which has no connect"),
        ("sew_resnet", {"iand_order": "paper"}, "--iand-order paper: the connect function is ADD"),
        ("sew_resnet", {"iand_order": "mine", "connect": "IAND"}, "--iand-order mine: choose paper or reversed"),
        ("sew_resnet", {"iand_order": "reversed", "connect": "IAND"}, "compute the paper's order"),
        ("sew_resnet", {"neuron": "PLIF"}, "--neuron PLIF: the neurons of this file have no learned tau"),
        ("sew_resnet", {"neuron": "GLIF"}, "--neuron GLIF: choose IF, LIF, PLIF"),
        ("sew_resnet", {"neuron": "IF,tau=2"}, "'tau=2' is none of IF's: v_threshold, v_reset, name=value"),
        ("sew_resnet", {"neuron": "LIF,tau"}, "'tau' is none of LIF's"),
        ("sew_resnet", {"neuron": "LIF,tau=x"}, "'x' is no value for tau"),
        (
            "sew_resnet",
            {"input_shape": (3, 32, 32)},
            "3,32,32: the first convolution of the file takes 2",
        ),
        ("sew_resnet", {"input_shape": (32, 32)}, "--input-shape 32,32: these networks take C,H,W"),
        ("learned", {"neuron": "IF"}, "--neuron IF: the neurons of this file have a learned tau, w: they are PLIF"),
        (
            "learned",
            {"arch": "spiking_resnet"},
            "spiking_resnet: the tensors of this file are those of a sew_resnet",
        ),
    ],
)
def test_a_hint_that_contradicts_the_file_is_an_error(kind: str, hints: dict[str, Any], words: str) -> None:
    state = small_state("sew_resnet", "ParametricLIFNode") if kind == "learned" else small_state()
    with pytest.raises(OptionError, match=words):
        recognise_with(state, **({"neuron": None} if kind == "learned" else {}) | hints)


def test_a_hint_that_contradicts_the_arguments_is_an_error() -> None:
    with pytest.raises(OptionError, match="--connect ADD: the file says that the network was trained with AND"):
        recognise_with(small_state(), {"connect_f": "and"})


def without(state: State, *parts: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not any(part in key for part in parts)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {f"other.{key}": value for key, value in s.items()}, r"the names of its \d+ tensors \(other.conv1"),
        (lambda s: without(s, "layer4"), "its first convolution is 7x7 and it has 3 stages"),
        (lambda s: without(s, "layer2."), "of layer2 there are the blocks none"),
        (lambda s: without(s, "layer2.0."), "of layer2 there are the blocks 1: some are missing"),
        (lambda s: without(s, "fc.weight"), "fc.weight is missing"),
        (lambda s: s | {"fc.weight": torch.zeros(3)}, r"fc.weight has shape \[3\]; it must have 2 sizes"),
        (lambda s: s | {"conv1.weight": torch.zeros(8, 2, 3, 3)}, "its first convolution is 3x3"),
        (lambda s: s | {"neuron1.w": torch.zeros(()), "sn1.w": torch.zeros(())}, "a second tensor for neuron1.w"),
    ],
)
def test_tensors_of_no_known_network_are_told(change: Callable[[State], State], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        recognise_with(change(small_state()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: without(s, "conv.1."), "its layers are convolution, pooling, pooling, block"),
        (lambda s: s | {"conv.1.conv.0.0.module.0.weight": torch.zeros(6, 4, 3, 3)}, "it is 4x4x3x3"),
        (lambda s: s | {"conv.999999.0.module.0.weight": torch.zeros(1)}, "pooling, ...; the authors' networks"),
    ],
)
def test_event_layers_of_no_known_network_are_told(change: Callable[[State], State], words: str) -> None:
    state = event_net([4, "block", "pool", "block", "pool"], "ADD", inputs=4, classes=3).state_dict()
    with pytest.raises(ModelError, match=words):
        recognise(change(state), None, Hints(connect="ADD", input_shape=(2, 4, 4), timesteps=1))


# Files

HINTS = ("--connect", "ADD", "--neuron", "IF", "--input-shape", "2,32,32")


def test_weights_that_do_not_fit_are_listed() -> None:
    state = without(small_state(), "bn1.running_mean") | {"layer1.0.extra": torch.zeros(1)}
    torch.save(state, "net.pt")
    message = cli.fail("check", "net.pt", *HINTS).splitlines()
    assert message[0] == "net.pt (names as docs/checkpoint.md maps them): the weights do not fit the model:"
    assert "  bn1.running_mean is missing" in message and "  layer1.0.extra is not part of the model" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_are_converted_with_a_note(dtype: torch.dtype) -> None:
    model = small()
    state = spikingjelly_names(model.state_dict())
    torch.save({key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}, "net.pt")
    ended = cli.run("check", "net.pt", *HINTS)
    floats = sum(value.is_floating_point() for value in state.values())
    kind = str(dtype).removeprefix("torch.")
    assert ended.code == 0
    assert f"net.pt: {floats} of {len(state)} tensors are {kind}; they were converted to float32" in ended.err
    converted = read_checkpoint(Path("net.pt"), replace(ALL, arch=None)).model.state_dict()
    assert torch.equal(converted["conv1.weight"], model.state_dict()["conv1.weight"].to(dtype).float())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(5, 20, dtype=torch.int8), "fc.weight has type int8, the model needs float32"),
        (torch.zeros(5, 20, device="meta"), "fc.weight has no plain values (torch.strided, device meta)"),
        (torch.zeros(5, 20).to_sparse(), "fc.weight has no plain values (torch.sparse_coo, device cpu)"),
    ],
)
def test_tensors_without_numbers_of_the_right_kind_are_named(value: Tensor, words: str) -> None:
    torch.save(small_state() | {"fc.weight": value}, "net.pt")
    assert words in cli.fail("check", "net.pt", *HINTS)


def test_a_data_parallel_prefix_is_no_obstacle_for_a_factory() -> None:
    Path("small_factory.py").write_text(
        "from snn2hw.models.neurons import IFNode\nfrom torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Linear(2, 2), IFNode(), nn.Linear(2, 2))\n"
    )
    state = nn.Sequential(nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2)).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, "weights.pt")
    arguments = ("check", "small_factory:build", "--weights", "weights.pt", "--input-shape", "2")
    cli.succeed(*arguments)
    assert cli.fail(*arguments, "--connect", "ADD") == (
        "small_factory:build: --connect is for files that hold weights alone. Leave it out."
    )


def test_symbolic_links_are_followed_and_pipes_are_not_read() -> None:
    torch.save(small_state(), "real.pt")
    os.symlink("real.pt", "link.pt")
    assert cli.run("check", "link.pt", *HINTS).code == 0
    os.mkfifo("pipe.pt")
    ended = cli.run("check", "pipe.pt", *HINTS)
    assert (ended.code, ended.err) == (2, "error: pipe.pt: this is not a regular file.\n")


def test_a_zip_bomb_is_refused_with_its_numbers() -> None:
    with zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb/data.pkl", b"\x80\x02}.")
        file.writestr("bomb/data/0", bytes(100_000_000))
    message = cli.fail("check", "bomb.pt", *HINTS)
    assert message.startswith("bomb.pt: 100 MB would come out of 0.097 MB")


def test_tensors_that_claim_more_than_the_file_holds_are_refused() -> None:
    torch.save(small_state() | {"fc.weight": torch.zeros(1, 1).expand(10**9, 20)}, "net.pt")
    message = cli.fail("check", "net.pt", *HINTS)
    assert message.startswith("net.pt: 80,000 MB would come out of ")


def test_a_checkpoint_that_was_compressed_is_read() -> None:
    torch.save(small_state(), "net.pt")
    with zipfile.ZipFile("net.pt") as old, zipfile.ZipFile("small.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert cli.run("check", "small.pt", *HINTS).code == 0


def test_the_state_of_an_optimiser_is_not_read() -> None:
    size = 1 << 28
    torch.save({"model": small_state(), "optimizer": {"momentum": torch.zeros(size // 4)}}, "net.pt")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    content = read_torch_file(Path("net.pt"))
    assert read_weights(Path("net.pt")).keys() == content["model"].keys()
    assert resident() - before < size // 8


def test_weights_alone_go_all_the_way() -> None:
    """Exported with hints, and loaded again from what the bundle remembers of them."""
    torch.save({"model": small_state("sew_resnet", block="bottleneck"), "args": argparse.Namespace(T=2)}, "net.pt")
    samples = random_samples(3, shape=(2, 32, 32))
    np.savez("x.npz", x=samples.x)
    hints = ("--connect", "iand", "--iand-order", "reversed", "--neuron", "LIF,tau=1.25", "--input-shape", "2,32,32")
    ended = cli.run("export", "net.pt", "--target", "lava", "--calibrate", "x.npz", *hints)
    assert ended.code == 0, ended
    assert ended.err.startswith("net.pt: neurons: LIFNode(v_threshold=1.0, v_reset=0.0, tau=1.25, decay_input=True)")
    options = json.loads(Path("net.lava/manifest.json").read_text())["source"]["options"]
    assert options == {
        "input_shape": [2, 32, 32], "timesteps": 2, "connect": "iand", "iand_order": "reversed",
        "neuron": "LIF,tau=1.25",
    }  # fmt: skip
    loaded, reason = provenance.model_of(read_bundle(Path("net.lava")), None, None, False)
    assert loaded is not None and loaded.traced is not None, reason


@pytest.mark.parametrize("kind", ["IFNode", "LIFNode", "ParametricLIFNode"])
def test_checkpoints_of_this_project_hold_every_kind_of_neuron(kind: str) -> None:
    recognised = recognise_with(
        small_state("sew_resnet", kind, block="bottleneck"), neuron=None if kind[0] == "P" else kind[:-4]
    )
    model = build_model(recognised.arch, recognised.config)
    model.load_state_dict(recognised.state)
    save_checkpoint("ours.pt", model, recognised.arch, recognised.config)
    again = read_checkpoint(Path("ours.pt"))
    x = torch.from_numpy(random_samples(2, shape=(2, 32, 32)).x)
    assert (again.input_shape, again.timesteps, again.notes) == ((2, 32, 32), 2, ())
    with torch.no_grad():
        assert torch.equal(run_timesteps(again.model.eval(), x, 2), run_timesteps(model.eval(), x, 2))


@pytest.mark.parametrize(
    ("neuron", "words"),
    [
        ({"kind": "QIFNode"}, "'kind' is 'QIFNode'; it must be one of Leaky, IFNode, LIFNode, ParametricLIFNode"),
        ({}, "key 'kind' is missing: give one of Leaky, IFNode"),
        ({"kind": "IFNode", "v_threshold": 0, "v_reset": None}, "'v_threshold' is 0; it must be a number above 0"),
        ({"kind": "IFNode", "v_threshold": 1, "v_reset": "soft"}, "'v_reset' is 'soft'; it must be a number, or None"),
        ({"kind": "LIFNode", "v_threshold": 1, "v_reset": 0, "tau": 1}, "(?s)'decay_input' is missing.*'tau' is 1"),
        ({"kind": "IFNode", "v_threshold": 1, "v_reset": 0, "tau": 2.0}, "key 'tau' is unknown"),
    ],
)
def test_wrong_neurons_of_checkpoints_are_named(neuron: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        small(neuron=neuron)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"groups": 2}, "2 groups of width 64: a basic block has 1 group of width 64"),
        ({"block": "bottleneck", "width_per_group": 1}, "no channel is left of 8"),
        ({"groups": 0}, "'groups' is 0"),
        ({"iand_order": "mine"}, "'iand_order' is 'mine'; it must be one of paper, reversed"),
    ],
)
def test_wrong_widths_and_orders_of_checkpoints_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        small(**changes)


def test_checkpoints_of_this_project_take_no_hints() -> None:
    torch.save({"schema": SCHEMA, "arch": "sew_resnet", "config": {}, "state_dict": {}}, "ours.pt")
    message = cli.fail("check", "ours.pt", "--neuron", "IF", "--arch", "sew_resnet")
    assert message == "ours.pt says itself which network it holds. Leave out --arch, --neuron."


# Pickles

MODULE = """
from torch import nn
from snn2hw.models.neurons import IFNode

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(2, 3, 3), IFNode(), nn.Flatten(), nn.Linear(3 * 2 * 2, 4))
"""


@pytest.fixture
def pickled(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """net.pt: a whole module whose class lies in the current folder."""
    Path("pickled_net.py").write_text(MODULE)
    monkeypatch.syspath_prepend(here)
    import pickled_net  # type: ignore[import-not-found]

    torch.manual_seed(0)
    net = pickled_net.Net()
    with torch.no_grad():
        net[0].bias.add_(0.5)
    torch.save(net, "net.pt")
    np.savez("x.npz", x=random_samples(4, shape=(2, 4, 4)).x)
    monkeypatch.delitem(__import__("sys").modules, "pickled_net")
    return Path("net.pt")


SIZES = ("--input-shape", "2,4,4", "--timesteps", "3")


def test_a_whole_module_needs_trust(pickled: Path) -> None:
    message = cli.fail("check", "net.pt", *SIZES)
    assert message.startswith("net.pt: the file holds the Python object pickled_net.Net, which would run code")
    assert "If you trust whoever made the file" in message and "--trust-pickle" in message
    assert cli.run("check", "net.pt", *SIZES, "--trust-pickle").code == 0
    assert cli.fail("export", "net.pt", "--target", "lava", "--trust-pickle", "--timesteps", "3").startswith(
        "net.pt does not say it: give --input-shape C,H,W"
    )


def test_a_bundle_cannot_ask_for_trust_itself(pickled: Path) -> None:
    arguments = ("export", "net.pt", "--target", "lava", "--calibrate", "x.npz", *SIZES, "--trust-pickle")
    assert cli.run(*arguments).code == 0
    bundle = read_bundle(Path("net.lava"))
    assert bundle.manifest["source"]["options"]["trust_pickle"] is True
    loaded, reason = provenance.model_of(bundle, None, None, False)
    assert loaded is None and "allow it with --trust-pickle" in reason
    loaded, reason = provenance.model_of(bundle, None, None, True)
    assert loaded is not None, reason


def test_a_trusted_file_that_cannot_be_loaded_is_told(pickled: Path) -> None:
    Path("pickled_net.py").write_text("Other = 1\n")
    message = cli.fail("check", "net.pt", *SIZES, "--trust-pickle")
    assert message.startswith("net.pt: loading it failed (AttributeError: ")


# The learned tau of PLIF neurons: a number, which some versions of the neuron hold as a list of one


def with_taus_of(shape: tuple[int, ...], state: State) -> dict[str, Tensor]:
    """The state with every learned tau, w, in this shape."""
    return {key: value.reshape(shape) if key.endswith(".w") else value for key, value in state.items()}


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_learned_tau_is_a_number_or_a_list_of_one(shape: tuple[int, ...]) -> None:
    theirs = event_net([4, "block", "pool"], "ADD", inputs=4 * 3 * 2, classes=3)
    path = authors_file(with_taus_of(shape, theirs.state_dict()), connect_f="ADD", T=3)
    checkpoint = read_checkpoint(path, Hints(input_shape=(2, 6, 4)))
    assert same_function(checkpoint.model, theirs, (2, 6, 4), 3)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("names", [spikingjelly_names, lambda state: authors_names(state, spiking=False)])
def test_so_it_is_in_every_format(names: Callable[[State], State], shape: tuple[int, ...]) -> None:
    model = small("sew_resnet", "ParametricLIFNode")
    torch.save(with_taus_of(shape, names(model.state_dict())), "net.pt")
    tensors = read_checkpoint(Path("net.pt"), replace(ALL, neuron=None)).model.state_dict()
    taus = {key: value for key, value in model.state_dict().items() if key.endswith(".w")}
    assert taus and all(torch.equal(tensors[key], value) for key, value in taus.items())


def test_a_learned_tau_of_several_numbers_is_told() -> None:
    state = small_state("sew_resnet", "ParametricLIFNode")
    torch.save({key: value.repeat(2) if key.endswith(".w") else value for key, value in state.items()}, "net.pt")
    message = cli.fail("check", "net.pt", "--connect", "ADD", "--input-shape", "2,32,32")
    assert "neuron1.w has shape [2], the model needs []" in message
