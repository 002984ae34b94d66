"""The program computes nearly what the float network computes: what exactness alone would not notice."""

from __future__ import annotations

import nets
import numpy as np
import pytest
import torch
from torch import nn

from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import simulate
from snn2hw.engines.torch_model import spikes_of

TIMESTEPS = 6


def agreement(model: nn.Module, **options: int) -> dict[str, float]:
    """For each layer the share of spikes that are the same in the float model and in the program."""
    samples = nets.random_samples(8, steps=TIMESTEPS)
    traced, program = nets.compile_model(model, samples, timesteps=TIMESTEPS, **options)
    program_spikes = simulate(program, samples)
    floats = spikes_of(traced, torch.from_numpy(samples.steps(TIMESTEPS)), program_spikes)
    layers = floats.keys() - {"logits"}
    return {name: float((floats[name] == program_spikes[name]).mean()) for name in layers}


@pytest.mark.parametrize("gate", nets.GATES)
@pytest.mark.parametrize("neuron", nets.NEURONS)
def test_every_neuron_and_gate(gate: str, neuron: str) -> None:
    shares = agreement(nets.residual_net(gate, nets.NEURONS[neuron], max_pool=()))
    assert shares["2"] > 0.98 and min(shares.values()) > 0.88, shares


@pytest.mark.parametrize("geometry", nets.GEOMETRIES)
def test_every_geometry(geometry: str) -> None:
    shares = agreement(nets.geometry_net(geometry))
    assert min(shares.values()) > 0.95, shares


def test_logits_are_the_models_in_units_of_the_readout() -> None:
    samples = nets.random_samples(16)
    traced, program = nets.compile_model(nets.geometry_net("a pool before"), samples, timesteps=TIMESTEPS)
    logits = sum(step["logits"].numpy() for step in traced.run(torch.from_numpy(samples.steps(TIMESTEPS))))
    program_logits = simulate(program, samples)["logits"] / program.graph.readout.scale
    assert np.abs(program_logits - logits).mean() < 0.05 * np.abs(logits).max()


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_the_rounding_of_floats_decides_nothing_where_membrane_and_threshold_meet(threshold: float) -> None:
    """Seven equal steps reach the threshold exactly; in float64 their sum lies above it."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nets.leaky(1.0, "zero", threshold=threshold)(), nn.Linear(1, 1))
    model[0].weight.data.fill_(threshold / 7)
    samples = Samples(np.ones((1, 1), np.float32), None, False)
    traced, program = nets.compile_model(model, samples, timesteps=8)
    neuron, weight = program.graph["1"], program.graph["0"].weight.item()
    assert neuron.threshold.item() == 7 * weight and sum([weight / neuron.scale] * 7) > 7 * weight / neuron.scale
    for spikes in (simulate(program, samples), nets.run_requantised(traced, program, samples)):
        assert spikes["1"].ravel().tolist() == [0] * 7 + [1]


def test_fewer_bits_agree_less() -> None:
    few, many = (agreement(nets.residual_net("ADD", nets.NEURONS["if"]), weight_bits=bits) for bits in (3, 8))
    assert few["2"] < many["2"] - 0.01
