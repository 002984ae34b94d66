"""From a PyTorch model to NIR: the graph says what the model computes, or the model is refused and told why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import (
    GATES,
    MULTI_STEP,
    NEURONS,
    SHAPE,
    Block,
    Wired,
    compile_model,
    leaky,
    random_samples,
    randomise,
    residual_net,
    run_requantised,
)
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import simulate
from snn2hw.frontends.neurons import to_nir
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.network.neuron_rule import rule_of
from snn2hw.network.reference import Reference

NEURON = NEURONS["if"]


def assert_graph_is_model(traced: Traced, x: Tensor) -> dict[str, float]:
    """The NIR graph, executed in float64, emits the model's spikes and logits. Returns the mean of each layer."""
    means = dict.fromkeys(traced.origin, 0.0)
    logits = 0.0
    ours = Reference(traced.network, dtype=torch.float64).run(x)
    for step, (emitted, values) in enumerate(zip(traced.run(x), ours, strict=True)):
        for name in traced.origin:
            assert torch.equal(emitted[name], values[name]), f"{name}, step {step}"
            means[name] += emitted[name].mean().item() / len(x)
        logits = logits + emitted["logits"] - values["output"]
    assert abs(logits).max() < 1e-9
    return means


def images(*, steps: int = 4, count: int = 3, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(steps, count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("neuron", "multi_step"), MULTI_STEP)
@pytest.mark.parametrize("gate", GATES)
def test_the_graph_computes_what_the_model_computes(gate: str, neuron: str, multi_step: bool) -> None:
    model = residual_net(gate, NEURONS[neuron], multi_step=multi_step).double()
    traced = trace(model, SHAPE)
    assert traced.multi_step == multi_step
    means = assert_graph_is_model(traced, images())
    neurons = [name for name, node in traced.network.nodes.items() if isinstance(node, nir.IF | nir.LIF)]
    assert len(neurons) == (5 if gate == "SPIKING" else 6)
    assert all(0 < means[name] < 1 for name in neurons), means
    assert all(mean > 0 for mean in means.values()), means


@pytest.mark.parametrize("neuron", ["leaky-subtract", "plif"])
def test_a_traced_model_computes_what_the_users_model_computes(neuron: str) -> None:
    model = residual_net("IAND", NEURONS[neuron])
    traced = trace(model, SHAPE)
    x = images().float()
    expected = [model(frame).detach() for frame in x]
    assert all(torch.equal(step["logits"], logits) for step, logits in zip(traced.run(x), expected, strict=True))


def single(*layers: nn.Module, features: int) -> nn.Sequential:
    """`layers`, seeded, and a read-out."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 3))
    return randomise(model).double()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_is_folded_into_the_convolution(bias: bool, affine: bool) -> None:
    conv, norm = nn.Conv2d(2, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)
    model = single(conv, norm, NEURON(), features=4 * 36)
    traced = trace(model, SHAPE)
    folded = traced.network.nodes["0"]
    x = images()[0]
    currents = F.conv2d(x, torch.tensor(folded.weight), torch.tensor(folded.bias))
    torch.testing.assert_close(currents, norm(conv(x)))
    assert (folded.bias != 0).all() and "1" not in traced.network.nodes
    assert_graph_is_model(traced, images())


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("adds", [0, 1, 2])
def test_max_pool_keeps_the_value_of_graded_spikes(adds: int, window: tuple[int, int, int]) -> None:
    blocks = [Block(4, 4, 1, "ADD", NEURON, nn) for _ in range(adds)]
    pool = nn.MaxPool2d(*window)
    model = single(nn.Conv2d(2, 4, 3, padding=1), NEURON(), *blocks, pool, nn.Flatten(), features=256)
    model[-1] = nn.Linear(4 * pool(torch.zeros(1, 8, 8)).numel(), 3).double()
    traced = trace(model, SHAPE)
    assert_graph_is_model(traced, images())
    name = str(2 + adds)
    assert name in traced.origin
    assert max(step[name].max().item() for step in traced.run(images())) == adds + 1


@pytest.mark.parametrize(
    "gate",
    [
        lambda a, b, c: c * (a + b),
        lambda a, b, c: (1 - c) * (a + b),
        lambda a, b, c: (a + b + 2 * c) * c,
        lambda a, b, c: (a * b) * (1 - c) + a,
        lambda a, b, c: a.mul(b).add_(c) + c,
        lambda a, b, c: 1 + a - 1 + torch.sub(b, c) + c,
    ],
    ids=["and", "iand", "weighted", "nested", "in place", "cancelled"],
)
def test_gates_of_graded_and_negated_spikes(gate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    def wire(net: Any, x: Tensor) -> Tensor:
        return net.fc(gate(*(layer(x) for layer in (net.a, net.b, net.c))).flatten(1))

    torch.manual_seed(0)
    stems = {name: nn.Sequential(nn.Conv2d(2, 4, 3), sj_neuron.IFNode(v_threshold=0.4)) for name in "abc"}
    traced = trace(Wired(wire, **stems, fc=nn.Linear(144, 3)).double(), SHAPE)
    means = assert_graph_is_model(traced, images())
    assert len(means) > 3 and all(mean > 0 for mean in means.values()), means


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d((1, 2), stride=(2, 1)),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((2, 4)),
        sj_layer.AvgPool2d(4),
    ],
    ids=str,
)
@pytest.mark.parametrize("over", ["spikes", "currents"])
def test_average_pools(pool: nn.Module, over: str) -> None:
    conv, neuron = nn.Conv2d(2, 4, 3, padding=1), sj_neuron.IFNode(v_threshold=0.2)
    layers = [conv, neuron, pool, NEURON()] if over == "spikes" else [conv, pool, neuron]
    model = single(*layers, features=4 * pool(torch.zeros(1, 8, 8)).numel())
    means = assert_graph_is_model(trace(model, SHAPE), images())
    assert means.keys() == {str(place) for place, layer in enumerate(model) if isinstance(layer, sj_neuron.IFNode)}
    assert all(mean > 0 for mean in means.values()), means


@pytest.mark.parametrize(
    "mean",
    [
        lambda x: x.mean((2, 3)),
        lambda x: torch.mean(x, dim=(-2, -1)),
        lambda x: torch.flatten(x.mean(dim=[2, 3], keepdim=True), start_dim=1),
        lambda x: F.dropout(x, 0.5, training=False).mean((3, 2), True).flatten(1),
    ],
)
def test_means_over_space(mean: Callable[[Tensor], Tensor]) -> None:
    model = Wired(
        lambda net, x: net.fc(mean(net.neuron(net.conv(x)))),
        conv=nn.Conv2d(2, 4, 3),
        neuron=NEURON(),
        fc=nn.Linear(4, 3),
    )
    assert_graph_is_model(trace(model.double(), SHAPE), images())


@pytest.mark.parametrize("multi_step", [False, True])
@pytest.mark.parametrize("how", ["module", "function", "method"])
def test_flattening(how: str, multi_step: bool) -> None:
    dim = 2 if multi_step else 1
    flatten = {
        "module": sj_layer.Flatten(step_mode="m" if multi_step else "s"),
        "function": Wired(lambda net, x: torch.flatten(x, dim)),
        "method": Wired(lambda net, x: x.flatten(start_dim=dim)),
    }[how]
    step_mode = "m" if multi_step else "s"
    conv, neurons = (
        sj_layer.Conv2d(2, 4, 3, step_mode=step_mode),
        [sj_neuron.IFNode(step_mode=step_mode) for _ in range(2)],
    )
    model = nn.Sequential(conv, neurons[0], flatten, nn.Linear(4 * 36, 5), neurons[1], nn.Linear(5, 3)).double()
    assert_graph_is_model(trace(model, SHAPE), images())


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_convolutions(groups: int) -> None:
    layers = [nn.Conv2d(2, 4, 3), NEURON(), nn.Conv2d(4, 8, 3, groups=groups, padding="same"), NEURON()]
    assert_graph_is_model(trace(single(*layers, features=8 * 36), SHAPE), images())


def test_a_convolution_and_norm_used_twice_are_two_layers_with_the_same_weights() -> None:
    def wire(net: Any, x: Tensor) -> Tensor:
        return net.fc(net.two(net.norm(net.conv(net.one(net.norm(net.conv(x)))))).flatten(1))

    torch.manual_seed(0)
    layers = {"conv": nn.Conv2d(2, 2, 3, padding=1), "norm": nn.BatchNorm2d(2), "fc": nn.Linear(128, 3)}
    model = randomise(Wired(wire, one=NEURON(), two=leaky(0.9, "subtract")(), **layers))
    assert_graph_is_model(trace(copy.deepcopy(model).double(), SHAPE), images())
    samples = random_samples(3)
    traced, program = compile_model(model, samples, timesteps=4)
    integers, requantised = simulate(program, samples), run_requantised(traced, program, samples)
    assert all(np.array_equal(requantised[name], integers[name]) and integers[name].any() for name in ("one", "two"))
    assert not np.array_equal(program.graph["conv"].weight, program.graph["conv@2"].weight)  # different scales


@pytest.mark.parametrize("largest", [0.95, 1.0, 1.3], ids=["a leak", "none", "none, by clamping"])
def test_every_channel_may_have_its_own_decay_and_threshold(largest: float) -> None:
    beta, threshold = torch.tensor([0.5, 0.9, largest, 0.0]), torch.tensor([0.2, 0.3, 0.25, 0.1])
    neuron = leaky(beta.reshape(4, 1, 1), "subtract", threshold=threshold.reshape(4, 1, 1))
    model = single(nn.Conv2d(2, 4, 3), neuron(), features=4 * 36)
    model[0].bias.data.fill_(0.25)  # so that every channel fires
    samples = random_samples(3, steps=4)
    traced, program = compile_model(model, samples, timesteps=4)
    assert_graph_is_model(traced, images())
    assert np.unique(traced.network.nodes["1"].tau).size == 4
    integers, requantised = simulate(program, samples), run_requantised(traced, program, samples)
    assert np.array_equal(requantised["1"], integers["1"]) and integers["1"].any(axis=(0, 1, 3, 4)).all()


@pytest.mark.parametrize("beta", [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99])
def test_decay_and_gain_come_back_exactly_from_the_time_constant(beta: float) -> None:
    """Or a spike of 1 would lie above a threshold of 1 in float64."""
    rule = rule_of("neuron", to_nir(leaky(beta, "zero")(), (1,), torch.float64))
    assert (rule.keep.item(), rule.gain.item()) == (np.float32(beta), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [1.0, 0.1, 0.75, 0.3])
@pytest.mark.parametrize(("neuron", "first_spike"), [("leaky", 2), ("if", 1)])
def test_a_membrane_exactly_at_the_threshold(
    neuron: str, first_spike: int, threshold: float, dtype: torch.dtype
) -> None:
    """Each step adds half the threshold: SpikingJelly fires at v == threshold, snnTorch needs one step more."""
    layer = leaky(1.0, "zero", threshold=threshold)() if neuron == "leaky" else sj_neuron.IFNode(v_threshold=threshold)
    model = nn.Sequential(nn.Linear(1, 1, bias=False), layer, nn.Linear(1, 1)).to(dtype)
    model[0].weight.data.fill_(threshold / 2)
    samples = Samples(np.ones((1, 1), np.float32), None, False)
    traced, program = compile_model(model, samples, timesteps=first_spike + 1)
    expected = [float(step == first_spike) for step in range(first_spike + 1)]
    x = torch.ones(first_spike + 1, 1, 1, dtype=dtype)
    assert [step["1"].item() for step in traced.run(x)] == expected
    assert [step["1"].item() for step in Reference(traced.network, dtype=dtype).run(x)] == expected
    assert simulate(program, samples)["1"].ravel().tolist() == expected
    assert run_requantised(traced, program, samples)["1"].ravel().tolist() == expected
