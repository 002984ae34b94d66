"""Nets that mean something else than a tracer sees are never called exact; nets that mean what they say always are.

The judge here runs the module as its author does and shares nothing with snn2hw's comparison of model and network.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import adversarial_nets
import defects_of_forwards
import defects_of_modules
import nir
import pytest
import torch
from adversarial_nets import FRAMEWORKS, MULTI, RATES, Block, Drawn, draw, firing_rates, reset, run
from planting import Defect, plant
from torch import Tensor, nn

from snn2hw.engines.fast import simulate
from snn2hw.errors import Snn2hwError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.trace import trace
from snn2hw.network.neuron_rule import rule_of
from snn2hw.network.reference import Reference
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.network_vs_torch import compare_network_on

DEFECTS = defects_of_forwards.DEFECTS | defects_of_modules.DEFECTS
ALL = "SNN2HW_ALL_TESTS" in os.environ  # make test-all
DRAWS = 5 if ALL else 2  # of each defect
PLAIN_DRAWS, PLAIN_TESTS = 500 if ALL else 100, 10
ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-7}  # of logits, relative to the largest
NEAR = {torch.float32: 1e-5, torch.float64: 1e-12}  # of a membrane to its threshold, where rounding may decide


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What snn2hw says of a model: refused, diverged or exact; why, or the network that it made."""

    verdict: str
    why: str = ""
    network: nir.NIRGraph | None = None


def outcome(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Load, compare and compile a net through the door that users take: package.module:factory."""
    monkeypatch.setattr(adversarial_nets, "factory", lambda: drawn.net, raising=False)
    options = ModelOptions(input_shape=drawn.samples.shape, timesteps=drawn.timesteps)
    try:
        loaded = load_model("adversarial_nets:factory", options)
        comparison = compare_network_on(loaded.network, loaded.model, drawn.samples, drawn.timesteps)
        if comparison.mismatches:
            return Outcome(verdict="diverged", why=str(comparison.first()))
        compile_network(loaded.network, drawn.samples, Options(timesteps=drawn.timesteps))
    except Snn2hwError as error:
        return Outcome(verdict="refused", why=f"{type(error).__name__}: {error}")
    return Outcome(verdict="exact", network=loaded.network)


# The judge


@dataclass(frozen=True, kw_only=True)
class Run:
    """Logits [N, K], the mean over time, and what each neuron emitted: [T, N, *shape] if it was called as it should."""

    logits: Tensor
    spikes: dict[str, Tensor]


def as_its_author(drawn: Drawn, neurons: Sequence[str], dtype: torch.dtype) -> Iterator[Run]:
    """Run a net twice, each time from its start. What has weights is fed numbers of their type."""
    net = drawn.net.to(dtype)
    emitted: dict[str, list[Tensor]] = {}
    for path in neurons:
        net.get_submodule(path).register_forward_hook(lambda _, __, out, path=path: emitted[path].append(out.clone()))
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given: (given[0].to(dtype), *given[1:]), prepend=True)
    for _ in range(2):
        emitted.update({path: [] for path in neurons})
        reset(drawn)
        with torch.no_grad():
            logits = run(drawn, drawn.x.to(dtype)).to(dtype)
        at_once = drawn.framework == MULTI
        join = torch.cat if at_once else torch.stack
        spikes = {path: join(calls or [torch.zeros(0)]) for path, calls in emitted.items()}
        yield Run(logits=logits, spikes=spikes)


def _threshold(name: str, network: nir.NIRGraph) -> Tensor:
    return torch.from_numpy(rule_of(name, network.nodes[name]).threshold)


class OfNetwork:
    """What a network computes for x [T, N, C, H, W], and how far its membranes are from their thresholds."""

    def __init__(self, network: nir.NIRGraph, x: Tensor, dtype: torch.dtype) -> None:
        self.dtype = dtype
        membranes: dict[str, list[Tensor]] = {}
        reference = Reference(network, dtype=dtype)
        steps = list(reference.run(x, on_state=lambda name, u, v: membranes.setdefault(name, []).append(v)))
        self.neurons = [name for name in reference.layout.order if name in membranes]
        self.logits = torch.stack([step["output"] for step in steps]).mean(0)
        self.spikes = {name: torch.stack([step[name] for step in steps]) for name in self.neurons}
        self.distances = {
            name: (torch.stack(membranes[name]) / _threshold(name, network) - 1).abs() for name in self.neurons
        }

    def explains(self, run: Run) -> bool | None:
        """Whether a net may be this network; None where rounding decided a spike and all that follows is open."""
        if any(run.spikes[name].shape != self.spikes[name].shape for name in self.neurons):
            return False
        for step, name in itertools.product(range(len(next(iter(self.spikes.values())))), self.neurons):
            wrong = (run.spikes[name][step] - self.spikes[name][step]).abs() > 1e-3
            if wrong.any():
                return None if bool((self.distances[name][step][wrong] < NEAR[self.dtype]).all()) else False
        near = ROUNDING[self.dtype] * float(1 + self.logits.abs().max())
        return run.logits.shape == self.logits.shape and float((run.logits - self.logits).abs().max()) <= near


def is_the_network(make: Callable[[], Drawn], network: nir.NIRGraph) -> bool:
    """Whether a net computes what a network does, up to rounding.

    make: makes the net anew, so that no run sees what another left behind.
    """
    for dtype in (torch.float32, torch.float64):
        drawn = make()
        computed = OfNetwork(network, drawn.x, dtype)
        answers = [computed.explains(one) for one in as_its_author(drawn, computed.neurons, dtype)]
        if None not in answers:
            return all(answers)
    return False not in answers


# The tests


def complaint(defect: Defect, seed: int, result: Outcome) -> str:
    """What is wrong with an outcome, with all that is needed to have it again; empty if nothing is."""
    may_be_exact = result.network is not None and is_the_network(partial(plant, seed, defect), result.network)
    if may_be_exact or (result.verdict != "exact" and not defect.deploys):
        return ""
    framework = plant(seed, defect).framework
    return f"plant({seed}, DEFECTS[{defect.name!r}]), of {framework}, is {result.verdict}. {result.why}"


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_no_net_that_computes_something_else_is_called_exact(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints = [complaint(defect, seed, outcome(plant(seed, defect), monkeypatch)) for seed in range(DRAWS)]
    assert not any(complaints), "\n".join(filter(None, complaints))


@pytest.mark.parametrize("part", range(PLAIN_TESTS))
def test_nets_without_a_defect_are_exact(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints = []
    for seed in range(part, PLAIN_DRAWS, PLAIN_TESTS):
        drawn = draw(seed)
        result = outcome(copy.deepcopy(drawn), monkeypatch)
        if result.network is None or not is_the_network(partial(copy.deepcopy, drawn), result.network):
            complaints.append(f"draw({seed}), of {drawn.framework}, is {result.verdict}. {result.why}")
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("name", ["ties at 1/3", "ties at 2/3", "ties at 1/7", "ties at 0.7"])
def test_a_program_decides_ties_as_the_framework_does(name: str) -> None:
    for seed in range(2 * DRAWS):
        drawn = plant(seed, DEFECTS[name])
        program = compile_network(network_of(drawn), drawn.samples, Options(timesteps=drawn.timesteps))
        spikes = {path: torch.from_numpy(n).movedim(1, 0) for path, n in simulate(program, drawn.samples).items()}
        actual = spikes["body.0.neuron1"][:, :, 0].float()
        expected = of_the_first_block(drawn, spikes["stem.2"].float())[:, :, 0]
        assert expected.any() and torch.equal(actual, expected), f"plant({seed}, ...), of {drawn.framework}"


def of_the_first_block(drawn: Drawn, x: Tensor) -> Tensor:
    """What the first neuron of the first block emits for the stem's spikes x [T, N, C, H, W]."""
    block = next(module for module in drawn.net.modules() if isinstance(module, Block))
    reset(drawn)
    with torch.no_grad():
        if drawn.framework == MULTI:
            return block.neuron1(block.conv1(x))
        return torch.stack([block.neuron1(block.conv1(frame)) for frame in x])


@pytest.mark.parametrize("defect", [d for d in DEFECTS.values() if not d.deploys], ids=lambda defect: defect.name)
def test_every_defect_changes_what_nets_compute(defect: Defect) -> None:
    nets = ((plant(seed, defect), draw(seed, defect.frameworks, norms=defect.norms)) for seed in range(DRAWS))
    assert any(not torch.equal(logits(planted), logits(plain)) for planted, plain in nets)


def logits(drawn: Drawn) -> Tensor:
    """[N, K] in each of two runs, one behind the other."""
    both = []
    for _ in range(2):
        reset(drawn)
        with torch.no_grad():
            both.append(run(drawn, drawn.x))
    return torch.cat(both)


def network_of(drawn: Drawn) -> nir.NIRGraph:
    return trace(copy.deepcopy(drawn.net), drawn.samples.shape).network


def test_nets_of_every_kind_are_drawn() -> None:
    drawn = [draw(seed) for seed in range(100)]
    modules = [module for one in drawn for module in one.net.modules()]
    blocks = [module for module in modules if isinstance(module, Block)]
    assert {one.framework for one in drawn} == set(FRAMEWORKS)
    assert {block.gate for block in blocks} == {"ADD", "AND", "IAND", "SPIKING"}
    assert {block.conv1.stride for block in blocks} == {(1, 1), (2, 2)}
    assert {type(block.down) for block in blocks} == {nn.Identity, nn.Sequential}
    assert {one.timesteps for one in drawn} == {2, 3, 4} and {one.samples.per_step for one in drawn} == {True, False}
    assert {one.samples.shape[1] for one in drawn} == {6, 7, 8}
    for kind in (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.BatchNorm2d):
        assert any(isinstance(module, kind) for module in modules), kind
    assert any(not any(isinstance(module, nn.BatchNorm2d) for module in one.net.modules()) for one in drawn)


def test_in_nets_that_are_drawn_every_layer_fires_and_none_always() -> None:
    assert all(RATES[0] <= rate <= RATES[1] for seed in range(40) for rate in firing_rates(draw(seed)))


def test_the_same_seed_gives_the_same_net() -> None:
    one, other = (plant(7, DEFECTS["a step counter"]) for _ in range(2))
    assert torch.equal(logits(one), logits(other)) and torch.equal(one.x, other.x)


@pytest.mark.parametrize("name", ["pre-hook on a root", "in place: clamp_", "a step counter elsewhere"])
def test_the_judge_tells_a_net_with_a_defect_from_the_network_without(name: str) -> None:
    """The tests above can fail: this is what they would see if snn2hw called such a net exact."""
    defect = DEFECTS[name]
    for seed in range(DRAWS):
        plain = draw(seed, defect.frameworks, norms=defect.norms)
        network = network_of(plain)
        assert is_the_network(partial(draw, seed, defect.frameworks, norms=defect.norms), network)
        assert complaint(defect, seed, Outcome(verdict="exact", network=network))
        assert not complaint(defect, seed, Outcome(verdict="diverged"))


def test_a_net_that_must_deploy_may_not_be_refused() -> None:
    assert complaint(DEFECTS["BatchNorm with eps 0"], 0, Outcome(verdict="refused", why="no"))
