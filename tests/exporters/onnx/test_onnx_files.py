"""What an .onnx file holds, how it is used without snn2hw, and what is told when something is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cli
import numpy as np
import onnx
import onnxruntime
import pytest
from cli import arrays, fail, succeed
from hand_made_graphs import program_of
from nets import NEURONS, compile_model, random_samples, residual_net
from onnx import TensorProto, numpy_helper
from onnx_files import run_model, run_onnx
from test_cycle import assert_equal
from test_cycle_edges import ONES, OVERFLOWS, hand_made, overflowing, readout, wide_neuron

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle
from snn2hw.errors import BackendError, BundleError, FixedPointOverflow
from snn2hw.exporters.bundle import read_bundle, write_manifest
from snn2hw.exporters.onnx import packages
from snn2hw.exporters.onnx.blockers import find_blockers
from snn2hw.exporters.onnx.graph import build_model
from snn2hw.exporters.onnx.run import read_file
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.verification.comparison import Difference, compare

CALIBRATED = ("--calibrate", "samples.npz")
DATA = ("--data", "samples.npz")
Change = Callable[[onnx.ModelProto], None]


def export(*options: object) -> onnx.ModelProto:
    """The file tiny.onnx, read."""
    succeed("export", "tiny.pt", "--target", "onnx", "--force", *CALIBRATED, *options)
    return onnx.load("tiny.onnx")


def plain(x: np.ndarray) -> dict[str, np.ndarray]:
    """What plain onnxruntime makes of tiny.onnx."""
    session = onnxruntime.InferenceSession("tiny.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


# The file by itself


@pytest.mark.usefixtures("tiny")
def test_plain_onnxruntime_runs_it_with_any_number_of_samples() -> None:
    export("--layer-spikes")
    succeed("simulate", "tiny.lava", *DATA, "-o", "spikes.npz")
    x, expected = arrays("samples.npz")["x"], arrays("spikes.npz")
    assert_equal(plain(x[:, None]), expected)
    assert_equal(plain(np.repeat(x[:, None], 3, axis=1)), expected)  # a frame a step
    assert_equal(plain(x[2:3, None]), {name: values[2:3] for name, values in expected.items()})
    with pytest.raises(Exception, match="Expand"):
        plain(np.repeat(x[:, None], 2, axis=1))  # neither 1 nor T steps


@pytest.mark.usefixtures("tiny")
def test_it_takes_the_integers_of_the_input_where_asked() -> None:
    export()
    x = arrays("samples.npz")["x"][:, None]
    expected = plain(x)
    assert expected.keys() == {"logits"}
    export("--takes-payloads")
    about = json.loads(metadata(onnx.load("tiny.onnx"))["snn2hw.input"])
    payloads = np.clip(np.rint(x.astype(np.float64) / about["scale"]), about["low"], about["high"])
    assert_equal(plain(payloads.astype(np.int32)), expected)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def test_it_says_what_it_is_of(tiny: Path) -> None:
    about = metadata(export())
    assert about["snn2hw.program_sha256"] == read_bundle(tiny / "tiny.lava").manifest["sha256"]["program.npz"]
    assert about["snn2hw.timesteps"] == "3" and json.loads(about["snn2hw.conventions"])
    assert json.loads(about["snn2hw.layers"])[0]["name"] == "neuron1"
    first = Path("tiny.onnx").read_bytes()
    export()
    assert Path("tiny.onnx").read_bytes() == first


@pytest.mark.usefixtures("tiny")
def test_it_has_standard_operators_alone_and_floats_nowhere_but_before_the_payloads() -> None:
    model = onnx.shape_inference.infer_shapes(export(), strict_mode=True)
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 18)}
    assert {node.domain for node in model.graph.node} == {""}
    floats = (TensorProto.FLOAT, TensorProto.DOUBLE)
    inexact = {value.name for value in model.graph.value_info if value.type.tensor_type.elem_type in floats}
    assert inexact and all(name.startswith("input/") for name in inexact)
    assert all(value.type.tensor_type.elem_type not in floats for value in model.graph.output)
    kinds = {node.op_type for node in model.graph.node}
    assert "MatMulInteger" in kinds and not kinds & {"Conv", "QLinearConv", "Gemm"}


# In bundles


@pytest.mark.usefixtures("tiny")
def test_verify_requires_it_and_says_so() -> None:
    succeed("export", "tiny.pt", "--target", "onnx", "--target", "nir", *CALIBRATED, "-o", "both")
    out = succeed("verify", "both", *DATA, "--json", "verify.json")
    result = json.loads(Path("verify.json").read_text())
    compared = {entry["name"]: entry for entry in result["comparisons"]}["onnx-vs-program"]
    assert compared["exact_required"] and compared["compared"] > 8_000 and not compared["mismatches"]
    assert result["accuracy"]["onnx"] == result["accuracy"]["program"]
    assert "Integer-exact: PyTorch, program, onnx." in out
    assert "Equal" in succeed("compare", "both@onnx", "both@cycle", *DATA)
    assert 'onnxruntime.InferenceSession("onnx/network.onnx")' in Path("both/README.md").read_text()
    assert "Back ends: onnx (onnx/network.onnx, runs), nir" in succeed("inspect", "both")


@pytest.mark.usefixtures("tiny")
def test_it_is_an_engine_for_models_too() -> None:
    for engine in ("onnx", "cycle"):
        succeed("simulate", "tiny.pt", *CALIBRATED, *DATA, "--engine", engine, "-o", f"{engine}.npz")
    assert_equal(arrays("onnx.npz"), arrays("cycle.npz"))
    assert fail("simulate", "tiny.pt", *CALIBRATED, *DATA, "--engine", "onnx", "--threads", 0) == (
        "--threads 0: at least 1 is needed."
    )


# What is changed in a file is found


def node_of(model: onnx.ModelProto, kind: str, layer: str, number: int = 0) -> onnx.NodeProto:
    return [node for node in model.graph.node if node.op_type == kind and node.name.startswith(f"{layer}/")][number]


def set_constant(model: onnx.ModelProto, node: onnx.NodeProto, place: int, change: Callable[[Any], Any]) -> None:
    """Give a node, and no other, a changed copy of the constant that is its input at `place`."""
    (old,) = (constant for constant in model.graph.initializer if constant.name == node.input[place])
    node.input[place] = f"{node.name}/changed"
    model.graph.initializer.append(numpy_helper.from_array(change(numpy_helper.to_array(old)), node.input[place]))


def first_difference(change: Change) -> tuple[str, Difference]:
    """Where a file with a change first differs from the program, which it does not before."""
    samples = random_samples(3)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=4)
    model, expected = (
        build_model(program, payloads=False, spikes=False, conventions={}),
        cycle.simulate(program, samples),
    )
    for different in (False, True):
        result = compare(("onnx", "program"), program, expected=expected, actual=run_model(model, samples), exact=True)
        assert bool(result.mismatches) == different
        change(model)
    found = result.first()
    assert found is not None
    return found


def test_a_changed_weight_is_found_by_layer_and_channel() -> None:
    def change(model: onnx.ModelProto) -> None:
        def turned(weight: np.ndarray) -> np.ndarray:
            weight = weight.copy()
            weight[2] = 255 - weight[2]
            return weight

        set_constant(model, node_of(model, "ConvInteger", "block0.conv2"), 1, turned)

    layer, first = first_difference(change)
    assert layer == "block0.neuron2" and first.index[0] == 2


def test_a_changed_threshold_is_found_by_layer_and_step() -> None:
    """It is changed in step 2 of one layer, for one of its neurons."""

    def change(model: onnx.ModelProto) -> None:
        def lowered(threshold: np.ndarray) -> np.ndarray:
            by_neuron = np.broadcast_to(threshold, (4, 8, 8)).copy()
            by_neuron[1, 3, 5] = np.iinfo(by_neuron.dtype).min
            by_neuron[1, 3, 6] = np.iinfo(by_neuron.dtype).max
            return by_neuron

        set_constant(model, node_of(model, "Greater", "block0.neuron1", 2), 1, lowered)

    layer, first = first_difference(change)
    assert (layer, first.step) == ("block0.neuron1", 2)
    assert first.index in ((1, 3, 5), (1, 3, 6))


def test_changed_steps_are_found_by_layer_and_step() -> None:
    """A neuron's spikes of steps 2 and 3 change places."""

    def change(model: onnx.ModelProto) -> None:
        joined = next(node for node in model.graph.node if node.name.startswith("2/Concat") and len(node.input) == 4)
        joined.input[2], joined.input[3] = joined.input[3], joined.input[2]

    layer, first = first_difference(change)
    assert (layer, first.step) == ("2", 2)


def test_a_changed_file_is_no_exact_verdict(tiny: Path) -> None:
    """Neither as it stands, since its sha256 differs, nor when the bundle is sealed anew."""
    succeed("export", "tiny.pt", "--target", "onnx", "--target", "nir", *CALIBRATED, "-o", "both")
    bundle, file = read_bundle(tiny / "both"), tiny / "both/onnx/network.onnx"
    model = onnx.load(file)
    set_constant(model, node_of(model, "Greater", "neuron1"), 1, lambda threshold: threshold * 0)
    onnx.save(model, file)
    assert "onnx/network.onnx was changed after the export" in fail("verify", "both", *DATA)
    write_manifest(bundle.path, bundle.manifest)
    out = succeed("verify", "both", *DATA, code=1)
    assert "First difference of onnx-vs-program: layer neuron1, sample 0, step 0, cycle 2, index [0, 0, " in out


# What is refused


@pytest.mark.parametrize("what", OVERFLOWS)
def test_an_overflow_is_told_with_its_place(what: str) -> None:
    program, samples = wide_neuron(1.0, timesteps=4), overflowing(what)
    with pytest.raises(FixedPointOverflow) as expected:
        cycle.simulate(program, samples)
    with pytest.raises(FixedPointOverflow) as told:
        run_onnx(program, samples)
    assert str(told.value).replace(" in onnxruntime", "") == str(expected.value)


def wide_program(*nodes: ir.Node) -> ir.Program:
    """64 places of x, from -1000 to 1000, times 20,000, and what reads that, on a chip of 32-bit states."""
    graph = ir.Graph(
        (
            ir.Input(name="x", shape=(64,), scale=1.0, low=-1000, high=1000),
            ir.Scale(name="wide", inputs=("x",), shape=(64,), factor=20_000),
            *nodes,
            ir.Scale(name="read", inputs=("n",), shape=(64,), factor=1),
            ir.Readout(name="out", inputs=("read",), shape=(64,), bias=np.zeros(1), scale=1.0),
        )
    )
    return program_of(graph, load_numerics("generic-int8"), timesteps=4)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_membrane_beyond_32_bits_is_told(sign: int) -> None:
    """In step 1 it is, and in step 3 it has more than 33 bits; onnxruntime's own ReduceMax takes it for a small one."""
    numbers = {"threshold": 30_000_000, "decay": 0, "bias_mantissa": 0, "bias_exponent": 0, "reset_amount": 0}
    neuron = {name: np.array(value) for name, value in numbers.items()} | {"reset": Reset.NONE, "scale": 1.0}
    program = wide_program(ir.Neuron(name="n", inputs=("wide",), shape=(64,), **neuron))
    frames = np.arange(64) * 3.0 * np.ones((2, 4, 1))
    frames[1, :, 40] = sign * 1000
    samples = Samples(frames.astype(np.float32), None, True)
    with pytest.raises(FixedPointOverflow) as expected:
        cycle.simulate(program, samples)
    with pytest.raises(FixedPointOverflow) as told:
        run_onnx(program, samples)
    assert str(told.value).replace(" in onnxruntime", "") == str(expected.value)
    assert "n, sample 1, step 1, cycle 7: the membrane (in 1/64) reaches 2560000000, " in str(expected.value)
    assert_equal(run_onnx(program, samples[:1]), cycle.simulate(program, samples[:1]))


@pytest.mark.parametrize("shift", [0, 6, 7, 8, 20])
def test_relays_whose_ends_have_more_than_32_bits(shift: int) -> None:
    """Their payloads have 25 bits, and shifted as many as 45."""
    ends = {"low": -(1 << 24), "high": 1 << 24, "shift": shift, "scale": 1.0}
    program = wide_program(ir.Relay(name="n", inputs=("wide",), shape=(64,), bias=np.array([7]), **ends))
    samples = Samples(np.random.default_rng(0).integers(-1000, 1001, (3, 4, 64)).astype(np.float32), None, True)
    assert_equal(run_onnx(program, samples), cycle.simulate(program, samples))


FOUND = {"onnx": "1.23.2", "onnxruntime": "1.31.1"}
MISSING = {
    "onnx is not installed": {"onnx": None},
    "onnxruntime is not installed": {"onnxruntime": None},
    "onnxruntime 1.22.1 is too old, onnxruntime 1.24 or later is needed": {"onnxruntime": "1.22.1"},
}


@pytest.mark.parametrize("problem", MISSING)
@pytest.mark.usefixtures("tiny")
def test_a_package_that_is_missing_or_too_old_is_told(problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed("export", "tiny.pt", "--target", "onnx", "--target", "nir", *CALIBRATED, "-o", "both")
    found: dict[str, str | None] = FOUND | MISSING[problem]

    def version(name: str) -> str:
        if found[name] is None:
            raise packages.PackageNotFoundError(name)
        return str(found[name])

    monkeypatch.setattr(packages, "version", version)
    advice = f"{problem}. Install what is needed: pip install 'snn2hw[onnx]'"
    assert fail("simulate", "both", *DATA, "--engine", "onnx") == f"{advice}."
    if "old" in problem:
        assert "Verdict: incomplete" in succeed("verify", "both", *DATA, code=3)
    if "runtime" not in problem:
        for options in ((), ("--target", "nir")):
            message = fail("export", "tiny.pt", "--target", "onnx", *options, *CALIBRATED)
            assert message == f"--target onnx: {advice}"
    row = next(line for line in cli.run("doctor").out.splitlines() if f"│ {problem.split()[0]} " in line)
    assert "pip install 'snn2hw[onnx]'" in row


def test_the_doctor_names_both_packages() -> None:
    words = [line.split() for line in succeed("doctor").splitlines()]
    for package in (onnx, onnxruntime):
        assert ["│", package.__name__, "│", package.__version__, "│", "│"] in words


ODD = ('a "quoted" name', "../../up", "layer\n2", "日本語", "a/spikes", "a/shape", "a/Cast", "input/samples", "%s{0}")


def test_layers_of_any_name_are_written() -> None:
    """Names that other things in the file would have, too: each tensor has one of its own."""
    chain: list[ir.Node] = []
    for name in ("a", *ODD):
        chain.append(ir.Merge(name=name, inputs=(chain[-1].name if chain else "n",), shape=(1,)))
    program = hand_made(*chain, readout("n", chain[-1].name), timesteps=2, weight=1, bias=(0, 0))
    spikes = run_onnx(program, ONES)
    assert set(ODD) < spikes.keys()
    assert_equal(spikes, cycle.simulate(program, ONES))


@pytest.mark.parametrize("name", ["x", "peaks"])
def test_a_layer_with_the_name_of_an_input_or_output_is_refused(name: str) -> None:
    given = ir.Input(name="in", shape=(1,), scale=1.0, low=0, high=1)
    graph = ir.Graph((given, ir.Merge(name=name, inputs=("in",), shape=(1,)), readout(name)))
    program = program_of(graph, load_numerics(), timesteps=2)
    assert [str(blocker) for blocker in find_blockers(program)] == [
        f"{name}: an input or output of the file has its name. Rename the layer"
    ]


@pytest.mark.parametrize("field", ["delays", "latency", "reset_offset"])
def test_a_program_whose_steps_do_not_line_up_is_refused(field: str) -> None:
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), random_samples(2), timesteps=3)
    assert not find_blockers(program)
    values = getattr(program.schedule, field)
    name = next(name for name in values if values[name])
    wrong = values | {name: (1,) if field == "delays" else values[name] + 1}
    blockers = find_blockers(replace(program, schedule=replace(program.schedule, **{field: wrong})))
    assert name in {blocker.layer for blocker in blockers}
    assert all("let steps of different samples meet" in blocker.problem for blocker in blockers)


def test_sums_that_onnxruntime_does_not_hold_are_refused() -> None:
    def weighted(weight: np.ndarray, high: int) -> list[str]:
        nodes = (
            ir.Input(name="in", shape=(weight.shape[1],), scale=1.0, low=0, high=high),
            ir.Linear(name="l", inputs=("in",), shape=(len(weight),), weight=weight),
            ir.Readout(name="y", inputs=("l",), shape=(len(weight),), bias=np.zeros(1), scale=1.0),
        )
        return [str(blocker) for blocker in find_blockers(program_of(ir.Graph(nodes), load_numerics(), timesteps=1))]

    assert not weighted(np.full((1, 2), 1 << 21), 1 << 30)
    told, _ = weighted(np.full((1, 2), 1 << 22), 1 << 30)
    assert told.startswith("l: its sums may reach 9007199254740992, and onnxruntime adds exactly below")


def test_a_file_that_is_damaged_or_of_another_program_is_told(tiny: Path) -> None:
    model = export()
    path = tiny / "tiny.onnx"
    for content in (b"", b"not an onnx file", path.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"tiny\.onnx: it is no ONNX file of snn2hw, or damaged"):
            read_file(path)
    model.graph.node[5].op_type = "Nothing"
    with pytest.raises(
        BackendError, match=r"net\.onnx: onnxruntime .* cannot run it \(.*Nothing.*\). Export it again\."
    ):
        run_model(model, random_samples(1, shape=(1, 6, 6)))
    succeed("export", "tiny.pt", "--target", "onnx", "--target", "nir", *CALIBRATED, "-o", "both")
    bundle, file = read_bundle(tiny / "both"), tiny / "both/onnx/network.onnx"
    file.write_bytes(file.read_bytes().replace(bundle.manifest["sha256"]["program.npz"].encode(), b"0" * 64))
    write_manifest(bundle.path, bundle.manifest)
    assert fail("verify", "both", *DATA) == (
        "both/onnx/network.onnx: it is of another program than both/program.npz. Export the bundle again."
    )


@pytest.mark.parametrize("targets", [("onnx",), ("onnx", "nir")])
@pytest.mark.usefixtures("tiny")
def test_an_export_that_fails_leaves_nothing(targets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from snn2hw import files

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(files.os, "replace", refuse)
    words = [word for target in targets for word in ("--target", target)]
    assert "No space left on device" in fail("export", "tiny.pt", *words, *CALIBRATED)
