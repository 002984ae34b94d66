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
from snn2hw.frontends.torch.refusals import OPERATION_REASONS, USERS_NAMES, users_name
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


REFUSED: dict[str, tuple[Wire, dict[str, nn.Module], str, str]] = {
    "sigmoid": (lambda self, x: x * torch.sigmoid(self.m(x)), {"m": conv(4, 1)}, "model", "real numbers .* neuron"),
    "softmax": (lambda self, x: self.m(x), {"m": nn.Softmax(1)}, "m", "Softmax .* normalises .* BatchNorm2d"),
    "layer norm": (lambda self, x: self.m(x), {"m": nn.LayerNorm(8)}, "m", "LayerNorm .* BatchNorm2d"),
    "matmul": (lambda self, x: x @ self.a(x), {}, "model", r"multiplies activations .* AND of spikes \(a \* b\)"),
    "upsample": (lambda self, x: self.m(x), {"m": nn.Upsample(scale_factor=2)}, "m", "NIR has no node"),
    "interpolate": (lambda self, x: F.interpolate(x, scale_factor=2), {}, "model", "interpolate .* NIR has no node"),
    "bilinear": (
        lambda self, x: F.interpolate(x, size=32, mode="bilinear"), {}, "model", "operation interpolate .* NIR has no",
    ),
    "a norm of vectors": (lambda self, x: x / x.norm(dim=1, keepdim=True), {}, "model", "operation norm .* normalises"),
    "windows": (lambda self, x: F.unfold(x, 2), {}, "model", "operation unfold .* windows"),
    "the largest": (lambda self, x: x.topk(2, 1)[0], {}, "model", "topk .* looks for the largest .* MaxPool2d"),
    "a choice": (lambda self, x: torch.where(self.a(x) > 0, x, self.b(x)), {}, "model", "where .* chooses .* Gate"),
    "hard swish": (lambda self, x: self.m(x), {"m": nn.Hardswish()}, "m", "hardswish of Hardswish .* real numbers"),
    "logic": (lambda self, x: (x > 0).any(1), {}, "model", r"any .* truth values\. Write a \* b for AND"),
    "a part": (lambda self, x: x[:, :2], {}, "output", "a part of a layer.* Return them as they are"),
    "relu of currents": (lambda self, x: F.relu(self.m(x)), {"m": conv(4, 3)}, "model.relu", "ReLU over values that"),
    "relu of a negation": (lambda self, x: F.relu(1 - x - self.a(x)), {}, "model.relu", "positive without any spike"),
    "nor": (
        lambda self, x: (1 - self.a(x)) * (1 - x), {}, "model.iand", "positive where nothing spikes.* neuron with a",
    ),
    "negated levels": (
        lambda self, x: x * ((1 - self.a(x)) + (1 - self.b(x))), {}, "model.iand", "where nothing spikes",
    ),
    "relu that is 0": (lambda self, x: F.relu(-x), {}, "model.relu", "always 0"),
    "padding before a neuron": (lambda self, x: self.fire(F.pad(x, (1, 1))), {}, "fire", "directly before a Conv2d"),
    "padding before a sum": (lambda self, x: F.pad(self.a(x), (1, 1)) + F.pad(x, (1, 1)), {}, "model", "zero padding"),
    "padding at the end": (lambda self, x: F.pad(x, (1, 1)), {}, "output", "zero padding"),
    "reflecting padding": (
        lambda self, x: self.fire(F.pad(x, (1, 1, 1, 1), mode="reflect")), {}, "model", "Pad with 0",
    ),
    "padding with 1": (lambda self, x: self.a(F.pad(x, (1, 1), value=1.0)), {}, "model", "padding with 1"),
    "cropping what is padded": (
        lambda self, x: self.a(F.pad(F.pad(x, (2, 2)), (-1, 1))), {}, "model", "negative padding",
    ),
    "padding of another dimension": (
        lambda self, x: self.a(F.pad(x[None], (0,) * 6 + (1, 1))[0]), {}, "model", "Pad those only",
    ),
    "bilinear, to a smaller image": (
        lambda self, x: F.interpolate(x, size=4, mode="bilinear"), {}, "model", "weighs the pixels .* AvgPool2d",
    ),
    "uneven average": (lambda self, x: F.avg_pool2d(F.pad(x, (0, 1)), 2), {}, "model", "Pad evenly"),
    "weights of the input": (
        lambda self, x: F.conv2d(x, self.m.weight * self.a(x).mean()), {"m": conv(4, 3)}, "model", "a mean over",
    ),
    "a fixed batch": (lambda self, x: x.view(1, -1), {}, "output", r"samples .* stand mixed.*: x\.flatten\(1\)"),
    "another shape": (
        lambda self, x: self.m(x.view(x.size(0), 2, 16, 8)), {"m": nn.Conv2d(2, 4, 3)}, "m",
        r"shape \[4, 8, 8\] are taken for images of \[2, 16, 8\]",
    ),
    "a neuron twice": (lambda self, x: self.fire(self.fire(x)), {}, "fire", "membrane of the first.*Give each use"),
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
    model.m.register_forward_hook(lambda module, inputs, output: torch.tanh(output))
    with pytest.raises(UnsupportedError, match=r"^m: the operation tanh .* real numbers"):
        trace(model, SHAPE)


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("upsample_nearest2d", "interpolate"),
        ("_upsample_bilinear2d_aa", "interpolate"),
        ("tanh_", "tanh"),
        ("_softmax", "softmax"),
        ("native_layer_norm", "layer_norm"),
        ("im2col", "unfold"),
        ("gelu", "gelu"),
    ],
)
def test_operations_go_by_the_names_that_users_write(operator: str, name: str) -> None:
    assert users_name(operator) == name
    assert any(name in names for names in OPERATION_REASONS)


def test_every_name_that_users_know_has_a_reason() -> None:
    named = [name for names in OPERATION_REASONS for name in names]
    assert set(USERS_NAMES.values()) <= set(named) and len(set(named)) == len(named)


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
