"""The calibration methods: what each makes of a layer's weights, and that every engine stays exact with all of them."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import GATES, NEURONS, compile_model, random_samples, residual_net, run_requantised
from test_quantise import calibration, graph, spiking
from torch import nn

from snn2hw import ir
from snn2hw.engines import cycle, fast
from snn2hw.errors import ModelError, OptionError, QuantisationError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.ir.file import read_program, write_program
from snn2hw.ir.fixed_point import round_to_int
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.adopt import adopt
from snn2hw.network.nir_file import read_nir
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.quantise import quantise
from snn2hw.passes.weight_scales import METHODS, on_lattice

SAMPLES = random_samples(4)
layers = st.lists(
    st.lists(st.floats(-4, 4).filter(lambda w: abs(w) > 1e-3), min_size=3, max_size=30).map(
        lambda values: np.array(values[: len(values) // 3 * 3]).reshape(3, -1)
    ),
    min_size=1,
    max_size=3,
)
largest = st.sampled_from([1, 3, 7, 127])


def error(weights: list[np.ndarray], scale: float, largest: int) -> float:
    every = np.concatenate([layer.ravel() for layer in weights])
    return float(np.mean((every - np.clip(round_to_int(scale * every), -largest, largest) / scale) ** 2))


@given(layers, largest)
def test_max_saturates_no_weight_and_uses_the_largest_integer(weights: list[np.ndarray], largest: int) -> None:
    scale = METHODS["max"](weights, largest)
    assert max(round_to_int(scale * np.abs(layer)).max() for layer in weights) == largest


@given(layers, largest)
def test_mse_is_no_further_from_the_weights_than_max(weights: list[np.ndarray], largest: int) -> None:
    closest, widest = (float(METHODS[method](weights, largest)) for method in ("mse", "max"))
    assert closest >= widest * (1 - 1e-12)
    assert error(weights, closest, largest) <= error(weights, widest, largest) + 1e-12


def test_mse_lets_an_outlier_saturate_and_keeps_the_others() -> None:
    weights = [np.append(np.linspace(-1, 1, 1999), 2.0)]
    assert float(METHODS["mse"](weights, 7)) > 6 and float(METHODS["max"](weights, 7)) == 3.5


def test_percentile_lets_one_weight_in_a_thousand_saturate_and_counts_no_padding() -> None:
    weights = np.append(np.linspace(0.001, 1, 1999), 50.0)
    scale = float(METHODS["percentile"]([weights], 127))
    assert (round_to_int(scale * weights) > 127).sum() == 1 and scale == pytest.approx(127, rel=1e-2)
    assert float(METHODS["percentile"]([np.append(weights, np.zeros(50_000))], 127)) == scale


@given(layers, largest)
def test_balanced_gives_every_channel_the_largest_integer(weights: list[np.ndarray], largest: int) -> None:
    scales = METHODS["balanced"](weights, largest)
    peaks = np.max([round_to_int(scales[:, None] * np.abs(layer)).max(axis=1) for layer in weights], axis=0)
    assert scales.shape == (3,) and (peaks == largest).all()


def test_a_channel_of_zeros_takes_the_scale_of_the_widest() -> None:
    assert METHODS["balanced"]([np.array([[0.0], [0.5], [2.0]])], 8).tolist() == [4, 16, 4]


@given(st.floats(1e-3, 1e4), st.floats(1e-3, 1e3))
def test_a_scale_is_lowered_to_the_lattice_and_never_raised(limit: float, step: float) -> None:
    scale = float(on_lattice(np.array(limit), step))
    assert 0 < scale <= limit * (1 + 1e-12)
    if limit * step >= 1:
        assert scale * step == pytest.approx(round(scale * step)) and scale * step > limit * step - 1
    else:
        assert scale == limit


# In a program


def balanced_scales(program: ir.Program) -> dict[str, tuple[float, ...]]:
    return {n.name: n.scale for n in program.graph if isinstance(n, ir.Neuron) and isinstance(n.scale, tuple)}


def test_balanced_scales_each_channels_weights_threshold_and_bias_alike() -> None:
    traced, program = compile_model(residual_net("ADD", NEURONS["if"]), SAMPLES, timesteps=2, method="balanced")
    by_neuron = balanced_scales(program)
    assert {"2", "block0.neuron1", "block1.neuron2", "block1.down.2"} <= by_neuron.keys()
    layer, neuron, real = program.graph["block0.conv1"], program.graph["block0.neuron1"], traced.network.nodes
    scales = np.array(by_neuron["block0.neuron1"])
    assert len(set(scales)) == len(layer.weight) == 4
    spread = scales.reshape(-1, 1, 1, 1)
    off = np.abs(layer.weight - spread * real["block0.conv1"].weight.astype(np.float64))
    assert off.max() <= 0.5 + 1e-4
    assert np.abs(layer.weight).reshape(4, -1).max(axis=1).min() > 100  # each channel's range, on the lattice
    assert neuron.threshold.shape == (4, 1, 1)
    assert neuron.threshold.ravel().tolist() == [round(scale) - 1 for scale in scales]  # >= 1 is > one unit below
    bias = neuron.bias_mantissa << neuron.bias_exponent
    assert np.abs(bias.ravel() / 64 / scales - real["block0.conv1"].bias).max() < 1 / 64


def test_where_a_shortcut_of_spikes_joins_one_scale_serves_all() -> None:
    _, program = compile_model(residual_net("SPIKING", NEURONS["if"]), SAMPLES, timesteps=2, method="balanced")
    assert "block0.neuron2" not in balanced_scales(program)
    assert isinstance(program.graph["block0.neuron2.shortcut"], ir.Scale)
    assert "block0.neuron1" in balanced_scales(program)


@pytest.mark.parametrize("method", METHODS)
def test_a_residual_branch_of_zeros_leaves_the_shortcut(method: str) -> None:
    """What zero-initialised blocks are before training."""
    model = residual_net("SPIKING", NEURONS["if"])
    torch.nn.init.zeros_(model.get_submodule("block0.bn2").weight)
    traced, program = compile_model(model, SAMPLES, timesteps=3, method=method)
    assert not program.graph["block0.conv2"].weight.any()
    assert np.array_equal(run_requantised(traced, program, SAMPLES)["2"], fast.simulate(program, SAMPLES)["2"])


@pytest.mark.parametrize("method", METHODS)
def test_no_weight_leaves_its_bits(method: str) -> None:
    for bits in (2, 4, 8):
        _, program = compile_model(
            residual_net("IAND", NEURONS["if"]), SAMPLES, timesteps=1, method=method, weight_bits=bits
        )
        sizes = [int(np.abs(n.weight).max()) for n in program.graph if isinstance(n, ir.Conv | ir.Linear)]
        assert max(sizes) == 2 ** (bits - 1) - 1, sizes


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    net = graph(("fc", nir.Linear(weight=np.eye(4)), "input"), ("n", spiking(4), "fc"))
    with pytest.raises(OptionError, match="calibration 'median': choose max, percentile, mse, balanced"):
        quantise(net, calibration(), load_numerics(), method="median")


# Every engine


@st.composite
def compiled(draw: st.DrawFn) -> tuple[nn.Module, dict[str, object]]:
    model = residual_net(
        draw(st.sampled_from(GATES)),
        NEURONS[draw(st.sampled_from(list(NEURONS)))],
        max_pool=draw(st.sampled_from([(), (0,)])),
        seed=draw(st.integers(0, 1000)),
    )
    return model, {"method": draw(st.sampled_from(list(METHODS))), "weight_bits": draw(st.integers(3, 8))}


@settings(max_examples=40, deadline=None)
@given(compiled())
def test_every_engine_agrees_at_every_number_of_bits(case: tuple[nn.Module, dict[str, object]]) -> None:
    model, options = case
    try:
        traced, program = compile_model(model, SAMPLES, timesteps=3, **options)
    except QuantisationError as error:  # few bits hold no weight for the shortcut of a Spiking ResNet
        assert "the shortcut's spikes need a weight of at least 1" in str(error)
        return
    expected, requantised = cycle.simulate(program, SAMPLES), run_requantised(traced, program, SAMPLES)
    quick = fast.simulate(program, SAMPLES)
    assert quick.keys() == expected.keys()
    assert all(np.array_equal(quick[name], expected[name]) for name in expected)
    requantised["logits"] = np.rint(requantised["logits"])
    assert {"2", "logits"} <= requantised.keys() & expected.keys()
    for name in requantised.keys() & expected.keys():
        assert np.array_equal(requantised[name], expected[name]), (name, options)


@pytest.mark.parametrize("neuron", ["if", "lif-reset", "leaky-subtract"])
def test_scales_by_channel_survive_both_files(tmp_path: Path, neuron: str) -> None:
    _, program = compile_model(residual_net("IAND", NEURONS[neuron]), SAMPLES, timesteps=3, method="balanced")
    write_program(program, tmp_path / "program.npz")
    write_graph(integer_graph(program.graph), tmp_path / "net.nir")
    for again in (read_program(tmp_path / "program.npz").graph, adopt(read_nir(tmp_path / "net.nir"), load_numerics())):
        assert {n.name: n.scale for n in again if isinstance(n, ir.Neuron)} == {
            n.name: n.scale for n in program.graph if isinstance(n, ir.Neuron)
        }
        assert {n.name: n.largest_scale for n in again if isinstance(n, ir.Neuron)}["2"] == max(again["2"].scale)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (np.ones(3), QuantisationError, "2: 3 scales for 4 channels"),
        (np.array([1.0, np.nan, 1.0, 1.0]), ModelError, "the metadata's scale holds no finite numbers"),
    ],
)
def test_scales_that_fit_no_layer_are_refused(
    tmp_path: Path, scale: np.ndarray, error: type[Exception], message: str
) -> None:
    _, program = compile_model(residual_net("ADD", NEURONS["if"]), SAMPLES, timesteps=2, method="balanced")
    written = integer_graph(program.graph)
    written.nodes["2"].metadata["scale"] = scale
    write_graph(written, tmp_path / "net.nir")
    with pytest.raises(error, match=message):
        adopt(read_nir(tmp_path / "net.nir"), load_numerics())
