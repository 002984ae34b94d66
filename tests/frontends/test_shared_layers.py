"""One layer that several neurons read becomes one layer for each, each with its scale of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from nets import SHAPE, Wired, compile_model, leaky, random_samples, randomise, run_requantised
from nir_graphs import IMAGE, affine, chain, conv, flat, if_, load
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.engines import fast
from snn2hw.engines.cycle import simulate
from snn2hw.errors import UnsupportedError
from snn2hw.frontends.torch.trace import trace
from snn2hw.network.reference import Reference
from snn2hw.pipeline import Options, compile_network

STEPS = 3
Wire = Callable[[Any, Tensor], Tensor]


def net(wire: Wire) -> nn.Module:
    """Layers, and neurons a and b that are unlike each other; `wire` returns spikes [N, 4, 8, 8] for the head."""
    torch.manual_seed(1)
    layers: dict[str, nn.Module] = {
        "stem": nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), sj_neuron.IFNode()),
        "conv": nn.Conv2d(4, 4, 3, padding=1),
        "norm": nn.BatchNorm2d(4),
        "short": nn.Conv2d(4, 4, 1),
        "a": sj_neuron.IFNode(v_threshold=0.3),
        "b": leaky(0.8, "subtract", threshold=0.2)(),
        "c": sj_neuron.LIFNode(tau=2.0, v_threshold=0.1),
        "fc": nn.Linear(256, 3),
    }
    return randomise(Wired(lambda self, x: self.fc(wire(self, self.stem(x)).flatten(1)), **layers))


def both(self: Any, y: Tensor) -> Tensor:
    return self.a(y) + self.b(y)


FORMS: dict[str, tuple[Wire, set[str]]] = {
    "a convolution": (lambda self, x: both(self, self.conv(x)), {"conv", "conv@2"}),
    "with its norm": (lambda self, x: both(self, self.norm(self.conv(x))), {"conv", "conv@2"}),
    "one reader behind the norm": (
        lambda self, x: (lambda y: self.a(self.norm(y)) + self.b(y))(self.conv(x)),
        {"conv", "conv@2"},
    ),
    "its shape": (
        lambda self, x: (lambda y: both(self, y.view(-1, y.size(1), y.shape[2], 8)))(self.conv(x)),
        {"conv", "conv@2"},
    ),
    "a sum of two": (
        lambda self, x: both(self, self.norm(self.conv(x)) + self.short(x)), {"conv", "conv@2", "short@2"},
    ),
    "a sum with spikes": (lambda self, x: both(self, self.conv(x) + x), {"conv", "conv@2"}),
    "three readers": (
        lambda self, x: (lambda y: self.a(y) + self.b(y) * self.c(y))(self.conv(x)),
        {"conv", "conv@2", "conv@3"},
    ),
    "one reader adds": (
        lambda self, x: (lambda y: self.a(y) + self.b(y + self.short(x)))(self.conv(x)),
        {"conv", "conv@2", "short"},
    ),
    "a sum in place": (
        lambda self, x: both(self, self.conv(x).add_(self.short(x))), {"conv", "conv@2", "short", "short@2"},
    ),
    "a change in place that the other reader sees": (
        lambda self, x: (lambda y: self.a(y.add_(self.short(x))) + self.b(y))(self.conv(x)),
        {"conv", "conv@2", "short", "short@2"},
    ),
    "a change in place behind the first reader": (
        lambda self, x: (lambda y: self.a(y) + self.b(y.add_(self.short(x))))(self.conv(x)),
        {"conv", "conv@2", "short"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_that_several_neurons_read_is_deployed_exactly(form: str) -> None:
    wire, names = FORMS[form]
    model = net(wire).double()
    samples = random_samples(4, steps=STEPS)
    traced, program = compile_model(model, samples, timesteps=STEPS)
    x = torch.from_numpy(samples.steps(STEPS)).double()
    means = dict.fromkeys(traced.origin, 0.0)
    for step, ours in zip(traced.run(x), Reference(traced.network, dtype=torch.float64).run(x), strict=True):
        for name in traced.origin:
            assert torch.equal(step[name], ours[name]), name
            means[name] += step[name].mean().item()
    assert all(means.values()), means
    assert names <= traced.layers and traced.layers <= {node.name for node in program.graph}
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    quick = fast.simulate(program, samples)
    assert all(np.array_equal(quick[name], spikes[name]) for name in spikes)
    for name in spikes:
        assert np.array_equal(spikes[name], np.rint(expected[name])), name


def test_the_users_model_keeps_one_layer() -> None:
    model = net(FORMS["with its norm"][0])
    layers, before = dict(model.named_modules()), copy.deepcopy(model.state_dict())
    traced = trace(model, SHAPE)
    assert dict(model.named_modules()) == layers and model.state_dict().keys() == before.keys()
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    np.testing.assert_array_equal(traced.network.nodes["conv"].weight, traced.network.nodes["conv@2"].weight)
    assert traced.norms == {"stem.0": "stem.1", "conv": "norm", "conv@2": "norm"}


def test_spikes_and_the_input_are_read_by_as_many_as_like() -> None:
    traced = trace(net(lambda self, x: self.a(self.conv(x)) + self.b(self.short(x)) + x), SHAPE)
    assert {"stem.0@2", "conv@2", "short@2"}.isdisjoint(traced.network.nodes)


def test_blockers_behind_a_layer_with_several_readers_are_told_once() -> None:
    """A net without spiking neurons would otherwise be taken apart again at every block."""

    def wire(self: Any, x: Tensor) -> Tensor:
        for _ in range(40):
            x = x + torch.tanh(self.norm(self.conv(x)))
        return self.a(x) + self.b(x)

    with pytest.raises(UnsupportedError) as raised:
        trace(net(wire), SHAPE)
    assert [(blocker.layer, blocker.problem) for blocker in raised.value.blockers] == [
        ("model", "the operation tanh is not supported")
    ]


def test_layers_and_neurons_whose_result_nobody_reads_are_left_out() -> None:
    def wire(self: Any, x: Tensor) -> Tensor:
        self.c(self.short(x))
        return self.a(self.conv(x))

    samples = random_samples(2)
    traced, program = compile_model(net(wire), samples, timesteps=2)
    assert {"short", "c"}.isdisjoint(traced.network.nodes)
    assert np.array_equal(simulate(program, samples)["a"], run_requantised(traced, program, samples)["a"])


def test_a_file_whose_layer_two_neurons_read_is_deployed_exactly(tmp_path: Path) -> None:
    graph = chain(
        IMAGE,
        3,
        ("pool", "b"),
        ("b", "flat"),
        conv=conv(4, 2, 3, 3),
        pool=nir.AvgPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])),
        a=if_(4, 3, 3, threshold=0.5),
        flat=flat(4, 3, 3),
        fc=affine(3, 36),
    )
    graph.nodes["b"] = if_(4, 3, 3, r=3e4, threshold=0.7)
    loaded = load(graph, tmp_path)
    samples = random_samples(4, steps=4, shape=IMAGE)
    program = compile_network(loaded.network, samples, Options(timesteps=4))
    assert {"conv", "pool", "conv@2", "pool@2"} <= {node.name for node in program.graph}
    assert program.graph["a"].inputs == ("pool",) and program.graph["b"].inputs == ("pool@2",)
    floats = list(Reference(loaded.network).run(torch.from_numpy(samples.steps(4))))
    spikes = simulate(program, samples)
    for name in ("a", "b"):
        expected = np.stack([step[name].numpy() for step in floats], axis=1)
        assert expected.any() and (spikes[name] == expected).mean() > 0.97, name
