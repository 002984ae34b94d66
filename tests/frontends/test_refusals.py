"""What a forward may not be made of: refused with the place, the reason and the change, all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import NEURONS, SHAPE, Wired
from torch import Tensor, nn

from snn2hw.errors import UnsupportedError
from snn2hw.frontends.torch.trace import trace

Wire = Callable[[Any, Tensor], Any]


def net(wire: Wire, **layers: nn.Module) -> nn.Module:
    """A model that returns what `wire` makes of the spikes [N, 4, 8, 8] of a stem; a and b are sources of more."""
    neuron = NEURONS["if"]
    more = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), neuron()) for _ in range(2)]
    stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), neuron())
    return Wired(lambda self, x: wire(self, self.stem(x)), stem=stem, a=more[0], b=more[1], fire=neuron(), **layers)


def conv(outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(4, outputs, kernel)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias)


def old_name(self: Any, x: Tensor) -> Tensor:
    y = x.flatten(1)
    x.mul_(self.b(x))
    return y


REFUSED: dict[str, tuple[Wire, dict[str, nn.Module], str, str]] = {
    "sigmoid": (lambda self, x: x * torch.sigmoid(self.m(x)), {"m": conv(4, 1)}, "model", "real numbers .* neuron"),
    "softmax": (lambda self, x: self.m(x), {"m": nn.Softmax(1)}, "m", "Softmax .* normalises .* BatchNorm2d"),
    "layer norm": (lambda self, x: self.m(x), {"m": nn.LayerNorm(8)}, "m", "LayerNorm .* BatchNorm2d"),
    "matmul": (lambda self, x: x @ self.a(x), {}, "model", r"multiplies activations .* AND of spikes \(a \* b\)"),
    "upsample": (lambda self, x: self.m(x), {"m": nn.Upsample(scale_factor=2)}, "m", "NIR has no node"),
    "interpolate": (lambda self, x: F.interpolate(x, scale_factor=2), {}, "model", "interpolate .* NIR has no node"),
    "logic": (lambda self, x: torch.logical_and(x, self.a(x)), {}, "model", r"truth values\. Write a \* b for AND"),
    "a part": (lambda self, x: x[:, :2], {}, "model", "a part of a tensor is taken"),
    "relu of currents": (lambda self, x: F.relu(self.m(x)), {"m": conv(4, 3)}, "model.relu", "ReLU over values that"),
    "relu of a negation": (lambda self, x: F.relu(1 - x - self.a(x)), {}, "model.relu", "positive without any spike"),
    "nor": (
        lambda self, x: (1 - self.a(x)) * (1 - x), {}, "model.iand", "positive where nothing spikes.* neuron with a",
    ),
    "negated levels": (
        lambda self, x: x * ((1 - self.a(x)) + (1 - self.b(x))), {}, "model.iand", "where nothing spikes",
    ),
    "relu that is 0": (lambda self, x: F.relu(-x), {}, "model.relu", "always 0"),
    "cat of currents": (lambda self, x: torch.cat([self.m(x), x], 1), {"m": conv(4, 1)}, "model.cat", "neuron behind"),
    "cat in space": (
        lambda self, x: torch.cat([x, x], 2), {}, "model", "cat over dimension 2. Join spikes along their",
    ),
    "padding before a neuron": (lambda self, x: self.fire(F.pad(x, (1, 1))), {}, "fire", "directly before a Conv2d"),
    "padding before a sum": (lambda self, x: F.pad(self.a(x), (1, 1)) + F.pad(x, (1, 1)), {}, "model", "zero padding"),
    "padding at the end": (lambda self, x: F.pad(x, (1, 1)), {}, "output", "zero padding"),
    "reflecting padding": (
        lambda self, x: self.fire(F.pad(x, (1, 1, 1, 1), mode="reflect")), {}, "model", "Pad with 0",
    ),
    "padding with 1": (lambda self, x: self.a(F.pad(x, (1, 1), value=1.0)), {}, "model", "padding with 1"),
    "cropping": (lambda self, x: self.a(F.pad(x, (-1, 1))), {}, "model", "negative padding"),
    "uneven average": (lambda self, x: F.avg_pool2d(F.pad(x, (0, 1)), 2), {}, "avg_pool2d", "Pad evenly"),
    "computed weights": (lambda self, x: F.conv2d(x, 2 * self.m.weight), {"m": conv(4, 3)}, "model", "m.weight. Call"),
    "another forward": (lambda self, x: self.a(self.m(x)), {"m": Standardised(4, 4, 3)}, "m", "m.weight"),
    "a fixed batch": (lambda self, x: x.view(1, -1), {}, "model", r"fixes the batch size\. Write x\.flatten\(1\)"),
    "a lost batch": (lambda self, x: F.max_pool2d(x, 8).squeeze(), {}, "model", "squeeze from .* mixes in the batch"),
    "another shape": (lambda self, x: x.view(x.size(0), 2, 2, 64), {}, "model", r"from \[4, 8, 8\] to \[2, 2, 64\]"),
    "a size as a number": (lambda self, x: x * x.size(1), {}, "model", "combined with a number read off a shape"),
    "an old name": (lambda self, x: old_name(self, x), {}, "model", "flatten is read after it was changed in place"),
    "a neuron twice": (lambda self, x: self.fire(self.fire(x)), {}, "fire", "membrane of the first. Give each use"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_counterpart_is_named_with_its_place_and_a_change(case: str) -> None:
    wire, layers, path, message = REFUSED[case]
    with pytest.raises(UnsupportedError, match=message) as raised:
        trace(net(wire, **layers), SHAPE)
    assert raised.value.blockers[0].layer == path
    assert str(raised.value.blockers[0]).count(". ") >= 1  # the problem, and then what to do


def test_hooks_are_not_overlooked() -> None:
    model = net(lambda self, x: self.m(x), m=conv(4, 3))
    model.m.register_forward_hook(lambda module, inputs, output: 2 * output)
    with pytest.raises(UnsupportedError, match="m: this Conv2d has forward hooks"):
        trace(model, SHAPE)


def test_all_blockers_of_a_model_are_told_at_once() -> None:
    def wire(self: Any, x: Tensor) -> Tensor:
        gate = torch.softmax(self.layers(torch.tanh(x)), 1)
        return F.interpolate(gate @ self.a(x), scale_factor=2)

    with pytest.raises(UnsupportedError) as raised:
        trace(net(wire, layers=nn.Sequential(nn.Identity(), nn.GELU())), SHAPE)
    told = [(blocker.layer, blocker.problem.partition(" is not ")[0]) for blocker in raised.value.blockers]
    assert [layer for layer, _ in told] == ["model", "layers.1", "model", "model", "model"]
    assert [problem.split()[-1] for _, problem in told if problem.startswith("the operation")] == [
        "tanh",
        "softmax",
        "matmul",
        "interpolate",
    ]
