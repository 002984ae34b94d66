"""How defects are planted in the nets of adversarial_nets.py.

A defect makes a net compute something that snn2hw cannot deploy, by means that a tracer or a reader of attributes
overlooks. Those in defects_of_forwards.py and defects_of_modules.py are every one that was ever missed. A function that
plants one takes a net and a source of chances, and changes the net.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import MethodType
from typing import Any

import snntorch
import torch
from adversarial_nets import FRAMEWORKS, NEURON_CLASSES, Block, Change, Drawn, Net, Open, all_of, draw
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based import surrogate
from torch import Tensor, nn

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


class Defects(dict[str, Defect]):
    """Defects by name."""

    def add(self, name: str, plant: Plant, frameworks: tuple[str, ...] = FRAMEWORKS, **options: bool) -> None:
        self[name] = Defect(name=name, plant=plant, frameworks=frameworks, **options)


def plant(seed: int, defect: Defect) -> Drawn:
    """The net that `draw` gives for the same seed and frameworks, with the defect in it."""
    drawn = draw(seed, defect.frameworks, norms=defect.norms)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        defect.plant(drawn.net, Random(seed))
    drawn.net.eval()
    return drawn


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
    """Give one module methods that others of its class do not have."""
    for name, function in methods.items():
        setattr(module, name, MethodType(function, module))


def move_threshold(neuron: Any) -> None:
    name = "threshold" if isinstance(neuron, snntorch.Leaky) else "v_threshold"
    setattr(neuron, name, getattr(neuron, name) * 0.75)


def _with_surrogate(neuron: sj_neuron.BaseNode) -> nn.Module:
    """Give a neuron a new surrogate: the one by default is the same object in all neurons there are."""
    neuron.surrogate_function = surrogate.ATan()
    return neuron.surrogate_function


TARGETS: dict[str, Callable[[nn.Module], list[Any]]] = {
    "root": lambda net: [net],
    "block": lambda net: all_of(net, Block),
    "neuron": lambda net: all_of(net, *NEURON_CLASSES),
    "conv": lambda net: all_of(net, nn.Conv2d),
    "norm": lambda net: all_of(net, nn.BatchNorm2d),
    "linear": lambda net: all_of(net, nn.Linear),
    "surrogate": lambda net: [_with_surrogate(neuron) for neuron in all_of(net, sj_neuron.BaseNode)],
}
