"""The C sources compute what the program says, value for value, without a complaint of compilers and sanitisers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cli
import interop_nets
import numpy as np
import pytest
from hand_made_graphs import program_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fast import integer_programs, outcome
from written import SANITISED, assert_same, run, self_test, trained, write

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.errors import BundleError, FixedPointOverflow
from snn2hw.exporters.bundle import read_bundle
from snn2hw.exporters.c.code import check_sources
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.models.neurons import IFNode
from snn2hw.models.sew_resnet import imagenet_net, seven_b_net

ALL = "SNN2HW_ALL_TESTS" in os.environ  # make test-all
DIGITS = Path(__file__).parents[3] / "examples" / "digits"


@pytest.mark.parametrize(
    ("net", "kernels"), [("add", "auto"), ("and", "dense"), ("iand", "events"), ("spiking", "auto")]
)
def test_every_value_of_the_trained_nets_on_all_test_images(net: str, kernels: str, tmp_path: Path) -> None:
    samples = load_samples("digits", (1, 8, 8))
    program = trained(net)
    write(program, tmp_path / "c", samples[:4], kernels=kernels)
    assert_same(run(tmp_path / "c", samples), fast.simulate(program, samples))


@settings(max_examples=60 if ALL else 12)
@given(integer_programs(), st.booleans(), st.sampled_from(["auto", "dense", "events"]), st.integers(0, 1000))
def test_integers_of_every_size_under_sanitisers(program: ir.Program, static: bool, kernels: str, seed: int) -> None:
    """Every node, reset, leak, gate and payload: the values are the cycle simulator's, or both tell an overflow."""
    node, random = program.graph.input, np.random.default_rng(seed)
    shape = (2, *([] if static else [program.schedule.timesteps]), *node.shape)
    x = np.where(random.random(shape) < 0.6, random.choice([node.low, node.high], shape), random.integers(-9, 9, shape))
    samples = Samples(x.astype(np.float32), None, not static)
    expected = outcome(lambda: cycle.simulate(program, samples))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "c")
        write(program, place, kernels=kernels)
        actual = outcome(lambda: run(place, samples, SANITISED))
    assert (actual is None) == (expected is None)
    if actual is not None and expected is not None:
        assert_same(actual, expected)


def wide(node: type[ir.Neuron] | type[ir.Readout]) -> ir.Program:
    """Sums beyond 32 bits, into neurons with 32-bit states or into the logits."""
    weight = np.array([[5000, -5000, 1], [4999, 3, -5000], [1, 1, 1]])
    nodes: list[ir.Node] = [
        ir.Input(name="x", shape=(3,), scale=1.0, low=-(1 << 20), high=1 << 20),
        ir.Linear(name="l", inputs=("x",), shape=(3,), weight=weight),
    ]
    if node is ir.Neuron:
        numbers = {"threshold": 1 << 20, "decay": 100, "current_decay": 900, "reset_amount": 1 << 19}
        arrays = {name: np.array(value) for name, value in numbers.items()}
        bias = {"bias_mantissa": np.array([-(2**27), 2**27, 7]), "bias_exponent": np.array(0)}
        rule = {"reset": Reset.SUBTRACT_LATE, "scale": 1.0}
        nodes.append(ir.Neuron(name="n", inputs=("l",), shape=(3,), **arrays, **bias, **rule))  # type: ignore[arg-type]
    read = nodes[-1].name
    nodes.append(ir.Readout(name="y", inputs=(read,), shape=(3,), bias=np.array([2**33, 0, -3]), scale=1.0))
    return program_of(ir.Graph(tuple(nodes)), load_numerics("generic-int8"), timesteps=3)


@pytest.mark.parametrize("node", [ir.Neuron, ir.Readout])
def test_what_32_bits_do_not_hold_is_exact(node: type[ir.Neuron] | type[ir.Readout], tmp_path: Path) -> None:
    program = wide(node)
    largest = 1 << (6 if node is ir.Neuron else 20)
    x = np.random.default_rng(0).integers(-largest, largest, (5, 3, 3))
    samples = Samples(x.astype(np.float32), None, True)
    write(program, tmp_path / "c")
    expected = cycle.simulate(program, samples)
    assert_same(run(tmp_path / "c", samples, SANITISED), expected)
    assert np.abs(expected["logits"]).max() >= 1 << 32


def maxima(weight: int) -> ir.Program:
    """Maxima of negative payloads, of a convolution's currents and of sums of two nodes, over padded windows."""
    x = ir.Input(name="x", shape=(2, 5, 4), scale=1.0, low=-500, high=-1)
    window = {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 1)}
    half, full = (2, 3, 3), (2, 5, 4)
    one = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    weights = np.array([[weight, -3], [7, weight - 1]])
    nodes: list[ir.Node] = [
        x,
        ir.MaxPool(name="of payloads", inputs=("x",), shape=half, **window),
        ir.Merge(name="payloads", inputs=("of payloads",), shape=half),
        ir.Conv(name="c", inputs=("x",), shape=full, weight=weights[:, :, None, None], **one),
        ir.Scale(name="minus", inputs=("x",), shape=full, factor=-1),
        ir.MaxPool(name="of currents", inputs=("c",), shape=half, **window),
        ir.MaxPool(name="of sums", inputs=("c", "minus"), shape=half, **window),
        ir.Scale(name="delayed", inputs=("payloads",), shape=half, factor=1),
        ir.Threshold(name="currents", inputs=("of currents",), shape=half, threshold=-30 * weight),
        ir.Linear(name="l", inputs=("of sums",), shape=(3,), weight=np.arange(54).reshape(3, 18) - 20),
        ir.Linear(name="m", inputs=("currents",), shape=(3,), weight=np.ones((3, 18), int)),
        ir.Linear(name="n", inputs=("delayed",), shape=(3,), weight=np.eye(3, 18, dtype=int)),
        ir.Readout(name="y", inputs=("l", "m", "n"), shape=(3,), bias=np.zeros(3, int), scale=1.0),
    ]
    return program_of(ir.Graph(tuple(nodes)), load_numerics("generic-int8"), timesteps=3)


@pytest.mark.parametrize("weight", [5, 1 << 12])
def test_a_maximum_is_of_the_values_alone_and_never_of_the_padding(weight: int, tmp_path: Path) -> None:
    program = maxima(weight)
    x = np.random.default_rng(0).integers(-500, 0, (4, 3, 2, 5, 4))
    samples = Samples(x.astype(np.float32), None, True)
    write(program, tmp_path / "c")
    expected = cycle.simulate(program, samples)
    assert_same(run(tmp_path / "c", samples, SANITISED), expected)
    assert expected["payloads"].max() < 0  # a padded 0 would be the largest of its window
    assert 0 < expected["currents"].mean() < 1
    source = tmp_path / "c" / "network.c"
    text = source.read_text()
    source.write_text(text.replace("most = -500; /* no", "most = 0; /* no"))
    assert source.read_text() != text
    assert self_test(tmp_path / "c")[1].startswith("layer payloads, sample 0, step 0, index [0, 0, 0]: expected -")


def test_a_value_that_leaves_its_range_is_told_with_its_layer_and_step(tmp_path: Path) -> None:
    program = wide(ir.Neuron)
    x = np.zeros((2, 3, 3), np.float32)
    x[1, 2, 0] = 1 << 20
    write(program, tmp_path / "c")
    with pytest.raises(FixedPointOverflow, match=r"^n, sample 1, step 2: its sum or membrane left the range"):
        run(tmp_path / "c", Samples(x, None, True))


NETS = {
    "SEW-ResNet-18": lambda: imagenet_net(18, "ADD", IFNode),
    "Spiking ResNet-18": lambda: imagenet_net(18, "spiking", IFNode),
    "7B-Net": lambda: seven_b_net("ADD", IFNode),
}


@pytest.mark.skipif(not ALL, reason="slow: make test-all; the trained and drawn nets have every layer of these")
@pytest.mark.parametrize("name", NETS)
def test_the_nets_of_the_paper(name: str, tmp_path: Path) -> None:
    shape = (2, 128, 128) if name == "7B-Net" else (3, 32, 32)
    samples = interop_nets.images(*shape, count=2)
    program = interop_nets.deployment(interop_nets.lively(NETS[name]()), samples, 4).program
    write(program, tmp_path / "c", samples)
    assert_same(run(tmp_path / "c", samples, ("-O3",)), fast.simulate(program, samples))
    assert self_test(tmp_path / "c")[0] == 0


@pytest.mark.usefixtures("alone")
def test_verify_requires_it_and_make_runs_the_self_test() -> None:
    cli.succeed("export", DIGITS / "add.pt", "--target", "c", "-o", "add", "--calibrate", "digits")
    assert read_bundle(Path("add")).manifest["backends"] == {"c": {"artefact": "c", "runnable": True}}
    out = cli.succeed("verify", "add", "--data", "digits", "--samples", 8, "--optimise", "generic")
    assert "c-vs-program" in out and "Verdict: exact" in out
    source = Path("add/c/network.c")
    source.write_text(source.read_text().replace("spike ? 0", "spike ? 1"))
    with pytest.raises(BundleError, match=r"no known version of snn2hw wrote this code: 'network\.c'"):
        check_sources(Path("add/c"), trusted=False)
    check_sources(Path("add/c"), trusted=True)
    source.write_text(source.read_text().replace("spike ? 1", "spike ? 0"))
    code, said = self_test(Path("add/c"), flags=SANITISED)
    assert (code, said) == (0, "ok: 4 samples, 4 steps, 15 layers and the logits\n")
