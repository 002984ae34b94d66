"""Identity of blocks, gradients through depth and activity, against what the papers say and what is computed here."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import cli
import pytest
import torch
from torch import nn

from snn2hw.analysis.gradients import ALPHAS, courses, steep, through_identities, through_layers
from snn2hw.analysis.identity import NEURONS, THRESHOLDS, Condition, conditions, is_identity, make_block
from snn2hw.analysis.rates import activity
from snn2hw.data.load import load_samples
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.trace import trace
from snn2hw.models.blocks import BasicBlock, Bottleneck
from snn2hw.models.neurons import IFNode, LIFNode

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


# Identity


@pytest.mark.parametrize("connect", ["ADD", "IAND"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_add_and_iand_are_the_identity_for_every_neuron(connect: str, neuron: str) -> None:
    (condition,) = conditions([connect], {neuron: NEURONS[neuron]})
    assert condition.thresholds == THRESHOLDS and str(condition) == "any"


@pytest.mark.parametrize("connect", ["AND", "spiking"])
@pytest.mark.parametrize(("neuron", "highest"), [("IF", 1), ("LIF, tau 2", 1 / 2), ("LIF, tau 4", 1 / 4)])
def test_and_and_the_spiking_resnet_need_a_threshold_of_at_most_1_or_1_over_tau(
    connect: str, neuron: str, highest: float
) -> None:
    (condition,) = conditions([connect], {neuron: NEURONS[neuron]})
    assert condition.thresholds == tuple(value for value in THRESHOLDS if value <= highest)
    assert str(condition) == f"<= {highest:g}"


def test_and_with_plif_of_threshold_1_does_not_start_as_the_identity() -> None:
    assert not is_identity(make_block("AND", NEURONS["PLIF, tau 2"], 1.0))


def test_a_membrane_that_is_left_over_by_a_soft_reset_shows() -> None:
    (condition,) = conditions(["spiking"], {"IF, soft reset": NEURONS["IF, soft reset"]})
    assert str(condition) == "1"


@pytest.mark.parametrize("connect", ["plain", "IAND reversed"])
def test_what_has_no_shortcut_to_repeat_never_is(connect: str) -> None:
    assert {str(condition) for condition in conditions([connect])} == {"never"}


def test_the_condition_says_single_thresholds_where_they_are_no_range() -> None:
    assert str(Condition("ADD", "IF", (0.25, 1.0))) == "0.25, 1"


def test_a_trained_block_is_judged_by_its_start_and_left_as_it_is() -> None:
    block = BasicBlock(3, 3, 1, "ADD", IFNode)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    assert is_identity(block)
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    assert is_identity(Bottleneck(8, 2, 1, "IAND", IFNode))
    assert not is_identity(BasicBlock(3, 4, 1, "ADD", IFNode)), "it changes the number of channels"
    assert not is_identity(BasicBlock(3, 3, 1, "spiking", partial(LIFNode, tau=2.0)))


# Gradients


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND"])
def test_a_gradient_passes_100_sew_blocks_at_identity_unchanged(connect: str) -> None:
    for alpha in ALPHAS:
        norms = through_identities(connect, steep(alpha), depth=100)
        assert len(norms) == 101
        assert max(abs(norm - 1) for norm in norms) < 1e-3


def test_through_a_spiking_resnet_it_is_the_product_of_the_surrogates_slopes() -> None:
    """A shortcut's spike meets the threshold: slope alpha / 2. Where none is, the slope is that one step below it."""
    depth = 100
    for alpha in ALPHAS:
        fired, silent = alpha / 2, alpha / 2 / (1 + (math.pi / 2 * alpha) ** 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            [BasicBlock(2, 2, 1, "spiking", IFNode) for _ in range(depth)]  # draws the same numbers
            x = torch.rand(8, 2, 4, 4) < 0.5
            weights = torch.rand(8, 2, 4, 4, dtype=torch.float64)
        slope = torch.where(x, fired**depth, silent**depth).double()
        wanted = ((slope * weights).norm() / weights.norm()).item()
        assert through_identities("spiking", steep(alpha), depth=depth)[0] == pytest.approx(wanted, rel=1e-9)


def test_it_vanishes_or_explodes_by_orders_of_magnitude() -> None:
    left = {(course.connect, course.alpha): course.ratio for course in courses(100)}
    assert left["spiking", 1.0] < 1e-25 and left["spiking", 4.0] > 1e25


def test_gradients_at_a_models_layers_are_those_of_the_whole_model() -> None:
    """One step, one layer of neurons: the gradient at its spikes is what the last layer multiplies them with."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), IFNode(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.rand(1, 4, 1, 2, 2)
    norms = through_layers(trace(net, (1, 2, 2)), x)
    net[1].reset()
    chosen = net(x[0]).argmax(dim=1)
    assert norms == {"1": pytest.approx(net[3].weight[chosen].norm().item(), rel=1e-6)}


# Activity and the command


def test_rates_are_counted_over_samples_steps_and_neurons() -> None:
    loaded = load_model(str(DIGITS / "add.pt"), ModelOptions())
    samples = load_samples("digits", loaded.input_shape)[:40]
    assert loaded.traced is not None
    steps = list(loaded.traced.run(torch.from_numpy(samples.steps(loaded.timesteps))))
    layers = activity(loaded, samples)
    assert [layer.layer for layer in layers] == list(loaded.traced.origin)
    for layer in layers:
        spikes = torch.stack([step[layer.layer] for step in steps])
        assert layer.rate == pytest.approx(spikes.double().mean().item(), abs=1e-12)
        assert layer.silent == pytest.approx((spikes.sum(dim=(0, 1)) == 0).double().mean().item())
    assert layers[-1].gradient is None, "an ADD has no neurons"
    assert layers[-2].gradient == 1


def test_a_nir_file_has_the_same_rates_and_no_gradients(tmp_path: Path) -> None:
    model, file = DIGITS / "and.pt", tmp_path / "and.nir"
    assert cli.run("export", model, "--target", "nir", "-o", file).code == 0
    loaded = load_model(str(model), ModelOptions())
    samples = load_samples("digits", loaded.input_shape)[:8]
    again = load_model(str(file), ModelOptions(timesteps=loaded.timesteps))
    rates = {layer.layer: (layer.rate, layer.silent) for layer in activity(loaded, samples)}
    layers = activity(again, samples)
    assert all(layer.gradient is None for layer in layers)
    assert {layer.layer: (layer.rate, layer.silent) for layer in layers} == rates


def test_the_command_shows_the_tables_and_writes_page_and_numbers(tmp_path: Path) -> None:
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    ended = cli.run("analyse", DIGITS / "iand.pt", "--samples", 16, "-o", page, "--json", numbers)
    assert ended.code == 0, ended.err
    assert "spiking" in ended.out and "layer3.0.iand" in ended.out
    document = json.loads(numbers.read_text())
    assert document["schema"] == "snn2hw.analysis/1"
    assert {entry["connect"] for entry in document["gradients"]} == {"ADD", "AND", "IAND", "spiking"}
    assert document["layers"][0]["layer"] == "neuron1"
    text = page.read_text()
    assert "layer3.0.iand" in text and "<script src" not in text


def test_the_papers_tables_need_no_model() -> None:
    ended = cli.run("analyse")
    assert ended.code == 0 and "<= 0.25" in ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digits"), "--data digits: samples are for a model. Name one."),
        ((DIGITS / "add.pt", "--data", "nowhere.npz"), "nowhere.npz: there is no such file"),
        ((DIGITS / "add.pt", "--samples", "0"), "at least 1"),
        (("-o", "no/such/folder/page.html"), "nothing can be written in no/such/folder"),
    ],
)
def test_what_cannot_be_analysed_is_told(arguments: tuple[object, ...], message: str) -> None:
    ended = cli.run("analyse", *arguments)
    assert ended.code == 2 and message in ended.err.replace("\n", " ")
