"""SpikingJelly's IF and LIF neurons under all their names: each steps as the NIR neuron that is read from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nets import SHAPE, random_samples, run_requantised
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.engines.cycle import simulate
from snn2hw.errors import UnsupportedError
from snn2hw.frontends import neurons
from snn2hw.frontends.neurons.against_rule import check_against_rule
from snn2hw.frontends.neurons.drawn import Stepping
from snn2hw.frontends.torch.trace import trace
from snn2hw.network.neuron_rule import rule_of
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.network_vs_torch import compare_network

CHANNELS = 3
STEPS = 6
Make = Callable[[], Any]


def mpbn(*, folded: bool = True, **options: Any) -> Make:
    """A neuron with a BatchNorm over its membrane, with statistics as after training."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        node = sj_neuron.MPBNLIFNode(out_channels=CHANNELS, **options)
        if isinstance(node.vbn, nn.BatchNorm2d):
            node.vbn.running_mean.normal_(0, 0.1)
            node.vbn.running_var.uniform_(0.5, 1)
            node.vbn.weight.data.uniform_(0.8, 1.2)
            node.vbn.bias.data.normal_(0, 0.1)
        if folded:
            node.re_parameterize_v_threshold()
        return node

    return make


def channels(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


NODES: dict[str, Make] = {
    "SimpleIFNode": lambda: sj_neuron.SimpleIFNode(v_threshold=0.7),
    "SimpleIFNode, soft": lambda: sj_neuron.SimpleIFNode(v_threshold=0.7, v_reset=None),
    "SimpleLIFNode": lambda: sj_neuron.SimpleLIFNode(tau=2.0, decay_input=True, v_threshold=0.4),
    "SimpleLIFNode, whole input": lambda: sj_neuron.SimpleLIFNode(tau=3.0, decay_input=False),
    "OTTTLIFNode": lambda: sj_neuron.OTTTLIFNode(),
    "OTTTLIFNode, decayed input": lambda: sj_neuron.OTTTLIFNode(tau=1.5, decay_input=True, v_threshold=0.4),
    "SLTTLIFNode": lambda: sj_neuron.SLTTLIFNode(v_threshold=0.4),
    "SLTTLIFNode, soft": lambda: sj_neuron.SLTTLIFNode(tau=3.0, decay_input=False, v_reset=None),
    "HalfThresholdIFNode": lambda: sj_neuron.HalfThresholdIFNode(v_threshold=1.0),
    "HalfThresholdIFNode, 0.7": lambda: sj_neuron.HalfThresholdIFNode(v_threshold=0.7),
    "ActivationAwareIFNode": lambda: sj_neuron.ActivationAwareIFNode(v_threshold=0.8, v_offset=0.3),
    "ActivationAwareIFNode, channels": lambda: sj_neuron.ActivationAwareIFNode(
        v_threshold=channels(0.8, 1.0, 0.5), v_offset=channels(0.4, -0.25, 0.0), channel_dim=1
    ),
    "ActivationAwareIFNode, hard": lambda: sj_neuron.ActivationAwareIFNode(
        v_threshold=channels(0.8, 1.0, 0.5), channel_dim=-3, v_reset=-0.25
    ),
    "CUBALIFNode": lambda: sj_neuron.CUBALIFNode(),
    "CUBALIFNode, soft": lambda: sj_neuron.CUBALIFNode(c_decay=0.25, v_decay=0.9, v_reset=None),
    "MPBNLIFNode": mpbn(),
    "MPBNLIFNode, soft": mpbn(v_reset=None, decay_input=True, tau=1.5, v_threshold=0.5),
    "MPBNLIFNode without BatchNorm": mpbn(folded=False, mpbn=False, v_reset=None),
    "MPBNLIFNode, learned threshold": mpbn(folded=False, mpbn=False, learnable_vth=True),
}  # fmt: skip
SINGLE_STEP_ONLY = ("OTTT", "SLTT")
MODES = [(name, mode) for name in NODES for mode in "sm" if mode == "s" or not name.startswith(SINGLE_STEP_ONLY)]


def made(name: str, mode: str = "s") -> nn.Module:
    node = NODES[name]()
    node.step_mode = mode
    return node.eval()


def stepped(node: Any, x: Tensor) -> Tensor:
    """What a neuron emits for currents x [T, N, *shape], and behind it its membranes."""
    node.reset()
    with torch.no_grad():
        return node(x) if node.step_mode == "m" else torch.stack([node(frame) for frame in x])


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_each_neuron_steps_as_its_nir_neuron(name: str, mode: str) -> None:
    shape = (CHANNELS, 4, 4)
    node: Any = made(name, mode)
    written = neurons.to_nir(node, shape, torch.float32)
    assert check_against_rule("neuron", node, written) is None
    rule = rule_of("neuron", written)
    node.double()
    if "MPBN" in name:  # what it folded is no buffer
        node.v_threshold = node.v_threshold if isinstance(node.v_threshold, float) else node.v_threshold.double()
    x = torch.from_numpy(np.random.default_rng(0).normal(0.3, 0.6, (STEPS, 5, *shape)))
    emitted = stepped(node, x).numpy()
    stepping = Stepping(rule)
    for current, spikes in zip(x.numpy(), emitted, strict=True):
        stepping.charge(current)
        fires = stepping.fires()
        np.testing.assert_array_equal(spikes, fires)
        stepping.reset(fires)
    assert 0 < emitted.mean() < 1
    start = 0.5 * node.v_threshold if "Half" in name else 0
    np.testing.assert_allclose(node.v.numpy(), np.broadcast_to(stepping.v + start, node.v.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("current", [0.25, 0.5, 0.125])
def test_a_membrane_on_the_threshold_fires(current: float) -> None:
    """Sums that no float rounds: a start at half the threshold, or an offset, moves no decision."""
    x = torch.full((16, 1, 2), current, dtype=torch.float64)
    for node in (
        sj_neuron.HalfThresholdIFNode(v_threshold=1.0),
        sj_neuron.ActivationAwareIFNode(v_threshold=1.0, v_offset=0.5),
    ):
        stepping = Stepping(rule_of("neuron", neurons.to_nir(node, (2,), torch.float64)))
        for spikes, frame in zip(stepped(node, x).numpy(), x.numpy(), strict=True):
            stepping.charge(frame)
            fires = stepping.fires()
            np.testing.assert_array_equal(spikes, fires)
            stepping.reset(fires)


@pytest.mark.parametrize("name", NODES)
def test_a_net_of_each_neuron_is_exact_from_torch_to_the_program(name: str) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, CHANNELS, 3, padding=1),
        made(name),
        nn.Conv2d(CHANNELS, CHANNELS, 3),
        made(name),
        nn.Flatten(),
        nn.Linear(CHANNELS * 36, 4),
    )
    for layer in (model[0], model[2]):
        layer.weight.data.normal_(0.1, 0.3)
    samples = random_samples(3, steps=STEPS)
    traced = trace(model.eval(), SHAPE)
    x = torch.from_numpy(samples.steps(STEPS)).double()
    comparison = compare_network(traced.network, traced.user_model, x)
    assert (comparison.mismatches, comparison.ties, comparison.note) == (0, 0, "")
    program = compile_network(traced.network, samples, Options(timesteps=STEPS))
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    for layer in ("1", "3"):
        np.testing.assert_array_equal(spikes[layer], expected[layer], layer)
        assert 0 < spikes[layer].mean() < 1
    np.testing.assert_array_equal(spikes["logits"], np.rint(expected["logits"]))


REFUSED: dict[str, tuple[Make, str]] = {
    "KLIFNode": (lambda: sj_neuron.KLIFNode(), "KLIFNode is not supported"),
    "QIFNode": (lambda: sj_neuron.QIFNode(), "QIFNode is not supported"),
    "EIFNode": (lambda: sj_neuron.EIFNode(), "EIFNode is not supported"),
    "IzhikevichNode": (lambda: sj_neuron.IzhikevichNode(), "IzhikevichNode is not supported"),
    "ILIFNode": (lambda: sj_neuron.ILIFNode(), "ILIFNode is not supported"),
    "LIAFNode": (lambda: sj_neuron.LIAFNode(torch.relu, False), "LIAFNode is not supported"),
    "TernaryIFNode": (lambda: sj_neuron.TernaryIFNode(), "TernaryIFNode is not supported"),
    "ComplementaryLIFNode": (lambda: sj_neuron.ComplementaryLIFNode(), "ComplementaryLIFNode is not supported"),
    "CUBALIFNode that resets elsewhere": (
        lambda: sj_neuron.CUBALIFNode(v_reset=-0.5),
        "its membrane decays towards 0, but a spike resets it to -0.5. Set v_reset to 0.0 or None",
    ),
    "MPBNLIFNode with its BatchNorm": (mpbn(folded=False), r"a BatchNorm changes its membrane.*re_parameterize"),
    "HalfThresholdIFNode that starts above": (
        lambda: changed(sj_neuron.HalfThresholdIFNode(), lambda node: node.set_reset_value("v", 1.5)),
        "its membrane starts at 1.5, its v_threshold is 1 .*half the threshold",
    ),
    "SimpleLIFNode without v_reset": (
        lambda: sj_neuron.SimpleLIFNode(tau=2.0, decay_input=True, v_reset=None),
        "fails|cannot be run",
    ),
}


def changed(node: Any, change: Callable[[Any], None]) -> Any:
    change(node)
    node.reset()
    return node


@pytest.mark.parametrize("name", REFUSED)
def test_what_computes_something_else_is_refused_by_its_layer(name: str) -> None:
    make, message = REFUSED[name]
    model = nn.Sequential(nn.Conv2d(2, CHANNELS, 3), make(), nn.Flatten(), nn.Linear(CHANNELS * 36, 4))
    with pytest.raises(UnsupportedError, match=f"^1: .*{message}"):
        trace(model.eval(), SHAPE)


def test_a_half_threshold_that_starts_elsewhere_is_read_from_where_it_starts() -> None:
    node = changed(sj_neuron.HalfThresholdIFNode(), lambda node: node.set_reset_value("v", 0.25))
    written = neurons.to_nir(node, (2,), torch.float64)
    assert rule_of("neuron", written).threshold == 0.75
    assert check_against_rule("neuron", node, written) is None
