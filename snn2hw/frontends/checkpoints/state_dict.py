"""Which network a bare state dict belongs to: read from its tensors, from the training's arguments, and from hints.

What none of them says is asked for, all at once; nothing is guessed. What the code of a format fixes, and what was
taken for granted, stands in the notes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.errors import ModelError, OptionError
from snn2hw.frontends.checkpoints.hints import ARCHS, DEFAULTS, NAMED_NETS, NEURONS, PARAMETERS, Hints, parse_neuron
from snn2hw.frontends.checkpoints.state_events import read_authors_events
from snn2hw.frontends.checkpoints.state_formats import NetworkFacts, State, read_authors_imagenet, read_spikingjelly
from snn2hw.models.blocks import GATES, IAND_ORDERS
from snn2hw.models.sew_resnet import IMAGENET_NETS

Arguments = argparse.Namespace | Mapping[str, Any] | None

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""DataParallel's, torch.compile's, and what the net is called in most LightningModules."""
CONNECT_ARGUMENTS = ("connect_f", "cnf")


class Recognised(NamedTuple):
    """A network of snn2hw.models.checkpoint: architecture, config and weights, and what was taken for granted."""

    arch: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    notes: tuple[str, ...]


def recognise(state: Mapping[str, Tensor], args: Arguments, hints: Hints) -> Recognised:
    """Find the network that a state dict belongs to.

    Args:
        state: the tensors [*shape] under the names of SpikingJelly's sew_resnet or spiking_resnet, or of the SEW ResNet
            authors' networks for ImageNet, DVS Gesture and CIFAR10-DVS, all with a leading `module.` or none.
        args: arguments of the training, as they lie beside the weights. Of these the connect function (connect_f or
            cnf) and T are used; the name of the model is not trusted, for SEW ResNets are called spiking_resnet there.
        hints: what the user says.
    Raises:
        ModelError: the tensors belong to none of these networks.
        OptionError: options are missing, all of them listed; or a hint contradicts the file.
    """
    if hints.input_shape is not None and len(hints.input_shape) != 3:
        raise OptionError(f"--input-shape {','.join(map(str, hints.input_shape))}: these networks take C,H,W.")
    arguments = dict(vars(args) if isinstance(args, argparse.Namespace) else args or {})
    network = _read_format(without_prefix(state), hints.input_shape)
    settle = _Settle(network, arguments, hints)
    arch = settle.arch()
    connect = settle.connect(arch)
    config = {
        "connect": connect,
        "iand_order": settle.iand_order(connect),
        "input_shape": settle.input_shape(),
        "timesteps": settle.timesteps(),
        "neuron": settle.neuron(),
        **network.structure,
    }
    if settle.questions:
        raise OptionError(
            "\n".join([f"these are the weights of a network in the format of {network.format}.", *settle.questions])
        )
    return Recognised(arch, config, network.state, tuple(settle.notes))


def _read_format(state: State, input_shape: Shape | None) -> NetworkFacts:
    """What the names and sizes of the tensors say. Raises ModelError if no known network has them."""

    def some(pattern: str) -> bool:
        return any(re.match(pattern, key) for key in state)

    if some(r"conv\.\d+\.(0\.module|conv)\."):
        return read_authors_events(state, input_shape)
    if some(r"layer\d+\.\d+\.conv\d\.module\."):
        return read_authors_imagenet(state)
    if some(r"layer\d+\.\d+\.bn\d\."):
        return read_spikingjelly(state)
    shown = ", ".join(list(state)[:5])
    raise ModelError(
        f"the names of its {len(state)} tensors ({shown}{', ...' if len(state) > 5 else ''}) are neither those of "
        "SpikingJelly's sew_resnet or spiking_resnet, nor of the SEW ResNet authors' networks for ImageNet, DVS "
        "Gesture or CIFAR10-DVS."
    )


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict, tensors [*shape] by name, without what wrappers write before every name.

    It stays as it is unless all names have that.
    """
    while prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return dict(state)


class _Settle:
    """Settles one question after another from the tensors, the arguments and the hints; collects what stays open.

    network: what the tensors show. arguments: of the training, by name. hints: the user's.
    """

    def __init__(self, network: NetworkFacts, arguments: Mapping[str, Any], hints: Hints) -> None:
        self.network, self.arguments, self.hints = network, arguments, hints
        self.questions: list[str] = []
        self.notes: list[str] = []

    def arch(self) -> str:
        families, hint = self.network.families, self.hints.arch
        if hint is not None:
            family = self._named(hint)
            if family not in families:
                raise OptionError(f"--arch {hint}: the tensors of this file are those of a {' or '.join(families)}.")
            return family
        if len(families) == 1:
            return families[0]
        if self.hints.connect is not None:
            return "sew_resnet"
        if self.network.connect_decides and any(key in self.arguments for key in CONNECT_ARGUMENTS):
            if self._connect_of_training() is None:
                return "plain_net"  # a SEW ResNet without a connect function cannot be run
            if "plain" not in str(self.arguments.get("model")).lower():
                return "sew_resnet"
        other = next(family for family in families if family != "sew_resnet")
        self.questions.append(
            f"--arch sew_resnet or --arch {other}: both have the same tensors, and compute different functions."
        )
        return ""

    def _named(self, hint: str) -> str:
        """The family of an --arch. Raises OptionError if it names a network of other sizes than the file's."""
        if hint not in ARCHS:
            raise OptionError(f"--arch {hint}: choose {', '.join(ARCHS)}.")
        if hint not in NAMED_NETS:
            return hint
        layout = IMAGENET_NETS[hint.partition("_")[2]]
        structure = self.network.structure
        wanted = (layout.block, layout.blocks, layout.groups, layout.width_per_group)
        blocks = tuple(stage["blocks"] for stage in structure["stages"])
        in_file = (structure["block"], blocks, structure.get("groups", 1), structure.get("width_per_group", 64))
        if wanted != in_file:
            raise OptionError(
                f"--arch {hint} has {_layout(*wanted)}; the file has {_layout(*in_file)}. Leave out the depth: "
                f"--arch {NAMED_NETS[hint]}."
            )
        return NAMED_NETS[hint]

    def connect(self, arch: str) -> str | None:
        hint = self.hints.connect.upper() if self.hints.connect else None
        if hint is not None and hint not in GATES:
            raise OptionError(f"--connect {self.hints.connect}: choose {', '.join(GATES)}.")
        if arch in ("spiking_resnet", "plain_net"):
            if hint is not None:
                raise OptionError(f"--connect {hint}: this is a {arch}, which has no connect function. Leave it out.")
            return None
        trained = self._connect_of_training()
        if hint is not None and trained is not None and hint != trained:
            raise OptionError(f"--connect {hint}: the file says that the network was trained with {trained}.")
        if hint is None and trained is None:
            self.questions.append(
                "--connect ADD, AND or IAND, for a SEW ResNet: no tensor shows its connect function, and the file has "
                "no argument of the training that says it."
            )
        return hint or trained

    def _connect_of_training(self) -> str | None:
        value = next((self.arguments[key] for key in CONNECT_ARGUMENTS if self.arguments.get(key)), None)
        if value is None:
            return None
        if not isinstance(value, str) or value.upper() not in GATES:
            raise ModelError(f"its arguments name the connect function {value!r}; known are {', '.join(GATES)}.")
        return value.upper()

    def iand_order(self, connect: str | None) -> str:
        orders, hint = self.network.iand_orders, self.hints.iand_order
        if hint is not None:
            if hint not in IAND_ORDERS:
                raise OptionError(f"--iand-order {hint}: choose {' or '.join(IAND_ORDERS)}.")
            if connect is not None and connect != "IAND":
                raise OptionError(f"--iand-order {hint}: the connect function is {connect}. Leave it out.")
            if hint not in orders:
                raise OptionError(
                    f"--iand-order {hint}: networks of this file's format and block compute the paper's order."
                )
            return hint
        if connect == "IAND" and len(orders) > 1:
            self.questions.append(
                "--iand-order paper, shortcut * (1 - branch), or --iand-order reversed, branch * (1 - shortcut): the "
                "bottlenecks of SpikingJelly's sew_resnet compute the reversed one, the authors' code that of the "
                "paper. Give the one of the code that trained this network."
            )
        return "paper"

    def neuron(self) -> dict[str, Any]:
        network, hint = self.network, self.hints.neuron
        kind, given = parse_neuron(hint) if hint is not None else (None, {})
        if network.learned and kind not in (None, "ParametricLIFNode"):
            raise OptionError(f"--neuron {hint}: the neurons of this file have a learned tau, w: they are PLIF.")
        if not network.learned and kind == "ParametricLIFNode":
            raise OptionError(f"--neuron {hint}: the neurons of this file have no learned tau, w.")
        kind = kind or ("ParametricLIFNode" if network.learned else network.neuron)
        if kind is None:
            self.questions.append(
                "--neuron IF or --neuron LIF: neither has tensors. Where its numbers were not SpikingJelly's defaults, "
                "add them: --neuron LIF,tau=1.5,v_threshold=0.5,v_reset=none,decay_input=false."
            )
            return {}
        values = {name: given.get(name, DEFAULTS[name]) for name in PARAMETERS[kind]}
        if len(given) < len(values):
            shown = ", ".join(f"{name}={value}" for name, value in values.items())
            short = next(short for short, name in NEURONS.items() if name == kind)
            self.notes.append(
                f"neurons: {kind}({shown}). No tensor shows these numbers; where they were others, give --neuron "
                f"{short},name=value,..."
            )
        return {"kind": kind, **values} | ({"tau": DEFAULTS["tau"]} if network.learned else {})

    def timesteps(self) -> int:
        trained = self.arguments.get("T")
        trained_steps = trained if type(trained) is int and trained >= 1 else None
        steps = self.hints.timesteps or trained_steps or self.hints.default_timesteps
        if steps is None:
            self.questions.append(
                "--timesteps T: the file does not say for how many time steps the network was trained."
            )
        return steps or 1

    def input_shape(self) -> list[int]:
        channels, hint = self.network.channels, self.hints.input_shape
        if hint is not None:
            if hint[0] != channels:
                given = ",".join(map(str, hint))
                raise OptionError(
                    f"--input-shape {given}: the first convolution of the file takes {channels} channels."
                )
            return list(hint)
        if self.network.input_shape is not None:
            shape = self.network.input_shape
            self.notes.append(
                f"input: {list(shape)}, as {self.network.format} has it; another size: --input-shape C,H,W"
            )
            return list(shape)
        self.questions.append(
            f"--input-shape {channels},H,W: the network takes images of any size; ImageNet's are {channels},224,224."
        )
        return []


def _layout(block: str, blocks: tuple[int, ...], groups: int, width: int) -> str:
    return f"{block} blocks {list(blocks)}, {groups} groups of width {width}"
