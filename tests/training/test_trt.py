"""Temporal reversed training: its three terms and their gradients, and a model that stays as it is."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn2hw.errors import DataError, ModelError, OptionError
from snn2hw.frontends.torch.trace import trace
from snn2hw.models.neurons import IFNode, ParametricLIFNode, reset_states, run_timesteps
from snn2hw.models.sew_resnet import SEWResNet, Stage
from snn2hw.training.trt import Parts, TemporalReversedTraining, Terms, split

T, N, K = 4, 5, 3


def net(neuron: type[nn.Module] = IFNode) -> SEWResNet:
    torch.manual_seed(0)
    model = SEWResNet(
        connect="ADD",
        input_shape=(2, 6, 6),
        stem_kernel=3,
        stem_channels=4,
        stages=[Stage(channels=4), Stage(channels=8, stride=2)],
        classes=K,
        neuron=neuron,
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0.6, 0.5)
            module.running_var.fill_(0.05)
    return model


def samples(per_step: bool) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.rand((N, T, 2, 6, 6) if per_step else (N, 2, 6, 6), generator=random), torch.arange(N) % K


def step_by_step(model: SEWResNet, frames: list[Tensor], start: str, stop: str | None) -> list[Tensor]:
    """The layers from `start` to before `stop`, step after step: what the parts of a model do, written out."""
    names = list(model._modules)
    chosen = names[names.index(start) : None if stop is None else names.index(stop)]
    reset_states(model)
    outputs = []
    for x in frames:
        for name in chosen:
            x = model.get_submodule(name)(x)
        outputs.append(x)
    return outputs


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def terms_by_hand(o: np.ndarray, back: np.ndarray, star: np.ndarray, y: np.ndarray, tau: float) -> tuple[float, ...]:
    """The three terms from the three logits, in float64, from their definitions."""
    rows = np.arange(len(y))
    classification = -np.log(softmax(o)[rows, y]).mean()
    p, q = softmax(o / tau), softmax(back / tau)
    consistency = tau**2 * (p * np.log(p / q)).sum(axis=1).mean()
    return classification, consistency, -np.log(softmax(star)[rows, y]).mean()


@pytest.mark.parametrize("per_step", [False, True], ids=["static", "events"])
@pytest.mark.parametrize("one_pass", [False, True], ids=["two passes", "one pass"])
@pytest.mark.parametrize("neuron", [IFNode, ParametricLIFNode])
def test_the_terms_are_those_of_the_definition(per_step: bool, one_pass: bool, neuron: type[nn.Module]) -> None:
    model = net(neuron).double().eval()
    x, y = samples(per_step)
    x = x.double()
    terms = TemporalReversedTraining(one_pass=one_pass, temperature=3.0)(split(model), x, y, T)

    frames = list(x.unbind(1)) if per_step else [x] * T
    encoded = step_by_step(model, frames, "conv1", "layer1")
    backwards = step_by_step(model, frames[::-1], "conv1", "layer1") if per_step else encoded[::-1]
    rate, reversed_rate = (sum(step_by_step(model, spikes, "layer1", "fc")) / T for spikes in (encoded, backwards))
    o, back, star = (
        model.get_submodule("fc")(features).detach().numpy() for features in (rate, reversed_rate, rate * reversed_rate)
    )
    wanted = terms_by_hand(o, back, star, y.numpy(), 3.0)
    got = [term.item() for term in (terms.classification, terms.consistency, terms.hybrid)]
    np.testing.assert_allclose(got, wanted, rtol=1e-10)
    assert wanted[1] > 1e-6, "reversal must change something, or the test shows nothing"
    np.testing.assert_allclose(terms.loss.item(), sum(wanted), rtol=1e-10)
    np.testing.assert_allclose(terms.logits.detach().numpy(), run_timesteps(model, x, T).detach().numpy(), rtol=1e-9)


class Smooth(nn.Module):
    """A body with a memory, whose output changes smoothly: its gradients can be measured by differences."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(6, 4).double()
        self.v: Tensor | None = None

    def reset(self) -> None:
        self.v = None

    def forward(self, x: Tensor) -> Tensor:
        v = torch.tanh(self.layer(x))
        self.v = v if self.v is None else 0.5 * self.v * v + v
        return self.v


@pytest.mark.parametrize("term", ["classification", "consistency", "hybrid"])
def test_the_gradients_of_the_terms_are_their_slopes(term: str) -> None:
    parts = Parts(nn.Flatten(), Smooth(), nn.Linear(4, K).double())
    x = torch.rand(N, T, 6, 1, 1, generator=torch.Generator().manual_seed(3)).double()
    y = torch.arange(N) % K
    loss = TemporalReversedTraining(detach_target=False)
    weight = parts.body.layer.weight

    def value() -> Tensor:
        return getattr(loss(parts, x, y, T), term)

    (gradient,) = torch.autograd.grad(value(), weight)
    step = 1e-6
    for index in [(0, 0), (1, 3), (3, 5)]:
        with torch.no_grad():
            weight[index] += step
            high = value().item()
            weight[index] -= 2 * step
            low = value().item()
            weight[index] += step
        assert math.isclose(gradient[index].item(), (high - low) / (2 * step), rel_tol=1e-6, abs_tol=1e-9)


def test_a_detached_target_gives_the_consistency_gradient_of_the_reversed_logits_alone() -> None:
    """d/do_reversed of tau^2 KL(p || q) is tau (q - p) / N; nothing goes through o."""
    o = torch.randn(N, K, requires_grad=True, dtype=torch.float64)
    back = torch.randn(N, K, requires_grad=True, dtype=torch.float64)

    class Logits(nn.Module):
        calls = 0

        def forward(self, _: Tensor) -> Tensor:
            self.calls += 1
            return (o, back, o)[self.calls - 1]

    parts = Parts(nn.Identity(), nn.Flatten(), Logits())
    tau = 2.0
    terms = TemporalReversedTraining(temperature=tau)(parts, torch.rand(N, K, 1, 1).double(), torch.arange(N) % K, T)
    through_o, through_back = torch.autograd.grad(terms.consistency, [o, back], allow_unused=True)
    assert through_o is None
    difference = softmax(back.detach().numpy() / tau) - softmax(o.detach().numpy() / tau)
    np.testing.assert_allclose(through_back.numpy(), tau * difference / N, rtol=1e-10)


def test_input_that_is_the_same_both_ways_has_no_divergence() -> None:
    x, y = samples(True)
    palindrome = torch.cat([x[:, : T // 2], x[:, : T // 2].flip(1)], dim=1)
    terms: Terms = TemporalReversedTraining(one_pass=False)(split(net().eval()), palindrome, y, T)
    assert abs(terms.consistency.item()) < 1e-9


def test_one_pass_shows_batch_norm_both_orders_together() -> None:
    x, y = samples(True)
    means = []
    for one_pass in (True, False):
        model = net()
        TemporalReversedTraining(one_pass=one_pass)(split(model), x, y, T)
        means.append(model.get_submodule("bn1").running_mean.clone())
    assert not torch.equal(*means)


def test_training_with_it_leaves_the_deployed_graph_as_it_was() -> None:
    model = net()
    before = trace(copy.deepcopy(model).eval(), (2, 6, 6)).network
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = samples(False)
    TemporalReversedTraining()(split(model), x, y, T).loss.backward()
    optimizer.step()
    after = trace(model.eval(), (2, 6, 6)).network
    assert [(name, type(node)) for name, node in before.nodes.items()] == [
        (name, type(node)) for name, node in after.nodes.items()
    ]
    assert before.edges == after.edges


def test_what_makes_no_loss_is_refused() -> None:
    with pytest.raises(OptionError, match=r"temperature is 0; it must be above 0"):
        TemporalReversedTraining(temperature=0)
    with pytest.raises(OptionError, match=r"hybrid is -1; it must be a number from 0"):
        TemporalReversedTraining(hybrid=-1)
    with pytest.raises(ModelError, match=r"Linear is no network of this project's family"):
        split(nn.Linear(2, 2))
    with pytest.raises(DataError, match=r"holds 4 time steps, but timesteps is 3"):
        TemporalReversedTraining()(split(net()), *samples(True), 3)
