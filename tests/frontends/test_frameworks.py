"""snnTorch, norse and sinabs: what is supported computes the same in the framework, in NIR and in integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
from framework_nets import BATCH, NORSE, SINABS, SINGLE, SIZE, SNNTORCH, STEPS, Written, chain, linear, norse, snn
from nets import Wired, compile_model, random_samples, run_requantised
from torch import Tensor, nn

from snn2hw.engines.cycle import simulate
from snn2hw.frontends.neurons import convention, to_nir
from snn2hw.frontends.torch.trace import trace
from snn2hw.network.reference import Reference


def framework_spikes(framework: str, neuron: Any, x: Tensor) -> Tensor:
    """What the framework's module answers to x [T, N, K], called as its documentation says."""
    with torch.no_grad():
        if framework == "sinabs":
            by_sample = x.transpose(0, 1)
            if "Squeeze" in type(neuron).__name__:
                return neuron(by_sample.flatten(0, 1)).unflatten(0, (BATCH, STEPS)).transpose(0, 1).double()
            return neuron(by_sample).transpose(0, 1).double()
        if framework == "norse" and not type(neuron).__name__.endswith("Cell"):
            return neuron(x)[0]
        spikes, state = [], None
        for frame in x:
            if framework == "norse":
                spike, state = neuron(frame, state)
            else:
                spike = neuron(frame)
            spikes.append(spike.double())
        return torch.stack(spikes)


@pytest.mark.parametrize("name", SINGLE)
def test_the_nir_neuron_fires_as_that_of_the_framework(name: str) -> None:
    framework, factory = SINGLE[name]
    neuron = factory().double()
    node = to_nir(neuron, (SIZE,), torch.float64)
    ends = nir.Input(np.array([SIZE])), nir.Output(np.array([SIZE]))
    graph = nir.NIRGraph(
        {"input": ends[0], "neuron": node, "output": ends[1]}, [("input", "neuron"), ("neuron", "output")]
    )
    x = 1.6 * torch.rand(STEPS, BATCH, SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.4
    expected = framework_spikes(framework, neuron, x)
    ours = torch.stack([step["neuron"] for step in Reference(graph, dtype=torch.float64).run(x)])
    assert torch.equal(ours, expected)
    assert 0 < expected.mean() < 1
    assert convention(neuron).fires == ("v >= threshold" if framework == "sinabs" else "v > threshold")


def assert_deployed_exactly(model: nn.Module, shape: tuple[int, ...] = (4,)) -> None:
    """The graph is the model, and the program is the requantised model; every neuron fires, none in every step."""
    samples = random_samples(BATCH, steps=STEPS, shape=shape)
    x = torch.from_numpy(samples.x).transpose(0, 1).double()
    traced = trace(model.double(), shape)
    names = [name for name, node in traced.network.nodes.items() if isinstance(node, nir.IF | nir.LIF | nir.CubaLIF)]
    assert names
    ours = Reference(traced.network, dtype=torch.float64).run(x)
    means = dict.fromkeys(names, 0.0)
    for step, node in zip(traced.run(x), ours, strict=True):
        for name in names:
            assert torch.equal(step[name], node[name]), name
            means[name] += step[name].mean().item() / STEPS
        assert abs(step["logits"] - node["output"]).max() < 1e-6
    assert all(0 < mean < 1 for mean in means.values()), means
    traced, program = compile_model(model, samples, timesteps=STEPS)
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    for name in names:
        assert np.array_equal(spikes[name], expected[name]), name
        assert spikes[name].any(), name
    assert np.array_equal(spikes["logits"], np.rint(expected["logits"]))


@pytest.mark.parametrize("name", SINGLE)
def test_a_net_is_deployed_exactly(name: str) -> None:
    framework, factory = SINGLE[name]
    model = chain(framework, factory)
    kinds = [type(module) for module in model.modules()]
    assert_deployed_exactly(model)
    assert [type(module) for module in model.modules()] == kinds  # the user's model is untouched


def spikes_and_membrane(net: Any, x: Tensor, state: Any) -> Any:
    spikes, membrane = net.lif2(net.fc2(net.lif1(net.fc1(x))))
    return spikes, membrane


def spikes_and_states(net: Any, x: Tensor, state: Any) -> Any:
    spikes, current, membrane = net.lif2(net.fc2(net.lif1(net.fc1(x))))
    return spikes, (current, membrane)


def without_states(net: Any, x: Tensor, state: Any) -> Any:
    spikes, _ = net.lif1(net.fc1(x))
    return net.lif2(net.fc2(spikes))[0]


def first_states(net: Any, x: Tensor, state: Any) -> Any:
    states = [None, None] if state is None else state
    spikes, states[0] = net.lif1(net.fc1(x), states[0])
    spikes, states[1] = net.lif2(net.fc2(spikes), states[1])
    return spikes, states


LEAKY, SYNAPTIC, LIFBOX = SNNTORCH["leaky-subtract"], SNNTORCH["synaptic-subtract"], NORSE["lifbox"]
IAF = SINABS["iafsqueeze-low"]
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Sequential that returns (spikes, membrane)": (
        lambda: chain("snntorch", LEAKY, last=nn.Sequential(linear(SIZE, 3), LEAKY(output=True))),
        (4,),
    ),
    "Sequential that returns (spikes, current, membrane)": (
        lambda: chain("snntorch", SYNAPTIC, last=nn.Sequential(linear(SIZE, 3), SYNAPTIC(output=True))),
        (4,),
    ),
    "forward that returns (spikes, membrane)": (lambda: Written(spikes_and_membrane, LEAKY, output=True), (4,)),
    "forward that returns states within": (lambda: Written(spikes_and_states, SYNAPTIC, output=True), (4,)),
    "norse without states": (lambda: Written(without_states, LIFBOX), (4,)),
    "norse with optional states": (lambda: Written(first_states, NORSE["iafcell"]), (4,)),
    "norse inside": (
        lambda: Wired(
            lambda net, x: net.fc(net.inner(x)[0]), inner=chain("norse", LIFBOX, last=nn.Identity()), fc=linear(6, 2)
        ),
        (4,),
    ),
    "norse in norse": (
        lambda: norse.SequentialState(chain("norse", LIFBOX, last=nn.Identity()), linear(SIZE, 3)),
        (4,),
    ),
    "sinabs convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), IAF(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2), IAF(), nn.Flatten(), linear(12, 3)
        ),
        (2, 8, 8),
    ),
    "snntorch convolution, one a channel": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3),
            snn("Synaptic", alpha=torch.rand(4, 1, 1), beta=torch.rand(4, 1, 1), threshold=torch.rand(4, 1, 1))(),
            nn.Flatten(),
            linear(144, 3),
        ),
        (2, 8, 8),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_nets_of_every_form_are_deployed_exactly(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETS[name]
    assert_deployed_exactly(make(), shape)


def test_squeezed_time_is_the_same_as_steps() -> None:
    """A net called as sinabs does, with all steps of all samples in its batch, adds up to the traced net's logits."""
    torch.manual_seed(0)
    make, shape = NETS["sinabs convolution"]
    model = make()
    x = torch.rand(STEPS, BATCH, *shape)
    with torch.no_grad():
        expected = model(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (BATCH, STEPS)).sum(1)
    logits = sum(step["logits"] for step in trace(model, shape).run(x))
    torch.testing.assert_close(logits, expected)
