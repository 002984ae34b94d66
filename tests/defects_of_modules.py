"""Defects in the modules of nets: hooks, replaced methods, neurons, norms and weights that are not what they seem."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import nets
import snntorch
import torch
import torch.nn.functional as F
from adversarial_nets import JELLY, MODELS, SINGLE, SNNTORCH, STEPPED, Block, Net, all_of
from planting import TARGETS, Defects, Plant, method, move_threshold, on, statement, subclass, with_layer
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based import surrogate
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from snn2hw.models import neurons as model_neurons

DEFECTS = Defects()
defect = DEFECTS.add

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
    """One neuron with another method inside its framework's forward."""
    if isinstance(neuron, sj_neuron.BaseNode):
        kind, name = type(neuron), "multi_step_forward" if neuron.step_mode == "m" else "single_step_forward"
        method(neuron, **{name: lambda self, x: getattr(kind, name)(self, x / 2)})
    elif isinstance(neuron, snntorch.Leaky):
        method(neuron, fire=lambda self, mem: (mem > 2 * self.threshold).to(mem))
    else:
        method(neuron, charge=lambda self, v, x: v + x / 2)


def _starts_elsewhere(neuron: Any) -> None:
    """A neuron whose reset leaves it another membrane."""
    kind = type(neuron)
    method(neuron, reset=lambda self: (kind.reset(self), setattr(self, "v", 0.25)))


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


defect("a foreign LIFNode", _foreign(LIFNode), (SINGLE, MODELS))
defect("a foreign Leaky", _foreign(Leaky), (SNNTORCH, MODELS))
defect("a subclass with another rule", on("neuron", _other_rule))
defect("a neuron with another method", on("neuron", _other_method))
defect("spiking=False", on("surrogate", lambda s: s.set_spiking_mode(False)), JELLY)
for _name, _fire in SURROGATES.items():
    defect(f"a surrogate {_name}", on("neuron", _fires(_fire)), (*JELLY, SNNTORCH))
defect("set_reset_value", on("neuron", lambda neuron: neuron.set_reset_value("v", 0.75)), JELLY)
defect("another reset", on("neuron", _starts_elsewhere), JELLY)
defect("v_reset set later", on("neuron", _set(v_reset=-0.5)), JELLY)
defect("v_threshold set later", on("neuron", move_threshold), deploys=True)

# What training leaves behind


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
defect("a BatchNorm per step", _norm_per_step, STEPPED, norms=True)
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
