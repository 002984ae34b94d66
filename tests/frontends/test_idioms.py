"""What authors write between their layers: each idiom in a small net, exact from the user's module to the program."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
import torch.nn.functional as F
from nets import SHAPE, Wired, random_samples, run_requantised
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from snn2hw import ir
from snn2hw.data.aliases import Shape
from snn2hw.engines.cycle import simulate
from snn2hw.errors import QuantisationError, UnsupportedError
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.network.neuron_rule import Neuron
from snn2hw.network.reference import Reference
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.network_vs_torch import compare_network

STEPS = 4
SAMPLES = 4
Wire = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Idiom:
    """A forward between spikes `x` of a stem and the read-out, and the layers it uses. shape: of the input."""

    wire: Wire
    layers: dict[str, nn.Module] = field(default_factory=dict)
    shape: Shape = SHAPE
    double: bool = True


def fire(threshold: float = 0.25) -> nn.Module:
    return sj_neuron.IFNode(v_threshold=threshold)


def trained_like(model: nn.Module) -> nn.Module:
    """Weights of both signs and statistics as after training, so that every neuron fires sometimes."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            if parametrize.is_parametrized(module) or hasattr(module, "trained"):
                continue
            module.weight.data.normal_(0.1 / fan_in**0.5, 1.2 / fan_in**0.5)
            if module.bias is not None:
                module.bias.data.normal_(0.05, 0.05)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 1.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0.1, 0.2)
    return model.eval()


def net(idiom: Idiom) -> nn.Module:
    """The idiom between a stem, whose spikes are [N, 4, 8, 8] or [N, 4, 12], and a read-out of what it returns.

    self.a and self.b are more sources of spikes of the same shape, self.fire and self.fire2 neurons to end a wire with.
    """
    torch.manual_seed(7)
    flat = len(idiom.shape) == 2
    conv: Any = nn.Conv1d if flat else nn.Conv2d

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.fc(idiom.wire(self, self.stem(x)).flatten(1))

    channels = idiom.shape[0]
    layers: dict[str, nn.Module] = {
        "stem": nn.Sequential(conv(channels, 4, 3, padding=1), fire(0.5)),
        "a": nn.Sequential(conv(4, 4, 3, padding=1), fire(0.5)),
        "b": nn.Sequential(conv(4, 4, 3, padding=1), fire(0.5)),
        "fire": fire(),
        "fire2": fire(),
        **copy.deepcopy(idiom.layers),
    }
    if idiom.shape == (2,):
        layers["stem"] = nn.Sequential(nn.Linear(2, 12), fire(0.5))
    model = trained_like(Wired(forward, **layers))
    with torch.no_grad():
        features = idiom.wire(model, model.stem(torch.rand(1, *idiom.shape))).numel()
    functional.reset_net(model)
    model.fc = nn.Linear(features, 3)
    trained_like(model.fc)
    return model


def assert_deployed_exactly(
    model: nn.Module, shape: Shape = SHAPE, *, steps: int = STEPS, static: bool = False
) -> tuple[Traced, ir.Program]:
    """The float network does what the user's module does, and the program what the module does with its integers.

    Every neuron fires sometimes, and not always.
    """
    image = (shape[0], 1, shape[1]) if len(shape) == 2 else shape  # what lines are in the network
    samples = random_samples(SAMPLES, steps=0 if static else steps, shape=image)
    x = torch.from_numpy(samples.steps(steps)).double()
    traced = trace(model, shape, timesteps=steps)
    comparison = compare_network(traced.network, traced.user_model, x)
    assert comparison.compared and not comparison.mismatches, comparison.first()
    if traced.dtype == torch.float64:
        ours = Reference(traced.network, dtype=torch.float64).run(x)
        for step, (emitted, values) in enumerate(zip(traced.run(x), ours, strict=True)):
            for name in traced.origin:
                assert torch.equal(emitted[name], values[name]), f"{name}, step {step}"
    program = compile_network(traced.network, samples, Options(timesteps=steps))
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    for name, emitted in spikes.items():
        if name == "logits":
            np.testing.assert_array_equal(emitted, np.rint(expected[name]), name)
        elif name in expected:
            np.testing.assert_array_equal(emitted, expected[name], name)
    neurons = [name for name, node in traced.network.nodes.items() if isinstance(node, Neuron)]
    for name in neurons:
        assert name in expected and 0 < spikes[name].mean() < 1, f"{name}: {spikes[name].mean()}"
    return traced, program


def conv(outputs: int = 4, kernel: Any = 3, inputs: int = 4, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **({"padding": 1} if kernel == 3 else {}) | options)


def zeros() -> nn.Module:
    """A layer as BatchNorm's weights of 0 leave it: nothing but a bias."""
    layer = conv(4, 1)
    layer.trained = True
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, 0.15)
    return layer


ONE: dict[str, nn.Module] = {"conv": conv()}
TWO: dict[str, nn.Module] = {"conv": conv(), "other": conv(4, 1)}
NORM: dict[str, nn.Module] = {"conv": conv(), "norm": nn.BatchNorm2d(4)}
CHANNELS = torch.tensor([0.5, 1.5, -0.75, 0.25]).view(1, 4, 1, 1)


class VoltageScaler(nn.Module):
    """SpikingJelly's ann2snn: a factor that was found in training, in front of a neuron or behind it."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class PerChannel(nn.Module):
    """A factor for each channel that was trained."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(CHANNELS.clone())
        self.offset = nn.Parameter(CHANNELS.flip(1) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


def in_place(self: Any, x: Tensor) -> Tensor:
    y = self.conv(x)
    y += self.other(x)
    y *= 0.5
    spikes = self.fire(y)
    spikes.relu_()
    spikes += x
    return spikes


def checked(self: Any, x: Tensor) -> Tensor:
    assert x.dim() == 4 and x.shape[1] == 4, "images"
    if x.size(2) > 4 and x.ndim == 4:
        x = self.conv(x)
    return self.fire(x)


CURRENTS: dict[str, Idiom] = {
    "float() of spikes": Idiom(lambda self, x: self.fire(self.conv(x.float())), ONE, double=False),
    "float() of currents": Idiom(lambda self, x: self.fire(self.conv(x).float()), ONE, double=False),
    "to() of currents": Idiom(lambda self, x: self.fire(self.conv(x).to(x.dtype).type_as(x)), ONE),
    "a sum of convolutions": Idiom(lambda self, x: self.fire(self.conv(x) + self.other(x)), TWO),
    "a difference of convolutions": Idiom(lambda self, x: self.fire(self.conv(x) - self.other(x)), TWO),
    "a sum of convolutions of two": Idiom(
        lambda self, x: self.fire(self.conv(x) + 0.5 * self.other(self.a(x)) - self.third(self.b(x)) * 2),
        TWO | {"third": conv(4, 1)},
    ),
    "a convolution twice in a sum": Idiom(lambda self, x: self.fire(self.conv(x) + self.conv(self.a(x))), ONE),
    "a sum with alpha": Idiom(lambda self, x: self.fire(torch.add(self.conv(x), self.other(x), alpha=0.5)), TWO),
    "half a current": Idiom(lambda self, x: self.fire(self.conv(x) * 0.5), ONE),
    "a current divided": Idiom(lambda self, x: self.fire(self.conv(x) / 3), ONE),
    "twice a current": Idiom(lambda self, x: self.fire(2 * self.conv(x)), ONE),
    "a negated current": Idiom(lambda self, x: self.fire(-self.conv(x)), ONE),
    "one minus a current": Idiom(lambda self, x: self.fire(1 - self.conv(x)), ONE),
    "an offset to a current": Idiom(lambda self, x: self.fire(self.conv(x) + 0.125), ONE),
    "a constant for each channel": Idiom(lambda self, x: self.fire(self.conv(x) * CHANNELS.to(x)), ONE),
    "trained factors for each channel": Idiom(
        lambda self, x: self.fire(self.factors(self.conv(x))), ONE | {"factors": PerChannel()}
    ),
    "trained factors of spikes": Idiom(lambda self, x: self.fire(self.factors(x)), {"factors": PerChannel()}),
    "a voltage scaler": Idiom(
        lambda self, x: self.after(self.fire(self.before(self.conv(x)))),
        ONE | {"before": VoltageScaler(0.7), "after": VoltageScaler(1.3)},
    ),
    "a voltage scaler before a convolution": Idiom(
        lambda self, x: self.fire(self.conv(self.after(x))), ONE | {"after": VoltageScaler(1.3)}
    ),
    "spikes times a threshold": Idiom(
        lambda self, x: self.fire2(self.conv(self.fire(self.other(x)) * self.fire.v_threshold)), TWO
    ),
    "spikes divided, before a pool": Idiom(lambda self, x: self.fire(F.avg_pool2d(x / 0.7, 2)), {}),
    "spikes times a fraction into a neuron": Idiom(lambda self, x: self.fire(x * 0.3)),
    "spikes times a fraction and a convolution": Idiom(lambda self, x: self.fire(x * 0.3 + self.conv(x)), ONE),
    "spikes times a fraction into a Linear": Idiom(
        lambda self, x: self.fire(self.linear((x * 0.3).flatten(1))), {"linear": nn.Linear(256, 8)}
    ),
    "spikes for each channel before a convolution": Idiom(
        lambda self, x: self.fire(self.conv(x * CHANNELS.to(x))), ONE
    ),
    "spikes of which each part has its factor": Idiom(lambda self, x: self.fire(self.conv(x) * 0.5 + x * 0.3), ONE),
    "half a sum of convolutions": Idiom(lambda self, x: self.fire(0.5 * (self.conv(x) + self.other(x))), TWO),
    "negated spikes before a convolution": Idiom(lambda self, x: self.fire(self.conv(-x) + self.conv(self.a(x))), ONE),
    "a negated voltage scaler": Idiom(
        lambda self, x: self.fire(self.conv(-self.scaler(x))), ONE | {"scaler": VoltageScaler(0.6)}
    ),
    "a voltage scaler before a max pool": Idiom(
        lambda self, x: self.fire(self.conv(F.max_pool2d(self.scaler(x), 2))), ONE | {"scaler": VoltageScaler(0.6)}
    ),
    "a voltage scaler before a max pool alone": Idiom(
        lambda self, x: self.fire(F.max_pool2d(self.scaler(x), 2)) + F.max_pool2d(x, 2), {"scaler": VoltageScaler(0.6)}
    ),
    "a voltage scaler before an average pool and a Linear": Idiom(
        lambda self, x: self.fire(self.linear(F.avg_pool2d(self.scaler(x), 2).flatten(1))),
        {"scaler": VoltageScaler(0.6), "linear": nn.Linear(64, 16)},
    ),
    "scaled spikes of two readers": Idiom(
        lambda self, x: (lambda y: self.fire(self.conv(y)) + self.fire2(y))(x * 0.7), ONE
    ),
    "scaled spikes of two convolutions": Idiom(
        lambda self, x: (lambda y: self.fire(self.conv(y)) + self.fire2(self.other(y)))(x * 0.7), TWO
    ),
    "one scaled sum of spikes": Idiom(lambda self, x: self.fire(self.conv((x + self.a(x)) * 0.4)), ONE),
    "a constant of equal numbers for each channel": Idiom(
        lambda self, x: self.fire(self.conv(x) * torch.full((1, 4, 1, 1), 0.5).to(x)), ONE
    ),
    "a constant for each channel of spikes into a neuron beside a convolution": Idiom(
        lambda self, x: self.fire(self.conv(x) + self.a(x) * CHANNELS.to(x)), ONE
    ),
    "factors that cancel": Idiom(lambda self, x: self.fire(self.conv(x * 0.5 * 2.0)), ONE),
    "checks of sizes": Idiom(checked, ONE),
    "in place": Idiom(in_place, TWO),
    "zero weights with a bias": Idiom(lambda self, x: self.fire(self.zero(x)), {"zero": zeros()}),
    "zero weights with a bias beside others": Idiom(
        lambda self, x: self.fire(self.zero(x) + self.conv(x)), ONE | {"zero": zeros()}
    ),
}


def two_norms() -> dict[str, nn.Module]:
    return {"conv": conv(), "norm": nn.BatchNorm2d(4), "again": nn.BatchNorm2d(4), "other": conv(4, 1)}


NORMS: dict[str, Idiom] = {
    "a BatchNorm1d behind a flattened convolution": Idiom(
        lambda self, x: self.fire(self.norm(self.conv(x).flatten(1))), ONE | {"norm": nn.BatchNorm1d(256)}
    ),
    "behind a convolution": Idiom(lambda self, x: self.fire(self.norm(self.conv(x))), two_norms()),
    "before a convolution": Idiom(
        lambda self, x: self.fire(self.plain(self.norm(x))), two_norms() | {"plain": conv(6, 3, padding=0)}
    ),
    "before a 1x1 convolution": Idiom(lambda self, x: self.fire(self.other(self.norm(x))), two_norms()),
    "before a pool": Idiom(lambda self, x: self.fire(F.avg_pool2d(self.norm(self.conv(x)), 2)), two_norms()),
    "before a pool of spikes": Idiom(lambda self, x: self.fire(F.avg_pool2d(self.norm(x), 2)), two_norms()),
    "behind an average pool": Idiom(lambda self, x: self.fire(self.norm(F.avg_pool2d(self.conv(x), 2))), two_norms()),
    "behind an average pool of spikes": Idiom(lambda self, x: self.fire(self.norm(F.avg_pool2d(x, 2))), two_norms()),
    "behind a sum of convolutions": Idiom(
        lambda self, x: self.fire(self.norm(self.conv(x) + self.other(x))), two_norms()
    ),
    "two in a row": Idiom(lambda self, x: self.fire(self.again(self.norm(self.conv(x)))), two_norms()),
    "behind spikes": Idiom(lambda self, x: self.fire(self.norm(x)), two_norms()),
    "behind a max pool": Idiom(lambda self, x: self.fire(self.norm(F.max_pool2d(x, 2))), two_norms()),
    "a BatchNorm1d behind a Linear": Idiom(
        lambda self, x: self.fire(self.norm(self.linear(x.flatten(1)))),
        {"linear": nn.Linear(256, 12), "norm": nn.BatchNorm1d(12)},
    ),
    "a BatchNorm1d behind a flatten": Idiom(
        lambda self, x: self.fire(self.norm(x.flatten(1))), {"norm": nn.BatchNorm1d(256)}
    ),
    "a BatchNorm1d before a Linear": Idiom(
        lambda self, x: self.fire(self.linear(self.norm(x.flatten(1)))),
        {"linear": nn.Linear(256, 12), "norm": nn.BatchNorm1d(256)},
    ),
    "a BatchNorm1d behind a global pool": Idiom(
        lambda self, x: self.fire(self.norm(F.adaptive_avg_pool2d(self.conv(x), 1).flatten(1))),
        ONE | {"norm": nn.BatchNorm1d(4)},
    ),
    "before a convolution of two readers": Idiom(
        lambda self, x: (lambda y: self.fire(self.other(y)) + self.fire2(self.plain(y)))(self.norm(x)),
        two_norms() | {"plain": conv(4, 1)},
    ),
}

POOLS: dict[str, Idiom] = {
    "a max pool whose ceil_mode does nothing": Idiom(lambda self, x: F.max_pool2d(x, 2, ceil_mode=True)),
    "a max pool of one column with dilation": Idiom(lambda self, x: F.max_pool2d(x, (2, 1), dilation=(1, 2))),
    "a max pool of 1": Idiom(lambda self, x: F.max_pool2d(x, 1, 1, dilation=3)),
    "a max pool with ceil_mode": Idiom(lambda self, x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
    "a max pool with dilation": Idiom(lambda self, x: F.max_pool2d(x, 3, 2, 1, dilation=2)),
    "a max pool with both, of graded spikes": Idiom(
        lambda self, x: F.max_pool2d(x + self.a(x), (3, 2), 3, (1, 0), dilation=(2, 1), ceil_mode=True)
    ),
    "a maximum over space": Idiom(lambda self, x: x.amax((2, 3)) + self.a(x).max(3)[0].max(2)[0]),
    "a max pool with indices that nobody reads": Idiom(lambda self, x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "a negated average of currents": Idiom(lambda self, x: self.fire(-F.avg_pool2d(self.conv(x), 2)), ONE),
    "a difference of averages of currents": Idiom(
        lambda self, x: self.fire(F.avg_pool2d(self.conv(x), 2) - F.avg_pool2d(self.other(x), 2)),
        TWO,
    ),
    "an adaptive max pool": Idiom(lambda self, x: F.adaptive_max_pool2d(x, (2, 4))),
    "an average pool whose ceil_mode does nothing": Idiom(
        lambda self, x: self.fire(F.avg_pool2d(self.conv(x), 2, ceil_mode=True)), ONE
    ),
    "an average pool with a divisor": Idiom(
        lambda self, x: self.fire(F.avg_pool2d(self.conv(x), 2, divisor_override=3)), ONE
    ),
    "an average pool of spikes with a divisor": Idiom(
        lambda self, x: self.fire(F.avg_pool2d(x, 2, divisor_override=5))
    ),
    "a sum pool of spikes": Idiom(
        lambda self, x: self.fire(F.avg_pool2d(x, 2, divisor_override=1) - 0.75 * self.pool(x)),
        {"pool": nn.AvgPool2d(2)},
    ),
    "an average pool that leaves its padding out, of which it has none": Idiom(
        lambda self, x: self.fire(F.avg_pool2d(x, 2, count_include_pad=False))
    ),
    "a sum over space": Idiom(lambda self, x: self.fire(self.conv(x).sum((2, 3)) * 0.05), ONE),
    "a sum of spikes over space": Idiom(
        lambda self, x: self.fire(self.linear(x.sum((-2, -1)) / 10)), {"linear": nn.Linear(4, 8)}
    ),
    "a mean over space, one dimension after the other": Idiom(
        lambda self, x: self.fire(self.conv(x).mean(3).mean(2)), ONE
    ),
    "a sum over the height": Idiom(lambda self, x: self.fire(self.conv(x).sum(2) * 0.3), ONE),
    "a mean over the width": Idiom(lambda self, x: self.fire(self.conv(x).mean(-1, keepdim=True)), ONE),
}


def membrane_blocks(self: Any, x: Tensor) -> Tensor:
    """Membrane shortcuts as MS-ResNet has them: the second block is strided, a convolution reads the stream there."""
    s = self.norm(self.conv(x))
    s = s + self.second(self.fire(self.other(self.fire2(s))))
    s = s + self.third(self.fire3(s))
    s = self.down(s) + self.strided(self.fire4(s))
    return self.fire5(s + self.last(self.fire6(s)))


MEMBRANE: dict[str, nn.Module] = {
    "conv": conv(), "norm": nn.BatchNorm2d(4), "other": conv(), "second": conv(), "third": conv(),
    "down": nn.Sequential(conv(6, 1, stride=2, bias=False), nn.BatchNorm2d(6)), "strided": conv(6, 3, stride=2),
    "last": conv(6, 3, inputs=6), "fire3": fire(), "fire4": fire(), "fire5": fire(), "fire6": fire(),
}  # fmt: skip
RELAYS: dict[str, Idiom] = {
    "membrane shortcuts": Idiom(membrane_blocks, MEMBRANE),
    "membrane shortcuts and neurons that leak": Idiom(
        membrane_blocks,
        MEMBRANE
        | {"fire3": sj_neuron.LIFNode(tau=2.0, v_threshold=0.2, v_reset=None), "fire4": sj_neuron.LIFNode(3.0)},
    ),
    "two Linear": Idiom(
        lambda self, x: self.fire(self.second(self.linear(x.flatten(1)))),
        {"linear": nn.Linear(256, 12), "second": nn.Linear(12, 10)},
    ),
    "Linear, BatchNorm, average, Linear": Idiom(
        lambda self, x: self.fire(self.second(F.avg_pool2d(self.norm(self.conv(x)), 2).flatten(1))),
        NORM | {"second": nn.Linear(64, 10)},
    ),
    "a separable convolution": Idiom(
        lambda self, x: self.fire(self.point(self.depth(self.norm(self.conv(x))))),
        NORM | {"depth": conv(4, 3, groups=4), "point": conv(6, 1)},
    ),
    "a layer behind a layer beside spikes": Idiom(
        lambda self, x: self.fire(self.other(self.conv(x)) + self.second(self.a(x))), TWO | {"second": conv()}
    ),
    "a current for a neuron and a layer": Idiom(
        lambda self, x: (lambda c: self.fire(self.other(c)) + self.fire2(c))(self.conv(x)), TWO
    ),
    "a current for two layers": Idiom(
        lambda self, x: (lambda c: self.fire(self.other(c)) + self.fire2(self.second(c)))(self.conv(x)),
        TWO | {"second": conv()},
    ),
    "a factor behind a layer behind a layer": Idiom(
        lambda self, x: self.fire(torch.add(self.a(x), self.other(self.conv(x) * 0.5), alpha=2)), TWO
    ),
    "spikes with different factors in one convolution": Idiom(
        lambda self, x: self.fire(self.conv(x + 0.5 * self.a(x))), ONE
    ),
    "a maximum over currents": Idiom(lambda self, x: self.fire(F.max_pool2d(self.norm(self.conv(x)), 3, 2, 1)), NORM),
    "a maximum over a sum of currents, normalised": Idiom(
        lambda self, x: self.fire(-1.5 * F.max_pool2d(self.conv(x) + self.other(x), 2)), TWO
    ),
    "a maximum over a residual stream": Idiom(
        lambda self, x: (lambda s: self.fire(self.other(F.max_pool2d(s, 2))) + self.fire2(F.max_pool2d(s, 2)))(
            self.conv(x) + self.second(self.a(x))
        ),
        TWO | {"second": conv()},
    ),
    "a current that is read out": Idiom(lambda self, x: F.avg_pool2d(self.conv(x), 4), ONE),
}


def shuffled(x: Tensor, groups: int = 2) -> Tensor:
    count, channels, height, width = x.shape
    return x.view(count, groups, channels // groups, height, width).transpose(1, 2).reshape(count, -1, height, width)


HALF: dict[str, nn.Module] = {"conv": conv(4, 3, inputs=2), "other": conv(4, 1, inputs=2)}


def halves(self: Any, x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return self.fire(self.conv(first) + self.other(second))


def halves_of_currents(self: Any, x: Tensor) -> Tensor:
    first, second = self.conv(x).chunk(2, 1)
    return self.fire(first) + self.fire2(second)


def with_zeros(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1] = 0
    return x


def filled(self: Any, x: Tensor) -> Tensor:
    both = torch.empty(x.shape[0], 2, *x.shape[1:], dtype=x.dtype)
    both[:, 0] = x
    both[:, 1] = self.a(x)
    return self.fire(self.conv(both.sum(1)))


LAYOUT: dict[str, Idiom] = {
    "a slice of channels into a convolution": Idiom(lambda self, x: self.fire(self.conv(x[:, :2])), HALF),
    "every other channel": Idiom(lambda self, x: self.fire(self.conv(x[:, ::2])), HALF),
    "picked channels": Idiom(lambda self, x: self.fire(self.conv(x[:, [3, 0]])), HALF),
    "a chunk of channels into a convolution": Idiom(halves, HALF),
    "a slice of channels into a Linear": Idiom(
        lambda self, x: self.fire(self.linear(x[:, :2].flatten(1))), {"linear": nn.Linear(128, 8)}
    ),
    "a slice of a vector into a Linear": Idiom(
        lambda self, x: self.fire(self.linear(x.flatten(1)[:, 20:120])), {"linear": nn.Linear(100, 8)}
    ),
    "a slice of channels into a neuron": Idiom(lambda self, x: self.fire(x[:, :2] * 0.1)),
    "a slice of spikes into a neuron": Idiom(lambda self, x: fire_behind(self, x[:, :2])),
    "a slice of currents into a neuron": Idiom(lambda self, x: self.fire(self.conv(x)[:, 1:3]), ONE),
    "chunks of currents into neurons": Idiom(halves_of_currents, ONE),
    "a slice of channels into a gate": Idiom(lambda self, x: x[:, :2] * self.a(x)[:, 2:]),
    "a slice of channels into a pool": Idiom(lambda self, x: self.fire(F.avg_pool2d(x[:, 1:], 2))),
    "a slice of channels into a max pool": Idiom(lambda self, x: F.max_pool2d(x[:, 1:], 2)),
    "a slice of channels into a sum": Idiom(lambda self, x: self.fire(self.conv(x[:, :2] + self.a(x)[:, 2:])), HALF),
    "a slice of channels added to currents": Idiom(lambda self, x: self.fire(self.conv(x)[:, :2] + x[:, 2:]), ONE),
    "a slice of channels into a norm": Idiom(
        lambda self, x: self.fire(self.norm(x[:, :2])), {"norm": nn.BatchNorm2d(2)}
    ),
    "channels concatenated after a slice": Idiom(
        lambda self, x: self.fire(self.conv(torch.cat([x[:, 2:], self.a(x)[:, :2]], 1))), ONE
    ),
    "a cropped image into a Linear": Idiom(
        lambda self, x: self.fire(self.linear(x[..., 2:6, 2:6].flatten(1))), {"linear": nn.Linear(64, 8)}
    ),
    "stack": Idiom(
        lambda self, x: self.fire(self.conv(torch.stack([x, self.a(x)], 1).flatten(1, 2))),
        {"conv": conv(4, 3, inputs=8)},
    ),
    "stack and sum": Idiom(lambda self, x: self.fire(self.conv(torch.stack([x, self.a(x)]).sum(0))), ONE),
    "stack and mean of currents": Idiom(
        lambda self, x: self.fire(torch.stack([self.conv(x), self.other(x)]).mean(0)), TWO
    ),
    "expand": Idiom(lambda self, x: self.fire(self.conv(x[:, :1].expand(-1, 4, -1, -1))), ONE),
    "repeat": Idiom(lambda self, x: self.fire(self.conv(x.repeat(1, 2, 1, 1))), {"conv": conv(4, 3, inputs=8)}),
    "a slice of scaled spikes": Idiom(lambda self, x: self.fire((x * CHANNELS.to(x))[:, 1:]) + x[:, 1:]),
    "a channel shuffle of two readers": Idiom(
        lambda self, x: (lambda y: self.fire(self.conv(y)) + y)(shuffled(x)), ONE
    ),
    "a split of three": Idiom(
        lambda self, x: torch.cat(
            [self.fire(part) if n else part for n, part in enumerate(self.conv(x).split([1, 3], 1))][1:], 1
        ),
        ONE,
    ),
    "cat over the height": Idiom(lambda self, x: self.fire(self.conv(torch.cat([x, self.a(x)], 2))), ONE),
    "cat over the width": Idiom(lambda self, x: F.max_pool2d(torch.cat([x, self.a(x)], -1), 2)),
    "cat of currents": Idiom(lambda self, x: self.fire(torch.cat([self.conv(x), self.other(x)], 1)), TWO),
    "cat of currents and spikes": Idiom(lambda self, x: self.fire(torch.cat([self.conv(x), x], 1)), TWO),
    "cat of flattened currents": Idiom(
        lambda self, x: self.fire(torch.cat([self.conv(x).flatten(1), self.other(x).flatten(1)], 1)), TWO
    ),
    "a channel shuffle before a convolution": Idiom(
        lambda self, x: self.fire(self.conv(shuffled(x))), {"conv": conv(4, 3, groups=1)}
    ),
    "a channel shuffle before a grouped convolution": Idiom(
        lambda self, x: self.fire(self.conv(shuffled(x))), {"conv": nn.Conv2d(4, 4, 3, padding=1, groups=2)}
    ),
    "a channel shuffle of currents": Idiom(lambda self, x: self.fire(shuffled(self.conv(x))), ONE),
    "a channel shuffle before a pool": Idiom(lambda self, x: self.fire(F.avg_pool2d(shuffled(x), 2)), ONE),
    "a channel shuffle before a max pool": Idiom(lambda self, x: F.max_pool2d(shuffled(x), 2), ONE),
    "a channel shuffle before a gate": Idiom(lambda self, x: shuffled(x) * self.a(x), ONE),
    "a permuted flatten before a Linear": Idiom(
        lambda self, x: self.fire(self.linear(x.permute(0, 2, 3, 1).reshape(x.size(0), -1))),
        {"linear": nn.Linear(256, 8)},
    ),
    "a permuted flatten of currents": Idiom(
        lambda self, x: self.fire(self.conv(x).permute(0, 2, 3, 1).reshape(x.size(0), -1)), ONE
    ),
    "a Conv1d over tokens": Idiom(
        lambda self, x: self.fire(self.norm(self.line(x.flatten(2)))).view(-1, 4, 8, 8) * self.a(x),
        {"line": nn.Conv1d(4, 4, 1, bias=False), "norm": nn.BatchNorm1d(4)},
    ),
    "tokens": Idiom(lambda self, x: self.fire(self.linear(x.flatten(2).transpose(1, 2))), {"linear": nn.Linear(4, 6)}),
    "channels last and back": Idiom(
        lambda self, x: self.fire(self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), {"linear": nn.Linear(4, 6)}
    ),
    "a Linear over the width": Idiom(lambda self, x: self.fire(self.linear(x)), {"linear": nn.Linear(8, 5)}),
    "a Linear over the height": Idiom(
        lambda self, x: self.fire(self.linear(x.transpose(2, 3))), {"linear": nn.Linear(8, 5)}
    ),
    "a slice of what a shared Linear computes": Idiom(
        lambda self, x: self.fire(self.linear(x)[..., 1:4].flatten(1)[:, 2:]), {"linear": nn.Linear(8, 5)}
    ),
    "factors for each output of a shared Linear": Idiom(
        lambda self, x: self.fire(self.linear(x) * torch.arange(1, 6).to(x)), {"linear": nn.Linear(8, 5)}
    ),
    "scaled spikes before a shared Linear": Idiom(
        lambda self, x: self.fire(self.linear(x * 0.7)), {"linear": nn.Linear(8, 5)}
    ),
    "a fixed view": Idiom(lambda self, x: self.fire(self.linear(x.view(x.size(0), -1))), {"linear": nn.Linear(256, 8)}),
    "a flip": Idiom(lambda self, x: self.fire(self.linear(x.flip(3).flatten(1))), {"linear": nn.Linear(256, 8)}),
    "a cropped image": Idiom(lambda self, x: self.fire(self.conv(x[..., 1:-1, 2:])), ONE),
    "every other row, every third column": Idiom(lambda self, x: self.fire(self.conv(x[..., 1::2, ::3])), ONE),
    "a cropped image of some channels into a neuron": Idiom(lambda self, x: fire_behind(self, x[:, 1:3, 2:, :-2])),
    "a cropped image into a gate": Idiom(lambda self, x: x[..., :6, :6] * self.a(x)[..., 2:, 2:]),
    "a cropped image into a pool": Idiom(lambda self, x: F.max_pool2d((x + self.a(x))[..., 1:7, 1:7], 2)),
    "a cropped line": Idiom(lambda self, x: self.fire(self.line(x[..., 2:-1])), {"line": nn.Conv1d(4, 4, 3)}, (1, 12)),
    "padding that crops": Idiom(lambda self, x: self.fire(self.conv(F.pad(x, (-1, 2, 0, -2)))), ONE),
    "the shortcut of ResNets for CIFAR": Idiom(
        lambda self, x: self.fire(self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))),
        {"conv": conv(8, 3, stride=2)},
    ),
    "a reduction by nearest neighbours": Idiom(
        lambda self, x: self.fire(self.conv(F.interpolate(x, scale_factor=0.5))) + F.interpolate(x, size=4), ONE
    ),
    "an adaptive pool that enlarges": Idiom(
        lambda self, x: self.fire(self.linear(F.adaptive_avg_pool2d(x.amax((2, 3), keepdim=True), (2, 3)).flatten(1))),
        {"linear": nn.Linear(24, 8)},
    ),
    "broadcast_tensors": Idiom(
        lambda self, x: self.fire(self.conv(torch.broadcast_tensors(x[:, :1], torch.zeros(x.shape))[0])), ONE
    ),
    "a channel set to 0": Idiom(lambda self, x: self.fire(self.conv(with_zeros(x))), ONE),
    "places of a vector set to 0": Idiom(
        lambda self, x: self.fire(self.linear(with_zeros(x.flatten(1)))), {"linear": nn.Linear(256, 8)}
    ),
    "a channel of currents set to 0": Idiom(lambda self, x: self.fire(with_zeros(self.conv(x)) + self.other(x)), TWO),
    "a tensor filled part by part": Idiom(filled, ONE),
    "a branch times 0": Idiom(lambda self, x: self.fire(self.conv(x + 0 * self.a(x)) + self.other(x) * 0.0), TWO),
    "currents of a vector taken for an image": Idiom(
        lambda self, x: self.fire(self.linear(x.flatten(1)).view(-1, 4, 4, 4)), {"linear": nn.Linear(256, 64)}
    ),
}


def fire_behind(self: Any, x: Tensor) -> Tensor:
    return self.fire(self.fire2(x))


GATES: dict[str, Idiom] = {
    "maximum": Idiom(lambda self, x: torch.maximum(x, self.a(x))),
    "max of two": Idiom(lambda self, x: torch.max(x, self.a(x))),
    "minimum": Idiom(lambda self, x: torch.minimum(x, self.a(x))),
    "logical_or": Idiom(lambda self, x: torch.logical_or(x, self.a(x)).float().to(x)),
    "logical_and": Idiom(lambda self, x: torch.logical_and(x, self.a(x)).to(x)),
    "logical_not": Idiom(lambda self, x: (torch.logical_not(self.a(x)) * x).to(x)),
    "logical_xor": Idiom(lambda self, x: torch.logical_xor(self.a(x), x).to(x)),
    "operators": Idiom(lambda self, x: ((x.bool() | self.a(x).bool()) & ~self.b(x).bool()).to(x)),
    "clamp to 1": Idiom(lambda self, x: (x + self.a(x)).clamp(max=1)),
    "clamp from 0 to 1": Idiom(lambda self, x: torch.clamp(x + self.a(x) - self.b(x), 0, 1)),
    "hardtanh": Idiom(lambda self, x: F.hardtanh(x + self.a(x), 0.0, 1.0)),
    "above 0": Idiom(lambda self, x: ((x + self.a(x)) > 0).to(x)),
    "at least 1": Idiom(lambda self, x: ((x + self.a(x)) >= 1).to(x)),
    "below 1": Idiom(lambda self, x: x * ((self.a(x) + self.b(x)) < 1).to(x)),
    "equal to 2": Idiom(lambda self, x: ((x + self.a(x)) == 2).to(x)),
    "relu in place": Idiom(lambda self, x: (x - self.a(x)).relu_()),
    "maximum of graded spikes": Idiom(lambda self, x: torch.maximum(x + self.a(x), self.b(x))),
    "maximum with 0": Idiom(lambda self, x: torch.clamp_min(x - self.a(x), 0)),
    "a product with itself": Idiom(lambda self, x: x * x + self.a(x)),
}


class Negated(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return -weight


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def hooked(change: bool) -> nn.Module:
    layer = conv()
    layer.register_forward_hook(
        (lambda module, given, y: y * 0.5 + 0.125) if change else (lambda module, given, y: None)
    )
    layer.register_forward_pre_hook((lambda module, given: (given[0] * 2,)) if change else (lambda module, given: None))
    return layer


def parametrized() -> nn.Module:
    layer = conv()
    nn.init.normal_(layer.weight, 0, 0.25)
    parametrize.register_parametrization(layer, "weight", Negated())
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


@pytest.mark.filterwarnings("ignore")
def old_weight_norm() -> nn.Module:
    return nn.utils.weight_norm(conv())


MODULES: dict[str, Idiom] = {
    "hooks that return None": Idiom(lambda self, x: self.fire(self.conv(x)), {"conv": hooked(False)}),
    "hooks that change the result": Idiom(lambda self, x: self.fire(self.conv(x)), {"conv": hooked(True)}),
    "per-channel beta of which some are 1": Idiom(
        lambda self, x: self.leaky(self.conv(x)),
        ONE
        | {
            "leaky": snntorch.Leaky(
                beta=torch.tensor([1.0, 0.5, 0.9, 1.0]).view(4, 1, 1), threshold=0.3, init_hidden=True
            )
        },
    ),
    "circular padding of 0": Idiom(
        lambda self, x: self.fire(self.conv(x)), {"conv": nn.Conv2d(4, 4, 3, padding=0, padding_mode="circular")}
    ),
    "reflecting padding of 0": Idiom(
        lambda self, x: self.fire(self.conv(x)), {"conv": nn.Conv2d(4, 4, 3, padding=0, padding_mode="reflect")}
    ),
    "a circular F.pad of 0": Idiom(lambda self, x: self.fire(self.conv(F.pad(x, (0, 0, 0, 0), mode="circular"))), ONE),
    "weight norm": Idiom(lambda self, x: self.fire(self.conv(x)), {"conv": parametrizations.weight_norm(conv())}),
    "spectral norm": Idiom(lambda self, x: self.fire(self.conv(x)), {"conv": parametrizations.spectral_norm(conv())}),
    "an orthogonal Linear": Idiom(
        lambda self, x: self.fire(self.linear(x.flatten(1))),
        {"linear": parametrizations.orthogonal(nn.Linear(256, 16))},
    ),
    "parametrizations": Idiom(lambda self, x: self.fire(self.conv(x)), {"conv": parametrized()}),
    "standardised weights": Idiom(
        lambda self, x: self.fire(
            F.conv2d(x, (self.conv.weight - self.conv.weight.mean((1, 2, 3), True)) * 1.5, self.conv.bias, padding=1)
        ),
        ONE,
    ),
    "binary weights": Idiom(
        lambda self, x: self.fire(F.conv2d(x, self.conv.weight.sign() * 0.2, self.conv.bias, padding=1)), ONE
    ),
    "masked weights": Idiom(
        lambda self, x: self.fire(F.conv2d(x, self.conv.weight * (self.conv.weight.abs() > 0.05), padding=1)), ONE
    ),
}

LINE: Shape = (3, 12)
CONV1D: dict[str, nn.Module] = {"conv": nn.Conv1d(4, 6, 3, padding=1)}
ALONG_A_LINE: dict[str, Idiom] = {
    "a Conv1d": Idiom(lambda self, x: self.fire(self.conv(x)), CONV1D, LINE),
    "a strided, dilated, grouped Conv1d": Idiom(
        lambda self, x: self.fire(self.conv(x)), {"conv": nn.Conv1d(4, 6, 3, 2, 2, 2, 2)}, LINE
    ),
    "a Conv1d padded to the same length": Idiom(
        lambda self, x: self.fire(self.conv(x)), {"conv": nn.Conv1d(4, 6, 4, padding="same")}, LINE
    ),
    "a BatchNorm1d": Idiom(
        lambda self, x: self.fire(self.norm(self.conv(x))), CONV1D | {"norm": nn.BatchNorm1d(6)}, LINE
    ),
    "a BatchNorm1d before a Conv1d": Idiom(
        lambda self, x: self.fire(self.plain(self.norm(x))),
        {"norm": nn.BatchNorm1d(4), "plain": nn.Conv1d(4, 6, 3)},
        LINE,
    ),
    "a MaxPool1d": Idiom(lambda self, x: F.max_pool1d(x, 2), {}, LINE),
    "a padded MaxPool1d": Idiom(lambda self, x: F.max_pool1d(x, 3, 2, 1), {}, LINE),
    "an AvgPool1d": Idiom(lambda self, x: self.fire(F.avg_pool1d(self.conv(x), 2)), CONV1D, LINE),
    "an AvgPool1d of spikes": Idiom(lambda self, x: self.fire(F.avg_pool1d(x, 3, 2)), {}, LINE),
    "an AdaptiveAvgPool1d": Idiom(
        lambda self, x: self.fire(F.adaptive_avg_pool1d(self.conv(x), 1).flatten(1)), CONV1D, LINE
    ),
    "a mean over the length": Idiom(lambda self, x: self.fire(self.conv(x).mean(2)), CONV1D, LINE),
    "a maximum over the length": Idiom(lambda self, x: x.max(2)[0] + self.a(x).amax(2), {}, LINE),
    "a Linear over points": Idiom(
        lambda self, x: self.fire(self.linear(x.transpose(1, 2))), {"linear": nn.Linear(4, 6)}, LINE
    ),
    "a Linear over points and back": Idiom(
        lambda self, x: self.fire(self.linear(x.transpose(1, 2)).transpose(1, 2)), {"linear": nn.Linear(4, 6)}, LINE
    ),
    "a Linear along the line": Idiom(lambda self, x: self.fire(self.linear(x)), {"linear": nn.Linear(12, 6)}, LINE),
    "a flattened line": Idiom(lambda self, x: self.fire(self.linear(x.flatten(1))), {"linear": nn.Linear(48, 6)}, LINE),
    "a cat of channels": Idiom(
        lambda self, x: self.fire(self.conv(torch.cat([x, self.a(x)], 1))), {"conv": nn.Conv1d(8, 4, 3)}, LINE
    ),
    "a gate": Idiom(lambda self, x: x * self.a(x) + self.b(x), {}, LINE),
    "zeros around the line": Idiom(lambda self, x: self.fire(self.conv(F.pad(x, (1, 2)))), CONV1D, LINE),
}

MULTI_STEP: dict[str, Idiom] = {
    "SeqToANNContainer": Idiom(
        lambda self, x: self.fire(self.layers(x)),
        {"layers": sj_layer.SeqToANNContainer(conv(), nn.BatchNorm2d(4), nn.AvgPool2d(2))},
    ),
    "a Linear in a SeqToANNContainer": Idiom(
        lambda self, x: self.fire(self.layers(x.flatten(2))),
        {"layers": sj_layer.SeqToANNContainer(nn.Linear(256, 12), nn.BatchNorm1d(12))},
    ),
    "time and samples in one dimension": Idiom(
        lambda self, x: self.fire(self.conv(x.flatten(0, 1)).view(*x.shape[:2], 4, 8, 8) * 0.5), ONE
    ),
    "channels picked in every step": Idiom(lambda self, x: self.fire(x[:, :, 1:]) * self.fire2(x[:, :, :3]), {}),
    "a voltage scaler": Idiom(lambda self, x: self.fire(self.conv((x * 0.7).flatten(0, 1)).view_as(x)), ONE),
    "factors for each channel": Idiom(
        lambda self, x: self.fire(self.conv(x.flatten(0, 1)).view_as(x) * CHANNELS[None].to(x)), ONE
    ),
    "currents behind one another": Idiom(
        lambda self, x: self.fire(
            torch.cat([self.conv(x.flatten(0, 1)).view_as(x), self.other(x.flatten(0, 1)).view_as(x)], 2)
        ),
        TWO,
    ),
    "spikes stacked and added": Idiom(lambda self, x: self.fire(torch.stack([x, self.a(x)]).mean(0)) + x, {}),
    "a product with ones of every step": Idiom(
        lambda self, x: self.fire(x * torch.ones(x.shape[0], 1, 1, 1, 1).to(x)) + x
    ),
}


def multi_step_net(idiom: Idiom) -> nn.Module:
    """The idiom between a stem and a read-out in SpikingJelly's multi step: x is [T, N, 4, 8, 8]."""
    torch.manual_seed(7)

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.fc(idiom.wire(self, self.stem(x)).flatten(2)).mean(0)

    def source(inputs: int) -> nn.Module:
        return nn.Sequential(sj_layer.Conv2d(inputs, 4, 3, padding=1), fire(0.5))

    layers = {"stem": source(2), "a": source(4), "b": source(4), "fire": fire(), "fire2": fire()}
    model = trained_like(Wired(forward, **layers, **copy.deepcopy(idiom.layers)))
    functional.set_step_mode(model, "m")
    with torch.no_grad():
        features = idiom.wire(model, model.stem(torch.rand(2, 1, *SHAPE)))[0].numel()
    functional.reset_net(model)
    model.fc = nn.Linear(features, 3)
    trained_like(model.fc)
    return model


def over_time(forward: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    """A net with a loop of its own over one input."""
    torch.manual_seed(7)
    layers = {"conv": conv(4, 3, 2), "norm": nn.BatchNorm2d(4), "fire": fire(), "other": conv(), "fire2": fire()}
    return trained_like(Wired(forward, **layers, fc=nn.Linear(256, 3)))


def scaled_in_a_loop(self: Any, x: Tensor) -> Tensor:
    total = 0
    for _ in range(STEPS):
        spikes = self.fire(self.norm(self.conv(x)) * 0.5) * 0.8
        spikes = self.fire2(self.other(spikes)[:, [2, 0, 1, 3]])
        total = total + self.fc(spikes.flatten(1))
    return total / STEPS


def repeated_input(self: Any, x: Tensor) -> Tensor:
    steps = x.unsqueeze(0) * torch.ones(STEPS, 1, 1, 1, 1).to(x)
    return torch.stack([self.fc(self.fire(self.conv(frame)).flatten(1)) for frame in steps]).sum(0)


EVERY = {
    "currents": CURRENTS,
    "norms": NORMS,
    "pools": POOLS,
    "layout": LAYOUT,
    "gates": GATES,
    "modules": MODULES,
    "line": ALONG_A_LINE,
    "relays": RELAYS,
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, idioms in EVERY.items() for name in idioms])
def test_an_idiom_is_deployed_exactly(kind: str, name: str) -> None:
    idiom = EVERY[kind][name]
    model = net(idiom)
    assert_deployed_exactly(model.double() if idiom.double else model, idiom.shape)


@pytest.mark.parametrize("name", MULTI_STEP)
def test_an_idiom_in_multi_step_is_deployed_exactly(name: str) -> None:
    assert_deployed_exactly(multi_step_net(MULTI_STEP[name]).double())


@pytest.mark.parametrize("forward", [scaled_in_a_loop, repeated_input])
def test_an_idiom_in_a_loop_is_deployed_exactly(forward: Callable[[Any, Tensor], Tensor]) -> None:
    model = over_time(forward).double()
    assert_deployed_exactly(model, static=True)


def test_factors_are_folded_into_the_layer_behind() -> None:
    """No node is left of them, and the weights hold them."""
    idiom = CURRENTS["spikes for each channel before a convolution"]
    model = net(idiom)
    traced, _ = assert_deployed_exactly(model.double())
    assert {"conv", "fire", "stem.0", "stem.1", "fc"} <= traced.network.nodes.keys()
    assert not [name for name in traced.network.nodes if "scale" in name]
    expected = (model.conv.weight * CHANNELS.to(model.conv.weight)).detach().numpy()
    np.testing.assert_allclose(traced.network.nodes["conv"].weight, expected, rtol=1e-12)


def test_lines_are_images_of_height_1_in_the_network() -> None:
    traced, _ = assert_deployed_exactly(net(ALONG_A_LINE["a Conv1d"]).double(), LINE)
    assert traced.network.nodes["conv"].weight.shape == (6, 4, 1, 3)
    assert tuple(traced.network.nodes["input"].input_type["input"]) == (3, 1, 12)
    assert traced.network.nodes["fire"].v_threshold.shape == (6, 1, 12)


def assigned(self: Any, x: Tensor) -> Tensor:
    out = self.a(x).clone()
    out[:, :, 0] = 0
    return out


REFUSED: dict[str, tuple[Idiom, str, str]] = {
    "a BatchNorm before a padded convolution": (
        Idiom(lambda self, x: self.fire(self.conv(self.norm(x))), NORM),
        "conv",
        "padding=0",
    ),
    "an offset before a padded convolution": (
        Idiom(lambda self, x: self.fire(self.conv(x * 0.5 + 0.1)), ONE),
        "conv",
        "zero padding around values",
    ),
    "a BatchNorm behind a padded average pool of currents": (
        Idiom(lambda self, x: self.fire(self.norm(F.avg_pool2d(self.conv(x), 3, 2, 1))), NORM),
        "model.avg_pool2d",
        "a padded pool behind conv",
    ),
    "a BatchNorm behind a sum with spikes": (
        Idiom(lambda self, x: self.fire(self.norm(self.conv(x) + x)), NORM),
        "norm",
        "Multiply each by itself",
    ),
    "spikes multiplied while they are added": (
        Idiom(lambda self, x: self.fire(self.conv(x) + torch.add(self.a(x), x, alpha=0.5)), ONE),
        "model",
        "Multiply them first",
    ),
    "factors of single pixels": (
        Idiom(lambda self, x: self.fire(self.conv(x) * torch.rand(8, 8).to(x)), ONE),
        "model",
        "for each channel",
    ),
    "factors along the width": (
        Idiom(lambda self, x: self.fire(self.conv(x) * torch.rand(8).to(x)), ONE),
        "model",
        "Give one factor for each",
    ),
    "factors that differ between the rows of a shared Linear": (
        Idiom(lambda self, x: self.fire(self.linear(x * CHANNELS.to(x))), {"linear": nn.Linear(8, 5)}),
        "linear",
        "Multiply behind the Linear",
    ),
    "factors that differ between the parts of a shared Linear": (
        Idiom(lambda self, x: self.fire(self.linear(x) * CHANNELS.to(x)), {"linear": nn.Linear(8, 5)}),
        "model",
        "each part a Linear of its own",
    ),
    "places of the largest": (
        Idiom(lambda self, x: F.max_pool2d(x, 2, return_indices=True)[1].to(x)),
        "model",
        "where the largest",
    ),
    "an average pool that leaves its padding out": (
        Idiom(lambda self, x: self.fire(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))),
        "model",
        "divide by less",
    ),
    "an average pool with ceil_mode": (
        Idiom(lambda self, x: self.fire(F.avg_pool2d(x, 3, 2, ceil_mode=True))),
        "model",
        "divide by less",
    ),
    "circular padding": (
        Idiom(lambda self, x: self.fire(self.conv(x)), {"conv": conv(padding_mode="circular")}),
        "conv",
        "padding",
    ),
    "a crop of currents": (
        Idiom(lambda self, x: self.fire(self.conv(x)[:, :, 1:-1, 2:]), ONE),
        "fire",
        "of a layer",
    ),
    "a vector taken for an image": (
        Idiom(
            lambda self, x: self.fire(self.conv(self.fire2(self.linear(x.flatten(1))).view(-1, 4, 4, 4))),
            ONE | {"linear": nn.Linear(256, 64)},
        ),
        "conv",
        "taken for images",
    ),
    "a global average for every pixel": (
        Idiom(lambda self, x: self.fire(self.conv(x) + self.other(x.mean((2, 3), True)).expand(-1, -1, 8, 8)), TWO),
        "model.add",
        "stand in different order",
    ),
    "currents for several neurons": (
        Idiom(lambda self, x: self.fire(self.conv(x)[:, [0, 0, 1]]), ONE),
        "fire",
        "of a layer",
    ),
    "samples behind samples": (
        Idiom(lambda self, x: self.fire(torch.cat([x, self.a(x)])[: len(x)])),
        "model",
        "cat over",
    ),
    "a part assigned": (Idiom(assigned), "model", "a part of a channel"),
    "a maximum of differences": (Idiom(lambda self, x: torch.maximum(x - self.a(x), self.b(x))), "model.or", "maximum"),
    "an exclusive or of graded spikes": (
        Idiom(lambda self, x: torch.logical_xor(x + self.a(x), x)),
        "model.xor",
        "binary",
    ),
    "a comparison that is always true": (Idiom(lambda self, x: (x >= 0).to(x)), "model", "always true"),
    "a comparison that is always false": (Idiom(lambda self, x: (x > 1).to(x)), "model", "always false"),
    "a padding that another dimension takes": (
        Idiom(lambda self, x: self.fire(self.conv(F.pad(x.transpose(1, 2), (0, 0, 1, 1)).transpose(1, 2)[:, :4])), ONE),
        "model",
        "taken for images",
    ),
    "a padded image that is turned": (
        Idiom(lambda self, x: self.fire(self.conv(F.pad(x, (0, 1, 0, 0)).transpose(2, 3))), ONE),
        "model",
        "padding",
    ),
    "a padded image that is flattened": (
        Idiom(lambda self, x: self.fire(F.pad(x, (0, 1, 0, 0)).flatten(1)), ONE),
        "model",
        "padding",
    ),
}


@pytest.mark.parametrize("end", ["logits", "neuron"])
def test_outputs_of_a_linear_that_vote_are_averaged_in_its_weights(end: str) -> None:
    """As in SpikingJelly's VotingLayer, behind a Linear without a neuron between."""
    layers: dict[str, nn.Module] = {"stem": conv(4, 3, inputs=SHAPE[0]), "one": fire(0.5), "two": fire()}
    layers |= {"linear": nn.Linear(4 * SHAPE[1] * SHAPE[2], 30), "vote": sj_layer.VotingLayer(10)}

    def forward(self: Any, x: Tensor) -> Tensor:
        votes: Tensor = self.vote(self.linear(self.one(self.stem(x)).flatten(1)) * 0.5)
        return self.two(votes) if end == "neuron" else votes

    torch.manual_seed(3)
    _, program = assert_deployed_exactly(trained_like(Wired(forward, **layers)))
    assert program.graph["linear"].shape == (3,)


class LastMembrane(nn.Module):
    """snnTorch's read-out for regression: the membrane of a last layer that does not reset, after all steps."""

    def __init__(self, beta: float = 1.0, *, shown: bool = False, reset: str = "none") -> None:
        super().__init__()
        self.shown = shown
        self.conv, self.lif1 = conv(4, 3, inputs=SHAPE[0]), snntorch.Leaky(beta=0.5, threshold=0.3)
        self.fc = nn.Linear(4 * SHAPE[1] * SHAPE[2], 3)
        self.lif2 = snntorch.Leaky(beta=beta, reset_mechanism=reset)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        for frame in [x] * STEPS if self.shown else x:
            spikes, mem1 = self.lif1(self.conv(frame), mem1)
            _, mem2 = self.lif2(self.fc(spikes.flatten(1)), mem2)
        return mem2


@pytest.mark.parametrize("shown", [False, True])
def test_the_last_membrane_of_a_neuron_that_only_adds_up_is_the_sum_of_its_currents(shown: bool) -> None:
    torch.manual_seed(3)
    traced, program = assert_deployed_exactly(trained_like(LastMembrane(shown=shown)), static=shown)
    assert "lif2" not in traced.network.nodes
    assert program.graph.readout.inputs == ("fc",)


@pytest.mark.parametrize(
    ("beta", "reset", "problem"),
    [
        (0.5, "none", r"factors \[0.125, 0.25, 0.5, 1.0\] of 4.*neither leaks nor resets"),
        (1.0, "zero", "returns the state of lif2 alone"),
    ],
)
def test_a_last_membrane_that_leaks_or_resets_is_refused(beta: float, reset: str, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        trace(LastMembrane(beta, reset=reset), SHAPE, timesteps=STEPS)


def test_a_crop_that_takes_too_many_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snn2hw.frontends.torch.joins._LARGEST_CROP", 4 * 4 * 3 * 3 - 1)
    model = net(LAYOUT["a cropped image"])
    with pytest.raises(UnsupportedError, match="from 8x8 to 6x6, which takes 144 weights"):
        trace(model, SHAPE)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_with_its_place(name: str) -> None:
    idiom, layer, problem = REFUSED[name]
    model = net(idiom)
    with pytest.raises((UnsupportedError, QuantisationError), match=problem) as raised:
        assert_deployed_exactly(model)
    blocker = raised.value.blockers[0]
    assert blocker.layer.startswith(layer)
    assert str(blocker).count(". ") >= 1  # the problem, and then what to do
