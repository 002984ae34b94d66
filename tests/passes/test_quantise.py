"""Calibrate and quantise: one scale for all that meets in a neuron, exact thresholds and inputs, refusals by name."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import NEURONS, SHAPE, Wired, compile_model, leaky, random_samples, residual_net, run_requantised
from spikingjelly.activation_based import neuron as sj_neuron
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import input_payloads, simulate
from snn2hw.errors import DataError, OptionError, QuantisationError
from snn2hw.frontends.torch.trace import trace
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.neuron_rule import NeuronRule
from snn2hw.passes.calibrate import UNCALIBRATED, Calibration, calibrate
from snn2hw.passes.quantise import quantise
from snn2hw.passes.thresholds import integer_threshold
from snn2hw.pipeline import Options

LOIHI2 = load_numerics("loihi2")
NEURON = NEURONS["if"]


def static(x: Any) -> Samples:
    return Samples(np.asarray(x, np.float32), None, False)


def calibration(**known: Any) -> Calibration:
    facts = dict(input_range=(0.0, 1.0), lattice=None, current={}, membrane={}, samples=1)
    return Calibration(**(facts | known))


@pytest.mark.parametrize("neuron", ["if", "leaky-subtract", "plif"])
def test_all_synapses_of_a_neuron_share_one_scale(neuron: str) -> None:
    traced, program = compile_model(residual_net("SPIKING", NEURONS[neuron]), random_samples(8), timesteps=3)
    gain = {"if": 1.0, "leaky-subtract": 1.0, "plif": 1 / 1.6}[neuron]
    for block, shortcut in (("block0", "block0.neuron2.shortcut"), ("block1", "block1.down.0")):
        node = program.graph[f"{block}.neuron2"]
        assert isinstance(node, ir.Neuron) and node.inputs == (f"{block}.conv2", shortcut)
        for layer in {*node.inputs} - {"block0.neuron2.shortcut"}:
            real = traced.network.nodes[layer].weight.astype(np.float64) * gain * node.scale
            assert np.abs(program.graph[layer].weight - real).max() <= 0.5 + 1e-4, layer
    identity = program.graph["block0.neuron2.shortcut"]
    assert isinstance(identity, ir.Scale)
    assert identity.factor == pytest.approx(program.graph["block0.neuron2"].scale * gain, abs=1e-6)  # exactly whole


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_weights_use_the_bits_they_are_given(bits: int) -> None:
    _, program = compile_model(residual_net("ADD", NEURON), random_samples(8), timesteps=2, weight_bits=bits)
    layers = [node for node in program.graph if isinstance(node, ir.Conv | ir.Linear)]
    largest = {node.name: int(np.abs(node.weight).max()) for node in layers}
    assert len(layers) == 7 and max(largest.values()) == largest["fc"] == 2 ** (bits - 1) - 1, largest
    assert min(largest.values()) > 0


def rule_with(threshold: float, *, at_least: bool = False, rest: float = 0.0) -> NeuronRule:
    """A neuron without a leak."""
    one, zero = np.ones(1), np.zeros(1)
    return NeuronRule(
        keep=one,
        current_keep=zero,
        gain=one,
        drive=zero,
        threshold=np.array([threshold]),
        at_least=at_least,
        reset=Reset.ZERO,
        reset_value=np.array([rest]),
        reset_amount=one,
    )


written = (
    st.sampled_from([1 / 3, 2 / 3, 1 / 7, 5 / 11])
    | st.integers(1, 5000).map(lambda n: n / 1000)
    | st.sampled_from([0.1, 0.35, 1.0, 0.75, 2**-10])
)


@given(written, st.sampled_from([np.float32, np.float64]), st.booleans(), st.integers(1, 100_000))
def test_thresholds_on_the_lattice_tell_above_from_at_least(
    threshold: float, dtype: type[np.floating], at_least: bool, whole: int
) -> None:
    """A neuron whose integer threshold stands for `threshold`, where `whole` units are that threshold."""
    scale = whole / float(dtype(threshold))
    integer = integer_threshold(rule_with(float(dtype(threshold)), at_least=at_least), scale).item()
    assert integer == (whole - 1 if at_least else whole)


@given(written, st.floats(0.01, 1e5), st.sampled_from([-0.5, 0.0, 0.25]))
def test_thresholds_off_the_lattice_are_rounded_down(threshold: float, scale: float, rest: float) -> None:
    real = Fraction(scale) * (Fraction(threshold) - Fraction(rest))
    if real < 0 or abs(real - round(real)) < Fraction(1, 10**5):
        return
    integer = integer_threshold(rule_with(threshold, rest=rest), scale).item()
    assert all((v > integer) == (v > real) for v in range(integer - 2, integer + 4))


@settings(deadline=None)  # each reads a model
@given(st.lists(st.integers(-127, 127), min_size=1), st.sampled_from([1, 2, 16, 64]))
def test_inputs_on_a_lattice_are_exact(steps: list[int], lattice: int) -> None:
    samples = static(np.array(steps)[:, None] / lattice)
    if not samples.x.any():
        return
    model = nn.Sequential(nn.Linear(1, 2), leaky(1.0, "zero")(), nn.Linear(2, 2))
    model[0].weight.data.fill_(1)
    _, program = compile_model(model, samples, timesteps=1)
    payloads = input_payloads(program, samples)
    assert np.array_equal(payloads[:, 0] * program.graph.input.scale, samples.x)
    assert program.graph.input.low == min(0, *payloads.ravel())
    assert program.graph.input.high == max(0, *payloads.ravel())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_inputs_off_every_lattice_are_rounded_to_their_bits(bits: int) -> None:
    samples = random_samples(4)
    _, program = compile_model(residual_net("ADD", NEURON), samples, timesteps=1, input_bits=bits)
    node, payloads = program.graph.input, input_payloads(program, samples)
    assert (node.low, node.high, payloads.max()) == (0, 2 ** (bits - 1) - 1, node.high)
    assert np.abs(payloads[:, 0] * node.scale - samples.x).max() <= node.scale / 2 + 1e-7


def test_calibration_notes_what_the_float_network_does() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), sj_neuron.IFNode(v_threshold=10.0), nn.Linear(1, 2))
    model[0].weight.data.copy_(torch.tensor([[1.0, -3.0]]))
    seen = calibrate(trace(model, (2,)).network, static([[0.5, 0], [0.25, 1]]), timesteps=3)
    assert (seen.input_range, seen.lattice, seen.samples) == ((0.0, 1.0), 4, 2)
    assert (seen.current, seen.membrane) == ({"1": 2.75}, {"1": 8.25})
    seen = calibrate(trace(model, (2,)).network, static([[-2, 0.1]]), timesteps=1)
    assert (seen.input_range, seen.lattice) == ((-2.0, pytest.approx(0.1)), None)


def test_the_order_and_number_of_calibration_samples_in_a_batch_do_not_matter() -> None:
    network = trace(residual_net("ADD", NEURONS["lif"]), SHAPE).network
    samples = random_samples(70)
    backwards = Samples(samples.x[::-1].copy(), None, False)
    done: list[tuple[int, int]] = []
    one = calibrate(network, samples, timesteps=2, progress=lambda *at: done.append(at))
    other = calibrate(network, backwards, timesteps=2)
    assert one.current == pytest.approx(other.current) and one.membrane == pytest.approx(other.membrane)
    assert done == [(64, 70), (70, 70)]


def test_zeros_calibrate_nothing() -> None:
    with pytest.raises(DataError, match="every calibration input is 0"):
        compile_model(residual_net("ADD", NEURON), static(np.zeros((2, *SHAPE))), timesteps=1)


@pytest.mark.parametrize("options", [{"weight_bits": 1}, {"weight_bits": 9}, {"input_bits": 1}, {"input_bits": 9}])
def test_bits_out_of_range_are_refused(options: dict[str, int]) -> None:
    what, bits = next(iter(options.items()))
    with pytest.raises(OptionError, match=f"{bits} {what.split('_')[0]} bits: choose 2 to 8"):
        quantise(trace(residual_net("ADD", NEURON), SHAPE).network, UNCALIBRATED, LOIHI2, **options)
    with pytest.raises(OptionError, match="0 time steps: at least 1"):
        Options(timesteps=0)


def spread(values: list[float]) -> np.ndarray:
    return np.array(values, np.float64).reshape(-1, 1, 1) * np.ones((1, 2, 2))


def graph(*nodes: tuple[str, nir.NIRNode, str], shape: tuple[int, ...] = (4,)) -> nir.NIRGraph:
    """input -> nodes, each named and told what it reads (several with +) -> output, which reads the last."""
    last = nodes[-1][0]
    edges = [(source, name) for name, _, sources in nodes for source in sources.split("+")]
    ends = {"input": nir.Input(input_type={"input": np.array(shape)})}
    out = nodes[-1][1].v_threshold.shape if isinstance(nodes[-1][1], nir.IF | nir.LIF) else shape
    ends["output"] = nir.Output(output_type={"output": np.array(out)})
    built = ends | {name: node for name, node, _ in nodes}
    return nir.NIRGraph(nodes=built, edges=[*edges, (last, "output")], type_check=False)


def affine(weight: float = 1.0) -> nir.Affine:
    return nir.Affine(weight=np.full((4, 4), weight), bias=np.zeros(4))


def conv(size: int = 2) -> nir.Conv2d:
    window = dict(stride=1, padding=0, dilation=1, groups=1, bias=np.full(2, 0.5))
    return nir.Conv2d(input_shape=(size, size), weight=np.full((2, 2, 1, 1), 0.5), **window)


def spiking(*shape: int, threshold: float = 1.0, reset: float = 0.0) -> nir.IF:
    return nir.IF(r=np.full(shape, 1e4), v_threshold=np.full(shape, threshold), v_reset=np.full(shape, reset))


def leaking(tau: np.ndarray) -> nir.LIF:
    return nir.LIF(tau=tau, r=np.ones(tau.shape), v_leak=0 * tau, v_threshold=np.ones(tau.shape))


def times(factor: float | np.ndarray) -> nir.Scale:
    return nir.Scale(scale=np.ones(4) * factor)


IMAGE = (2, 2, 2)
POOL = dict(kernel_size=np.array([2, 2]), stride=np.array([2, 2]))
N = ("n", spiking(4), "input")
REFUSED: dict[str, tuple[Callable[[], nir.NIRGraph], str]] = {
    "a read-out without weights": (lambda: graph(N, ("fc", affine(0), "n")), "output: all weights that feed it are 0"),
    "a threshold far below the weights": (
        lambda: graph(("fc", affine(1e10), "input"), ("n", spiking(4, threshold=0.5), "fc")),
        "n: its threshold of 0.5 is 6.4e-09 of the smallest step of its weights, 7.87e.07, so no integer tells it",
    ),
    "a shortcut beside large weights": (
        lambda: graph(N, ("fc", affine(1000), "n"), ("out", spiking(4), "fc+n")),
        "out: the shortcut's spikes need a weight of at least 1, but the weights of its other inputs allow 0.127",
    ),
    "two layers in a row": (
        lambda: graph(("one", affine(0.5), "input"), ("two", affine(), "one")),
        "two: it reads the current of one with no neuron between",
    ),
    "currents joined before a layer": (
        lambda: graph(("a", affine(0.5), "input"), ("b", affine(), "input"), ("c", affine(), "a+b")),
        "c: weighted sums are added before it",
    ),
    "spikes added to the input": (
        lambda: graph(N, ("fc", affine(), "n+input"), ("out", spiking(4), "fc")),
        "fc: spikes and averages are added before it",
    ),
    "a threshold over weighted sums": (
        lambda: graph(("fc", affine(0.5), "input"), ("step", nir.Threshold(threshold=np.ones(4)), "fc")),
        "step: a Threshold over weighted sums",
    ),
    "thresholds that differ": (
        lambda: graph(N, ("step", nir.Threshold(threshold=np.arange(4.0)), "n")),
        "step: thresholds from 0 to 3",
    ),
    "a negative threshold": (
        lambda: graph(N, ("s", nir.Threshold(threshold=-np.ones(4)), "n")),
        "s: thresholds from -1",
    ),
    "a fractional factor": (lambda: graph(N, ("half", times(0.5), "n")), "half: a Scale by 0.5 to 0.5"),
    "a factor of 0": (lambda: graph(N, ("none", times(0), "n")), "none: a Scale by 0 to 0"),
    "factors that differ": (lambda: graph(N, ("many", times(np.arange(1, 5)), "n")), "many: a Scale by 1 to 4"),
    "a factor beyond a weight": (lambda: graph(N, ("big", times(200), "n")), "big: the factor 200 exceeds .* 127"),
    "a neuron that always fires": (
        lambda: graph(("fc", affine(), "input"), ("on", spiking(4, threshold=0.25, reset=0.5), "fc")),
        "on: the threshold lies 0.25 below the reset value",
    ),
    "time constants within a channel": (
        lambda: graph(("c", conv(), "input"), ("n", leaking(np.arange(1, 9).reshape(IMAGE) * 1e-3), "c"), shape=IMAGE),
        "c: it feeds neurons whose time constants differ within a channel",
    ),
    "time constants by channel behind a shortcut": (
        lambda: graph(("n", leaking(spread([1e-3, 2e-3])), "input"), shape=IMAGE),
        "n.shortcut: a shortcut feeds neurons whose time constants differ by channel",
    ),
    "a padded pool behind a bias": (
        lambda: graph(
            ("c", conv(), "input"),
            ("pool", nir.AvgPool2d(padding=np.array([1, 1]), **POOL), "c"),
            ("n", spiking(*IMAGE), "pool"),
            shape=IMAGE,
        ),
        "pool: a padded pool behind c, which has a bias",
    ),
    "flattened currents": (
        lambda: graph(
            ("c", conv(), "input"),
            ("flat", nir.Flatten(input_type={"input": np.array(IMAGE)}, start_dim=0), "c"),
            ("n", spiking(8), "flat"),
            shape=IMAGE,
        ),
        r"flat: the currents of c, \[2, 2, 2\], are flattened",
    ),
    "spikes joined behind a flatten": (
        lambda: graph(
            ("a", spiking(*IMAGE), "input"),
            ("b", spiking(*IMAGE), "input"),
            ("one", nir.Flatten(input_type={"input": np.array(IMAGE)}, start_dim=0), "a"),
            ("two", nir.Flatten(input_type={"input": np.array(IMAGE)}, start_dim=0), "b"),
            ("step", nir.Threshold(threshold=np.ones(8)), "one+two"),
            ("last", spiking(8), "step"),
            shape=IMAGE,
        ),
        "step: it joins flattened spikes. Join them first",
    ),
    "the name of the results": (lambda: graph(("logits", spiking(4), "input")), "logits: results keep this name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_integer_form_is_named(case: str) -> None:
    build, message = REFUSED[case]
    with pytest.raises(QuantisationError, match=message):
        quantise(build(), calibration(), LOIHI2)


def blocked() -> nir.NIRGraph:
    """Five things in the way: of two branches, in a row, and behind what stands in the way itself."""
    leak = nir.CubaLIF(
        tau_syn=np.full(4, 1e-3), tau_mem=np.full(4, 1e-3), r=np.ones(4), v_leak=np.ones(4), v_threshold=np.ones(4)
    )
    return graph(
        ("one", affine(0.5), "input"),
        ("two", affine(0.5), "one"),
        ("leak", leak, "two"),
        ("half", times(0.5), "leak"),
        ("pool", nir.Linear(weight=np.eye(4)), "half"),
        ("early", spiking(4, threshold=0.25, reset=0.5), "input"),
        ("step", nir.Threshold(threshold=np.arange(4.0)), "early"),
        ("fc", affine(), "step"),
    )


def test_all_that_has_no_integer_form_is_told_at_once() -> None:
    with pytest.raises(QuantisationError) as raised:
        quantise(blocked(), calibration(), LOIHI2)
    blockers = raised.value.blockers
    assert {blocker.layer for blocker in blockers} == {"two", "leak", "half", "early", "step"}
    assert str(raised.value).splitlines() == [f"{blocker}." for blocker in blockers]
    assert all(blocker.problem and blocker.advice for blocker in blockers)


@pytest.mark.parametrize("case", REFUSED)
def test_each_comes_with_advice(case: str) -> None:
    with pytest.raises(QuantisationError) as raised:
        quantise(REFUSED[case][0](), calibration(), LOIHI2)
    assert [bool(blocker.advice) for blocker in raised.value.blockers] == [True]


@pytest.mark.parametrize("join", [torch.add, torch.mul])
def test_spikes_joined_behind_a_flatten_are_joined_before_it(join: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(0)
    model = Wired(
        lambda net, x: (lambda spikes: net.fc(join(spikes.flatten(1), net.b(spikes).flatten(1))))(net.a(x)),
        a=NEURONS["lif"](),
        b=NEURONS["if"](),
        fc=nn.Linear(128, 3),
    )
    samples = random_samples(4, steps=6)
    traced, program = compile_model(model, samples, timesteps=6)
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    assert len(spikes) == 4 and expected.keys() == spikes.keys()  # a, b, their join and the logits
    for name, emitted in spikes.items():
        assert emitted.any() and np.array_equal(emitted, np.rint(expected[name])), name


def test_large_amounts_of_a_soft_reset_stay_legal() -> None:
    node = spiking(4)
    node.metadata = {"reset": "subtract", "reset_amount": np.full(4, 1e4)}
    made = quantise(graph(("fc", affine(), "input"), ("n", node, "fc")), calibration(), LOIHI2)
    neuron = made["n"]
    assert isinstance(neuron, ir.Neuron) and 1 <= neuron.reset_amount.max() < 1 << 17


def test_a_threshold_of_0_needs_no_calibration() -> None:
    """It sets no limit to the scale: the weights alone do."""
    layer = nir.Linear(weight=np.sqrt(np.arange(16.0)).reshape(4, 4))
    made = quantise(graph(("fc", layer, "input"), ("n", spiking(4, threshold=0.0), "fc")), UNCALIBRATED, LOIHI2)
    assert np.all(made["n"].threshold == 0) and made["fc"].weight.max() == 127


# Weights that are all 0, as BatchNorms that start at 0 leave them


def with_zero_init(gate: str, bias: float, neuron: str) -> nn.Sequential:
    """A residual net whose blocks are the identity at first: the weight of their last BatchNorm is 0."""
    net = residual_net(gate, NEURONS[neuron])
    for block in (net.block0, net.block1):
        nn.init.zeros_(block.bn2.weight)
        nn.init.constant_(block.bn2.bias, bias)
    return net


@pytest.mark.parametrize("neuron", ["if", "lif", "leaky-subtract"])
@pytest.mark.parametrize(
    ("gate", "bias"), [("AND", 1.0), ("AND", 0.45), ("ADD", 0.0), ("IAND", -0.2), ("SPIKING", 0.1)]
)
def test_a_layer_of_zeros_fires_by_its_bias_alone(gate: str, bias: float, neuron: str) -> None:
    model, samples = with_zero_init(gate, bias, neuron), random_samples(4)
    traced, program = compile_model(model, samples, timesteps=6)
    spikes, requantised = simulate(program, samples), run_requantised(traced, program, samples)
    floats = list(traced.run(torch.from_numpy(samples.steps(6))))
    assert all(np.array_equal(requantised[name], spikes[name]) for name in traced.origin if name in spikes)
    if gate == "SPIKING":
        return  # its neuron takes the shortcut's spikes too
    for name in ("block0.neuron2", "block1.neuron2"):
        assert np.array_equal(spikes[name], np.stack([step[name].numpy() for step in floats], axis=1)), name
        assert spikes[name].any() == (bias > 0)


@pytest.mark.parametrize("threshold", [1.0, 1 / 3, 0.7])
@pytest.mark.parametrize("part", [1.0, 0.5, 0.25, 0.375])
def test_a_bias_that_is_a_binary_part_of_the_threshold_meets_it_exactly(threshold: float, part: float) -> None:
    """Then n steps of bias/threshold = k/n fire k times, at every step where the sum is the threshold itself."""
    node = spiking(4, threshold=threshold)
    layer = nir.Affine(weight=np.zeros((4, 4)), bias=np.full(4, part * threshold))
    made = quantise(graph(("fc", layer, "input"), ("n", node, "fc")), UNCALIBRATED, LOIHI2)["n"]
    bias = made.bias_mantissa << made.bias_exponent
    assert np.all(bias == part * 64 * made.threshold) and made.threshold.min() > 1 << 10
