"""How a model takes time: one step a call, all of them first or second, or one input in a loop of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.errors import DataError, OptionError, UnsupportedError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.time_in import WAYS, TimeIn
from snn2hw.frontends.torch.trace import trace
from snn2hw.verification.network_vs_torch import compare_network

STEPS, SHAPE = 5, (2, 6, 6)


class Net(nn.Module):
    """A convolution and a read-out, each before a neuron; `wire` says how the steps are gone through."""

    def __init__(self, wire: Callable[[Any, Tensor], Any], neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.wire = wire
        self.conv, self.norm, self.lif1 = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), neuron()
        self.fc, self.lif2 = nn.Linear(48, 4), neuron()
        self.norm.running_var.uniform_(0.05, 0.1)
        self.norm.bias.data.fill_(0.8)

    def forward(self, x: Tensor) -> Any:
        return self.wire(self, x)

    def step(self, x: Tensor) -> Tensor:
        """One step of neurons that keep their state."""
        spikes: Tensor = self.lif2(self.fc(self.lif1(self.norm(self.conv(x))).flatten(1)))
        return spikes


def keeping() -> nn.Module:
    return snntorch.Leaky(beta=0.8, threshold=0.4, init_hidden=True)


def passing() -> nn.Module:
    return snntorch.Leaky(beta=0.8, threshold=0.4)


def spikingjelly() -> nn.Module:
    return sj_neuron.LIFNode(v_threshold=0.4)


def states_passed(net: Any, x: Tensor) -> Tensor:
    mem1, mem2 = net.lif1.init_leaky(), net.lif2.init_leaky()
    outputs = []
    for frame in x:
        spikes, mem1 = net.lif1(net.norm(net.conv(frame)), mem1)
        spikes, mem2 = net.lif2(net.fc(spikes.flatten(1)), mem=mem2)
        outputs.append(spikes)
    return torch.stack(outputs)


def summed(net: Any, x: Tensor) -> Tensor:
    total: Any = 0
    for frame in x:
        total = total + net.step(frame)
    return total


def counted_into_zeros(net: Any, x: Tensor) -> Tensor:
    total = torch.zeros(x.shape[1], 4)
    for frame in x:
        total += net.step(frame)
    return total / len(x)


def currents_at_once(net: Any, x: Tensor) -> Tensor:
    """The convolution over all steps at once, the neurons one step after the other, the read-out again at once."""
    currents = net.norm(net.conv(x.flatten(0, 1))).unflatten(0, x.shape[:2])
    spikes = torch.stack([net.lif1(current) for current in currents])
    return torch.stack([net.lif2(current) for current in net.fc(spikes.flatten(2))]).mean(0)


def batch_first(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net.step(x[:, step]) for step in range(x.shape[1])], dim=1)


def shown_again(net: Any, x: Tensor) -> Tensor:
    current = net.norm(net.conv(x))
    return torch.stack([net.lif2(net.fc(net.lif1(current).flatten(1))) for _ in range(STEPS)]).mean(0)


def copied_in_time(net: Any, x: Tensor) -> Tensor:
    return currents_at_once(net, x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1))


NETS: dict[str, tuple[TimeIn, Callable[[Any, Tensor], Any], Callable[[], nn.Module]]] = {
    "one step a call": ("step", Net.step, keeping),
    "states that the forward passes on": ("first", states_passed, passing),
    "states that the neurons keep": ("first", lambda net, x: torch.stack([net.step(frame) for frame in x]), keeping),
    "a sum over the steps": ("first", summed, spikingjelly),
    "a sum into zeros": ("first", counted_into_zeros, spikingjelly),
    "convolutions over all steps at once": ("first", currents_at_once, spikingjelly),
    "the batch first": ("second", batch_first, spikingjelly),
    "one input shown again": ("inside", shown_again, keeping),
    "one input copied in time": ("inside", copied_in_time, spikingjelly),
}


def inputs(time: TimeIn) -> Tensor:
    """[T, N, *SHAPE], in each step the same where the model takes one input."""
    x = torch.rand(STEPS, 3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x[:1].expand(STEPS, -1, -1, -1, -1).clone() if time == "inside" else x


@pytest.mark.parametrize("name", NETS)
def test_every_way_is_found_out_and_read_exactly(name: str) -> None:
    time, wire, neuron = NETS[name]
    traced = trace(Net(wire, neuron).eval(), SHAPE, timesteps=STEPS)
    assert traced.time == time and traced.steps == (STEPS if time == "inside" else None)
    result = compare_network(traced.network, traced.user_model, inputs(time))
    assert (result.mismatches, result.ties, result.note) == (0, 0, "")
    assert {layer.name for layer in result.layers} == {"lif1", "lif2", "logits"}
    steps = list(traced.run(inputs(time).float()))
    assert len(steps) == STEPS and all(0 < step["lif1"].mean() < 1 for step in steps[1:])


@pytest.mark.parametrize("samples", [1, 4])
def test_a_model_is_run_for_any_number_of_samples(samples: int) -> None:
    traced = trace(Net(currents_at_once, spikingjelly).eval(), SHAPE, timesteps=STEPS)
    x = inputs("first")[:, :1].expand(-1, samples, -1, -1, -1).clone().float()
    for step in traced.run(x):
        assert step["lif1"].shape == (samples, 3, 4, 4) and step["logits"].shape == (samples, 4)


def test_a_way_that_is_asked_for_is_taken() -> None:
    net = Net(batch_first, spikingjelly).eval()
    assert trace(net, SHAPE, timesteps=STEPS, time="second").time == "second"
    with pytest.raises(DataError, match="does not accept an input"):
        trace(net, SHAPE, timesteps=STEPS, time="step")


# What is no step of its own


def weights_for_each_step(net: Any, x: Tensor) -> Tensor:
    outputs = []
    for step, frame in enumerate(x):
        outputs.append(net.lif1(net.conv(frame) * (step + 1)))
    return torch.stack(outputs)


def the_step_before(net: Any, x: Tensor) -> Tensor:
    last: Any = torch.zeros(x.shape[1], 3, 4, 4)
    outputs = []
    for frame in x:
        new = net.lif1(net.conv(frame))
        outputs.append(net.lif2(net.fc((new + last).flatten(1))))
        last = new
    return torch.stack(outputs)


def the_last_step(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net.step(frame) for frame in x])[-1]


def weighted_steps(net: Any, x: Tensor) -> Tensor:
    return sum((step + 1) * net.step(frame) for step, frame in enumerate(x))  # type: ignore[return-value]


def states_of_another(net: Any, x: Tensor) -> Tensor:
    mem = net.lif1.init_leaky()
    outputs = []
    for frame in x:
        spikes, mem = net.lif1(net.norm(net.conv(frame)), mem)
        spikes, _ = net.lif2(net.fc(spikes.flatten(1)), net.fc(mem.flatten(1)))
        outputs.append(spikes)
    return torch.stack(outputs)


def anew_in_each_step(net: Any, x: Tensor) -> Tensor:
    outputs = []
    for frame in x:
        spikes, _ = net.lif1(net.norm(net.conv(frame)))
        outputs.append(net.fc(spikes.flatten(1)))
    return torch.stack(outputs)


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], Callable[[], nn.Module], str, str]] = {
    "weights for each step": (weights_for_each_step, spikingjelly, "lif1", "in step 1 is computed in another way"),
    "the step before": (the_step_before, spikingjelly, "fc", "the steps with factors [1.0, 1.0, 0.0, 0.0, 0.0]"),
    "the last step": (the_last_step, spikingjelly, "output", "some of the steps"),
    "weighted steps": (weighted_steps, spikingjelly, "model.add", "belong to different steps"),
    "the state of another": (states_of_another, passing, "model", "reads the membrane of lif1"),
    "a state that is not passed on": (anew_in_each_step, passing, "lif1", "starts anew in step 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_steps_that_no_chip_takes_are_refused_with_place_and_step(name: str) -> None:
    wire, neuron, place, problem = REFUSED[name]
    with pytest.raises(UnsupportedError) as refused:
        trace(Net(wire, neuron).eval(), SHAPE, timesteps=STEPS, time="first")
    told = [(blocker.layer, blocker.problem) for blocker in refused.value.blockers]
    assert any(layer == place and problem in text for layer, text in told), told


# From the command line


FACTORY = """
import torch
from test_time import Net, shown_again, spikingjelly


def build():
    return Net(shown_again, spikingjelly).eval()
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "shown.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("shown", None)
    return "shown:build"


def test_the_steps_of_a_loop_need_not_be_told_and_are_not_contradicted(factory: str) -> None:
    loaded = load_model(factory, ModelOptions(input_shape=SHAPE))
    assert loaded.timesteps == STEPS and any("in every step of a loop" in note for note in loaded.notes)
    with pytest.raises(OptionError, match="--timesteps 4, but the model itself takes 5 steps"):
        load_model(factory, ModelOptions(input_shape=SHAPE, timesteps=4))


def test_data_with_steps_are_refused_where_the_model_shows_one_input(factory: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "steps.npz", x=np.random.default_rng(0).random((2, STEPS, *SHAPE), np.float32))
    command = ["export", factory, "--target", "nir", "--input-shape", "2,6,6", "--calibrate", "steps.npz"]
    run = subprocess.run(
        [sys.executable, "-m", "snn2hw", *command],
        capture_output=True,
        text=True,
        env=with_tests_on_the_path(),
        check=False,
    )
    assert run.returncode == 2 and "the samples differ from step to step" in run.stderr
    assert "Traceback" not in run.stderr and not list(tmp_path.glob("*.nir"))


def with_tests_on_the_path() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


def test_an_unknown_way_is_told_with_the_known_ones(factory: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "snn2hw", "check", factory, "--target", "nir", "--time", "third"],
        capture_output=True,
        text=True,
        env=with_tests_on_the_path(),
        check=False,
    )
    assert run.returncode == 2 and f"--time third: give {', '.join(WAYS[:-1])} or {WAYS[-1]}." in run.stderr


def test_a_multi_step_net_of_spikingjelly_is_called_as_its_mode_says() -> None:
    net = nn.Sequential(layer.Conv2d(2, 3, 3), sj_neuron.IFNode(), layer.Flatten(), layer.Linear(48, 4))
    functional.set_step_mode(net, "m")
    assert trace(net.eval(), SHAPE, timesteps=STEPS).time == "first"
