"""The .onnx file gives what the simulators give, at every layer and step: every node, drawn numbers, real nets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
from hand_made_graphs import program_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interop_nets import DIGITS, TRAINED, images, lively
from nets import GEOMETRIES, compile_model, geometry_net, random_samples, two, with_heads
from onnx_files import run_onnx
from test_cycle import assert_equal, residual_nets
from test_fast import integer_programs, outcome
from torch import nn

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.exporters.onnx import steps
from snn2hw.exporters.onnx.graph import build_model
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.models.neurons import IFNode, ParametricLIFNode
from snn2hw.models.sew_resnet import imagenet_net, seven_b_net
from snn2hw.pipeline import Options, compile_network


@settings(max_examples=80, deadline=None)
@given(
    integer_programs(),
    st.booleans(),
    st.sampled_from(["loihi2", "generic-int8"]),
    st.booleans(),
    st.sampled_from([0, 8]),
    st.integers(0, 1000),
)
def test_integers_of_every_size(
    program: ir.Program, static: bool, chip: str, payloads: bool, written_out: int, seed: int
) -> None:
    """Both tell an overflow, or neither does and the spikes are the same. Steps are written out, or a loop."""
    neurons = [node for node in program.graph if isinstance(node, ir.Neuron)]
    assume(not any(node.reset is Reset.SUBTRACT_LATE and node.threshold.min() < 0 for node in neurons))  # not legal
    program = program_of(program.graph, load_numerics(chip), timesteps=program.schedule.timesteps)
    node, random = program.graph.input, np.random.default_rng(seed)
    shape = (2, *([] if static else [program.schedule.timesteps]), *node.shape)
    x = np.where(random.random(shape) < 0.6, random.choice([node.low, node.high], shape), random.integers(-9, 9, shape))
    samples = Samples(x.astype(np.float32), None, not static)
    expected = outcome(lambda: cycle.simulate(program, samples))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "MOST_WRITTEN_OUT", written_out)
        actual = outcome(lambda: run_onnx(program, samples, payloads=payloads))
    assert (actual is None) == (expected is None)
    if actual is not None and expected is not None:
        assert_equal(actual, expected)


@settings(max_examples=6, deadline=None)
@given(residual_nets(), st.integers(1, 12), st.integers(1, 5), st.booleans(), st.integers(0, 1000))
def test_drawn_residual_nets(model: nn.Module, timesteps: int, count: int, static: bool, seed: int) -> None:
    samples = random_samples(count, steps=0 if static else timesteps, seed=seed)
    _, program = compile_model(model, samples, timesteps=timesteps)
    assert_equal(run_onnx(program, samples), cycle.simulate(program, samples))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_layers_of_every_geometry(geometry: str) -> None:
    samples = random_samples(3)
    _, program = compile_model(geometry_net(geometry), samples, timesteps=4)
    assert_equal(run_onnx(program, samples), cycle.simulate(program, samples))


def test_several_heads() -> None:
    samples = random_samples(3, steps=2)
    _, program = compile_model(with_heads(two), samples, timesteps=2)
    spikes = run_onnx(program, samples, spikes=True)
    assert len(spikes["logits.0"][0]) == 3 and len(spikes["logits.1"][0]) == 5
    assert_equal(spikes, cycle.simulate(program, samples))


LARGEST = (1, 64, 65, 127, 128, 129, 255, 256, -1, -64, -65, -128, -129)


@pytest.mark.parametrize("extent", [1, 2, 8])
@pytest.mark.parametrize("payload", LARGEST)
def test_products_at_the_ends_of_every_type(payload: int, extent: int) -> None:
    """Where a product changes from one kernel to another: by the range of payloads, and by the places of the output.

    On processors without VNNI onnxruntime's products of two signs saturate beyond them.
    """
    low, high = min(payload, 0), max(payload, 0)
    weight = np.full((2, 64, 3, 3), -128)
    weight[1] = 127
    nodes = (
        ir.Input(name="x", shape=(64, extent, extent), scale=1.0, low=low, high=high),
        ir.Conv(
            name="c", inputs=("x",), shape=(2, extent, extent), weight=weight, stride=(1, 1), padding=(1, 1),
            dilation=(1, 1), groups=1,
        ),
        ir.Merge(name="sums", inputs=("c",), shape=(2, extent, extent)),
        ir.Scale(name="again", inputs=("x",), shape=(64, extent, extent), factor=1),
        ir.Linear(name="l", inputs=("again",), shape=(3,), weight=np.full((3, 64 * extent**2), 127)),
        ir.Readout(name="y", inputs=("l",), shape=(3,), bias=np.array([1, -2, 0]), scale=1.0),
    )  # fmt: skip
    program = program_of(ir.Graph(nodes), load_numerics(), timesteps=2)
    most = np.full((1, 64, extent, extent), payload, np.float32)
    samples = Samples(np.concatenate([most, most * 0]), None, False)
    spikes = run_onnx(program, samples)
    assert_equal(spikes, cycle.simulate(program, samples))
    for node, signed in signed_products(build_model(program, payloads=False, spikes=False, conventions={})):
        assert 2 * abs(payload) * (255 if node == "ConvInteger" else 128) < 1 << 15 or not signed
    middle = min(extent, 3) if extent > 2 else extent
    assert np.abs(spikes["sums"]).max() == 64 * 128 * abs(payload) * middle**2


def signed_products(model: onnx.ModelProto) -> Iterator[tuple[str, bool]]:
    """The products of bytes in a model, and whether one factor is signed: the zero points tell."""
    types = {constant.name: constant.data_type for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            yield node.op_type, onnx.TensorProto.INT8 in (types[node.input[2]], types[node.input[3]])


@pytest.mark.parametrize("name", TRAINED)
def test_the_trained_digits_nets_on_all_test_images(name: str) -> None:
    program, samples = digits_net(name)
    assert len(samples) == 359
    assert_equal(run_onnx(program, samples), fast.simulate(program, samples))


def digits_net(name: str) -> tuple[ir.Program, Samples]:
    """A trained net's program, and the test images."""
    loaded = load_model(str(DIGITS / f"{name}.pt"), ModelOptions())
    training = load_samples("digits", loaded.input_shape, split="train")[:64]
    program = compile_network(loaded.network, training, Options(timesteps=loaded.timesteps))
    return program, load_samples("digits", loaded.input_shape)


LARGE: dict[str, Callable[[], tuple[nn.Module, Samples, int]]] = {
    "SEW-ResNet-18": lambda: (lively(imagenet_net(18, "ADD", IFNode)), images(3, 32, 32, count=2), 4),
    "Spiking ResNet-18": lambda: (lively(imagenet_net(18, "spiking", IFNode)), images(3, 32, 32, count=2), 4),
    "7B-Net": lambda: (lively(seven_b_net("ADD", ParametricLIFNode), bias=1.0), images(2, 128, 128), 3),
}


@pytest.mark.parametrize("name", LARGE)
def test_the_nets_of_the_papers(name: str) -> None:
    model, samples, timesteps = LARGE[name]()
    _, program = compile_model(model, samples, timesteps=timesteps)
    expected = fast.simulate(program, samples)
    assert sum(expected[node.name].any() for node in program.graph.recorded) > 10
    assert_equal(run_onnx(program, samples), expected)
