"""network-vs-torch: the user's module and the float network agree, or where and why not is told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
import torch
from framework_nets import SINGLE, STEPS, chain
from nets import MULTI_STEP, NEURONS, SHAPE, Wired, leaky, random_samples, residual_net
from public_nets import sinabs_net
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.frontends.torch.emissions import Head
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.frontends.torch.user_model import UserModel
from snn2hw.verification import network_vs_torch
from snn2hw.verification.comparison import Comparison
from snn2hw.verification.network_vs_torch import CannotRun, compare_network, compare_network_on

HEAD = Head(place=(), time=None)
GATES = ("ADD", "AND", "IAND", "SPIKING")


def inputs(steps: int = 4, count: int = 3, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """[T, N, *shape] of drawn values, another frame in each step."""
    return torch.from_numpy(random_samples(count, steps=steps, shape=shape).steps(steps))


def judged(module: nn.Module, x: Tensor | None = None) -> Comparison:
    x = inputs() if x is None else x
    traced = trace(module, tuple(x.shape[2:]))
    return compare_network(traced.network, traced.user_model, x)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("name", "multi_step"), MULTI_STEP)
def test_every_neuron_and_gate_agrees_in_float64(gate: str, name: str, multi_step: bool) -> None:
    net = residual_net(gate, NEURONS[name], multi_step=multi_step)
    result = judged(net)
    assert (result.mismatches, result.ties, result.note) == (0, 0, "")
    neurons = sum(1 for module in net.modules() if hasattr(module, "v_threshold") or hasattr(module, "threshold"))
    assert len(result.layers) == neurons + 1  # and the logits
    assert all(layer.compared for layer in result.layers)


@pytest.mark.parametrize("name", SINGLE)
def test_every_neuron_of_the_other_frameworks_agrees_as_its_users_call_it(name: str) -> None:
    result = judged(chain(*SINGLE[name]), inputs(STEPS, 3, (4,)))
    assert (result.mismatches, result.ties, result.note) == (0, 0, "")


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_sinabs_net_is_given_as_many_samples_a_call_as_it_was_built_for(batch_size: int) -> None:
    torch.manual_seed(0)
    traced = trace(sinabs_net(batch_size).eval(), (1, 8, 8))
    comparison = compare_network(traced.network, traced.user_model, torch.rand(STEPS, 3, 1, 8, 8).double())
    assert comparison.compared and not comparison.mismatches, comparison.first()


def test_a_float32_model_with_biases_runs_in_float64() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), NEURONS["if"](), nn.Flatten(), nn.Linear(144, 5), NEURONS["if"]())
    result = judged(net.eval())
    assert (result.mismatches, result.ties, result.note) == (0, 0, "")


def test_the_users_module_stays_as_it_was() -> None:
    net = residual_net("ADD", NEURONS["lif"])
    traced = trace(net, SHAPE)
    before = copy.deepcopy({name: vars(module) for name, module in net.named_modules()})
    compare_network(traced.network, traced.user_model, inputs())
    for name, module in net.named_modules():
        assert str(before[name]) == str(vars(module)), name
    assert torch.get_default_dtype() == torch.float32


# A wrong network


def changed(traced: Traced, layer: str, **parameters: Any) -> nir.NIRGraph:
    """The traced network with another value of some parameters of a layer."""
    nodes = dict(traced.network.nodes)
    nodes[layer] = copy.copy(nodes[layer])
    for name, value in parameters.items():
        setattr(nodes[layer], name, value)
    return nir.NIRGraph(nodes=nodes, edges=traced.network.edges, type_check=False)


def test_a_weight_that_a_tracer_reads_wrongly_is_found_in_the_layer_behind_it() -> None:
    traced = trace(residual_net("ADD", NEURONS["if"]), SHAPE)
    weight = np.array(traced.network.nodes["block0.conv1"].weight)
    weight[1] *= 1.5
    result = compare_network(changed(traced, "block0.conv1", weight=weight), traced.user_model, inputs())
    layer, first = result.first() or ("", None)
    assert layer == "block0.neuron1" and first is not None
    assert (first.cycle, first.index[0]) == (None, 1)
    assert "in the network" in first.detail and "by the currents that the model feeds this neuron" in first.detail


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 - 1e-6, 1.5])
def test_a_threshold_that_a_reader_takes_wrongly_is_found_though_a_membrane_is_near(factor: float) -> None:
    module = nn.Sequential(nn.Linear(2, 3, bias=False), leaky(1.0, "zero", threshold=0.75)(), nn.Linear(3, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.5, 0.25], [0.75, 0.0], [0.75000036, 0.0]]))
    traced = trace(module, (2,))
    threshold = np.array(traced.network.nodes["1"].v_threshold, np.float64) * factor
    x = torch.ones(3, 2, 2)
    assert compare_network(traced.network, traced.user_model, x).mismatches == 0
    assert compare_network(changed(traced, "1", v_threshold=threshold), traced.user_model, x).mismatches > 0


def test_wrong_logits_are_found_where_every_spike_agrees() -> None:
    traced = trace(residual_net("ADD", NEURONS["if"]), SHAPE)
    bias = np.array(traced.network.nodes["fc"].bias) + np.array([0, 1e-5, 0])
    result = compare_network(changed(traced, "fc", bias=bias), traced.user_model, inputs())
    assert [layer.name for layer in result.layers if layer.mismatches] == ["logits"]
    first = result.layers[-1].first
    assert first is not None and first.index == (1,)


# Ties


def on_its_threshold(kind: Callable[[], nn.Module], threshold: float) -> nn.Module:
    """A neuron whose membrane meets its threshold by sums that no float holds exactly."""
    module = nn.Sequential(nn.Linear(3, 1, bias=False), kind(), nn.Linear(1, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[threshold / 3, threshold / 3, threshold / 3]]))
    return module


def test_a_membrane_on_its_threshold_up_to_rounding_is_a_tie_and_hides_nothing_behind_it() -> None:
    module = on_its_threshold(lambda: sj_neuron.IFNode(v_threshold=0.7), 0.7).double()
    with torch.no_grad():
        module[0].weight.fill_(0.7 / 3)
    traced = trace(module, (3,))
    assert traced.dtype == torch.float64
    weight = np.nextafter(traced.network.nodes["0"].weight, np.inf)  # the same up to rounding
    x = torch.ones(4, 2, 3)
    lower = changed(traced, "0", weight=np.nextafter(np.nextafter(traced.network.nodes["0"].weight, 0), 0))
    for network in (changed(traced, "0", weight=weight), lower):
        result = compare_network(network, traced.user_model, x)
        assert result.mismatches == 0
    assert sum(compare_network(n, traced.user_model, x).ties for n in (lower, traced.network)) > 0


@pytest.mark.parametrize("threshold", [1 / 3, 2 / 3, 1 / 7, 0.1, 1.0])
def test_whether_a_neuron_fires_at_its_threshold_is_the_frameworks_rule_whatever_the_number(threshold: float) -> None:
    at_least = on_its_threshold(lambda: sj_neuron.IFNode(v_threshold=threshold), threshold)
    with torch.no_grad():
        at_least[0].weight.copy_(torch.tensor([[threshold, 0.0, 0.0]], dtype=torch.float64))
    at_least = at_least.double()
    with torch.no_grad():
        at_least[0].weight.copy_(torch.tensor([[threshold, 0.0, 0.0]], dtype=torch.float64))
    traced = trace(at_least, (3,))
    x = torch.ones(3, 2, 3, dtype=torch.float64)
    assert compare_network(traced.network, traced.user_model, x).mismatches == 0
    assert traced.network.nodes["1"].metadata["fires"] == ">="


# State, batches, calls


class Counting(nn.Module):
    """Adds a counter to its logits that no reset knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.net = residual_net("ADD", NEURONS["if"])
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x) * (1 if self.calls <= 6 else 2)


def test_state_that_survives_a_reset_is_found_by_the_second_run() -> None:
    net = Counting()
    traced = trace(net.net, SHAPE)
    paths = tuple(f"net.{path}" for path in traced.user_model.neurons)
    whole = UserModel(module=net, neurons=(), time="step", heads=traced.user_model.heads)
    assert compare_network(traced.network, whole, inputs(steps=3)).mismatches == 0
    assert paths
    assert compare_network(traced.network, whole, inputs(steps=4)).mismatches > 0


def test_a_mean_over_the_batch_is_found_even_on_one_sample() -> None:
    net = residual_net("ADD", NEURONS["if"])
    traced = trace(net, SHAPE)
    mixed = Wired(lambda model, x: model.net(x.mean(0, keepdim=True).expand_as(x)), net=net)
    model = UserModel(module=mixed, neurons=(), time="step", heads=(HEAD,))
    assert compare_network(traced.network, model, inputs(count=1)).mismatches > 0


def test_a_neuron_that_is_called_twice_a_step_is_told() -> None:
    net = residual_net("ADD", NEURONS["if"])
    traced = trace(net, SHAPE)

    def twice(model: Any, x: Tensor) -> Any:
        model.net[2](model.net[0](x))
        return model.net(x)

    model = UserModel(module=Wired(twice, net=net), neurons=("net.2",), time="step", heads=(HEAD,))
    nodes = {f"net.{name}" if name == "2" else name: node for name, node in traced.network.nodes.items()}
    edges = [(f"net.{a}" if a == "2" else a, f"net.{b}" if b == "2" else b) for a, b in traced.network.edges]
    network = nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)
    result = compare_network(network, model, inputs())
    layer, first = result.first() or ("", None)
    assert layer == "net.2" and first is not None and "called 8 times in 4 steps" in first.detail


def test_a_model_that_cannot_run_in_float64_runs_in_its_own_arithmetic_and_says_so() -> None:
    def picky(model: Any, x: Tensor) -> Any:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return model.net(x)

    net = residual_net("ADD", NEURONS["if"])
    traced = trace(net, SHAPE)
    model = UserModel(module=Wired(picky, net=net), neurons=(), time="step", heads=(HEAD,))
    result = compare_network(traced.network, model, inputs())
    assert result.mismatches == 0
    assert "in float32, since the model cannot run in float64 (TypeError: float32 only)" in result.note


def test_a_model_that_raises_whatever_it_gets_is_not_compared() -> None:
    def broken(model: Any, x: Tensor) -> Any:
        raise RuntimeError("out of order")

    net = residual_net("ADD", NEURONS["if"])
    model = UserModel(module=Wired(broken, net=net), neurons=(), time="step", heads=(HEAD,))
    with pytest.raises(CannotRun, match="out of order"):
        compare_network(trace(net, SHAPE).network, model, inputs())


def test_some_samples_at_a_time_give_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = trace(residual_net("ADD", NEURONS["lif"]), SHAPE)
    threshold = np.array(traced.network.nodes["block0.neuron2"].v_threshold) * 1.1
    network = changed(traced, "block0.neuron2", v_threshold=threshold)
    samples = random_samples(8)
    at_once = compare_network_on(network, traced.user_model, samples, 4)
    assert at_once.mismatches > 0
    monkeypatch.setattr(network_vs_torch, "BATCH_VALUES", 1)
    in_parts = compare_network_on(network, traced.user_model, samples, 4)
    assert [replace(layer, first=None) for layer in in_parts.layers] == [
        replace(layer, first=None) for layer in at_once.layers
    ]
    assert in_parts.first() == at_once.first()
