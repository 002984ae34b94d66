"""Membranes that start elsewhere than at 0, each neuron at its own value: exact from the module to real Lava."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from cli import fail, run, succeed
from nets import compile_model, random_samples, run_requantised
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw import ir
from snn2hw.engines import cycle, fast
from snn2hw.errors import UnsupportedError

SAMPLES = random_samples(5, steps=4)


class Started(nn.Module):
    """snnTorch's neurons, whose membranes start from parameters [*shape], as converted nets have them."""

    def __init__(self, start: Tensor, beta: float = 1.0, reset: str = "subtract") -> None:
        super().__init__()
        self.start = nn.Parameter(start)
        self.conv, self.spiking, self.fc = (
            nn.Conv2d(2, 4, 3),
            snntorch.Leaky(beta, reset_mechanism=reset),
            nn.Linear(144, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 3] of x [T, N, 2, 8, 8]."""
        membrane, total = self.start.expand(x.shape[1], 4, 6, 6), 0.0
        for frame in x:
            spikes, membrane = self.spiking(self.conv(frame), membrane)
            total = total + self.fc(spikes.flatten(1))
        return total


NET = """
import torch
from spikingjelly.activation_based import neuron
from test_start_values import Started
from torch import nn


def each():
    torch.manual_seed(0)
    return Started(torch.rand(4, 6, 6)).eval()


def build(v_reset=None, start=0.25):
    torch.manual_seed(0)
    first, last = neuron.IFNode(v_reset=v_reset), neuron.LIFNode(tau=2.0, v_reset=v_reset, decay_input=False)
    first.set_reset_value("v", start)
    last.set_reset_value("v", start)
    layers = nn.Conv2d(2, 4, 3), first, nn.Flatten(), nn.Linear(144, 8, bias=False), last, nn.Linear(8, 3)
    return nn.Sequential(*layers).eval()


def hard():
    return build(0.0)


def too_high():
    return build(start=1.5)
"""


def started(neuron: nn.Module, start: float) -> nn.Module:
    neuron.set_reset_value("v", start)
    return neuron


def jelly(start: float, *, leak: bool) -> nn.Module:
    made = sj_neuron.LIFNode(tau=2.0, v_reset=None, decay_input=False) if leak else sj_neuron.IFNode(v_reset=None)
    return nn.Sequential(nn.Conv2d(2, 4, 3), started(made, start), nn.Flatten(), nn.Linear(144, 3)).eval()


MODELS = {
    "SpikingJelly, half the threshold": lambda: jelly(0.5, leak=False),
    "SpikingJelly, below 0": lambda: jelly(-0.5, leak=False),
    "SpikingJelly, with a leak": lambda: jelly(0.5, leak=True),
    "snnTorch, each its own": lambda: Started(torch.rand(4, 6, 6)).eval(),
    "snnTorch, a leak, each channel its own": lambda: Started(torch.rand(4, 1, 1).expand(4, 6, 6), beta=0.9).eval(),
    "snnTorch, no reset": lambda: Started(torch.rand(4, 6, 6), reset="none").eval(),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_start_value_is_exact_in_every_engine(name: str) -> None:
    torch.manual_seed(0)
    traced, program = compile_model(MODELS[name](), SAMPLES, timesteps=4)
    layer = "1" if "Jelly" in name else "spiking"
    expected, quick = cycle.simulate(program, SAMPLES), fast.simulate(program, SAMPLES)
    assert all(np.array_equal(quick[name], expected[name]) for name in expected)
    assert 0.01 < expected[layer].mean() < 0.98
    requantised = run_requantised(traced, program, SAMPLES)
    assert np.array_equal(requantised[layer], expected[layer])
    assert np.array_equal(np.rint(requantised["logits"]), expected["logits"])


def test_the_threshold_of_each_neuron_takes_its_start_up() -> None:
    torch.manual_seed(0)
    start = torch.rand(4, 6, 6)
    program = compile_model(Started(start).eval(), SAMPLES, timesteps=4)[1]
    node = program.graph["spiking"]
    assert isinstance(node, ir.Neuron) and isinstance(node.scale, float)
    assert np.abs(node.threshold - node.scale * (1 - start.numpy().astype(np.float64))).max() <= 1
    assert node.reset_amount.ravel().tolist() == [round(node.scale)]


def test_a_start_that_a_hard_reset_does_not_lead_back_to_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"spiking: the neuron starts from 0.* a spike resets it to 0: a hard"):
        compile_model(Started(torch.rand(4, 6, 6), reset="zero").eval(), SAMPLES, timesteps=4)


@pytest.mark.usefixtures("tiny")
def test_start_values_are_exact_in_lava_and_what_has_none_is_refused() -> None:
    Path("starts.py").write_text(NET)
    np.savez("x.npz", x=SAMPLES.x)
    shared = ("--input-shape", "2,8,8", "--timesteps", 4, "--calibrate", "x.npz", "--target", "lava", "-o", "net.lava")
    high = fail("export", "starts:too_high", *shared)
    assert "its membrane starts at 1.5, at or above its threshold of 1: it fires" in high
    hard = fail("export", "starts:hard", *shared)
    assert "1: its membrane starts at" in hard and "a hard reset leads back to the start" in hard
    assert "reset by subtraction, starting at 0.25" in succeed("export", "starts:build", *shared)
    assert "Verdict: exact for these 5 samples." in succeed("verify", "net.lava", "--data", "x.npz")
    out = run("export", "starts:each", *shared).out
    assert re.search(r"reset by subtraction, one step later, starting at 0\.\d+ to 0\.9\d+\.", out)
    for processes in ("fused", "structural"):
        ended = run("verify", "net.lava", "--data", "x.npz", "--processes", processes, "--json", "verify.json")
        assert "Verdict: exact for these 5 samples." in ended.out, processes
    compared = {each["name"]: each for each in json.loads(Path("verify.json").read_text())["comparisons"]}
    assert compared["program-vs-float-torch"]["mismatches"] < 30  # of 2880: the float side starts there too
