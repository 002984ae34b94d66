"""What cannot be deployed is refused by name: every unsupported construct, several at once, models that cannot run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
import torch.nn.functional as F
from nets import NEURONS, SHAPE, MeanOverTime, Wired, leaky, residual_net
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.errors import DataError, ModelError, UnsupportedError
from snn2hw.frontends.torch.trace import trace

NEURON = NEURONS["if"]


def wired(wire: Callable[[Any, Tensor], Any], **layers: nn.Module) -> nn.Module:
    """A model with spikes to start from: net.spikes(x) is [N, 4, 8, 8]."""
    stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), NEURON())
    return Wired(wire, spikes=stem, neuron=NEURON(), fc=nn.Linear(256, 3), **layers)


def spikes_then(layer: nn.Module) -> nn.Module:
    return wired(lambda net, x: net.layer(net.spikes(x)), layer=layer)


def current_then(layer: nn.Module, conv: nn.Module | None = None) -> nn.Module:
    return wired(lambda net, x: net.layer(net.conv(x)), conv=conv or nn.Conv2d(2, 4, 3), layer=layer)


def on_spikes(function: Callable[[Tensor], Any]) -> nn.Module:
    return wired(lambda net, x: function(net.spikes(x)))


UNSUPPORTED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "an unknown layer": (lambda: spikes_then(nn.GELU()), "layer", "layers of type GELU"),
    "an unknown function": (lambda: on_spikes(torch.tanh), "model", "the operation tanh"),
    "an unknown method": (lambda: on_spikes(lambda x: x.cumsum(1)), "model", "the operation cumsum"),
    "a lost batch": (lambda: on_spikes(lambda x: x.reshape(-1)), "output", "samples and places .* stand mixed"),
    "concatenation": (lambda: on_spikes(lambda x: torch.cat([x, x])), "model", "the operation cat"),
    "a parameter": (lambda: wired(lambda net, x: net.spikes(x) + net.fc.bias[0]), "model", r"combined with -?0\.\d+"),
    "a norm without statistics": (
        lambda: current_then(nn.BatchNorm2d(4, track_running_stats=False)),
        "layer",
        "without running statistics",
    ),
    "an average pool with ceil_mode": (lambda: spikes_then(nn.AvgPool2d(3, ceil_mode=True)), "layer", "ceil_mode"),
    "an average pool without its padding": (
        lambda: spikes_then(nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        "layer",
        "count_include_pad",
    ),
    "an uneven adaptive pool": (lambda: spikes_then(nn.AdaptiveAvgPool2d(3)), "layer", "from 8x8 to 3x3"),
    "reflecting padding": (
        lambda: spikes_then(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        "layer",
        "padding with reflect",
    ),
    "a product of graded spikes": (lambda: on_spikes(lambda x: (x + x) * (x + x)), "model.and", "values from 0 to 2"),
    "a product of analog values": (lambda: wired(lambda net, x: x * x), "model.and", "a product with analog values"),
    "a product with its negation": (lambda: on_spikes(lambda x: (1 - x) * x), "model.iand", "which is always 0"),
    "a fraction added to spikes": (lambda: on_spikes(lambda x: 0.5 + x), "model", r"combined with 0\.5"),
    "a constant that stays": (lambda: on_spikes(lambda x: 1 - x), "output", "the constant 1 is added to spikes"),
    "broadcasting": (lambda: on_spikes(lambda x: x + x.mean((2, 3), True)), "model.add", "shapes"),
    "a mean over channels": (lambda: on_spikes(lambda x: x.mean(1)), "model", r"a mean over dimensions \[1\]"),
    "dropout that stays on": (lambda: on_spikes(lambda x: F.dropout(x, 0.5)), "model", "training"),
    "a number of the data": (lambda: on_spikes(lambda x: x[0].cumsum(1).sum().item() * x), "model", "cumsum"),
    "an image among heads": (lambda: wired(lambda net, x: (net.spikes(x), x)), "output", "its head 0 has shape"),
    "no tensor": (lambda: wired(lambda net, x: {"logits": 3}), "output", "does not return a tensor"),
    "a membrane": (
        lambda: wired(lambda net, x: net.leaky(net.spikes(x))[1], leaky=leaky(0.9, "zero", output=True)()),
        "output",
        "returns the state of leaky alone",
    ),
    "a neuron used twice": (lambda: wired(lambda net, x: net.neuron(net.neuron(net.spikes(x)))), "neuron", "twice"),
    "a membrane that the caller holds": (lambda: spikes_then(snntorch.Leaky(beta=0.9)), "layer", "init_hidden=True"),
    "inhibition": (lambda: spikes_then(leaky(0.9, "zero", inhibition=True)()), "layer", "inhibition"),
    "a quantised state": (lambda: spikes_then(leaky(0.9, "zero", state_quant=lambda x: x)()), "layer", "state_quant"),
    "graded spikes": (lambda: spikes_then(leaky(1, "zero", graded_spikes_factor=2.0)()), "layer", "graded_spikes"),
    "a reset taken back": (lambda: spikes_then(leaky(0.9, "subtract", reset_delay=False)()), "layer", "reset_delay"),
    "a threshold of 0": (lambda: spikes_then(leaky(0.9, "zero", threshold=0.0)()), "layer", "the threshold is 0"),
    "an infinite threshold": (lambda: spikes_then(sj_neuron.IFNode(float("inf"))), "layer", "the threshold is inf"),
    "a single-step neuron among multi-step ones": (
        lambda: nn.Sequential(nn.Flatten(2), sj_neuron.IFNode(step_mode="m"), nn.Linear(128, 3), sj_neuron.IFNode()),
        "3",
        "single step",
    ),
    "a neuron behind the mean over time": (
        lambda: nn.Sequential(
            nn.Flatten(2), sj_neuron.IFNode(step_mode="m"), MeanOverTime(), sj_neuron.IFNode(step_mode="m")
        ),
        "3",
        "mean over time",
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch and snnTorch warn of some of these themselves
@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_cannot_be_deployed_is_named_with_its_place(case: str) -> None:
    build, layer, problem = UNSUPPORTED[case]
    with pytest.raises(UnsupportedError, match=problem) as raised:
        trace(build(), SHAPE)
    blocker = raised.value.blockers[0]
    assert blocker.layer == layer
    assert str(blocker).count(". ") >= 1  # the problem, and then what to do


def test_all_that_is_in_the_way_is_told_at_once() -> None:
    model = residual_net("ADD", NEURON)
    model[2] = nn.PReLU()
    model.block0.neuron1 = leaky(0.9, "subtract", reset_delay=False)()
    model.block1.down[2] = nn.Tanh()
    with pytest.raises(UnsupportedError) as raised:
        trace(model, SHAPE)
    assert {blocker.layer for blocker in raised.value.blockers} >= {"2", "block1.down.2"}
    assert str(raised.value).splitlines() == [str(blocker) for blocker in raised.value.blockers]


def test_independent_branches_are_all_looked_at() -> None:
    model = wired(
        lambda net, x: torch.tanh(net.spikes(x)) + net.pool(net.spikes2(net.conv(x))),
        conv=nn.Conv2d(2, 4, 3, padding=1),
        spikes2=NEURON(),
        pool=nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    )
    with pytest.raises(UnsupportedError) as raised:
        trace(model, SHAPE)
    assert [blocker.layer for blocker in raised.value.blockers] == ["model", "pool"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["block0.conv1.weight", "block1.bn2.running_var", "fc.bias"])
def test_weights_that_are_not_finite_are_named(where: str, value: float) -> None:
    model = residual_net("ADD", NEURON)
    model.state_dict()[where].view(-1)[0] = value
    with pytest.raises(ModelError, match=rf"{where}: 1 of \d+ values are NaN or infinite"):
        trace(model, SHAPE)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8), (128,), (2, 0, 8)])
def test_an_input_shape_that_does_not_fit_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"does not accept an input of shape \[.*--input-shape C,H,W"):
        trace(residual_net("ADD", NEURON), shape)


class TwoInputs(nn.Module):
    def forward(self, image: Tensor, mask: Tensor, *, scale: float = 1.0) -> Tensor:
        return image * mask


def test_a_second_input_is_told_as_one() -> None:
    with pytest.raises(UnsupportedError, match=r"mask: the model's forward takes 2 inputs: image, mask.* Give all but"):
        trace(TwoInputs(), SHAPE)


def test_a_neuron_that_cannot_be_called_is_told_with_its_place() -> None:
    """snnTorch's LSO calls another surrogate with an argument too few; that is no matter of the input's shape."""
    message = r"^1: this Leaky .* cannot be run by itself \(TypeError: .*'variance'\)\. Build it"
    model = nn.Sequential(nn.Linear(4, 3), leaky(0.9, "zero", spike_grad=snntorch.surrogate.LSO())(), nn.Linear(3, 2))
    with pytest.raises(UnsupportedError, match=message):
        trace(model, (4,))


@pytest.mark.parametrize(
    "wire",
    [
        lambda net, x: net.neuron(x) if x.sum() > 0 else x,
        lambda net, x: sum(net.neuron(x) for _ in range(int(x.sum()))),
        lambda net, x: net.neuron(x)[: int(x.mean())],
        lambda net, x: x * float(net.spikes(x).max()),
    ],
    ids=["branch", "steps of a loop", "index", "number"],
)
def test_a_forward_that_decides_by_data_is_told_with_the_line(
    wire: Callable[[Any, Tensor], Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    place = rf"{Path(__file__).name}:\d+\)"
    with pytest.raises(
        ModelError, match=rf"Wired: its forward decides by the values of the data \(.*{place}, .* sizes"
    ):
        trace(wired(wire), SHAPE)
    assert capfd.readouterr() == ("", "")  # torch prints what it has of the graph


def looked_up(net: Any, x: Tensor) -> Tensor:
    layers: dict[str, Any] = {}
    return layers["neuron"](x)


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (lambda net, x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda net, x: net.missing(x), "AttributeError: .*missing"),
        (looked_up, "KeyError: 'neuron'"),
        (lambda net, x: net.spikes(x, 3), "TypeError: .*positional"),
    ],
    ids=["a division", "a missing layer", "a missing key", "an argument too many"],
)
def test_a_forward_that_fails_is_told_with_the_line(wire: Callable[[Any, Tensor], Tensor], problem: str) -> None:
    place = rf"{Path(__file__).name}:\d+\)"
    with pytest.raises(ModelError, match=rf"Wired: its forward fails \(.*{place} \({problem}.*\)\. Build it so that"):
        trace(wired(wire), SHAPE)


@pytest.mark.parametrize(
    "wire", [lambda net, x: x / 0 if x.sum() else x, lambda net, x: 1 / 0, lambda net, x: torch.tanh(net.spikes(x))]
)
def test_a_model_that_is_refused_stays_as_it_was(wire: Callable[[Any, Tensor], Tensor]) -> None:
    model = wired(wire).train()
    before = {name: dict(vars(part)) for name, part in model.named_modules()}
    with pytest.raises((ModelError, UnsupportedError)):
        trace(model, SHAPE)
    after = {name: dict(vars(part)) for name, part in model.named_modules()}
    assert after == before and all(part.training for part in model.modules())


def test_what_is_not_used_is_not_in_the_way() -> None:
    def wire(net: Any, x: Tensor) -> Tensor:
        spikes, _membrane = net.neuron(net.conv(x))
        return net.fc(spikes.flatten(1))

    conv, fc = nn.Conv2d(2, 4, 3), nn.Linear(4 * 36, 3)
    traced = trace(Wired(wire, conv=conv, neuron=leaky(0.9, "zero", output=True)(), fc=fc, unused=nn.Tanh()), SHAPE)
    assert "neuron" in traced.origin
