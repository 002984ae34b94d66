"""snnTorch, norse and sinabs: which loops over time deploy; what is refused is named, with its reason and the change to
make.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from framework_nets import NORSE, SIZE, SNNTORCH, Factory, Written, cell, chain, layer, linear, norse, sinabs, snn
from nets import random_samples, run_requantised
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.engines.cycle import simulate
from snn2hw.errors import UnsupportedError
from snn2hw.frontends.torch.trace import trace
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.network_vs_torch import compare_network

LEAKY, LIFBOX = SNNTORCH["leaky-subtract"], NORSE["lifbox"]


def loop(net: Any, x: Tensor, state: Any) -> Any:
    first, second, spikes = net.lif1.reset_mem(), net.lif2.reset_mem(), []
    for _ in range(5):
        spike, first = net.lif1(net.fc1(x), first)
        spike, second = net.lif2(net.fc2(spike), second)
        spikes.append(spike)
    return torch.stack(spikes)


def loop_without_states(net: Any, x: Tensor, state: Any) -> Any:
    return sum(net.lif2(net.fc2(net.lif1(net.fc1(x)))) for _ in range(5))


def norse_loop(net: Any, x: Tensor, state: Any) -> Any:
    total, first, second = 0, None, None
    for _ in range(5):
        spikes, first = net.lif1(net.fc1(x), first)
        spikes, second = net.lif2(net.fc2(spikes), second)
        total = total + spikes
    return total / 5


def last_step_alone(net: Any, x: Tensor, state: Any) -> Any:
    for _ in range(5):
        spikes, state = net.lif1(net.fc1(x), state)
    return net.lif2(net.fc2(spikes))[0]


def with_state(net: Any, x: Tensor, state: Any) -> Any:
    return net.lif2(net.fc2(net.lif1(net.fc1(x), net.lif1.mem)[0]))


LOOPS: dict[str, Factory] = {
    "snnTorch, with states": lambda: Written(loop, lambda: snntorch.Leaky(beta=0.8)),
    "snnTorch, without": lambda: Written(loop_without_states, LEAKY),
    "norse": lambda: Written(norse_loop, LIFBOX),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_of_the_models_own_over_one_input_is_deployed_exactly(name: str) -> None:
    traced = trace(LOOPS[name](), (4,))
    assert (traced.time, traced.steps, set(traced.neurons)) == ("inside", 5, {"lif1", "lif2"})
    samples = random_samples(20, shape=(4,))
    verdict = compare_network(traced.network, traced.user_model, torch.from_numpy(samples.steps(5)))
    assert verdict.compared and (verdict.mismatches, verdict.note) == (0, ""), verdict.first()
    program = compile_network(traced.network, samples, Options(timesteps=5))
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    for neuron in ("lif1", "lif2"):
        assert 0 < spikes[neuron].mean() < 1
        np.testing.assert_array_equal(spikes[neuron], expected[neuron])
    np.testing.assert_array_equal(spikes["logits"], np.rint(expected["logits"]))


PAIR = r"1: this {} returns its state beside its spikes, .*\(snnTorch: init_hidden=True and output=False"
REFUSED: dict[str, tuple[Factory, str]] = {
    "one call with a state": (
        lambda: Written(with_state, lambda: snntorch.Leaky(beta=0.8)),
        r"lif1: Leaky leaves its state to its caller .*Keep the state in the neuron \(init_hidden=True\)",
    ),
    "a tuple for spikes": (
        lambda: nn.Sequential(linear(4, SIZE), LEAKY(output=True), linear(SIZE, 3)),
        PAIR.format("Leaky"),
    ),
    "the last step alone": (
        lambda: Written(last_step_alone, LIFBOX),
        "lif2: this neuron runs in step 4, but not in step 0.* Call it in every step",
    ),
    **{
        f"{kind} without init_hidden": (
            lambda kind=kind, options=options: chain("snntorch", lambda: getattr(snntorch, kind)(**options)),
            PAIR.format(kind),
        )
        for kind, options in {"Leaky": {"beta": 1}, "Synaptic": {"alpha": 1, "beta": 1}}.items()
    },
}


def test_a_loop_over_the_steps_of_the_input_that_drops_the_states_is_refused() -> None:
    def loop_over_input(net: Any, x: Tensor, state: Any) -> Any:
        return [net.lif1(net.fc1(frame)) for _, frame in zip(range(x.size(0)), x, strict=True)]

    with pytest.raises(UnsupportedError, match=r"^lif1: the neuron starts anew in step 1.* Pass the state"):
        trace(Written(loop_over_input, lambda: snntorch.Leaky(beta=0.8)), (4,))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_forms(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=f"^{message}"):
        trace(make(), (4,))


REFUSED_NEURONS: dict[str, tuple[str, Factory, str]] = {
    "Synaptic zero": (
        "snntorch",
        snn("Synaptic", alpha=0.5, beta=0.8, reset_mechanism="zero"),
        "discards the input of the step behind a spike.*reset_delay=False",
    ),
    "Synaptic subtract at once": (
        "snntorch",
        snn("Synaptic", alpha=0.5, beta=0.8, reset_delay=False),
        "takes the reset back.*reset_delay=True",
    ),
    "Synaptic without decay": ("snntorch", snn("Synaptic", alpha=1.0, beta=0.8), "current never decays.*below 1"),
    "Lapicque zero": ("snntorch", snn("Lapicque", beta=0.8, reset_mechanism="zero"), "discards .*Use .*'subtract'"),
    "Lapicque too fast": ("snntorch", snn("Lapicque", beta=0.2), r"multiplies its membrane by -0\.6.*between 0 and 1"),
    **{
        kind: ("snntorch", snn(kind, **options), f"snnTorch's {kind} is not supported: .*Use Leaky, Synaptic, Lapicque")
        for kind, options in {
            "Alpha": {"alpha": 0.9, "beta": 0.8},
            "RLeaky": {"beta": 0.8, "linear_features": SIZE},
            "RSynaptic": {"alpha": 0.9, "beta": 0.8, "linear_features": SIZE},
            "SLSTM": {"input_size": SIZE, "hidden_size": SIZE},
            "SConv2dLSTM": {"in_channels": 1, "out_channels": 1, "kernel_size": 3},
        }.items()
    },
    **{
        kind: ("norse", cell(kind, "LIFParameters"), f"norse's {kind} is not supported: its input .* one step later")
        for kind in ("LIFCell", "LIF")
    },
    "LICell": ("norse", cell("LICell", "LIParameters"), "norse's LICell is not supported: it never fires.*read-out"),
    "LIFRecurrentCell": (
        "norse",
        lambda: norse.LIFRecurrentCell(SIZE, SIZE),
        "norse's LIFRecurrentCell is not supported: it feeds its spikes back.*Use norse's LIFBoxCell",
    ),
    "Lift": (
        "norse",
        lambda: norse.Lift(nn.Linear(SIZE, SIZE)),
        "it takes all time steps at once.*Write one time step",
    ),
    "LIFBoxCell from another potential": (
        "norse",
        cell("LIFBoxCell", "LIFBoxParameters", v_leak=0.2),
        "starts at v_leak = 0.2 and resets to v_reset = 0;.*the same value",
    ),
    "MultiSpike": (
        "sinabs",
        layer("IAF", spike_fn=sinabs.activation.MultiSpike),
        "spike_fn MultiSpike does not emit at most one spike.*spike_fn=SingleSpike and min_v_mem=None",
    ),
    "MaxSpike": ("sinabs", layer("IAF", spike_fn=sinabs.activation.MaxSpike(2)), "spike_fn MaxSpike.*SingleSpike"),
    "min_v_mem": ("sinabs", layer("LIF", tau_mem=3.0, min_v_mem=-1.0), "clips its membrane at .* -1,.*min_v_mem=None"),
    "MembraneReset": (
        "sinabs",
        layer("IAF", lambda: sinabs.activation.MembraneReset(0.25)),
        r"MembraneReset\(0\.25\): .*every neuron.*MembraneSubtract",
    ),
    "ALIF": ("sinabs", lambda: sinabs.layers.ALIF(3.0, 3.0), "sinabs's ALIF is not supported: .*Use IAF"),
    "ExpLeak": ("sinabs", lambda: sinabs.layers.ExpLeak(3.0), "sinabs's ExpLeak is not supported: .*Use IAF"),
    "IAFRecurrent": (
        "sinabs",
        lambda: sinabs.layers.IAFRecurrent(nn.Linear(SIZE, SIZE)),
        "sinabs's IAFRecurrent is not supported: it feeds its spikes back.*Use IAF",
    ),
    **{
        kind: (
            "spikingjelly",
            getattr(sj_neuron, kind),
            f"SpikingJelly's {kind} is not supported: .*Use IFNode, LIFNode",
        )
        for kind in ("QIFNode", "EIFNode", "IzhikevichNode", "KLIFNode")
    },
    "Repeat": ("sinabs", lambda: sinabs.layers.Repeat(nn.Linear(SIZE, SIZE)), "rearranges the time axis.*Leave it out"),
}


@pytest.mark.parametrize("name", REFUSED_NEURONS)
def test_refused_neurons_are_named_with_what_to_change(name: str) -> None:
    framework, factory, message = REFUSED_NEURONS[name]
    with pytest.raises(UnsupportedError, match=f"^1: .*{message}") as raised:
        trace(chain(framework, factory), (4,))
    assert [blocker.layer for blocker in raised.value.blockers] == ["1", "3"]
