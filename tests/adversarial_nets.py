"""Small residual nets as users write them, drawn from a seed, and the defects that can be planted in them.

A defect makes a net compute something that snn2hw cannot deploy, by means that a tracer or a reader of attributes
overlooks. DEFECTS holds every one that was ever missed. Those with `deploys` only look like one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from types import MethodType, ModuleType
from typing import Any, TypeVar

import nets
import snntorch
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, surrogate
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn
from torch.nn.utils import fusion, parametrizations

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


class Block(Open):
    """Two convolutions and a shortcut, joined as `gate` says."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, gate: str, neuron: nets.NeuronFactory, layers: ModuleType
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
        current = self.at("current", self.bn1(self.conv1(x)))
        current = self.bn2(self.conv2(self.at("spikes", self.neuron1(current))))
        shortcut = self.down(x)
        if self.gate == "SPIKING":
            return self.at("joined", self.neuron2(current + shortcut))
        return self.at("joined", self.join(self.neuron2(current), shortcut))

    def join(self, spikes: Tensor, shortcut: Tensor) -> Tensor:
        if self.gate == "ADD":
            return spikes + shortcut
        return spikes * shortcut if self.gate == "AND" else (1 - spikes) * shortcut


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


def plant(seed: int, defect: Defect) -> Drawn:
    """The net that `draw` gives for the same seed and frameworks, with the defect in it."""
    drawn = draw(seed, defect.frameworks, norms=defect.norms)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        defect.plant(drawn.net, Random(seed))
    drawn.net.eval()
    return drawn


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


# What follows plants defects: each function takes a net and a source of chances, and changes the net.

Plant = Callable[[Any, Random], None]


@dataclass(frozen=True, kw_only=True)
class Defect:
    """How to plant one defect in nets of which frameworks.

    norms: it needs a BatchNorm. deploys: it is none, and the net must deploy as it is.
    """

    name: str
    plant: Plant
    frameworks: tuple[str, ...] = FRAMEWORKS
    norms: bool = False
    deploys: bool = False


DEFECTS: dict[str, Defect] = {}


def defect(name: str, plant: Plant, frameworks: tuple[str, ...] = FRAMEWORKS, **options: bool) -> None:
    DEFECTS[name] = Defect(name=name, plant=plant, frameworks=frameworks, **options)


def statement(change: Change, *places: str) -> Plant:
    """Write `change` into a forward, at one of these places."""

    def plant(net: Net, random: Random) -> None:
        place = random.choice(places or ("current", "spikes", "joined", "features", "logits"))
        holder: Open = net if place in ("input", "features", "logits") else random.choice(all_of(net, Block))
        holder.changes[place] = change

    return plant


def bare(operation: Callable[[Tensor], object], *places: str) -> Plant:
    """Write an operation into a forward as a statement whose result is not used."""

    def change(self: nn.Module, x: Tensor) -> Tensor:
        operation(x)
        return x

    return statement(change, *places)


def with_layer(layer: Callable[[], nn.Module], change: Change, *places: str) -> Plant:
    """`statement` for a holder that has a further layer, `extra`."""

    def plant(net: Net, random: Random) -> None:
        for holder in all_of(net, Open):
            holder.add_module("extra", layer())
        statement(change, *places)(net, random)

    return plant


def on(target: str, attach: Callable[[Any], object]) -> Plant:
    """Do something to one of the modules of a net."""

    def plant(net: Net, random: Random) -> None:
        attach(random.choice(TARGETS[target](net)))

    return plant


def subclass(module: Any, **members: Any) -> None:
    """Make a module one of a subclass with these members, of the same name."""
    module.__class__ = type(type(module).__name__, (type(module),), members)


def method(module: Any, **methods: Callable[..., Any]) -> None:
    """Give one module methods of its own."""
    for name, function in methods.items():
        setattr(module, name, MethodType(function, module))


def _own_surrogate(neuron: sj_neuron.BaseNode) -> nn.Module:
    """Give a neuron a surrogate of its own: the one by default is the same object in all neurons there are."""
    neuron.surrogate_function = surrogate.ATan()
    return neuron.surrogate_function


TARGETS: dict[str, Callable[[nn.Module], list[Any]]] = {
    "root": lambda net: [net],
    "block": lambda net: all_of(net, Block),
    "neuron": lambda net: all_of(net, *NEURON_CLASSES),
    "conv": lambda net: all_of(net, nn.Conv2d),
    "norm": lambda net: all_of(net, nn.BatchNorm2d),
    "linear": lambda net: all_of(net, nn.Linear),
    "surrogate": lambda net: [_own_surrogate(neuron) for neuron in all_of(net, sj_neuron.BaseNode)],
}


# Hooks, forwards and calls


def _halved(self: nn.Module, _: object, emitted: Tensor) -> Tensor:
    return emitted * 0.5


def _halved_in_place(self: nn.Module, _: object, emitted: Tensor) -> None:
    emitted.mul_(0.5)


def _half_of(self: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x * 0.5 for x in given)


def _half_in_place(self: nn.Module, given: tuple[Tensor, ...]) -> None:
    given[0].div_(2)


def _forward_halved(module: Any) -> None:
    kind = type(module)
    method(module, forward=lambda self, *given: kind.forward(self, *given) * 0.5)


def _forward_replaced(module: Any) -> None:
    original = module.forward
    module.forward = lambda *given: original(*given) * 0.5


def _call_halved(module: Any) -> None:
    kind = type(module)
    subclass(module, __call__=lambda self, *given: kind.__call__(self, *given) * 0.5)


def _convolution_halved(conv: Any) -> None:
    kind = type(conv)
    subclass(conv, _conv_forward=lambda self, x, weight, bias: kind._conv_forward(self, x, weight, bias) * 0.5)


WAYS: dict[str, Callable[[Any], object]] = {
    "hook on": lambda module: module.register_forward_hook(_halved),
    "hook in place on": lambda module: module.register_forward_hook(_halved_in_place),
    "pre-hook on": lambda module: module.register_forward_pre_hook(_half_of),
    "pre-hook in place on": lambda module: module.register_forward_pre_hook(_half_in_place),
    "forward of": _forward_halved,
    "replaced forward of": _forward_replaced,
    "__call__ of": _call_halved,
}
for _target, (_name, _attach) in itertools.product(TARGETS, WAYS.items()):
    if _target != "surrogate":
        defect(f"{_name} a {_target}", on(_target, _attach), norms=_target == "norm")
defect("_conv_forward of a subclass", on("conv", _convolution_halved))
defect(
    "_conv_forward of one convolution",
    on(
        "conv",
        lambda conv: method(conv, _conv_forward=lambda self, x, w, b: type(self)._conv_forward(self, x, w / 2, b)),
    ),
)

# Operations in place, as statements of their own


def _first_is_zero(x: Tensor) -> None:
    x[:, 0] = 0


def _halves_all(x: Tensor) -> None:
    x[...] = x * 0.5


def _swaps_data(x: Tensor) -> None:
    x.data = x.data * 0.5


IN_PLACE: dict[str, Callable[[Tensor], object]] = {
    "clamp_": lambda x: x.clamp_(max=0.25),
    "neg_": lambda x: x.neg_(),
    "div_": lambda x: x.div_(2),
    "mul_": lambda x: x.mul_(0.5),
    "add_": lambda x: x.add_(1),
    "masked_fill_": lambda x: x.masked_fill_(x > 0.5, 0.25),
    "zero_": lambda x: x.zero_(),
    "copy_": lambda x: x.copy_(x * 0.5),
    "index_fill_": lambda x: x.index_fill_(1, torch.tensor([0]), 0.0),
    "out=": lambda x: torch.mul(x, 0.5, out=x),
    "F.hardtanh": lambda x: F.hardtanh(x, -0.25, 0.25, inplace=True),
    "F.threshold_": lambda x: F.threshold_(x, 0.99, 0.25),
    "F.dropout": lambda x: F.dropout(x, 0.5, training=True, inplace=True),
    "data": lambda x: x.data.mul_(0.5),
    "data =": _swaps_data,
    "slice": _first_is_zero,
    "all of it": _halves_all,
    "view": lambda x: x.view(-1).mul_(0.5),
    "part": lambda x: x[:, 0].zero_(),
    "chunk": lambda x: x.chunk(2, 1)[0].zero_(),
    "detach": lambda x: x.detach().mul_(0.5),
    "init": lambda x: nn.init.zeros_(x),
    "foreach": lambda x: torch._foreach_mul_([x], 0.5),
}
for _name, _operation in IN_PLACE.items():
    defect(f"in place: {_name}", bare(_operation))
defect("in place: relu_", bare(lambda x: x.relu_(), "current", "logits"))
for _name in ("clamp_", "div_", "copy_", "out=", "data =", "part"):
    defect(f"in place on the input: {_name}", bare(IN_PLACE[_name], "input"))


def _through_extra(self: Any, x: Tensor) -> Tensor:
    self.extra(x)
    return x


for _name, _layer in {
    "Hardtanh": lambda: nn.Hardtanh(-0.25, 0.25, inplace=True),
    "LeakyReLU": lambda: nn.LeakyReLU(-1.0, inplace=True),
    "Threshold": lambda: nn.Threshold(0.99, 0.25, inplace=True),
}.items():
    defect(f"in place: {_name}", with_layer(_layer, _through_extra, "current", "joined", "logits"))

# Two names of one tensor, one of which is changed

ALIASES: dict[str, Callable[[Tensor], Tensor]] = {
    "the name": lambda x: x,
    "float": lambda x: x.float(),
    "to": lambda x: x.to(torch.float32),
    "type_as": lambda x: x.type_as(x),
    "contiguous": lambda x: x.contiguous(),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "view": lambda x: x.view(x.shape),
    "plus": lambda x: +x,
    "all of it": lambda x: x[...],
    "dropout": lambda x: F.dropout(x, 0.5, False),
    "relu_": lambda x: F.relu(x, inplace=True),
}


def _named_twice(alias: Callable[[Tensor], Tensor], by: Callable[[Tensor], Tensor], swapped: bool) -> Change:
    def change(self: nn.Module, x: Tensor) -> Tensor:
        other = alias(x)
        changed, read = (other, x) if swapped else (x, other)
        changed += by(changed)
        return read

    return change


def _aliased(alias: Callable[[Tensor], Tensor]) -> Plant:
    def plant(net: Net, random: Random) -> None:
        by = random.choice((torch.clone, lambda x: 1))
        change = _named_twice(alias, by, random.random() < 0.5)
        statement(change, "spikes", "joined")(net, random)

    return plant


for _name, _alias in ALIASES.items():
    defect(f"alias: {_name}", _aliased(_alias))


def _adds_to_the_shortcut(alias: Callable[[Tensor], Tensor]) -> Plant:
    def join(self: nn.Module, spikes: Tensor, shortcut: Tensor) -> Tensor:
        before = alias(shortcut)
        shortcut += spikes
        return before + spikes

    def plant(net: Net, random: Random) -> None:
        for block in all_of(net, Block):
            block.gate = "ADD"
            method(block, join=join)

    return plant


for _name in ("float", "to", "detach"):
    defect(f"alias of a shortcut: {_name}", _adds_to_the_shortcut(ALIASES[_name]))

# Thresholds that currents meet exactly: the framework says whether that fires


def _meets(threshold: float, share: float) -> Plant:
    """The first channel of the first block adds up to its threshold in 1 / share spikes of the stem's first channel."""

    def plant(net: Net, random: Random) -> None:
        block = all_of(net, Block)[0]
        block.bn1 = nn.Identity()
        block.conv1.weight[0] = 0
        block.conv1.weight[0, 0, 1, 1] = threshold * share
        if block.conv1.bias is not None:
            block.conv1.bias[0] = 0
        makes: dict[type, Callable[[], nn.Module]] = {
            sj_neuron.BaseNode: lambda: sj_neuron.IFNode(v_threshold=threshold, step_mode=block.neuron1.step_mode),
            snntorch.Leaky: nets.leaky(1.0, "zero", threshold=threshold),
            model_neurons.IFNode: lambda: model_neurons.IFNode(v_threshold=threshold),
        }
        block.neuron1 = next(make() for kind, make in makes.items() if isinstance(block.neuron1, kind))

    return plant


for _name, _threshold in {"1/3": 1 / 3, "2/3": 2 / 3, "1/7": 1 / 7, "0.7": 0.7}.items():
    defect(f"ties at {_name}", _meets(_threshold, 1.0), deploys=True)
    defect(f"ties at {_name} in two steps", _meets(_threshold, 0.5), deploys=True)

# Neurons that are not what their name or their attributes say


class LIFNode(nn.Module):
    """Not SpikingJelly's: fires below minus its threshold too, and a spike leaves half of the membrane."""

    def __init__(self) -> None:
        super().__init__()
        self.tau, self.decay_input, self.v_threshold, self.v_reset = 2.0, True, 0.4, 0.0
        self.v: Any = 0.0

    def reset(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.v + (x - self.v) / self.tau
        spikes = (h.abs() >= self.v_threshold).to(x)
        self.v = h * (1 - spikes / 2)
        return spikes


class Leaky(nn.Module):
    """Not snnTorch's: leaks what it is given too."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold, self.beta, self.graded_spikes_factor = (torch.tensor(n) for n in (0.3, 0.8, 1.0))
        self.reset_mechanism, self.init_hidden, self.reset_delay = "zero", True, True
        self.output = self.inhibition = self.state_quant = False
        self.mem: Any = torch.zeros(0)

    def reset_mem(self) -> None:
        self.mem = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.mem.shape != x.shape:
            self.mem = torch.zeros_like(x)
        self.mem = self.beta * (self.mem + x)
        spikes = (self.mem > self.threshold).to(x)
        self.mem = self.mem * (1 - spikes)
        return spikes


def _foreign(make: Callable[[], nn.Module]) -> Plant:
    def plant(net: Net, random: Random) -> None:
        random.choice(all_of(net, Block)).neuron1 = make()

    return plant


def _other_rule(neuron: Any) -> None:
    """A subclass of the same name whose current counts half."""
    kind = type(neuron)
    if isinstance(neuron, sj_neuron.BaseNode):
        step = kind.single_step_functional_forward
        subclass(neuron, single_step_functional_forward=lambda self, x, states: step(self, (x[0] / 2,), states))
    elif isinstance(neuron, snntorch.Leaky):
        subclass(neuron, forward=lambda self, x: kind.forward(self, x / 2))
    else:
        subclass(neuron, charge=lambda self, v, x: kind.charge(self, v, x / 2))


def _other_method(neuron: Any) -> None:
    """One neuron with a method of its own inside its framework's forward."""
    if isinstance(neuron, sj_neuron.BaseNode):
        kind, name = type(neuron), "multi_step_forward" if neuron.step_mode == "m" else "single_step_forward"
        method(neuron, **{name: lambda self, x: getattr(kind, name)(self, x / 2)})
    elif isinstance(neuron, snntorch.Leaky):
        method(neuron, fire=lambda self, mem: (mem > 2 * self.threshold).to(mem))
    else:
        method(neuron, charge=lambda self, v, x: v + x / 2)


class Fire(surrogate.SurrogateFunctionBase):
    """A surrogate whose forward is `fire` of the membrane less its threshold."""

    def __init__(self, fire: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fire = fire

    def forward(self, x: Tensor) -> Tensor:
        return self.fire(x).to(x)


SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "fires earlier": lambda x: x >= -0.1,
    "fires later": lambda x: x >= 0.1,
    "adds a level": lambda x: (x >= 0).float() + (x >= 0.3),
    "adds a level below": lambda x: (x >= 0).float() - (x < -0.5).float(),
    "fires by halves": lambda x: 0.5 * (x >= 0),
}


def _fires(fire: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    def attach(neuron: Any) -> None:
        if isinstance(neuron, snntorch.Leaky):
            neuron.spike_grad = lambda x: fire(x).float()
        else:
            neuron.surrogate_function = Fire(fire)

    return attach


def _set(**values: object) -> Callable[[Any], None]:
    def attach(module: Any) -> None:
        for name, value in values.items():
            setattr(module, name, value)

    return attach


def _threshold_moved(neuron: Any) -> None:
    name = "threshold" if isinstance(neuron, snntorch.Leaky) else "v_threshold"
    setattr(neuron, name, getattr(neuron, name) * 0.75)


defect("a foreign LIFNode", _foreign(LIFNode), (SINGLE, MODELS))
defect("a foreign Leaky", _foreign(Leaky), (SNNTORCH, MODELS))
defect("a subclass with another rule", on("neuron", _other_rule))
defect("a neuron with another method", on("neuron", _other_method))
defect("spiking=False", on("surrogate", lambda s: s.set_spiking_mode(False)), JELLY)
for _name, _fire in SURROGATES.items():
    defect(f"a surrogate {_name}", on("neuron", _fires(_fire)), (*JELLY, SNNTORCH))
defect("set_reset_value", on("neuron", lambda neuron: neuron.set_reset_value("v", 0.75)), JELLY)
defect("v_reset set later", on("neuron", _set(v_reset=-0.5)), JELLY)
defect("v_threshold set later", on("neuron", _threshold_moved), deploys=True)

# State that no neuron keeps, and neurons whose state is read or changed from outside


def _previous_added(self: Any, x: Tensor) -> Tensor:
    before, self.before = getattr(self, "before", None), x
    return x if before is None else x + before


def _refractory(self: Any, x: Tensor) -> Tensor:
    before = getattr(self, "before", None)
    self.before = x if before is None else x * (1 - before)
    return self.before


def _accumulated(self: Any, x: Tensor) -> Tensor:
    self.total = getattr(self, "total", 0) + x
    return self.total


def _running_mean(self: Any, x: Tensor) -> Tensor:
    self.count, self.total = getattr(self, "count", 0) + 1, getattr(self, "total", 0) + x
    return self.total / self.count


def _listed(self: Any, x: Tensor) -> Tensor:
    self.seen = [*getattr(self, "seen", []), x]
    return self.seen[0]


def _other_in_odd_steps(self: Any, x: Tensor) -> Tensor:
    self.count = getattr(self, "count", 0) + 1
    return x if self.count % 2 else 1 - x


def _counted_elsewhere(net: Net, random: Random) -> None:
    ticks = itertools.count()
    statement(lambda self, x: 1 - x if next(ticks) % 2 else x, "spikes", "joined")(net, random)


def _counted_in_buffer(self: Any, x: Tensor) -> Tensor:
    self.steps += 1
    return x if int(self.steps) % 2 else 1 - x


def _added_to_buffer(self: Any, x: Tensor) -> Tensor:
    self.memory.add_(x.mean())
    return x + self.memory


def _decays_in_buffer(self: Any, x: Tensor) -> Tensor:
    self.memory = self.memory * 0.5 + x.mean()
    return x + self.memory


def _with_buffer(change: Change, *places: str, **buffers: Tensor) -> Plant:
    def plant(net: Net, random: Random) -> None:
        for holder in all_of(net, Open):
            for name, value in buffers.items():
                holder.register_buffer(name, value.clone())
        statement(change, *places)(net, random)

    return plant


class NormPerStep(nn.Module):
    """A BatchNorm for each step."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(norm.num_features) for _ in range(2))
        for number, other in enumerate(self.norms):
            other.load_state_dict(norm.state_dict())
            other.bias -= 0.5 * number
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        self.step += 1
        return self.norms[(self.step - 1) % 2](x)


def _norm_per_step(net: Net, random: Random) -> None:
    block = random.choice(all_of(net, Block))
    block.bn1 = NormPerStep(block.bn1)


def _membrane_read(self: Any, x: Tensor) -> Tensor:
    return x + self.neuron1.v if isinstance(self.neuron1.v, Tensor) else x


def _threshold_adapts(self: Any, x: Tensor) -> Tensor:
    _threshold_moved(self.neuron1)
    return x


def _resets_all(self: Any, x: Tensor) -> Tensor:
    model_neurons.reset_states(self)
    return x


def _weights_move(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        self.conv2.weight.mul_(0.7)
    return x


def _called_unread(self: Any, x: Tensor) -> Tensor:
    self.neuron1(x)
    return x


def _starts_elsewhere(neuron: Any) -> None:
    """A neuron whose own reset leaves it another membrane."""
    kind = type(neuron)
    method(neuron, reset=lambda self: (kind.reset(self), setattr(self, "v", 0.25)))


def _timed(net: Net, random: Random) -> None:
    net.__class__ = Timed


defect("previous spikes added", statement(_previous_added, "spikes", "joined"))
defect("previous logits added", statement(_previous_added, "logits"))
defect("refractory spikes", statement(_refractory, "spikes"))
defect("accumulated spikes", statement(_accumulated, "spikes", "joined", "features"))
defect("running read-out", statement(_accumulated, "logits"))
defect("running mean of the read-out", statement(_running_mean, "logits"))
defect("a list of what was seen", statement(_listed, "spikes", "joined", "logits"), STEPPED)
defect("a step counter", statement(_other_in_odd_steps, "spikes", "joined"))
defect("a step counter elsewhere", _counted_elsewhere)
defect("a step counter in a buffer", _with_buffer(_counted_in_buffer, "spikes", "joined", steps=torch.tensor(0)))
defect("a buffer added to", _with_buffer(_added_to_buffer, "current", "spikes", "logits", memory=torch.tensor(0.0)))
defect("a buffer set", _with_buffer(_decays_in_buffer, "current", "spikes", "logits", memory=torch.tensor(0.0)))
defect("a BatchNorm per step", _norm_per_step, STEPPED, norms=True)
defect("a membrane read elsewhere", statement(_membrane_read, "spikes"), (SINGLE, MULTI, MODELS))
defect("an adapting threshold", statement(_threshold_adapts, "current"))
defect("weights that change with every call", statement(_weights_move, "current"))
defect("forward(x, t=0)", _timed, STEPPED)
defect("a reset of its own", on("neuron", _starts_elsewhere), JELLY)
defect("a reset inside forward", statement(_resets_all, "input", "logits"), STEPPED)
defect("a reset inside the forward of all steps", statement(_resets_all, "input"), (MULTI,), deploys=True)
defect("a reset of one block", statement(_resets_all, "current"), STEPPED)
defect("a neuron called twice, once unread", statement(_called_unread, "current"))
defect("a neuron called twice", statement(lambda self, x: x + self.neuron1(x), "current"))

# Means over time and over the batch


def _without_mean(change: Change) -> Plant:
    """A net that returns what it makes of its logits [T, N, K]."""

    def plant(net: Net, random: Random) -> None:
        net.mean = False
        statement(change, "logits")(net, random)

    return plant


defect("a mean over time added to currents", statement(lambda self, x: x + x.mean(0), "current"), (MULTI,))
defect(
    "a mean over time with its dimension",
    statement(lambda self, x: x + x.mean(0, keepdim=True), "current", "joined"),
    (MULTI,),
)
defect("a mean over time taken off", statement(lambda self, x: x - x.mean(0), "current"), (MULTI,))
defect("a mean over time as a gate", statement(lambda self, x: x * x.mean(0), "spikes", "joined"), (MULTI,))
defect("a mean over time before relu", _without_mean(lambda self, x: x.mean(0).relu()), (MULTI,))
defect("a mean over time and its square", _without_mean(lambda self, x: x.mean(0) * x.mean(0)), (MULTI,))
defect("a mean over time twice", _without_mean(lambda self, x: x.mean(0) + x.mean(0, keepdim=True)), (MULTI,))
defect("a sum over time", _without_mean(lambda self, x: x.sum(0)), (MULTI,))
defect("the last step alone", _without_mean(lambda self, x: x[-1]), (MULTI,))
defect("a mean over the batch", statement(lambda self, x: x + x.mean(1, keepdim=True), "current"), (MULTI,))
defect("a mean over samples", statement(lambda self, x: x + x.mean(0, keepdim=True), "current", "logits"), STEPPED)
defect("a mean over samples alone", statement(lambda self, x: x.mean(0, keepdim=True), "spikes", "logits"), STEPPED)
defect("a mean over samples taken off", statement(lambda self, x: x - x.mean(0), "current", "logits"), STEPPED)
defect("times the size of the batch", statement(lambda self, x: x * x.shape[0], "spikes"), STEPPED)
defect("samples swapped", statement(lambda self, x: x.flip(-4), "current"), FRAMEWORKS)

# What training leaves behind


class StubbornDropout(nn.Dropout):
    def train(self, mode: bool = True) -> StubbornDropout:
        return super().train(True)


def _always_training(norm: Any) -> None:
    kind = type(norm)
    subclass(norm, train=lambda self, mode=True: kind.train(self, True))


def _never_evaluated(net: Net, random: Random) -> None:
    with_layer(nn.Dropout, lambda self, x: self.extra(x), "current", "spikes")(net, random)
    subclass(net, train=lambda self, mode=True: self)


def _batch_statistics(norm: nn.BatchNorm2d) -> None:
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None


_dropout = with_layer(StubbornDropout, lambda self, x: self.extra(x), "current", "spikes", "joined", "features")
defect("Dropout that stays in training", _dropout)
defect("a net without eval()", _never_evaluated)
defect("F.dropout in training", statement(lambda self, x: F.dropout(x, 0.5), "current", "spikes", "features"))
defect("BatchNorm that stays in training", on("norm", _always_training), norms=True)
defect("BatchNorm of the batch", on("norm", _batch_statistics), norms=True)
defect("BatchNorm with eps 0", on("norm", _set(eps=0.0)), norms=True, deploys=True)
defect("BatchNorm without bias", on("norm", _set(bias=None)), norms=True, deploys=True)
defect("BatchNorm without affine", on("norm", _set(bias=None, weight=None, affine=False)), norms=True, deploys=True)

# Weights that are computed


def _standard(weight: Tensor) -> Tensor:
    return (weight - weight.mean((1, 2, 3), keepdim=True)) / (weight.std((1, 2, 3), keepdim=True) + 0.1)


def _weights(compute: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    def attach(layer: Any) -> None:
        if isinstance(layer, nn.Linear):
            subclass(layer, forward=lambda self, x: F.linear(x, compute(self.weight), self.bias))
        else:
            subclass(layer, forward=lambda self, x: self._conv_forward(x, compute(self.weight), self.bias))

    return attach


defect("doubled weights", on("conv", _weights(lambda weight: weight * 2)), STEPPED)
defect("standardised weights", on("conv", _weights(_standard)), STEPPED)
defect("a doubled read-out", on("linear", _weights(lambda weight: weight * 2)))
defect("parametrised weights", on("conv", parametrizations.weight_norm), STEPPED, deploys=True)

# Types that hold less than numbers


def _in_bytes(self: nn.Module, spikes: Tensor, shortcut: Tensor) -> Tensor:
    return (spikes.to(torch.uint8) - shortcut.to(torch.uint8)).to(torch.float32)


def _as_truth(self: nn.Module, spikes: Tensor, shortcut: Tensor) -> Tensor:
    return (spikes.to(torch.bool) + shortcut.to(torch.bool)).to(torch.float32)


def _joined_by(join: Callable[[Any, Tensor, Tensor], Tensor]) -> Plant:
    def plant(net: Net, random: Random) -> None:
        for block in all_of(net, Block):
            block.gate = "ADD"
            method(block, join=join)

    return plant


def _twice(self: Any, x: Tensor) -> Tensor:
    return x + (x + x).to(torch.bool).to(torch.float32)


def _in_half_precision(net: Net, random: Random) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return Net.forward(self, x).float()

    subclass(net, forward=forward)


defect("autocast inside forward", _in_half_precision)
defect("sums as truth values", statement(_twice, "spikes", "joined"))
defect("differences as truth values", statement(lambda self, x: (x - 1).to(torch.bool).float(), "spikes", "joined"))
defect("truth values added", _joined_by(_as_truth))
defect("bytes subtracted", _joined_by(_in_bytes))
defect("bytes that overflow", statement(lambda self, x: (x.to(torch.uint8) * 200 + x * 200).float(), "spikes"))
defect("bytes of twice 200", statement(lambda self, x: ((x + x).to(torch.uint8) * 200).float(), "spikes", "joined"))
defect("signed bytes", statement(lambda self, x: (x.to(torch.int8) * 100 + x.to(torch.int8) * 100).float(), "spikes"))
defect("byte()", statement(lambda self, x: (-x).byte().float(), "spikes", "joined"))
