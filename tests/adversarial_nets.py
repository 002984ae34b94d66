"""Small residual nets as users write them, drawn from a seed, with places where planting.py plants defects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import nets
import snntorch
import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn
from torch.nn.utils import fusion

from snn2hw.data.samples import Samples
from snn2hw.models import neurons as model_neurons

SINGLE, MULTI, SNNTORCH, MODELS = "spikingjelly", "spikingjelly-multi-step", "snntorch", "snn2hw.models"
FRAMEWORKS = (SINGLE, MULTI, SNNTORCH, MODELS)
STEPPED = (SINGLE, SNNTORCH, MODELS)
JELLY = (SINGLE, MULTI)
NEURONS: dict[str, dict[str, nets.NeuronFactory]] = {
    SINGLE: nets.SPIKINGJELLY,
    MULTI: nets.SPIKINGJELLY,
    SNNTORCH: nets.SNNTORCH,
    MODELS: {
        "leaky": lambda: model_neurons.leaky(beta=0.9),
        "if": lambda: model_neurons.IFNode(v_threshold=0.8),
        "if-soft": lambda: model_neurons.IFNode(v_reset=None),
        "lif": lambda: model_neurons.LIFNode(tau=2.0, v_threshold=0.4, v_reset=-0.1),
        "lif-whole-input": lambda: model_neurons.LIFNode(tau=2.0, decay_input=False),
        "plif": lambda: model_neurons.ParametricLIFNode(tau=1.6, v_threshold=0.5),
    },
}
NEURON_CLASSES = (sj_neuron.BaseNode, snntorch.Leaky, model_neurons.IFNode)
SAMPLES, CLASSES = 2, 3
RATES = (0.02, 0.98)

Change = Callable[[Any, Tensor], Tensor]
Kind = TypeVar("Kind", bound=nn.Module)


class Open(nn.Module):
    """A module whose forward hands its values to `changes`, which stand for statements that its author wrote there."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[str, Change] = {}

    def at(self, place: str, x: Tensor) -> Tensor:
        return self.changes[place](self, x) if place in self.changes else x


class Block(nets.Block, Open):
    """Two convolutions and a shortcut, joined as `gate` says."""

    def forward(self, x: Tensor) -> Tensor:
        current = self.at("current", self.bn1(self.conv1(x)))
        current = self.bn2(self.conv2(self.at("spikes", self.neuron1(current))))
        shortcut = self.down(x)
        if self.gate == "SPIKING":
            return self.at("joined", self.neuron2(current + shortcut))
        return self.at("joined", self.join(self.neuron2(current), shortcut))


class Net(Open):
    """A stem, blocks with pools behind some, and a read-out: logits [N, K] of a step, or of all steps [T, N, K]."""

    def __init__(self, stem: nn.Module, body: nn.Module, head: nn.Module, *, mean: bool) -> None:
        super().__init__()
        self.stem, self.body, self.head, self.mean = stem, body, head, mean

    def forward(self, x: Tensor) -> Tensor:
        logits = self.at("logits", self.head(self.at("features", self.body(self.stem(self.at("input", x))))))
        return logits.mean(0) if self.mean else logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A net, how it is called, and what it is called with."""

    net: nn.Module
    framework: str
    samples: Samples
    timesteps: int

    @property
    def x(self) -> Tensor:
        """What is shown to the net: [T, N, C, H, W]."""
        return torch.from_numpy(self.samples.steps(self.timesteps))


def draw(seed: int, frameworks: Sequence[str] = FRAMEWORKS, *, norms: bool = False) -> Drawn:
    """A net in which every layer fires, none always. norms: it has BatchNorms, which others may have folded."""
    framework = frameworks[seed % len(frameworks)]
    for attempt in itertools.count():
        random = Random(f"{framework} {seed} {attempt}")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(random.getrandbits(31))
            drawn = _attempt(random, framework, norms=norms)
            if all(RATES[0] <= rate <= RATES[1] for rate in firing_rates(drawn)):
                return drawn
    raise AssertionError("unreachable")


def reset(drawn: Drawn) -> None:
    """Put a net back to its start as the users of its framework do."""
    (functional.reset_net if drawn.framework in JELLY else model_neurons.reset_states)(drawn.net)


def run(drawn: Drawn, x: Tensor) -> Tensor:
    """The logits [N, K] for x [T, N, C, H, W] as a user sums them up: the mean over time."""
    if drawn.framework == MULTI:
        logits = drawn.net(x)
        return logits.mean(0) if logits.dim() == 3 else logits
    if isinstance(drawn.net, Timed):
        return torch.stack([drawn.net(frame, t) for t, frame in enumerate(x)]).mean(0)
    return torch.stack([drawn.net(frame) for frame in x]).mean(0)


def firing_rates(drawn: Drawn) -> list[float]:
    """The share of steps in which the neurons of each layer fire."""
    spikes: dict[nn.Module, list[Tensor]] = {module: [] for module in all_of(drawn.net, *NEURON_CLASSES)}
    handles = [
        module.register_forward_hook(lambda neuron, _, emitted: spikes[neuron].append(emitted)) for module in spikes
    ]
    reset(drawn)
    run(drawn, drawn.x)
    reset(drawn)
    for handle in handles:
        handle.remove()
    return [torch.stack(emitted).mean().item() for emitted in spikes.values()]


def all_of(net: nn.Module, *kinds: type[Kind]) -> list[Kind]:
    return [module for module in net.modules() if isinstance(module, kinds)]


def _attempt(random: Random, framework: str, *, norms: bool) -> Drawn:
    layers: Any = sj_layer if framework == MULTI else nn
    neuron = NEURONS[framework][random.choice(sorted(NEURONS[framework]))]
    inputs, size, channels = (random.randint(*ends) for ends in ((1, 2), (6, 8), (2, 4)))
    timesteps = random.choice((2, 2, 3, 4))
    stem = nn.Sequential(layers.Conv2d(inputs, channels, 3, 1, 1, bias=False), layers.BatchNorm2d(channels), neuron())
    per_step, binary = random.random() < 0.5, random.random() < 0.3
    shape = (SAMPLES, *([timesteps] if per_step else []), inputs, size, size)
    x = torch.randint(0, 2, shape).float() if binary else torch.rand(shape)

    body, graded, analog = nn.Sequential(), False, False
    for _ in range(random.randint(1, 2)):
        outputs, stride = (random.randint(2, 4), 2) if analog or random.random() < 0.4 else (channels, 1)
        identity = stride == 1 and channels == outputs
        gate = random.choice(("ADD", "SPIKING") if identity and graded else nets.GATES)
        body.append(Block(channels, outputs, stride, gate, neuron, layers))
        channels, size = outputs, -(-size // stride)
        graded = gate == "ADD" or (graded and identity and gate != "SPIKING")
        pool = random.choice(("max", "average", "", "")) if size >= 4 else ""
        analog = pool == "average"
        if pool:
            body.append((layers.AvgPool2d if analog else layers.MaxPool2d)(2))
            size //= 2
    head = nn.Sequential(layers.AdaptiveAvgPool2d(1) if random.random() < 0.5 else nn.Identity(), layers.Flatten())
    features = channels if isinstance(head[0], nn.AdaptiveAvgPool2d) else channels * size * size
    head.append(layers.Linear(features, CLASSES))
    net = Net(stem, body, head, mean=framework == MULTI and random.random() < 0.5)
    if framework == MULTI:
        functional.set_step_mode(net, "m")
    samples = Samples(x.numpy(), None, per_step)
    drawn = Drawn(net=net, framework=framework, samples=samples, timesteps=timesteps)
    _train(drawn)
    if random.random() < 0.25 and not norms:
        _fold(net)
    return drawn


def _train(drawn: Drawn) -> None:
    """Give every BatchNorm the statistics of its input, and weights and biases as after training."""
    norms = all_of(drawn.net, nn.BatchNorm2d)
    for norm in norms:
        norm.momentum = None  # the mean over all that is seen
        norm.weight.uniform_(0.7, 1.4)
        norm.bias.normal_(0.4, 0.15)
    reset(drawn)
    run(drawn, drawn.x)
    reset(drawn)
    for norm in norms:
        norm.momentum = 0.1
    drawn.net.eval()


def _fold(net: nn.Module) -> None:
    """Write a net without BatchNorm: folded into the convolutions, which get biases."""
    for parent in list(net.modules()):
        before: tuple[str, nn.Module] | None = None
        for name, child in list(parent.named_children()):
            if before and isinstance(child, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
                setattr(parent, before[0], fusion.fuse_conv_bn_eval(before[1], child))
                setattr(parent, name, nn.Identity())
            before = name, child


class Timed(Net):
    """A net whose caller may say which step it is."""

    def forward(self, x: Tensor, t: int = 0) -> Tensor:
        return super().forward(x if t == 0 else 1 - x)
