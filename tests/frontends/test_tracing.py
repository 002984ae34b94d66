"""What a forward may be made of: each construct in a small net, exact from PyTorch to the cycle simulator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import NEURONS, SHAPE, Wired, compile_model, random_samples, randomise, run_requantised
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw import ir
from snn2hw.engines.cycle import simulate
from snn2hw.exporters.nir.files import write_graph
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.network.nir_file import read_nir, same_network
from snn2hw.network.reference import Reference
from snn2hw.verification.network_vs_torch import compare_network

STEPS = 3
Wire = Callable[[Any, Tensor], Tensor]


def net(wire: Wire, **layers: nn.Module) -> nn.Module:
    """A model around `wire`, which is given the spikes [N, 4, 8, 8] of a stem and returns values for the head.

    `net.a` and `net.b` are two more sources of such spikes; `net.fire` is a neuron that may end the wire.
    """

    def forward(every_layer: Any, x: Tensor) -> Tensor:
        return every_layer.fc(wire(every_layer, every_layer.stem(x)).flatten(1))

    torch.manual_seed(3)
    neuron = NEURONS["if"]
    every_layer = {
        "stem": nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), neuron()),
        "a": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), neuron()),
        "b": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), neuron()),
        "fire": sj_neuron.IFNode(v_threshold=0.25),
    }
    model = Wired(forward, **(every_layer | copy.deepcopy(layers)), fc=nn.Identity())
    randomise(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.uniform_(-0.1, 0.2)  # so that all neurons behind spikes fire sometimes
    functional.reset_net(model)
    with torch.no_grad():
        features = wire(model, model.stem(torch.zeros(1, *SHAPE))).numel()
    functional.reset_net(model)
    model.fc = nn.Linear(features, 3)
    return model


def assert_exact(model: nn.Module) -> tuple[Traced, ir.Program]:
    """NIR in float64 equals the user's module and its capture, the cycle simulator the requantised model, and every
    layer has spikes.
    """
    model = model.double()
    samples = random_samples(3, steps=STEPS)
    traced, program = compile_model(model, samples, timesteps=STEPS)
    x = torch.from_numpy(samples.steps(STEPS)).double()
    verdict = compare_network(traced.network, traced.user_model, x)
    assert verdict.compared and (verdict.mismatches, verdict.note) == (0, ""), verdict.first()
    ours = Reference(traced.network, dtype=torch.float64).run(x)
    for step, (emitted, values) in enumerate(zip(traced.run(x), ours, strict=True)):
        for name in traced.origin:
            assert torch.equal(emitted[name], values[name]), f"{name}, step {step}"
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    for name, emitted in spikes.items():
        if name in expected:
            np.testing.assert_array_equal(
                emitted, np.rint(expected[name]) if name == "logits" else expected[name], name
            )
            assert np.any(emitted != 0), f"{name} is silent"
    assert any(name in expected for name in spikes if name != "logits")
    return traced, program


def conv(outputs: int = 6, kernel: Any = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(4, outputs, kernel, **options)


def through(layer: nn.Module) -> nn.Module:
    return net(lambda self, x: self.fire(self.layer(x)), layer=layer)


FORMS: dict[str, tuple[Wire, dict[str, nn.Module]]] = {
    "max_pool2d": (lambda self, x: F.max_pool2d(x, 2), {}),
    "max_pool2d by keyword": (lambda self, x: F.max_pool2d(x, kernel_size=3, stride=2, padding=1), {}),
    "torch.max_pool2d": (lambda self, x: torch.max_pool2d(x, 3, 1), {}),
    "max_pool2d with ceil_mode": (lambda self, x: F.max_pool2d(x + self.a(x), 3, 2, 1, ceil_mode=True), {}),
    "max_pool2d with dilation": (lambda self, x: F.max_pool2d(x, 2, dilation=2), {}),
    "avg_pool2d": (lambda self, x: self.fire(F.avg_pool2d(x, 2, 2)), {}),
    "adaptive_avg_pool2d": (lambda self, x: F.adaptive_avg_pool2d(x, (1, 1)).squeeze(3).squeeze(2), {}),
    "squeeze at once": (lambda self, x: F.adaptive_avg_pool2d(x, 1).squeeze((2, 3)), {}),
    "view": (lambda self, x: x.view(x.size(0), -1), {}),
    "view by shape": (lambda self, x: x.view(x.shape[0], x.shape[1] * x.size(2) * x.shape[-1]), {}),
    "reshape": (lambda self, x: x.reshape(-1, 256), {}),
    "flatten": (lambda self, x: torch.flatten(x, start_dim=1), {}),
    "dropout": (lambda self, x: F.dropout2d(F.dropout(x, 0.5, self.training), 0.5, self.training), {}),
    "relu": (lambda self, x: F.relu(torch.relu(self.same(self.relu(x)))), {"same": nn.Identity(), "relu": nn.ReLU()}),
    "relu of a difference": (lambda self, x: F.relu(self.a(x) - self.b(x)), {}),
    "clone and float": (lambda self, x: x.clone().detach().contiguous().double(), {}),
    "in place": (lambda self, x: F.relu(self.a(x).add_(self.b(x)), inplace=True), {}),
    "in place by operator": (lambda self, x: in_place(self, x), {}),
    "conv2d and batch_norm": (
        lambda self, x: self.fire(functional_norm(self.norm, functional_conv(self.conv, x))),
        {"conv": conv(4), "norm": nn.BatchNorm2d(4)},
    ),
    "conv2d by keyword": (
        lambda self, x: self.fire(F.conv2d(x, weight=self.conv.weight, bias=None, padding=1)),
        {"conv": conv(6, bias=False)},
    ),
    "linear": (lambda self, x: self.fire(functional_linear(self.linear, x.flatten(1))), {"linear": nn.Linear(256, 12)}),
    "weights that are computed": (
        lambda self, x: self.fire(F.conv2d(x, 2 * self.conv.weight - self.conv.weight.mean())), {"conv": conv(6)},
    ),
    "a layer called by keyword": (lambda self, x: self.fire(self.conv(input=x)), {"conv": conv(6)}),
    "tensors by keyword": (lambda self, x: torch.add(input=x, other=self.a(x)), {}),
    "a sum with a factor": (lambda self, x: torch.add(x, self.a(x), alpha=2), {}),
    "a size as a factor": (lambda self, x: x * x.size(1), {}),
    "squeeze of all": (lambda self, x: F.max_pool2d(x, 8).squeeze(), {}),
    "view to another shape": (lambda self, x: self.a(x).view(x.size(0), 2, 2, 64), {}),
    "flatten and back": (lambda self, x: self.b(self.a(x).flatten(2).unflatten(2, (8, 8))), {}),
    "logical_and": (lambda self, x: torch.logical_and(x, self.a(x)).double(), {}),
    "and of comparisons": (lambda self, x: ((x > 0) & (self.a(x) >= 1)).double(), {}),
    "logical_not": (lambda self, x: x * torch.logical_not(self.a(x)), {}),
    "a value read after it was changed": (lambda self, x: x.add_(self.a(x)) + x, {}),
    "a view read after what it shows was changed": (lambda self, x: old_name(self, x), {}),
}  # fmt: skip


def old_name(self: Any, x: Tensor) -> Tensor:
    flat = x.flatten(1)
    x.mul_(self.a(x))
    return flat


def functional_conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=1)


def functional_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


def functional_norm(norm: Any, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training)


def in_place(self: Any, x: Tensor) -> Tensor:
    a, b = self.a(x), self.b(x)
    a *= b
    a += x
    return a


@pytest.mark.parametrize("form", FORMS)
def test_functions_methods_and_operations_in_place(form: str) -> None:
    wire, layers = FORMS[form]
    assert_exact(net(wire, **layers))


def test_a_functional_call_becomes_the_layer_whose_parameters_it_uses() -> None:
    traced = trace(net(lambda self, x: self.fire(functional_conv(self.conv, x)), conv=conv()), SHAPE)
    assert "conv" in traced.layers and isinstance(traced.module.get_submodule("conv"), nn.Conv2d)


CONVOLUTIONS: dict[str, nn.Module] = {
    "non-square": conv(6, (3, 1), padding=(1, 0)),
    "flat, strided": conv(6, (1, 5), stride=(2, 1), padding=(0, 2)),
    "1x1": conv(6, 1),
    "1x1, strided": conv(6, 1, stride=2),
    "dilated": conv(6, 3, padding=(2, 1), dilation=(2, 1)),
    "depthwise": conv(4, 3, padding=1, groups=4),
    "depthwise, two each": conv(8, (3, 2), groups=4),
    "grouped, strided": conv(6, 3, stride=2, padding=1, groups=2),
    "same": conv(6, (3, 2), padding="same"),
    "same, dilated": conv(6, (2, 4), padding="same", dilation=(3, 1)),
    "zero padded": nn.Sequential(nn.ZeroPad2d((2, 1, 0, 3)), conv(6, (3, 2))),
    "zero padded twice": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.ConstantPad2d((1, 0), 0.0), conv(padding=1)),
    "zero padded, strided": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(6, 3, stride=2, groups=2)),
    "zero padded, dilated": nn.Sequential(nn.ZeroPad2d((0, 3, 2, 0)), conv(6, 2, dilation=2)),
    "zero padded and folded": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(6, 3), nn.BatchNorm2d(6)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_convolutions(form: str, tmp_path: Path) -> None:
    traced, _ = assert_exact(through(CONVOLUTIONS[form]))
    write_graph(traced.network, tmp_path / "net.nir")
    assert same_network(read_nir(tmp_path / "net.nir"), traced.network)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_stay_groups_in_the_program(groups: int) -> None:
    _, program = assert_exact(through(conv(8, 3, groups=groups)))
    node = program.graph["layer"]
    assert isinstance(node, ir.Conv)
    assert node.groups == groups and node.weight.shape == (8, 4 // groups, 3, 3)


@pytest.mark.parametrize(
    "wire",
    [
        lambda self, x: F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2),
        lambda self, x: F.max_pool2d(F.pad(self.a(x) + x, (1, 0, 0, 0)), 2, 2),
        lambda self, x: F.max_pool2d(F.pad(x, (2, 2, 2, 2)), 3, 2),
        lambda self, x: self.fire(F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 2)),
    ],
    ids=["one side", "graded", "wide", "average"],
)
def test_zero_padding_before_a_pool(wire: Wire) -> None:
    assert_exact(net(wire))


MIX = {"mix": nn.Conv2d(8, 5, 3)}
JOINS: dict[str, tuple[Wire, dict[str, nn.Module]]] = {
    "before a convolution": (lambda self, x: self.fire(self.mix(torch.cat([x, self.a(x)], 1))), MIX),
    "before a pool": (lambda self, x: F.max_pool2d(torch.cat((self.a(x), self.b(x), x), dim=1), 2), {}),
    "before a gate": (lambda self, x: torch.concat([x, self.a(x)], -3) * torch.cat([self.b(x), x], 1), {}),
    "before an average": (lambda self, x: self.fire(F.avg_pool2d(torch.cat([x, self.a(x)], 1), 2)), {}),
    "of graded spikes": (lambda self, x: self.fire(self.mix(torch.cat([x + self.a(x), self.b(x)], 1))), MIX),
    "of vectors": (lambda self, x: torch.cat([self.a(x).flatten(1), self.b(x).flatten(1)], 1), {}),
    "twice": (lambda self, x: self.fire(torch.cat([torch.cat([x, self.a(x)], 1), self.b(x)], 1)), {}),
    "with itself": (lambda self, x: self.fire(self.mix(torch.cat([x, x], 1))), MIX),
}  # fmt: skip


@pytest.mark.parametrize("form", JOINS)
def test_spikes_joined_along_their_channels(form: str) -> None:
    wire, layers = JOINS[form]
    _, program = assert_exact(net(wire, **layers))
    latency = program.schedule.latency
    joined = next(node for node in program.graph if node.name.endswith(".cat"))
    parts = [program.graph[source] for source in joined.inputs]
    assert all(isinstance(part, ir.Conv | ir.Linear) for part in parts)
    assert latency[joined.name] == 1 + max(latency[source] for part in parts for source in part.inputs)


def test_multi_step_models_join_and_pad() -> None:
    layers: dict[str, Any] = {
        "stem": sj_layer.Conv2d(2, 4, 3, padding=1, step_mode="m"),
        "n1": sj_neuron.IFNode(v_threshold=0.4, step_mode="m"),
        "mix": sj_layer.Conv2d(8, 4, 3, step_mode="m"),
        "n2": sj_neuron.IFNode(v_threshold=0.2, step_mode="m"),
        "fc": nn.Linear(4 * 49, 3),
    }

    def wire(self: Any, x: Tensor) -> Tensor:
        spikes = self.n1(self.stem(x))
        joined = torch.cat([spikes, spikes], 2)
        return self.fc(self.n2(self.mix(F.pad(joined, (0, 1, 0, 1)))).flatten(2)).mean(0)

    torch.manual_seed(0)
    assert_exact(Wired(wire, **layers))


def test_layers_used_twice_become_two() -> None:
    def wire(self: Any, x: Tensor) -> Tensor:
        first = self.fire(self.norm(self.conv(x)))
        return F.max_pool2d(self.again(self.norm(self.conv(first))), 2)

    model = net(wire, conv=conv(4, padding=1), norm=nn.BatchNorm2d(4), again=NEURONS["if"]())
    names = list(model.state_dict())
    traced, _ = assert_exact(model)
    assert {"conv", "conv@2"} <= traced.layers
    assert traced.norms["conv@2"] == traced.norms["conv"] == "norm"
    np.testing.assert_array_equal(traced.network.nodes["conv"].weight, traced.network.nodes["conv@2"].weight)
    assert list(model.state_dict()) == names  # the user's model has them once


class Padded(nn.Conv2d):
    """A layer with another forward, which must not be taken for what it derives from."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 2, 0)))


def test_a_layer_with_a_forward_of_its_own_is_looked_into() -> None:
    traced, _ = assert_exact(through(Padded(4, 6, 3)))
    assert "layer" in traced.layers
    assert traced.network.nodes["layer"].weight.shape == (6, 4, 5, 4)  # with zeros, for its padding is not even


class Standardised(nn.Conv2d):
    """Weights that are computed of the parameters: no layer of the model has them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias)


def test_a_layer_may_compute_its_weights() -> None:
    model = through(Standardised(4, 6, 3))
    traced, _ = assert_exact(model)
    expected = (model.layer.weight - model.layer.weight.mean()).detach().numpy()
    np.testing.assert_array_equal(traced.network.nodes["layer.conv2d"].weight, expected)


def test_weight_norm_is_computed_once() -> None:
    model = through(nn.utils.parametrizations.weight_norm(conv(6, 3)))
    traced, _ = assert_exact(model)
    np.testing.assert_array_equal(traced.network.nodes["layer"].weight, model.layer.weight.detach().numpy())
    assert nn.utils.parametrize.is_parametrized(model.layer)


@pytest.mark.parametrize("before", [False, True], ids=["behind", "before"])
def test_hooks_are_a_part_of_the_forward(before: bool) -> None:
    model = through(conv(6, 3))
    if before:
        model.layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    else:
        model.layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    model.fire.register_forward_hook(lambda module, inputs, output: None)
    hooks = [dict(part._forward_hooks) for part in model.modules()]
    traced, _ = assert_exact(model)
    factor = {True: 1, False: 2}[before]  # twice the spikes are a node of their own, twice a current twice the weights
    np.testing.assert_array_equal(traced.network.nodes["layer"].weight, factor * model.layer.weight.detach().numpy())
    assert [dict(part._forward_hooks) for part in model.modules()] == hooks


def test_one_weight_in_two_calls_becomes_two_layers() -> None:
    model = net(
        lambda self, x: self.b(self.fire(functional_conv(self.conv, self.a[2](self.conv(x))))), conv=conv(4, padding=1)
    )
    traced, _ = assert_exact(model)
    assert {"conv", "conv@2"} <= traced.layers
