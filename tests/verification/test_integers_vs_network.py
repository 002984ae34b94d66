"""integers-vs-network: the program's numbers are the stated rounding of the network's, and those of quantised.nir."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import (
    GATES,
    GEOMETRIES,
    MORE,
    NEURONS,
    compile_model,
    geometry_net,
    leaky,
    random_samples,
    residual_net,
    with_heads,
)
from nir_graphs import IMAGE, affine, chain, conv, flat, full, if_, load, scale
from nir_graphs import leaky as nir_lif
from spikingjelly.activation_based import neuron as sj_neuron
from test_heads import FORMS as HEADS
from test_nir_files import GRAPHS
from test_shared_layers import FORMS as SHARED
from test_shared_layers import net as shared_net
from test_spikingjelly_models import images, spikingjelly_net
from test_tracing import JOINS
from test_tracing import net as joined_net
from torch import nn

from snn2hw import ir, pipeline
from snn2hw.data.load import load_samples
from snn2hw.exporters.nir.files import write_graph
from snn2hw.exporters.nir.profiles import find_profile
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.trace import trace
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.nir_file import read_nir
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes import currents, integer_flows, neurons, readouts
from snn2hw.passes.weight_scales import METHODS
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.comparison import Comparison, Difference
from snn2hw.verification.integers import compare_integers
from snn2hw.verification.roundings import biases, nearest, thresholds

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SAMPLES = random_samples(4)


def wrong(comparison: Comparison) -> dict[str, Difference]:
    """The first difference of every layer that has one."""
    return {layer.name: layer.first for layer in comparison.layers if layer.first is not None}


def assert_exact(network: nir.NIRGraph, program: ir.Program, folder: Path | None = None) -> None:
    """No difference, and no number of any node that was not compared with both files; from files too, in a folder."""
    integers = integer_graph(program.graph)
    pairs = [(network, integers)]
    if folder is not None:
        for name, graph in (("network", network), ("quantised", integers)):
            write_graph(graph, folder / f"{name}.nir")
        pairs.append((read_nir(folder / "network.nir"), read_nir(folder / "quantised.nir")))
    for one, other in pairs:
        comparison = compare_integers(program, one, other)
        assert (comparison.name, comparison.exact_required) == ("integers-vs-network", True)
        assert wrong(comparison) == {} and comparison.mismatches == 0
        assert [layer.name for layer in comparison.layers] == [node.name for node in program.graph]
        for layer, node in zip(comparison.layers, program.graph, strict=True):
            numbers = sum(values.size for values in vars(node).values() if isinstance(values, np.ndarray))
            assert layer.compared > 2 * numbers, layer


# What is right


@pytest.mark.parametrize("bits", [8, 3])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["add", "and", "iand", "spiking"])
def test_the_digits_nets_are_exact(name: str, method: str, bits: int) -> None:
    network = load_model(str(DIGITS / f"{name}.pt"), ModelOptions()).network
    samples = load_samples("digits", (1, 8, 8))[:16]
    program = compile_network(network, samples, Options(timesteps=4, method=method, weight_bits=bits))
    assert_exact(network, program)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_and_gate_is_exact(neuron: str, gate: str, tmp_path: Path) -> None:
    method = "balanced" if gate in ("AND", "SPIKING") else "max"
    traced, program = compile_model(residual_net(gate, NEURONS[neuron]), SAMPLES, timesteps=2, method=method)
    assert_exact(traced.network, program, tmp_path)


def test_a_shortcut_that_weighs_1_is_exact(tmp_path: Path) -> None:
    """With 2 bits nothing weighs more. NIR writes it as it writes a sum."""
    traced, program = compile_model(residual_net("SPIKING", NEURONS["if-soft"]), SAMPLES, timesteps=1, weight_bits=2)
    assert program.graph["block0.neuron2.shortcut"].factor == 1
    assert_exact(traced.network, program, tmp_path)


NETS: dict[str, Callable[[], nn.Module]] = {
    **{f"geometry: {name}": lambda name=name: geometry_net(name) for name in GEOMETRIES},
    **{f"heads: {name}": lambda form=form: with_heads(form[0], **form[1]) for name, form in HEADS.items()},
    **{f"shared: {name}": lambda form=form: shared_net(form[0]) for name, form in SHARED.items()},
    **{f"joined: {name}": lambda form=form: joined_net(form[0], **form[1]) for name, form in JOINS.items()},
}


@pytest.mark.parametrize("what", NETS)
def test_every_form_of_wiring_is_exact(what: str, tmp_path: Path) -> None:
    traced, program = compile_model(NETS[what](), SAMPLES, timesteps=2)
    assert_exact(traced.network, program, tmp_path)


@pytest.mark.parametrize("what", GRAPHS)
def test_nir_files_are_exact_and_so_are_their_quantised_forms(what: str, tmp_path: Path) -> None:
    loaded = load(GRAPHS[what](), tmp_path)
    samples = random_samples(5, shape=loaded.input_shape)
    program = compile_network(loaded.network, samples, Options(timesteps=4))
    assert_exact(loaded.network, program, tmp_path)
    again = load_model(str(tmp_path / "quantised.nir"), ModelOptions(timesteps=4)).network
    assert_exact(again, compile_network(again, samples, Options(timesteps=4)), tmp_path)


def average(size: int, stride: int, by: int) -> nir.AvgPool2d:
    return nir.AvgPool2d(kernel_size=np.array([size] * 2), stride=np.array([stride] * 2), padding=np.array([by] * 2))


def drawn(*shape: int) -> nir.LIF:
    """Neurons with a v_leak that is not their v_reset, which is an input in every step."""
    changed = dict(tau=full(3e-4, *shape), r=full(1, *shape), v_leak=full(0.3, *shape), v_reset=full(0, *shape))
    return nir_lif(v_threshold=full(0.4, *shape), **changed)


def biased_behind_a_pool() -> nir.NIRGraph:
    return chain(IMAGE, (3, 3, 3), a=conv(3, 2, 3, 3, bias=full(0, 3)), p=average(3, 2, 1), n=drawn(3, 3, 3))


def placed() -> nir.NIRGraph:
    """The mean of a convolution in groups, in other rows of a longer vector."""
    place = np.zeros((6, 4), np.float32)
    place[[5, 0, 1, 3], [0, 1, 2, 3]] = 1
    layers = dict(a=conv(4, 1, 3, 3, groups=2), p=average(6, 6, 0), f=flat(4, 1, 1), q=nir.Linear(weight=place))
    return chain(IMAGE, 6, **layers)


MORE_GRAPHS: dict[str, Callable[[], nir.NIRGraph]] = {
    "an input besides a pool with padding": biased_behind_a_pool,
    "spikes that are counted as they are": lambda: chain(IMAGE, 72, n=if_(*IMAGE, threshold=0.4), f=flat(*IMAGE)),
    "flattened spikes into neurons": lambda: chain(
        IMAGE, 72, n=if_(*IMAGE, threshold=0.4), f=flat(*IMAGE), m=if_(72, r=3e4, threshold=2.0)
    ),
    "a vector that is flattened": lambda: chain((4,), 3, a=affine(3, 4), f=flat(3), n=if_(3, threshold=0.4)),
    "a mean that is flattened": lambda: chain(
        IMAGE, 2, a=conv(3, 2, 3, 3, padding=0), p=average(4, 4, 0), f=flat(3, 1, 1), n=if_(3), c=affine(2, 3)
    ),
    "groups in other rows": placed,
}


@pytest.mark.parametrize("what", MORE_GRAPHS)
def test_rare_ways_from_layers_to_neurons_are_exact(what: str, tmp_path: Path) -> None:
    loaded = load(MORE_GRAPHS[what](), tmp_path)
    program = compile_network(loaded.network, random_samples(5, shape=loaded.input_shape), Options(timesteps=4))
    assert_exact(loaded.network, program, tmp_path)


def test_a_bias_reaches_its_neurons_through_the_layers_of_a_portable_file() -> None:
    """There a flatten is a convolution, behind the layer that has the bias."""
    graph = MORE_GRAPHS["a mean that is flattened"]()
    program = compile_network(graph, random_samples(5, shape=IMAGE), Options(timesteps=4))
    portable = find_profile("portable")(integer_graph(program.graph), whole=True)
    again = compile_network(portable, random_samples(5, shape=IMAGE), Options(timesteps=4))
    neuron = program.graph["n"]
    bias = {what: getattr(neuron, what).reshape(-1, 1, 1) for what in ("bias_mantissa", "bias_exponent")}
    assert isinstance(again.graph["f"], ir.Conv) and bias["bias_mantissa"].any()
    assert_exact(portable, changed(again, "n", **bias))
    bias["bias_mantissa"] = bias["bias_mantissa"] - 1
    differences = wrong(compare_integers(changed(again, "n", **bias), portable, portable))
    assert differences["n"].detail == "bias_mantissa"


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_large_nets_are_exact_without_a_copy_of_their_weights(name: str) -> None:
    traced = trace(spikingjelly_net(name, "ADD"), (3, 32, 32))
    program = compile_network(traced.network, images(1), Options(timesteps=1))
    integers = integer_graph(program.graph)
    tracemalloc.start()
    comparison = compare_integers(program, traced.network, integers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weights = sum(node.weight.size for node in program.graph if isinstance(node, ir.Conv | ir.Linear))
    assert wrong(comparison) == {} and comparison.compared > 2 * weights
    assert peak < weights


BIASES = np.unique(
    [sign * (mantissa << exponent) for sign in (1, -1) for mantissa in range(4096) for exponent in range(8)]
)


@given(st.integers(-524160, 524160) | st.floats(-524160, 524160), st.integers(-2, 2))
def test_a_bias_is_right_if_no_mantissa_and_exponent_is_nearer(real: float, off: int) -> None:
    nearest_of_all = int(np.argmin(np.abs(BIASES - real)))
    taken = int(BIASES[np.clip(nearest_of_all + off, 0, len(BIASES) - 1)])
    exponent = next(e for e in range(8) if taken % (1 << e) == 0 and abs(taken) >> e <= 4095)
    _, bad, illegal = biases(np.array(taken >> exponent), np.array(exponent), np.array(float(real)), load_numerics())
    further = abs(Fraction(taken) - Fraction(real)) - abs(Fraction(int(BIASES[nearest_of_all])) - Fraction(real))
    assert bool(bad) == (further > Fraction(1, 10**8)) and not illegal


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.5, 0.999, 1e-5]), st.booleans(), st.integers(-2, 2))
def test_an_integer_threshold_is_right_if_it_says_what_the_rule_says(
    whole: int, part: float, at_least: bool, off: int
) -> None:
    real, t = whole + part, whole + off
    agrees = all((v > t) == (v >= real if at_least else v > real) for v in range(whole - 5, whole + 6))
    _, bad = thresholds(np.array(t), np.array(real), at_least=at_least)
    assert bool(bad) != agrees


def test_halves_may_be_rounded_to_both_sides_and_what_is_no_number_to_none() -> None:
    real = np.array([0.5, 0.5, 2.5, -0.5, 0.5 + 1e-6, 0.5 - 1e-6, np.nan, np.inf])
    _, bad = nearest(np.array([0, 1, 2, -1, 0, 1, 0, 0]), real)
    assert bad.tolist() == [False] * 4 + [True] * 4


# What is wrong: a mistake in the program, in quantised.nir, or in both alike


@cache
def leaking() -> tuple[nir.NIRGraph, ir.Program]:
    """A net with every kind of parameter: leaks, soft resets, biases, a scale for each channel, pools, shortcuts."""
    model = residual_net("ADD", NEURONS["lif-soft"])
    traced, program = compile_model(model, SAMPLES, timesteps=2, method="balanced")
    return traced.network, program


@cache
def spiking() -> tuple[nir.NIRGraph, ir.Program]:
    """A Spiking ResNet, whose identity shortcuts are synapses, with max pools and neurons that fire above 0."""
    traced, program = compile_model(residual_net("SPIKING", NEURONS["leaky-zero"]), SAMPLES, timesteps=2)
    return traced.network, program


def changed(program: ir.Program, name: str, **fields: Any) -> ir.Program:
    """The program with one node changed."""
    nodes = tuple(replace(node, **fields) if node.name == name else node for node in program.graph)
    return replace(program, graph=ir.Graph(nodes))


def off_by(program: ir.Program, name: str, what: str, index: tuple[int, ...], by: int) -> ir.Program:
    """The program with one number changed."""
    values = getattr(program.graph[name], what).astype(np.int64)
    values[index] += by
    return changed(program, name, **{what: values})


PLACES = ("the program", "quantised.nir", "both")


def compare_with(place: str, network: nir.NIRGraph, program: ir.Program, mistaken: ir.Program) -> Comparison:
    """The comparison where the mistake is in one place, or in both alike."""
    judged = program if place == "quantised.nir" else mistaken
    return compare_integers(judged, network, integer_graph((program if place == "the program" else mistaken).graph))


NUMBERS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "a weight": ("block1.conv2", "weight", (3, 1, 0, 2)),
    "a weight of a matrix": ("fc", "weight", (2, 5)),
    "a decay": ("block0.neuron1", "decay", (0, 0, 0)),
    "a decay of the current": ("block1.neuron2", "current_decay", (0, 0, 0)),
    "a threshold": ("block0.neuron2", "threshold", (2, 0, 0)),
    "a bias": ("block1.neuron1", "bias_mantissa", (4, 0, 0)),
    "a reset amount": ("2", "reset_amount", (1, 0, 0)),
    "a bias of the read-out": ("output", "bias", (1,)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("what", NUMBERS)
def test_a_number_off_by_one_is_found_where_it_is(what: str, by: int, place: str) -> None:
    name, parameter, index = NUMBERS[what]
    network, program = leaking()
    by = -1 if what == "a decay of the current" else by  # 4096 is the most
    right = int(getattr(program.graph[name], parameter)[index])
    comparison = compare_with(place, network, program, off_by(program, name, parameter, index, by))
    assert wrong(comparison).keys() == {name}
    first = wrong(comparison)[name]
    assert (first.sample, first.step, first.cycle) == (None, None, None)
    assert first.detail == (f"quantised.nir: {parameter}" if place == "quantised.nir" else parameter)
    assert (first.index, first.expected, first.actual) == (index, right, right + by)


STRUCTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another reset": ("block0.neuron1", "reset", {"reset": Reset.SUBTRACT}),
    "a reset that is late": ("block0.neuron1", "reset", {"reset": Reset.SUBTRACT_LATE}),
    "a stride": ("block1.conv1", "stride", {"stride": (1, 2)}),
    "a padding": ("block0.conv1", "padding", {"padding": (0, 1)}),
    "a dilation": ("block0.conv2", "dilation", {"dilation": (2, 2)}),
    "a window": ("pool0.count", "stride", {"stride": (1, 1)}),
    "a shortcut left out": ("block0.neuron2", "inputs", {"inputs": ("block0.conv2",)}),
    "a layer left out": ("block1.neuron2", "inputs", {"inputs": ("block1.down.0",)}),
    "an input twice": ("block1.neuron2", "inputs", {"inputs": ("block1.conv2", "block1.down.0", "block1.conv2")}),
    "another input": ("block0.conv2", "inputs", {"inputs": ("2",)}),
    "another spike to the shortcut": ("block0.neuron2.shortcut", "inputs", {"inputs": ("block0.neuron1",)}),
    "a pool of other spikes": ("pool0.count", "inputs", {"inputs": ("2",)}),
    "a factor": ("block0.neuron2.shortcut", "factor", {"factor": 1}),
    "the threshold of a max pool": ("pool0", "threshold", {"threshold": 1}),
    "a shape": ("block1.neuron1", "shape", {"shape": (6, 1, 4)}),
    "an array that fits no neurons": ("block1.neuron1", "threshold", {"threshold": np.zeros(3)}),
    "groups": ("block0.conv2", "shape of weight", {"groups": 2}),
    "the scale of a neuron": ("block0.neuron1", "threshold", {"scale": 50.0}),
    "no scale": ("block0.neuron1", "scale", {"scale": 0.0}),
    "the scale of the input": ("input", "scale", {"scale": 0.0}),
    "the range of the input": ("input", "low", {"low": 200}),
    "no scale of the read-out": ("output", "scale", {"scale": 0.0}),
    "the scale of the read-out": ("fc", "weight", {"scale": 1e3}),
}


NOT_TO_BE_WRITTEN = ("a shape", "an array that fits no neurons", "groups")


@pytest.mark.parametrize("what", STRUCTURES)
def test_a_node_that_does_something_else_is_found(what: str) -> None:
    """Even where no file says otherwise: where it can be, quantised.nir is written with the same mistake."""
    name, detail, fields = STRUCTURES[what]
    network, program = spiking()
    mistaken = changed(program, "output" if name == "fc" else name, **fields)
    for written in (program, mistaken)[: 1 if what in NOT_TO_BE_WRITTEN else 2]:
        differences = wrong(compare_integers(mistaken, network, integer_graph(written.graph)))
        assert differences[name].detail.startswith(detail), differences[name]


@pytest.mark.parametrize("what", STRUCTURES)
def test_a_file_that_says_something_else_is_found(what: str) -> None:
    """The right program, and a quantised.nir of a wrong one."""
    if what in NOT_TO_BE_WRITTEN:
        return
    name, _, fields = STRUCTURES[what]
    network, program = spiking()
    mistaken = changed(program, "output" if name == "fc" else name, **fields)
    differences = wrong(compare_integers(program, network, integer_graph(mistaken.graph)))
    assert all(first.detail.startswith("quantised.nir: ") for first in differences.values())
    assert ("output" if name == "fc" else name) in differences


def test_an_input_that_is_left_out_is_blamed_on_who_lacks_it() -> None:
    """The layer that nothing reads any more is right as it is."""
    network, program = spiking()
    mistaken = changed(program, "block1.neuron2", inputs=("block1.down.0",))
    differences = wrong(compare_integers(mistaken, network, integer_graph(mistaken.graph)))
    assert {name: first.detail for name, first in differences.items()} == {
        "block1.neuron2": "inputs: block1.conv2 is missing among them"
    }


def test_a_node_that_stands_for_nothing_is_found() -> None:
    network, program = spiking()
    more = ir.Merge(name="more", inputs=("2",), shape=(4, 8, 8))
    mistaken = replace(program, graph=ir.Graph((*program.graph.nodes, more)))
    differences = wrong(compare_integers(mistaken, network, integer_graph(mistaken.graph)))
    assert {name: first.detail for name, first in differences.items()} == {
        "more": "nothing in the network stands for this node"
    }


def test_a_node_that_is_left_out_is_found() -> None:
    network, program = leaking()
    nodes = [node for node in program.graph if node.name != "block1.add"]
    nodes = [replace(n, inputs=("block1.neuron2",)) if n.name == "average" else n for n in nodes]
    mistaken = replace(program, graph=ir.Graph(tuple(nodes)))
    differences = wrong(compare_integers(mistaken, network, integer_graph(mistaken.graph)))
    assert differences["block1.add"].detail == "nothing stands where a Merge must stand"
    assert differences["average"].detail == "inputs: expected block1.add, not block1.neuron2"


@pytest.mark.parametrize(("name", "kind"), [("p", "SumPool"), ("f", "Linear"), ("n", "Neuron"), ("output", "Readout")])
def test_a_node_of_another_kind_is_found(name: str, kind: str) -> None:
    network = MORE_GRAPHS["a mean that is flattened"]()
    program = compile_network(network, random_samples(4, shape=IMAGE), Options(timesteps=2))
    replaced = program.graph[name]
    merge = ir.Merge(name=name, inputs=replaced.inputs, shape=replaced.shape)
    graph = ir.Graph(tuple(merge if node.name == name else node for node in program.graph))
    differences = wrong(compare_integers(replace(program, graph=graph), network, integer_graph(program.graph)))
    assert differences[name].detail == f"a Merge stands where a {kind} must stand"


@pytest.mark.parametrize("name", ["p", "f"])
def test_a_pool_or_flatten_between_layer_and_neuron_reads_that_layer_alone(name: str) -> None:
    network = MORE_GRAPHS["a mean that is flattened"]()
    program = compile_network(network, random_samples(4, shape=IMAGE), Options(timesteps=2))
    (source,) = program.graph[name].inputs
    for inputs in ((source, source), ("input",), ()):
        mistaken = changed(program, name, inputs=inputs)
        differences = wrong(compare_integers(mistaken, network, integer_graph(program.graph)))
        assert differences[name].detail.startswith(f"inputs: expected {source}, not ")


@pytest.mark.parametrize("threshold", [1.0, 0.1, 1 / 3, 2 / 3, 1 / 7, 5 / 11])
@pytest.mark.parametrize("at_least", [True, False])
def test_a_rule_that_is_lost_at_a_tie_is_found(threshold: float, at_least: bool) -> None:
    """SpikingJelly fires at its threshold, snnTorch above it: one unit of the integer threshold."""
    torch.manual_seed(0)
    neuron = sj_neuron.IFNode(v_threshold=threshold) if at_least else leaky(1.0, "zero", threshold=threshold)()
    model = nn.Sequential(nn.Linear(4, 4), neuron, nn.Linear(4, 2)).double()
    traced, program = compile_model(model, random_samples(4, shape=(4,)), timesteps=2)
    assert_exact(traced.network, program)
    mistaken = off_by(program, "1", "threshold", (0,), 1 if at_least else -1)
    differences = wrong(compare_with("both", traced.network, program, mistaken))
    assert differences.keys() == {"1"} and differences["1"].detail == "threshold"
    whole = round(program.graph["1"].scale * threshold)
    expected, actual = (whole - 1, whole) if at_least else (whole, whole - 1)
    assert (differences["1"].expected, differences["1"].actual) == (expected, actual)


def test_only_weights_at_the_limit_may_be_smaller_than_their_rounding() -> None:
    model = residual_net("ADD", NEURONS["if"])
    model.get_submodule("block1.conv2").weight.data[5, 2, 1, 0] = 2
    traced, program = compile_model(model, SAMPLES, timesteps=2, method="mse", weight_bits=4)
    layer = program.graph["block1.conv2"]
    real = traced.network.nodes["block1.conv2"].weight * program.graph["block1.neuron2"].scale
    index = (5, 2, 1, 0)
    assert real[index] > 8 and layer.weight[index] == 7
    assert_exact(traced.network, program)
    for by in (1, -1):
        mistaken = off_by(program, layer.name, "weight", index, by)
        differences = wrong(compare_with("both", traced.network, program, mistaken))
        assert differences.keys() == {layer.name} and differences[layer.name].index == index


def test_a_weight_beyond_the_limit_at_which_others_saturate_is_found() -> None:
    """Even if it is the rounding of its real weight: no weight of so many bits can be that large."""
    model = residual_net("ADD", NEURONS["if"])
    model.get_submodule("block1.conv2").weight.data[5, 2:5, 1, 0] = 2
    traced, program = compile_model(model, SAMPLES, timesteps=2, method="mse", weight_bits=4)
    layer, index = program.graph["block1.conv2"], (5, 3, 1, 0)
    real = traced.network.nodes["block1.conv2"].weight[index] * program.graph["block1.neuron2"].scale
    mistaken = off_by(program, layer.name, "weight", index, round(real) - 7)
    differences = wrong(compare_with("both", traced.network, program, mistaken))
    assert differences.keys() == {layer.name}
    assert (differences[layer.name].index, differences[layer.name].expected) == (index, 7)


def test_no_weight_has_more_than_8_bits() -> None:
    """At twice the scale every number would be the rounding of the network's, but no chip would hold the weights."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), leaky(1.0, "zero")(), nn.Linear(4, 2))
    traced, program = compile_model(model, random_samples(4, shape=(4,)), timesteps=1)
    neuron = program.graph["1"]
    real = traced.network.nodes["0"].weight * program.graph.input.scale * 2 * neuron.scale
    twice = {"scale": 2 * neuron.scale, "threshold": 2 * neuron.threshold, "reset_amount": 2 * neuron.reset_amount}
    mistaken = changed(changed(program, "0", weight=np.rint(real)), "1", **twice)
    differences = wrong(compare_with("both", traced.network, program, mistaken))
    assert differences.keys() == {"0"} and abs(differences["0"].expected) == 127 and abs(differences["0"].actual) > 127


def test_weights_between_groups_are_none() -> None:
    traced, program = compile_model(geometry_net("groups"), SAMPLES, timesteps=2)
    grouped = next(node for node in program.graph if isinstance(node, ir.Conv) and node.groups == 2)
    traced.network.nodes[grouped.name].weight[0, 1, 2, 2] = 1
    differences = wrong(compare_integers(program, traced.network, integer_graph(program.graph)))
    assert differences[grouped.name].detail == "groups: some weights between the 2 groups are not 0"


def test_the_matrix_of_a_flatten_and_the_rows_of_a_head_are_looked_at() -> None:
    wire, layers, _ = HEADS["a convolution and its mean"]
    traced, program = compile_model(with_heads(wire, **layers), SAMPLES, timesteps=2)
    flattens = [n.name for n in program.graph if isinstance(n, ir.Linear) and np.array_equal(n.weight, np.eye(9))]
    assert len(flattens) == 2
    places = {flattens[0]: (8, 8), flattens[1]: (0, 3), "conv": (7, 2, 0, 0), "grouped": (4, 1, 0, 0)}
    for name, index in places.items():
        mistaken = off_by(program, name, "weight", index, 1)
        differences = wrong(compare_with("both", traced.network, program, mistaken))
        assert differences.keys() == {name} and differences[name].index == index


def trunc(x: Any) -> Any:
    return np.trunc(np.asarray(x, np.float64)).astype(np.int64)


def one_more(inner: Callable[..., Any]) -> Callable[..., Any]:
    """The function with one added to what it returns, to the first of several."""

    def more(*args: Any, **options: Any) -> Any:
        result = inner(*args, **options)
        return (result[0] + 1, *result[1:]) if isinstance(result, tuple) else result + 1

    return more


def undivided(*args: Any) -> Any:
    return replace(pool_step(*args), unit=args[-1])


def without_gain(current: currents.Current, gain: Any) -> Any:
    return current.weight


def for_chip(**changes: Any) -> Callable[..., Any]:
    """The quantiser, which takes a chip for another."""
    return lambda network, calibration, numerics, **options: quantise(
        network, calibration, replace(numerics, **changes), **options
    )


def early(keep: Any, *, bits: int, least: int, most: int) -> Any:
    return quantise_decay(keep, bits=bits, least=least, most=1000)


quantise, quantise_decay = pipeline.quantise, neurons.quantise_decay
pool_step = currents._pool_step
QUANTISER: dict[str, tuple[Any, str, Any, str, str]] = {
    "weights cut off": (currents, "round_to_int", trunc, "0", "weight"),
    "a layer without the gain": (currents.Current, "gained", without_gain, "0", "weight"),
    "a mean that is not divided": (currents, "_pool_step", undivided, "fc", "weight"),
    "thresholds one higher": (
        neurons, "integer_threshold", one_more(neurons.integer_threshold), "2", "threshold"
    ),
    "mantissas one higher": (neurons, "split_bias", one_more(neurons.split_bias), "2", "bias_mantissa"),
    "decays that end early": (neurons, "quantise_decay", early, "2", "decay"),
    "decays of another unit": (pipeline, "quantise", for_chip(decay_bits=11), "2", "decay"),
    "biases of another unit": (pipeline, "quantise", for_chip(membrane_shift=5), "2", "bias_mantissa"),
    "read-outs without a bias": (readouts, "round_to_int", lambda x: 0 * trunc(x), "output", "bias"),
    "sums of the first alone": (integer_flows, "align", lambda name, flows: flows[0], "block0.add", "inputs"),
    "weights that saturate early": (currents.np, "clip", lambda x, *ends: x.clip(-90, 90), "block0.conv1", "weight"),
}  # fmt: skip


@pytest.mark.parametrize("what", QUANTISER)
def test_a_mistake_of_the_quantiser_is_found_though_all_files_agree(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, mistake, layer, detail = QUANTISER[what]
    model = residual_net("ADD", NEURONS["lif-soft"])
    with monkeypatch.context() as patch:
        patch.setattr(module, name, mistake)
        traced, program = compile_model(model, SAMPLES, timesteps=2)
    differences = wrong(compare_integers(program, traced.network, integer_graph(program.graph)))
    assert differences[layer].detail.startswith(detail)
    assert not any(first.detail.startswith("quantised.nir") for first in differences.values())


@st.composite
def mistakes(draw: st.DrawFn) -> tuple[nir.NIRGraph, ir.Program, str, str, tuple[int, ...], int]:
    """Any net, and any one of its numbers."""
    model = residual_net(
        draw(st.sampled_from(GATES)), NEURONS[draw(st.sampled_from(list(NEURONS)))], seed=draw(st.integers(0, 99))
    )
    options = {"method": draw(st.sampled_from(list(METHODS))), "weight_bits": draw(st.integers(5, 8))}
    traced, program = compile_model(model, SAMPLES, timesteps=1, **options)
    arrays = [
        (node.name, what, values)
        for node in program.graph
        for what, values in vars(node).items()
        if isinstance(values, np.ndarray) and what != "bias_exponent"  # a mantissa of 0 has any exponent
    ]
    name, what, values = draw(st.sampled_from(arrays))
    index = tuple(draw(st.integers(0, size - 1)) for size in values.shape)
    return traced.network, program, name, what, index, draw(st.sampled_from([-1, 1]))


@settings(max_examples=20 * MORE, deadline=None)
@given(mistakes(), st.sampled_from(PLACES))
def test_any_number_that_is_off_by_one_is_found(
    case: tuple[nir.NIRGraph, ir.Program, str, str, tuple[int, ...], int], place: str
) -> None:
    network, program, name, what, index, by = case
    if place != "the program" and what == "current_decay" and by > 0:  # it cannot be written
        return
    differences = wrong(compare_with(place, network, program, off_by(program, name, what, index, by)))
    assert differences.keys() == {name}
    assert differences[name].index == index and differences[name].detail.endswith(what)
    assert differences[name].detail.startswith("quantised.nir: ") == (place == "quantised.nir")


# quantised.nir by itself


def test_a_decay_stands_twice_in_a_file_and_both_count() -> None:
    """As a time constant, and as the whole number that a truncating leak needs."""
    network, program = leaking()
    decay = int(program.graph["block1.neuron1"].decay.item())
    for what in ("tau", "metadata"):
        integers = integer_graph(program.graph)
        node = integers.nodes["block1.neuron1"]
        if what == "tau":
            node.tau, node.r = (values * decay / (decay + 1) for values in (node.tau, node.r))
        else:
            node.metadata["decay"] = node.metadata["decay"] + 1
        differences = wrong(compare_integers(program, network, integers))
        assert differences.keys() == {"block1.neuron1"}
        first = differences["block1.neuron1"]
        assert (first.detail, first.expected, first.actual) == ("quantised.nir: decay", decay, decay + 1)


def test_decays_of_other_neurons_are_no_match() -> None:
    network, program = leaking()
    integers = integer_graph(program.graph)
    integers.nodes["2"].metadata["decay"] = np.arange(3)
    differences = wrong(compare_integers(program, network, integers))
    assert {name: first.detail for name, first in differences.items()} == {
        "2": "quantised.nir: decay: [3] numbers for [4, 8, 8]"
    }


def test_a_bias_before_a_padded_pool_is_another_network(tmp_path: Path) -> None:
    """Windows at the border would get less of it."""
    network = load(biased_behind_a_pool(), tmp_path).network
    program = compile_network(network, random_samples(5, shape=IMAGE), Options(timesteps=4))
    integers = integer_graph(program.graph)
    integers.nodes["a"].bias = integers.nodes["p"].bias / 9
    integers.nodes["p"] = nir.SumPool2d(kernel_size=np.array([3, 3]), stride=np.array([2, 2]), padding=np.array([1, 1]))
    differences = wrong(compare_integers(program, network, integers))
    assert differences.keys() == {"p"} and differences["p"].detail.startswith("quantised.nir: it pads what has a bias")
    integers = integer_graph(program.graph)
    integers.nodes["a"].bias = full(1, 3)
    differences = wrong(compare_integers(program, network, integers))
    assert differences["p"].detail.startswith("quantised.nir: it adds up what has a bias")


def test_a_file_that_cannot_be_laid_out_agrees_with_nothing() -> None:
    network, program = spiking()
    integers = integer_graph(program.graph)
    integers.edges.remove(("fc", "output"))
    comparison = compare_integers(program, network, integers)
    assert all(layer.mismatches for layer in comparison.layers)
    assert "output: nothing feeds this Output node" in wrong(comparison)["0"].detail


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_a_number_that_is_not_whole_is_wrong_in_a_file(value: float) -> None:
    network, program = spiking()
    integers = integer_graph(program.graph)
    integers.nodes["fc"].weight[1, 2] += value
    differences = wrong(compare_integers(program, network, integers))
    assert differences.keys() == {"fc"}
    assert (differences["fc"].detail, differences["fc"].index) == ("quantised.nir: weight", (1, 2))


@pytest.mark.parametrize("what", NUMBERS)
def test_a_quantised_network_must_hold_the_programs_own_numbers(what: str, tmp_path: Path) -> None:
    name, parameter, index = NUMBERS[what]
    _, program = leaking()
    network = integer_graph(program.graph)
    assert_exact(network, program, tmp_path)
    mistaken = off_by(program, name, parameter, index, -1)
    differences = wrong(compare_with("both", network, program, mistaken))
    assert differences.keys() == {name} and differences[name].detail == parameter and differences[name].index == index


def test_a_network_that_says_what_no_program_can_is_no_match(tmp_path: Path) -> None:
    """A weight of the network is changed after the program was made of it."""
    network, program = spiking()
    write_graph(network, tmp_path / "net.nir")
    other = read_nir(tmp_path / "net.nir")
    other.nodes["block0.conv1"].weight[1, 2, 0, 0] *= -1
    assert wrong(compare_integers(program, other, integer_graph(program.graph))).keys() == {"block0.conv1"}
    other.nodes["block0.neuron1"].v_threshold = np.full((4, 8, 8), np.nan)
    differences = wrong(compare_integers(program, other, integer_graph(program.graph)))
    assert "v_threshold holds a value that is not finite" in differences["block0.neuron1"].detail


Edge = tuple[str, str]


def rewired(graph: nir.NIRGraph, *without: Edge, more: tuple[Edge, ...] = (), **nodes: Any) -> nir.NIRGraph:
    """A copy of the graph with other nodes (`_` stands for `.`), without some edges and with more."""
    edges = [edge for edge in graph.edges if edge not in without]
    others = {name: nodes.get(name.replace(".", "_"), node) for name, node in graph.nodes.items()}
    return nir.NIRGraph(nodes=others, edges=[*edges, *more], type_check=False)


UNEVEN = nir.IF(r=1e4 + np.arange(256.0).reshape(4, 8, 8), v_threshold=np.ones((4, 8, 8)), v_reset=np.zeros((4, 8, 8)))
TWO = nir.Output(output_type={"output": np.array([3])}, metadata={"heads": '[["a", 1], ["b", 2]]'})
NETWORKS: dict[str, tuple[dict[str, Any], tuple[Edge, ...], str, str]] = {
    "a factor of sums": ({"block0_neuron1": scale(2, 4, 8, 8)}, (), "block0.neuron1", "it reads weighted sums"),
    "a layer of sums": ({"block0_neuron1": average(3, 1, 1)}, (), "block0.conv2", "block0.conv2 reads weighted sums"),
    "a sum of sums": (
        {"block0_neuron1": average(3, 1, 1), "more": (("2", "block0.conv2"),)},
        (),
        "block0.conv2",
        "weighted sums are added up",
    ),
    "no such node": ({"pool0": nir.Delay(delay=full(0, 4, 4, 4))}, (), "pool0", "Delay nodes have no integer form"),
    "uneven gains": ({"block0_neuron1": UNEVEN}, (), "block0.neuron1", "time constants or resistances differ"),
    "heads": ({"output": TWO}, (), "output", "heads: expected ('a', 0, 1), ('b', 1, 3), not none"),
    "one edge more": ({"more": (("2", "block0.conv2"),)}, (), "block0.conv2", "inputs: expected 2, block0.neuron1"),
    "one sum more": ({"more": (("block0.conv1", "block0.neuron2"),)}, (), "block0.neuron2", "inputs: block0.conv1 is"),
    "one edge less": ({}, (("block1.down.0", "block1.neuron2"),), "block1.neuron2", "inputs: block1.down.0 is"),
    "no edge": ({}, (("fc", "output"),), "0", "output: nothing feeds this Output node"),
}


@pytest.mark.parametrize("what", NETWORKS)
def test_a_network_of_another_wiring_is_no_match(what: str) -> None:
    changes, without, name, detail = NETWORKS[what]
    network, program = spiking()
    other = rewired(network, *without, **changes)
    differences = wrong(compare_integers(program, other, integer_graph(program.graph)))
    assert differences[name].detail.startswith(detail), differences[name]


def test_spikes_and_averages_do_not_add_up(tmp_path: Path) -> None:
    nodes = dict(n=if_(*IMAGE, threshold=0.4), p=average(3, 1, 1), a=conv(2, 2, 3, 3), m=if_(*IMAGE))
    network = load(chain(IMAGE, IMAGE, **nodes), tmp_path).network
    program = compile_network(network, random_samples(4, shape=IMAGE), Options(timesteps=2))
    differences = wrong(compare_integers(program, rewired(network, more=(("n", "a"),)), integer_graph(program.graph)))
    assert differences["a"].detail == "it adds up integers of different units"


def test_weighted_sums_of_a_whole_image_are_not_flattened(tmp_path: Path) -> None:
    network = load(chain(IMAGE, 108, a=conv(3, 2, 3, 3), n=if_(3, 6, 6), f=flat(3, 6, 6)), tmp_path).network
    program = compile_network(network, random_samples(4, shape=IMAGE), Options(timesteps=2))
    flatten = ir.Linear(name="f", inputs=("a",), shape=(108,), weight=np.eye(108))
    arrays = {what: np.array(1) for what, values in vars(program.graph["n"]).items() if isinstance(values, np.ndarray)}
    neuron = replace(program.graph["n"], inputs=("f",), shape=(108,), **arrays)
    readout = replace(program.graph["output"], inputs=("n",))
    mistaken = ir.Graph((program.graph["input"], program.graph["a"], flatten, neuron, readout))
    other = chain(IMAGE, 108, a=network.nodes["a"], f=network.nodes["f"], n=if_(108))
    differences = wrong(compare_integers(replace(program, graph=mistaken), other, integer_graph(program.graph)))
    assert differences["f"].detail == "it flattens weighted sums of several places in an image"


def test_a_bias_that_a_pool_would_pad_matches_no_program(tmp_path: Path) -> None:
    network = load(biased_behind_a_pool(), tmp_path).network
    program = compile_network(network, random_samples(4, shape=IMAGE), Options(timesteps=2))
    network.nodes["a"].bias = full(1, 3)
    differences = wrong(compare_integers(program, network, integer_graph(program.graph)))
    assert differences["p"].detail.startswith("it pads a layer that has a bias")


FILES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such node": ({"pool0": average(1, 1, 0)}, "pool0", "AvgPool2d nodes have no integer form"),
    "a gain": ({"block0_neuron1": if_(4, 8, 8, r=2e4)}, "block0.neuron1", "a gain of 1, v_leak and v_reset of 0"),
    "no finite number": ({"block0_neuron1": if_(4, 8, 8, r=np.nan)}, "block0.neuron1", "block0.neuron1: gain holds"),
    "no scale": ({"output": nir.Output(output_type={"output": np.array([3])})}, "output", "number of scales"),
    "no range": ({"input": nir.Input(input_type={"input": np.array([2, 8, 8])})}, "input", "scale"),
    "heads": ({"output": TWO}, "output", "heads"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_with_other_nodes_is_no_match(what: str) -> None:
    changes, name, detail = FILES[what]
    network, program = spiking()
    differences = wrong(compare_integers(program, network, rewired(integer_graph(program.graph), **changes)))
    assert differences[name].detail.startswith(f"quantised.nir: {detail}"), differences[name]


def test_a_bias_where_no_neuron_takes_it_up_is_no_match() -> None:
    """On the way to a gate, or as a bias of a layer that only counts spikes."""
    wire, layers = JOINS["before a gate"]
    traced, program = compile_model(joined_net(wire, **layers), SAMPLES, timesteps=2)
    counting = next(name for name in traced.network.nodes if name.endswith("part0"))
    biased = copy.copy(traced.network.nodes[counting])
    biased.bias = np.ones(len(biased.weight))
    network = nir.NIRGraph(
        nodes=traced.network.nodes | {counting: biased}, edges=traced.network.edges, type_check=False
    )
    differences = wrong(compare_integers(program, network, integer_graph(program.graph)))
    assert differences[counting].detail.startswith("bias: it emits integers")
    integers = integer_graph(program.graph)
    integers.nodes[counting].bias = np.ones(len(biased.weight))
    differences = wrong(compare_integers(program, traced.network, integers))
    assert {first.detail for first in differences.values()} == {
        "quantised.nir: what it reads has a bias, which only neurons can take up"
    }
