"""Weights that lie on a grid keep it: the program's integers are those of Brevitas, of torch.ao, and whole numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import brevitas.nn as qnn
import nir
import numpy as np
import pytest
import torch
from brevitas.inject.enum import ScalingPerOutputType
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import compile_model, random_samples, run_requantised
from spikingjelly.activation_based import neuron as sj_neuron
from test_quantise import calibration, graph, spiking
from torch import nn
from torch.ao import quantization as ao

from snn2hw import ir
from snn2hw.deployment import WeightBits
from snn2hw.engines import cycle, fast
from snn2hw.errors import OptionError
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.quantise import quantise
from snn2hw.verification.integers import compare_integers, moved_weights

SAMPLES = replace(random_samples(4), x=np.round(random_samples(4).x * 16) / 16)  # payloads of 16 at most
LOIHI2 = load_numerics()
OFF = np.float32(1 + 2**-20)
PER = {"tensor": ScalingPerOutputType.TENSOR, "channel": ScalingPerOutputType.CHANNEL}


def net(conv: nn.Module, fc: nn.Module, *, norm: bool = False) -> nn.Module:
    """conv -> neurons -> read-out, of 2x8x8 images; `norm` with a BatchNorm behind the convolution."""
    parts: list[nn.Module] = [conv]
    if norm:
        parts.append(nn.BatchNorm2d(4))
        nn.init.uniform_(parts[1].weight, 0.5, 2)
        parts[1].running_var = torch.rand(4) + 0.5
    return nn.Sequential(*parts, sj_neuron.IFNode(), nn.Flatten(), fc).eval()


def brevitas_net(bits: int, per: str, *, norm: bool = False) -> tuple[nn.Module, list[np.ndarray]]:
    """A net of Brevitas's layers and the integers that Brevitas says their weights are."""
    options = {"weight_bit_width": bits, "bias": True, "weight_scaling_per_output": PER[per]}
    layers = (
        qnn.QuantConv2d(2, 4, 3, **options),
        qnn.QuantLinear(144, 5, **(options | {"weight_scaling_per_output": PER["tensor"]})),
    )
    return net(*layers, norm=norm), [layer.quant_weight().int().numpy() for layer in layers]


def torch_ao_net(per: str) -> tuple[nn.Module, list[np.ndarray]]:
    """A net whose weights torch.ao quantised, as its `dequantize` gives them, and torch.ao's integers."""
    layers, integers = (nn.Conv2d(2, 4, 3), nn.Linear(144, 5)), []
    for layer, way in zip(layers, (per, "tensor"), strict=True):
        observer = ao.MinMaxObserver if way == "tensor" else ao.PerChannelMinMaxObserver
        scheme = torch.per_tensor_symmetric if way == "tensor" else torch.per_channel_symmetric
        seen = observer(dtype=torch.qint8, qscheme=scheme)
        seen(layer.weight)
        scale, zero = seen.calculate_qparams()
        with warnings.catch_warnings():  # torch will remove its quantised types
            warnings.simplefilter("ignore")
            if way == "tensor":
                quantised = torch.quantize_per_tensor(layer.weight, float(scale), int(zero), torch.qint8)
            else:
                quantised = torch.quantize_per_channel(layer.weight, scale, zero, 0, torch.qint8)
            integers.append(quantised.int_repr().numpy())
            layer.weight = nn.Parameter(quantised.dequantize())
    return net(*layers), integers


CASES: dict[str, Callable[[], tuple[nn.Module, list[np.ndarray]]]] = {
    "Brevitas, 4 bits": lambda: brevitas_net(4, "tensor"),
    "Brevitas, 4 bits, per channel": lambda: brevitas_net(4, "channel"),
    "Brevitas, 8 bits": lambda: brevitas_net(8, "tensor"),
    "Brevitas, 8 bits, per channel": lambda: brevitas_net(8, "channel"),
    "Brevitas, 4 bits, with BatchNorm": lambda: brevitas_net(4, "tensor", norm=True),
    "torch.ao": lambda: torch_ao_net("tensor"),
    "torch.ao, per channel": lambda: torch_ao_net("channel"),
}


def weights_of(program: ir.Program) -> list[np.ndarray]:
    return [node.weight for node in program.graph if isinstance(node, ir.Conv | ir.Linear)]


def moved(traced: Any, program: ir.Program) -> set[str]:
    return {name for name, each in moved_weights(program, traced.network).items() if each}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_a_net_that_was_quantised_elsewhere_keeps_its_integers(case: str, seed: int) -> None:
    torch.manual_seed(seed)
    model, integers = CASES[case]()
    traced, program = compile_model(model, SAMPLES, timesteps=3)
    for ours, theirs in zip(weights_of(program), integers, strict=True):
        assert np.array_equal(ours, theirs)
    judged = compare_integers(program, traced.network, integer_graph(program.graph), WeightBits(default=8, layers={}))
    assert not judged.mismatches and judged.note == "the weights of 2 of 2 layers lie on a grid and were not moved"
    expected, quick = cycle.simulate(program, SAMPLES), fast.simulate(program, SAMPLES)
    requantised = run_requantised(traced, program, SAMPLES)
    assert all(np.array_equal(quick[name], expected[name]) for name in expected)
    assert np.array_equal(np.rint(requantised["logits"]), expected["logits"]) and expected["logits"].any()


def test_whole_weights_stay_what_they_are_whatever_the_threshold() -> None:
    layer = nir.Affine(weight=np.array([[2.0, -128.0], [4.0, 6.0]]), bias=np.array([3.0, -2.0]))
    made = quantise(
        graph(("fc", layer, "input"), ("n", spiking(2, threshold=150.5), "fc"), shape=(2,)),
        calibration(lattice=1),
        LOIHI2,
    )
    assert made["fc"].weight.tolist() == [[2, -128], [4, 6]]
    assert np.all(made["n"].threshold == 150)
    assert (made["n"].bias_mantissa << made["n"].bias_exponent).ravel().tolist() == [3 * 64, -2 * 64]


def scale_of(*layers: np.ndarray, bits: int = 8, threshold: float = 1.0, **options: Any) -> ir.Graph:
    """The integer graph of layers that feed one neuron together."""
    nodes: list[tuple[str, nir.NIRNode, str]] = []
    for place, weight in enumerate(layers):
        nodes.append((f"fc{place}", nir.Linear(weight=weight), "input"))
    nodes.append(("n", spiking(len(layers[0]), threshold=threshold), "+".join(name for name, _, _ in nodes)))
    drawn = graph(*nodes, shape=(layers[0].shape[1],))
    return quantise(drawn, calibration(lattice=1), LOIHI2, weight_bits=bits, **options)


def lies_on_a_grid(weight: np.ndarray, most: int) -> bool:
    """By fractions: whether some step makes all of these, which are positive or below `most` steps, once rounded."""
    sizes = np.unique(np.abs(weight[weight != 0]))
    ends = [
        [(Fraction(float(w)) + Fraction(float(np.nextafter(w, w.dtype.type(end))))) / 2 for end in (0, 9)]
        for w in sizes
    ]
    for largest in range(1, most):
        k = [round(Fraction(float(w)) * largest / Fraction(float(sizes[-1]))) for w in sizes]
        if min(k) > 0 and max(low / n for (low, _), n in zip(ends, k, strict=True)) < min(
            high / n for (_, high), n in zip(ends, k, strict=True)
        ):
            return True
    return False


grids = st.lists(st.integers(-7, 7), min_size=12, max_size=12).map(lambda k: np.array(k).reshape(3, 4))
steps = st.floats(2.0**-10, 4.0).map(np.float32)


@settings(max_examples=60)
@given(grids, steps, st.integers(4, 8))
def test_every_grid_is_found_and_none_a_rounding_beside_it(k: np.ndarray, step: np.float32, bits: int) -> None:
    """The integers are k but for a divisor of all; with a weight beside the rounding of k * s, fractions decide."""
    divisor = int(np.gcd.reduce(np.abs(k), axis=None))
    if np.count_nonzero(k) < 2:
        return
    weight = (k * np.float64(step)).astype(np.float32)
    found = scale_of(weight, bits=bits)["fc0"].weight
    whole = np.all(weight == np.rint(weight)) and np.abs(weight).max() < 1 << (bits - 1)
    assert np.array_equal(found, weight if whole else k // divisor)
    first = tuple(np.argwhere(k)[0])
    beside = weight.copy()
    beside[first] *= OFF
    made = scale_of(beside, bits=bits)
    kept = np.array_equal((made["fc0"].weight / np.float64(made["n"].scale)).astype(np.float32), beside)
    assert kept == lies_on_a_grid(beside, 1 << (bits - 1))


def test_what_needs_more_bits_than_there_are_is_rounded_as_before() -> None:
    weight = np.float32(0.37) * np.array([[5, -7, 3], [1, 2, -6]], np.float32)
    assert np.abs(scale_of(weight, bits=4)["fc0"].weight).max() == 7
    few = scale_of(weight, bits=3)
    assert np.abs(few["fc0"].weight).max() <= 3 and few["n"].threshold.max() == pytest.approx(few["n"].largest_scale)


def test_a_random_layer_lies_on_no_grid() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    made = scale_of(weight)
    assert made["n"].threshold.max() == pytest.approx(made["n"].largest_scale)


def test_one_weight_a_channel_is_no_evidence_of_a_grid() -> None:
    weight = np.diag(np.sqrt(np.array([2, 3, 5], np.float32)))
    assert np.abs(scale_of(weight)["fc0"].weight).max() > 100


def test_layers_that_meet_in_a_neuron_keep_a_grid_that_they_share() -> None:
    k = np.array([[3, -5, 7], [1, 2, 4]])
    one, other = np.float32(0.25) * k, np.float32(0.75) * k
    made = scale_of(one.astype(np.float32), other.astype(np.float32))
    assert np.array_equal(made["fc0"].weight, k) and np.array_equal(made["fc1"].weight, 3 * k)
    apart = scale_of(one.astype(np.float32), (np.float32(0.3) * k).astype(np.float32) * OFF)
    assert apart["n"].threshold.max() == pytest.approx(apart["n"].largest_scale)


def test_a_shortcut_of_spikes_is_rounded_to_the_grid_of_the_layer_beside_it() -> None:
    k = np.array([[3, -5, 7], [1, 2, 4], [6, 0, -3]])
    layer = nir.Linear(weight=(k * 0.03).astype(np.float32))
    made = quantise(
        graph(("n", spiking(3), "input"), ("fc", layer, "n"), ("out", spiking(3), "fc+n"), shape=(3,)),
        calibration(lattice=1),
        LOIHI2,
    )
    assert np.array_equal(made["fc"].weight, k) and made["out.shortcut"].factor == 33


def test_thresholds_and_resets_are_rounded_to_the_grid() -> None:
    k = np.array([[3, -5, 7], [1, 2, 4]])
    made = scale_of((k * 0.13).astype(np.float32), threshold=1.0)
    assert np.all(made["n"].threshold == 7)  # 1 / 0.13 = 7.69


def test_the_witness_sees_a_weight_that_left_its_grid() -> None:
    torch.manual_seed(0)
    traced, program = compile_model(CASES["Brevitas, 4 bits"]()[0], SAMPLES, timesteps=2)
    name = next(node.name for node in program.graph if isinstance(node, ir.Conv))
    assert not moved(traced, program)
    off = program.graph[name].weight.copy()
    off.flat[3] += 1
    nodes = tuple(replace(node, weight=off) if node.name == name else node for node in program.graph)
    planted = replace(program, graph=ir.Graph(nodes))
    assert moved(traced, planted) == {name}
    judged = compare_integers(planted, traced.network, integer_graph(planted.graph))
    assert [layer.name for layer in judged.layers if layer.mismatches] == [name]


# Bits by layer


def test_every_layer_uses_the_bits_it_is_given() -> None:
    torch.manual_seed(1)
    model = net(nn.Conv2d(2, 4, 3), nn.Linear(144, 5))
    traced, program = compile_model(model, SAMPLES, timesteps=2, weight_bits=6, layer_bits={"3": 2}, method="mse")
    sizes = {
        node.name: int(np.abs(node.weight).max()) for node in program.graph if isinstance(node, ir.Conv | ir.Linear)
    }
    assert sizes == {"0": 31, "3": 1}
    integers = integer_graph(program.graph)
    assert not compare_integers(program, traced.network, integers, WeightBits(default=6, layers={"3": 2})).mismatches
    wrong = compare_integers(program, traced.network, integers, WeightBits(default=6, layers={}))
    assert [layer.name for layer in wrong.layers if layer.mismatches] == ["3"]


@pytest.mark.parametrize(
    ("bits", "message"), [({"nine": 4}, "nine: the net has no such layer"), ({"3": 9}, "3: 9; choose 2 to 8")]
)
def test_bits_of_layers_that_are_not_there_are_refused(bits: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        compile_model(net(nn.Conv2d(2, 4, 3), nn.Linear(144, 5)), SAMPLES, timesteps=2, layer_bits=bits)
