"""Compiling for a chip: what its arithmetic changes in the integers, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hand_made_graphs import program_of
from nets import NEURONS, compile_model, random_samples, residual_net
from nir_graphs import IMAGE, affine, chain, conv, flat, full, if_, inner, load
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast, synapse_kernels
from snn2hw.errors import FixedPointOverflow, OptionError, QuantisationError
from snn2hw.ir.fixed_point import Reset, join_bias
from snn2hw.ir.numerics import Numerics, load_numerics
from snn2hw.network.adopt import adopt
from snn2hw.network.neuron_rule import DT
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.bound import bound
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.passes.quantise import quantise
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.integers import compare_integers

GENERIC, LOIHI1, LOIHI2 = (load_numerics(chip) for chip in ("generic-int8", "loihi1", "loihi2"))


def biased(bias: float) -> nn.Module:
    """A layer of small weights and large biases, neurons, and a read-out."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), NEURONS["if"](), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.uniform_(-0.1, 0.1)
        model[1].bias.copy_(torch.tensor([bias, bias / 3, -bias, 0.0]))
    return model


def largest_weight(program: ir.Program, name: str) -> int:
    node = program.graph[name]
    assert isinstance(node, ir.Linear)
    return int(np.abs(node.weight).max())


def differing(traced: Any, program: ir.Program) -> int:
    """Integers that are not the stated rounding of the network's numbers."""
    return compare_integers(program, traced.network, integer_graph(program.graph)).mismatches


def test_the_weights_of_loihi_yield_to_its_bias_and_those_of_a_plain_chip_do_not() -> None:
    samples = random_samples(4)
    for chip, least, most in (("loihi2", 1, 50), ("generic-int8", 127, 127)):
        traced, program = compile_model(biased(1.0), samples, timesteps=2, chip=chip)
        assert least <= largest_weight(program, "1") <= most and differing(traced, program) == 0


def test_plain_biases_are_rounded_to_the_nearest_unit_of_the_membrane() -> None:
    traced, program = compile_model(biased(0.9), random_samples(4), timesteps=2, chip="generic-int8")
    neuron = program.graph["2"]
    assert isinstance(neuron, ir.Neuron) and not neuron.bias_exponent.any()
    real = 64 * neuron.largest_scale * traced.network.nodes["1"].bias.astype(np.float64)
    assert np.array_equal(join_bias(neuron.bias_mantissa, neuron.bias_exponent), np.rint(real))
    assert np.abs(real).max() > 4095  # Loihi would have an exponent here


@pytest.mark.parametrize("gate", ["ADD", "IAND"])
def test_loihi_1_computes_as_loihi_2(gate: str) -> None:
    model = residual_net(gate, NEURONS["leaky-subtract"])
    one, two = (compile_model(model, random_samples(4), timesteps=3, chip=chip)[1] for chip in ("loihi1", "loihi2"))
    assert str(one) == str(two) and (one.numerics, two.numerics) == (LOIHI1, LOIHI2)


@pytest.mark.parametrize("neuron", ["if-soft", "plif", "leaky-subtract"])
def test_both_engines_agree_for_a_chip_without_loihis_formats(neuron: str) -> None:
    samples = random_samples(6, seed=3)
    traced, program = compile_model(residual_net("ADD", NEURONS[neuron]), samples, timesteps=3, chip="generic-int8")
    slow, quick = cycle.simulate(program, samples), fast.simulate(program, samples)
    assert all(np.array_equal(slow[name], quick[name]) for name in slow)
    assert differing(traced, program) == 0


def test_an_adopted_network_keeps_its_integers_on_the_chip_it_was_made_for_and_is_refused_on_others() -> None:
    _, program = compile_model(biased(100.0), random_samples(4), timesteps=2, chip="generic-int8")
    integers = integer_graph(program.graph)
    again = adopt(integers, GENERIC)["2"]
    assert isinstance(again, ir.Neuron)
    for name, values in vars(program.graph["2"]).items():
        assert np.array_equal(getattr(again, name), values), name
    with pytest.raises(QuantisationError, match=r"2: its bias in 1/64 reaches .*loihi2 holds at most 524160"):
        adopt(integers, LOIHI2)


def test_more_weight_bits_than_the_chip_has_are_refused() -> None:
    network = chain((4,), 2, fc=affine(4, 4), n=if_(4), last=affine(2, 4))
    with pytest.raises(OptionError, match="8 weight bits: choose 2 to 6"):
        quantise(network, UNCALIBRATED, replace(LOIHI2, weight_bits=6))


def added(numerics: Any, factor: int) -> dict[str, ir.Bound]:
    """The bounds of a sum of two spikes, one times `factor`."""
    graph = ir.Graph(
        (
            ir.Input(name="x", shape=(1,), scale=1.0, low=0, high=1),
            ir.Scale(name="more", inputs=("x",), shape=(1,), factor=factor),
            ir.Merge(name="sum", inputs=("x", "more"), shape=(1,)),
            ir.Readout(name="out", inputs=("sum",), shape=(1,), bias=np.array([0]), scale=1.0),
        )
    )
    return bound(graph, UNCALIBRATED, numerics, timesteps=1)


def test_a_sum_that_no_graded_spike_carries_is_refused_with_the_chip_and_the_node() -> None:
    small = replace(LOIHI2, chip="small", payload_bits=8)
    assert added(small, 126)["sum"].payload == 127
    with pytest.raises(QuantisationError, match="sum: it adds up to 128, and a spike of small carries at most 127"):
        added(small, 127)
    assert added(LOIHI1, 127)["sum"].payload == 128  # told when it is placed


# 32-bit membranes


def integrator(*weights: int, threshold: int = 1000, high: int = 1000, numerics: Numerics = GENERIC) -> ir.Program:
    """Inputs from -high to high, a neuron without leak or reset that adds up their weighted sums, for four steps."""
    arrays = dict(threshold=threshold, decay=0, bias_mantissa=0, bias_exponent=0, reset_amount=0)
    parameters = {name: np.array([value]) for name, value in arrays.items()}
    graph = ir.Graph(
        (
            ir.Input(name="x", shape=(len(weights),), scale=1.0, low=-high, high=high),
            ir.Linear(name="fc", inputs=("x",), shape=(1,), weight=np.array([weights])),
            ir.Neuron(name="n", inputs=("fc",), shape=(1,), reset=Reset.NONE, scale=1.0, **parameters),
            ir.Scale(name="sum", inputs=("n",), shape=(1,), factor=1),
            ir.Readout(name="out", inputs=("sum",), shape=(1,), bias=np.array([0]), scale=1.0),
        )
    )
    return program_of(graph, numerics, timesteps=4)


def frames(*values: float) -> Samples:
    """One sample of one input, a value a step."""
    return Samples(np.array([[[value] for value in values]], np.float32), None, True)


@pytest.mark.parametrize("engine", [cycle.simulate, fast.simulate])
@pytest.mark.parametrize(("factor", "kind"), [(8000, "proved"), (20000, "calibrated")])
def test_a_membrane_of_32_bits_holds_what_loihis_does_not(engine: Any, factor: int, kind: str) -> None:
    program = integrator(factor, threshold=8_000_000)
    assert program.bounds["n"].kind == kind and program.bounds["n"].membrane >= LOIHI2.membrane_limit
    spikes = engine(program, frames(1000, -500, 1000, -1000))["n"].ravel()
    charges = factor * np.cumsum([1000, -500, 1000, -1000])
    assert spikes.tolist() == (charges > 8_000_000).tolist() == [factor > 8000, factor > 8000, True, factor > 8000]


@pytest.mark.parametrize("engine", [cycle.simulate, fast.simulate])
@pytest.mark.parametrize(
    ("factor", "values", "what"),
    [
        (20000, (1000, 1000, 1000, 0), r"step 1, cycle 3: the membrane \(in 1/64\) reaches 2560000000"),
        (20000, (0, -1000, -1000, 0), r"step 2, cycle 4: the membrane \(in 1/64\) reaches 2560000000"),
        (40000, (0, 1000, 0, 0), "step 1, cycle 3: the summed input reaches 40000000, the limit is 33554431"),
    ],
)
def test_what_32_bits_do_not_hold_is_told_and_never_wraps(
    engine: Any, factor: int, values: tuple[float, ...], what: str
) -> None:
    """Some of these sums, cut to 32 bits, would look small again."""
    with pytest.raises(FixedPointOverflow, match=f"n, sample 0, {what}"):
        engine(integrator(factor), frames(*values))


@pytest.mark.parametrize("engine", [cycle.simulate, fast.simulate])
@pytest.mark.parametrize(("threshold", "fires"), [(19980998, True), (19980999, False)])
def test_sums_beyond_what_float32_counts_are_exact(engine: Any, threshold: int, fires: bool) -> None:
    """In float32 20001 * 999 becomes 19981000."""
    program = integrator(20001, threshold=threshold)
    assert engine(program, frames(999, 0, 0, 0))["n"].ravel().tolist() == [fires] * 4


def test_sums_that_no_neuron_refuses_need_a_kernel_that_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synapse_kernels, "has_int8", lambda: True)
    for numerics, kernels in ((LOIHI2, ("int8", "float64")), (GENERIC, ("float64",))):
        program = integrator(*[127] * 1100, high=127, numerics=numerics)
        node = program.graph["fc"]
        assert isinstance(node, ir.Linear) and program.bounds["fc"].accumulator > synapse_kernels.FLOAT32_EXACT
        assert synapse_kernels.kernels_for(node, program, plain=False, checked_later=True) == kernels


# The whole compiler


def test_a_graph_as_someone_wrote_it_compiles_to_what_the_loaded_file_does(tmp_path: Path) -> None:
    """With a graph in the graph, a delay of 0 and a node that multiplies, in steps of a millisecond."""
    block = {"c": conv(2, 2, 3, 3), "n": if_(*IMAGE), "inner": inner(*IMAGE)}
    written = chain(IMAGE, 3, **block, wait=nir.Delay(delay=full(0, *IMAGE)), f=flat(*IMAGE), fc=affine(3, 72))
    samples, options = random_samples(4, shape=IMAGE), Options(timesteps=4)
    stages: dict[str, Any] = {}
    program = compile_network(written, samples, options, dt=DT, observe=stages.__setitem__)
    assert list(stages) == ["flatten", "normalise", "calibrate", "quantise", "bound", "balance_delays", "partition"]
    assert "inner.fire" in stages["flatten"].nodes and "wait" not in stages["normalise"].nodes
    assert str(program) == str(compile_network(load(written, tmp_path).network, samples, options))
