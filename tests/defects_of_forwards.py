"""Defects in what is written into the forwards of nets: operations in place, aliases, memories, means, narrow types."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from adversarial_nets import FRAMEWORKS, MODELS, MULTI, SINGLE, STEPPED, Block, Change, Net, Open, Timed, all_of
from planting import Defects, Plant, bare, method, move_threshold, statement, subclass, with_layer
from torch import Tensor, nn

from snn2hw.models import neurons as model_neurons

DEFECTS = Defects()
defect = DEFECTS.add

# Operations in place, as statements by themselves


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

# State that no neuron holds, and neurons whose state is read or changed from outside


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


def _membrane_read(self: Any, x: Tensor) -> Tensor:
    return x + self.neuron1.v if isinstance(self.neuron1.v, Tensor) else x


def _threshold_adapts(self: Any, x: Tensor) -> Tensor:
    move_threshold(self.neuron1)
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
defect("a membrane read elsewhere", statement(_membrane_read, "spikes"), (SINGLE, MULTI, MODELS))
defect("an adapting threshold", statement(_threshold_adapts, "current"))
defect("weights that change with every call", statement(_weights_move, "current"))
defect("forward(x, t=0)", _timed, STEPPED)
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
