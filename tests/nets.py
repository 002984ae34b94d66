"""Small nets to test with: residual blocks of every kind, neurons of both frameworks, in single and in multi step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import snntorch
import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based.model import ms_resnet
from torch import Tensor, nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import input_payloads
from snn2hw.frontends.torch.requantise import requantise
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.network.write_integers import integer_graph
from snn2hw.pipeline import Options, compile_network

SHAPE = (2, 8, 8)
MORE = 3 if "SNN2HW_ALL_TESTS" in os.environ else 1  # times as many drawn examples in make test-all
GATES = ("ADD", "AND", "IAND", "SPIKING")
NeuronFactory = Callable[[], nn.Module]
Wire = Callable[[Any, Tensor, Tensor], Any]


def leaky(beta: float, reset: str, **options: Any) -> NeuronFactory:
    return lambda: snntorch.Leaky(beta=beta, reset_mechanism=reset, init_hidden=True, **options)


SNNTORCH: dict[str, NeuronFactory] = {
    "leaky-if-zero": leaky(1.0, "zero"),
    "leaky-if-subtract": leaky(1.0, "subtract"),
    "leaky-if-none": leaky(1.0, "none"),
    "leaky-zero": leaky(0.9, "zero"),
    "leaky-subtract": leaky(0.8, "subtract"),
    "leaky-none": leaky(0.7, "none"),
}
SPIKINGJELLY: dict[str, NeuronFactory] = {
    "if": lambda: sj_neuron.IFNode(),
    "if-soft": lambda: sj_neuron.IFNode(v_reset=None),
    "if-reset": lambda: sj_neuron.IFNode(v_reset=-0.25),
    "lif": lambda: sj_neuron.LIFNode(tau=2.0, v_threshold=0.4),
    "lif-soft": lambda: sj_neuron.LIFNode(tau=1.5, v_threshold=0.4, v_reset=None),
    "lif-reset": lambda: sj_neuron.LIFNode(tau=3.0, v_threshold=0.2, v_reset=-0.1),
    "lif-whole-input": lambda: sj_neuron.LIFNode(tau=2.0, v_threshold=0.7, decay_input=False),
    "lif-whole-input-reset": lambda: sj_neuron.LIFNode(tau=3.0, decay_input=False, v_reset=0.3),
    "plif": lambda: sj_neuron.ParametricLIFNode(init_tau=1.6, v_threshold=0.5),
    "plif-whole-input-soft": lambda: sj_neuron.ParametricLIFNode(2.0, decay_input=False, v_threshold=0.7, v_reset=None),
}
NEURONS = SNNTORCH | SPIKINGJELLY
MULTI_STEP = [(name, multi) for name in NEURONS for multi in (False, True) if name in SPIKINGJELLY or not multi]
"""Every neuron by name, in single step and, where there is such a thing, in multi step."""


class Block(nn.Module):
    """A residual block: two convolutions, and a shortcut that is joined with them as `gate` says."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, gate: str, neuron: NeuronFactory, layers: ModuleType
    ) -> None:
        super().__init__()
        self.gate = gate
        self.conv1, self.bn1 = layers.Conv2d(inputs, outputs, 3, stride, 1, bias=False), layers.BatchNorm2d(outputs)
        self.conv2, self.bn2 = layers.Conv2d(outputs, outputs, 3, 1, 1, bias=False), layers.BatchNorm2d(outputs)
        self.neuron1, self.neuron2 = neuron(), neuron()
        self.down = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = [layers.Conv2d(inputs, outputs, 1, stride, bias=False), layers.BatchNorm2d(outputs)]
            self.down = nn.Sequential(*shortcut, *([] if gate == "SPIKING" else [neuron()]))

    def forward(self, x: Tensor) -> Tensor:
        current = self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(x)))))
        shortcut = self.down(x)
        if self.gate == "SPIKING":
            return self.neuron2(current + shortcut)
        return self.join(self.neuron2(current), shortcut)

    def join(self, spikes: Tensor, shortcut: Tensor) -> Tensor:
        if self.gate == "ADD":
            return spikes + shortcut
        return spikes * shortcut if self.gate == "AND" else (1 - spikes) * shortcut


def residual_net(
    gate: str | Sequence[str],
    neuron: NeuronFactory,
    *,
    blocks: Sequence[tuple[int, int]] = ((4, 1), (6, 2)),
    max_pool: Iterable[int] = (0,),
    multi_step: bool = False,
    classes: int = 3,
    seed: int = 0,
) -> nn.Sequential:
    """A net for inputs of SHAPE, seeded, with BatchNorm statistics as after training.

    Args:
        gate: how the blocks join their branches, one for all or one each.
        blocks: channels and stride of each.
        max_pool: numbers of the blocks that a 2x2 max pool follows.
        multi_step: the same net of SpikingJelly's layers, in step mode "m"; the logits are then the mean over time.
    """
    torch.manual_seed(seed)
    layers: Any = sj_layer if multi_step else nn
    channels = blocks[0][0]
    net = nn.Sequential(layers.Conv2d(SHAPE[0], channels, 3, 1, 1, bias=False), layers.BatchNorm2d(channels), neuron())
    gates = [gate] * len(blocks) if isinstance(gate, str) else gate
    for number, (connect, (outputs, stride)) in enumerate(zip(gates, blocks, strict=True)):
        net.add_module(f"block{number}", Block(channels, outputs, stride, connect, neuron, layers))
        if number in max_pool:
            net.add_module(f"pool{number}", layers.MaxPool2d(2))
        channels = outputs
    net.add_module("average", layers.AdaptiveAvgPool2d(1))
    net.add_module("flatten", layers.Flatten())
    net.add_module("fc", layers.Linear(channels, classes))
    if multi_step:
        net.add_module("mean", MeanOverTime())
        functional.set_step_mode(net, "m")
    return randomise(net)


GEOMETRIES: dict[str, Callable[[], list[nn.Module]]] = {
    "uneven": lambda: [nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))],
    "groups": lambda: [nn.Conv2d(2, 6, 3, groups=2, padding="same", dilation=2)],
    "a pool behind": lambda: [nn.Conv2d(2, 4, 3), nn.AvgPool2d((3, 2), stride=(1, 2))],
    "a pool before": lambda: [nn.AvgPool2d((3, 1), 2, (1, 0)), nn.Conv2d(2, 4, 2)],
    "a max pool before": lambda: [nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 4, 2)],
}


def geometry_net(name: str) -> nn.Sequential:
    """Convolution, neuron, the layers of GEOMETRIES, neuron, and a read-out of every pixel."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(SHAPE[0], 2, 3, padding=1), leaky(0.9, "subtract", threshold=0.3)()]
    body = nn.Sequential(*stem, *GEOMETRIES[name](), leaky(1.0, "zero", threshold=0.2)(), nn.Flatten())
    features = body(torch.zeros(1, *SHAPE)).shape[1]
    return body.append(nn.Linear(features, 3)).eval()


class MeanOverTime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


class Wired(nn.Module):
    """Named layers and a function that wires them: forward(x) is `wire(self, x)`."""

    def __init__(self, wire: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.wire = wire
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.wire(self, x)


def randomise(model: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics as after training, high enough for spikes in every layer. Draws from torch."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 1.0)
            if module.affine:
                module.weight.data.uniform_(0.5, 2)
                module.bias.data.normal_(0.4, 0.3)
    return model.eval()


def with_heads(wire: Wire, **layers: nn.Module) -> nn.Module:
    """A model that returns what `wire` makes of spikes in the middle [N, 4, 8, 8] and at the end [N, 6, 4, 4]."""

    def forward(self: Any, x: Tensor) -> Any:
        middle = self.block0(self.stem(x))
        return wire(self, middle, self.block1(middle))

    torch.manual_seed(5)
    neuron = NEURONS["if"]
    model: dict[str, nn.Module] = {
        "stem": nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), neuron()),
        "block0": Block(4, 4, 1, "ADD", neuron, nn),
        "block1": Block(4, 6, 2, "IAND", neuron, nn),
        "pool": nn.AdaptiveAvgPool2d(1),
        "fc": nn.Linear(6, 3),
        "aux": nn.Linear(4, 5),
    }
    return randomise(Wired(forward, **(model | layers)))


def two(self: Any, middle: Tensor, end: Tensor) -> Any:
    return self.fc(self.pool(end).flatten(1)), self.aux(self.pool(middle).flatten(1))


def random_samples(count: int, *, steps: int = 0, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Samples:
    """Inputs from 0 to 1, static or with `steps` frames each."""
    frames = (steps,) if steps else ()
    x = np.random.default_rng(seed).random((count, *frames, *shape), dtype=np.float32)
    return Samples(x, None, bool(steps))


def compile_model(model: nn.Module, samples: Samples, *, timesteps: int, **options: Any) -> tuple[Traced, ir.Program]:
    traced = trace(model, samples.shape)
    return traced, compile_network(traced.network, samples, Options(timesteps=timesteps, **options))


def run_requantised(traced: Traced, program: ir.Program, samples: Samples) -> ir.Spikes:
    """What simulate returns, from the model itself with the program's integers put back into it."""
    requantised = requantise(traced, integer_graph(program.graph))
    x = np.moveaxis(input_payloads(program, samples), 1, 0) * program.graph.input.scale
    steps = list(requantised.run(torch.from_numpy(x)))
    spikes = {name: np.stack([step[name].numpy() for step in steps], axis=1) for name in traced.origin}
    return spikes | {"logits": sum(step["logits"].numpy() for step in steps) * program.graph.readout.scales}


def trained_ms_resnet(
    layers: tuple[int, ...], channels: int = 4, kind: type[nn.Module] = ms_resnet.MSResNet
) -> nn.Module:
    """SpikingJelly's MS-ResNet, or its MaxResNet, with statistics as after training, with which every layer spikes."""
    torch.manual_seed(0)
    model = kind(layers=layers, base_channels=channels, num_classes=5, stem_stride=1)
    randomise(model)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.bias.data += 0.4
    return model.eval()
