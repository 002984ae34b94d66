"""Bad input: exit code 2, one message that says what is wrong and what to do, and a folder left as it was."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cli
import h5py
import nir
import numpy as np
import pytest
import torch
from cli import fail
from conftest import CLASSES, SAMPLES, SHAPE, TIMESTEPS, tiny_config, tiny_model
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from snn2hw.errors import BundleError
from snn2hw.exporters import bundle as bundle_module
from snn2hw.exporters.bundle import read_bundle
from snn2hw.exporters.lava import environment
from snn2hw.models.checkpoint import SCHEMA

TO_LAVA = ("--target", "lava", "-o", "new.lava", "--calibrate", "samples.npz")
SAID = ("--input-shape", "1,6,6", "--timesteps", "3", *TO_LAVA)
FIRST = "layer1.0.conv1.weight"

pytestmark = pytest.mark.usefixtures("tiny")


def saved(name: str = "bad.pt", **changes: Any) -> str:
    """A checkpoint of the tiny net with entries replaced; None leaves one out."""
    content = {"schema": SCHEMA, "arch": "sew_resnet", "config": tiny_config(), "state_dict": tiny_model().state_dict()}
    torch.save({key: value for key, value in (content | changes).items() if value is not None}, name)
    return name


def with_weights(**changes: Any) -> str:
    """A checkpoint of the tiny net with other weights; None leaves one out."""
    state = tiny_model().state_dict() | {key.replace("__", "."): value for key, value in changes.items()}
    return saved(state_dict={key: value for key, value in state.items() if value is not None})


def data(**arrays: Any) -> str:
    """An .npz of these arrays; x is a good one unless given, None leaves it out."""
    x = np.random.default_rng(1).random((SAMPLES, *SHAPE), dtype=np.float32)
    np.savez("data.npz", **{key: value for key, value in ({"x": x} | arrays).items() if value is not None})
    return "data.npz"


def nir_file(name: str = "net.nir", **nodes: nir.NIRNode) -> str:
    """The tiny net as a .nir file, with nodes replaced."""
    if not Path("tiny.nir").exists():
        cli.succeed("export", "tiny.pt", "--target", "nir", "--calibrate", "samples.npz")
    graph = nir.read("tiny.nir", type_check=False)
    graph.nodes |= {key.replace("__", "."): node for key, node in nodes.items()}
    nir.write(name, graph)
    return name


class Trap:
    """Makes a folder named `trapped` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path("trapped"),)


def module(name: str, code: str) -> str:
    Path(f"{name}.py").write_text(code)
    return name


# Files


@pytest.mark.parametrize("command", ["export", "check", "inspect", "simulate"])
def test_a_file_that_is_no_checkpoint_is_refused_by_every_command(command: str) -> None:
    Path("random.pt").write_bytes(np.random.default_rng(0).bytes(4000))
    options = {"export": TO_LAVA, "simulate": ("--data", "samples.npz", "-o", "spikes.npz")}.get(command, ())
    assert fail(command, "random.pt", *options) == (
        "random.pt: this is not a file that torch.save wrote, or it is damaged. Copy or save it again."
    )


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["tiny.pt", "tiny.nir", "samples.npz"])
def test_a_truncated_file_is_told(name: str, share: float) -> None:
    nir_file()
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: int(share * len(content))])
    message = fail("export", "tiny.nir" if name == "tiny.nir" else "tiny.pt", "--timesteps", "3", *TO_LAVA)
    assert message.startswith(f"{name}: this is not a ")


@pytest.mark.parametrize("name", ["empty.pt", "empty.nir"])
def test_an_empty_a_missing_file_and_a_directory_are_told(name: str) -> None:
    assert fail("export", name, "--timesteps", "3", *TO_LAVA) == f"{name}: there is no such file."
    Path(name).touch()
    assert fail("export", name, "--timesteps", "3", *TO_LAVA) == f"{name}: the file is empty."
    Path(name).unlink()
    Path(name).mkdir()
    assert "this is a directory, not a model file" in fail("export", name, "--timesteps", "3", *TO_LAVA)


def test_a_file_of_another_kind_is_told_what_a_model_is() -> None:
    message = fail("export", "model.onnx", *TO_LAVA)
    assert all(kind in message for kind in ("model.onnx", ".pt", ".nir", "package.module:factory"))


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0), value=st.integers(0, 255))
def test_no_damage_to_a_checkpoint_or_to_data_is_an_error_inside_snn2hw(made: Path, position: int, value: int) -> None:
    for name in ("tiny.pt", "samples.npz"):
        content = bytearray((made / name).read_bytes())
        content[position % len(content)] = value
        shutil.copy(made / "tiny.pt", "tiny.pt")
        shutil.copy(made / "samples.npz", "samples.npz")
        Path(name).write_bytes(content)
        ended = cli.run("simulate", "tiny.pt", "--data", "samples.npz", "--calibrate", "samples.npz", "--samples", "1")
        assert ended.code in (0, 2), ended
        assert "went wrong inside" not in ended.err, ended.err
        assert bool(ended.err) == (ended.code == 2)


# Code in files


def traps() -> dict[str, Any]:
    return {
        "plain pickle, protocol 2": lambda path: Path(path).write_bytes(pickle.dumps(Trap(), protocol=2)),
        "plain pickle, protocol 5": lambda path: Path(path).write_bytes(pickle.dumps(Trap(), protocol=5)),
        "torch.save": lambda path: torch.save(Trap(), path),
        "torch.save of old": lambda path: torch.save(Trap(), path, _use_new_zipfile_serialization=False),
        "in a checkpoint": lambda path: saved(path, config=Trap()),
    }


@pytest.mark.parametrize("kind", traps())
def test_a_pickle_that_would_run_code_is_refused_and_not_run(kind: str) -> None:
    traps()[kind]("trap.pt")
    for arguments in (("trap.pt", *TO_LAVA), ("snn2hw.models.neurons:leaky", "--weights", "trap.pt", *SAID)):
        message = fail("export", *arguments)
        assert message.startswith("trap.pt: the file holds ")
        assert "would run code when loaded" in message
        assert "save model.state_dict() instead" in message
    assert not Path("trapped").exists()
    if kind.startswith("plain"):
        pickle.loads(Path("trap.pt").read_bytes())
    else:
        torch.load("trap.pt", weights_only=False)
    assert Path("trapped").exists(), "the trap is none: this test would pass whatever happened"


def test_a_refused_pickle_is_named() -> None:
    torch.save(nn.Linear(2, 2), "module.pt")
    assert "the Python object torch.nn.modules.linear.Linear, which would run code" in fail("check", "module.pt")


@pytest.mark.parametrize("how", ["an array of objects", "a pickle"])
def test_data_that_would_run_code_is_refused_and_not_run(how: str) -> None:
    if how == "a pickle":
        Path("data.npz").write_bytes(pickle.dumps({"x": Trap()}))
    else:
        data(x=np.array([Trap()], dtype=object))
    message = fail("simulate", "tiny.lava", "--data", "data.npz")
    assert message.startswith("data.npz: this is not a readable .npz file of plain arrays (it holds Python objects")
    assert not Path("trapped").exists()


# Checkpoints


def test_an_unknown_architecture_is_told_with_the_known_ones() -> None:
    message = fail("export", saved(arch="vgg"), *TO_LAVA)
    assert message.startswith("bad.pt: unknown architecture 'vgg'; known are sew_resnet, spiking_resnet, plain_net.")
    assert "package.module:factory with --weights bad.pt" in message
    assert "unknown architecture ['vgg']" in fail("export", saved(arch=["vgg"]), *TO_LAVA)


def test_weights_without_an_architecture_are_told_where_to_go() -> None:
    torch.save(tiny_model().state_dict(), "bare.pt")
    message = fail("export", "bare.pt", *TO_LAVA)
    assert message.startswith("bare.pt: this file does not say which model it belongs to (a dictionary with ")
    assert "package.module:factory with --weights bare.pt" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "snn2hw.checkpoint/2"}, "reads 'snn2hw.checkpoint/1'"),
        ({"config": None}, "the checkpoint lacks config"),
        ({"config": [1]}, "config of sew_resnet is [1]; it must be a mapping"),
        ({"config": tiny_config(timesteps=0)}, "'timesteps' is 0; it must be a whole number of at least 1"),
        ({"config": tiny_config(input_shape=[1, 6])}, "'input_shape' is [1, 6]; it must be three sizes [C,H,W]"),
        ({"config": tiny_config(classes=10**13)}, "no model can be built with the sizes of its config"),
        ({"state_dict": [1, 2]}, "its state_dict is a list. Save model.state_dict() there"),
    ],
)
def test_a_malformed_checkpoint_is_told(changes: dict[str, Any], words: str) -> None:
    message = fail("export", saved(**changes), *TO_LAVA)
    assert message.startswith("bad.pt: ") and words in message


def test_weights_that_do_not_fit_are_listed_ten_at_most() -> None:
    state = {key: value for key, value in tiny_model().state_dict().items() if not key.startswith("layer")}
    missing = len(tiny_model().state_dict()) - len(state)
    message = fail("export", saved(state_dict=state), *TO_LAVA).splitlines()
    assert message[0] == "bad.pt: the weights do not fit the model:"
    assert message[1] == f"  {FIRST} is missing"
    assert all(line.endswith(" is missing") for line in message[1:11])
    assert message[11:] == [f"  and {missing - 10} more"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"fc__weight": None}, "fc.weight is missing"),
        ({"head__weight": torch.zeros(1)}, "head.weight is not part of the model"),
        ({"fc__weight": torch.zeros(3, 7)}, "fc.weight has shape [3, 7], the model needs [4, 4]"),
        ({"fc__weight": "zero"}, "fc.weight is not a tensor"),
    ],
)
def test_each_weight_that_does_not_fit_is_named(changes: dict[str, Any], line: str) -> None:
    message = fail("export", with_weights(**changes), *TO_LAVA)
    assert message == f"bad.pt: the weights do not fit the model:\n  {line}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named_and_counted(value: float) -> None:
    weight = tiny_model().state_dict()[FIRST].clone()
    weight[0, 0, 1, 1] = weight[2, 1, 0, 0] = value
    message = fail("export", with_weights(**{FIRST: weight}), *TO_LAVA)
    assert message.startswith(f"bad.pt: {FIRST}: 2 of 81 values are NaN or infinite.")
    assert "use an earlier checkpoint" in message


def test_weights_that_folding_makes_nan_are_named() -> None:
    message = fail("export", with_weights(**{"layer1.0.bn1.running_var": torch.tensor([1.0, -1.0, 1.0])}), *TO_LAVA)
    assert message.startswith("bad.pt: layer1.0.conv1: 27 of 81 values of weight are NaN or infinite.")


def test_a_dead_layer_is_named() -> None:
    message = fail("export", with_weights(fc__weight=torch.zeros(4, 4)), *TO_LAVA)
    assert message == "output: all weights that feed it are 0. The layer is dead; remove or retrain it."


# Shapes and time steps


@pytest.mark.parametrize("shape", ["3,6,6", "1,6", "1,8,8"])
def test_an_input_shape_that_the_file_contradicts_is_told(shape: str) -> None:
    sizes = [int(size) for size in shape.split(",")]
    message = fail("export", "tiny.pt", "--input-shape", shape, *TO_LAVA)
    assert message == f"the input shape {sizes} is asked for, but the file says [1, 6, 6]."
    assert f"{sizes} is asked for" in fail("export", nir_file(), "--input-shape", shape, "--timesteps", "3", *TO_LAVA)


@pytest.mark.parametrize("shape", ["1,6,x", "", "0,6,6", "1,-6,6"])
def test_an_input_shape_that_is_none_is_told(shape: str) -> None:
    assert "give whole sizes from 1, as in --input-shape 3,32,32" in fail(
        "export", "tiny.pt", "--input-shape", shape, *TO_LAVA
    )


def test_an_input_shape_that_the_model_does_not_take_is_told() -> None:
    name = module("threechannels", "from torch import nn\nnet = lambda: nn.Sequential(nn.Conv2d(3, 4, 3))\n")
    message = fail("export", f"{name}:net", *SAID)
    assert message.startswith("the model does not accept an input of shape [1, 6, 6]: ")
    assert "--input-shape C,H,W" in message


@pytest.mark.parametrize("steps", ["0", "-1"])
@pytest.mark.parametrize("command", ["export", "check", "inspect", "simulate"])
def test_less_than_one_time_step_is_told(command: str, steps: str) -> None:
    options = {"export": TO_LAVA, "simulate": ("--data", "samples.npz", "-o", "spikes.npz")}.get(command, ())
    message = fail(command, "tiny.pt", "--timesteps", steps, *options)
    assert message == f"{steps} time steps: at least 1 is needed. Use --timesteps T."


@pytest.mark.parametrize("missing", ["--input-shape", "--timesteps", "--calibrate"])
def test_what_a_factory_does_not_say_is_asked_for(missing: str) -> None:
    name = module("smallnet", "from conftest import tiny_model as net\n")
    options = {"--input-shape": "1,6,6", "--timesteps": "3", "--calibrate": "samples.npz", "--target": "lava"}
    given_options = [word for key, value in options.items() if key != missing for word in (key, value)]
    message = fail("export", f"{name}:net", *given_options)
    assert message.startswith(f"{name}:net does not say ") and f"{missing} " in message


# Models that cannot be deployed

TWO_WRONG = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.GELU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.Softmax(1))
"""


def test_every_unsupported_layer_is_named_with_its_path() -> None:
    name = module("twowrong", TWO_WRONG)
    lines = fail("export", f"{name}:Net", *SAID).splitlines()
    assert [line.split(". ")[0] for line in lines] == [
        "stem.2: layers of type GELU are not supported",
        "head.2: layers of type Softmax are not supported",
    ]
    assert "Use a spiking neuron in its place" in lines[0] and "Use BatchNorm2d" in lines[1]


def test_a_forward_with_branches_is_explained() -> None:
    code = (
        "from torch import nn\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return x if x.sum() > 0 else -x\n"
    )
    message = fail("export", f"{module('branching', code)}:Net", *SAID)
    assert message.startswith("Net: its forward decides by the values of the data (")
    assert "branching.py:4)" in message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "importing broken failed (ModuleNotFoundError: No module named 'broken')"),
        ("import nothing_of_that_name", "importing broken failed (ModuleNotFoundError: No module named 'nothing_of_"),
        ("x = = 1", "importing broken failed (SyntaxError"),
        ("1 / 0", "importing broken failed (ZeroDivisionError: division by zero)"),
        ("import sys; sys.exit(0)", "importing broken failed (SystemExit: 0)"),
        ("pass", "broken has no callable 'net'"),
        ("net = 3", "broken has no callable 'net'"),
        ("def net(): raise ValueError('no luck')", "calling net() without arguments failed (ValueError: no luck)"),
        ("def net(depth): pass", "calling net() without arguments failed (TypeError"),
        ("def net(): raise SystemExit(0)", "calling net() without arguments failed (SystemExit: 0)"),
        ("def net(): return {}", "net() returned a dict, not a torch.nn.Module"),
    ],
)
def test_a_factory_that_gives_no_model_is_told(code: str | None, words: str) -> None:
    if code is not None:
        module("broken", code)
    message = fail("export", "broken:net", *SAID)
    assert message.startswith("broken:net: ") and words in message


def test_a_layer_whose_size_is_still_open_is_named() -> None:
    name = module("lazy", "from torch import nn\nnet = lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4))\n")
    assert fail("export", f"{name}:net", *SAID).startswith("1.weight: it has no shape yet. Call the model once")


@pytest.mark.parametrize("model", ["tiny.pt", "net.nir"])
def test_weights_for_a_model_that_has_its_own_are_told(model: str) -> None:
    nir_file()
    assert fail("export", model, "--weights", "tiny.pt", "--timesteps", "3", *TO_LAVA).startswith(
        f"{model} has weights of its own. Leave out --weights"
    )


# NIR files


def test_a_file_that_is_not_hdf5_or_not_nir_is_told() -> None:
    Path("text.nir").write_text("hello\n" * 100)
    assert fail("check", "text.nir").startswith("text.nir: this is not a readable NIR file (OSError: ")
    with h5py.File("other.nir", "w") as file:
        file["weights"] = [1, 2]
    assert fail("check", "other.nir").startswith("other.nir: this is not a readable NIR file (")


def test_every_unsupported_nir_node_is_named() -> None:
    ones = np.ones((3, 6, 6), np.float32)
    nodes = {"neuron1": nir.I(r=ones), "layer1.0.neuron1": nir.LI(tau=ones, r=ones, v_leak=0 * ones)}
    lines = fail("export", nir_file(**nodes), "--timesteps", "3", *TO_LAVA).splitlines()
    assert sorted(line.split(". ")[0] for line in lines) == [
        "layer1.0.neuron1: NIR nodes of type LI are not supported",
        "neuron1: NIR nodes of type I are not supported",
    ]
    assert all("Supported are Input, Conv2d, Affine, " in line for line in lines)


@pytest.mark.parametrize(("node", "parameter"), [(FIRST[:-7], "weight"), ("fc", "bias"), ("neuron1", "v_threshold")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nir_parameters_that_are_not_finite_are_named(node: str, parameter: str, value: float) -> None:
    nir_file()
    graph = nir.read("tiny.nir", type_check=False)
    values = getattr(graph.nodes[node], parameter)
    values.flat[1] = value
    nir.write("net.nir", graph)
    message = fail("export", "net.nir", "--timesteps", "3", *TO_LAVA)
    assert message.startswith(f"net.nir: {node}: 1 of {values.size} values of {parameter} are NaN or infinite.")


def test_nir_shapes_that_do_not_fit_are_named() -> None:
    weights = nir.Affine(weight=np.ones((CLASSES, 9), np.float32), bias=np.ones(CLASSES, np.float32))
    message = fail("export", nir_file(fc=weights), "--timesteps", "3", *TO_LAVA)
    assert message == "net.nir: fc: takes 9 values, but its input has shape [4]."


# Data

X = np.random.default_rng(1).random((SAMPLES, *SHAPE), dtype=np.float32)
NAN, HUGE = X.copy(), X.astype(np.float64)
NAN[3, 0, 2, 5] = np.nan
HUGE[1, 0, 0, 0] = 1e300
PER_STEP = np.stack([X] * TIMESTEPS, axis=1)
LABELS = np.arange(SAMPLES) % CLASSES
BAD_DATA: dict[str, tuple[dict[str, Any], str]] = {
    "another shape": ({"x": X[..., :5]}, "x has shape [5, 1, 6, 5], but the model takes [1, 6, 6] a step"),
    "no channel": ({"x": X[:, 0]}, "x has shape [5, 6, 6], but the model takes [1, 6, 6] a step"),
    "a scalar": ({"x": np.float32(1)}, "x has shape []"),
    "other steps": ({"x": PER_STEP[:, :2]}, "x holds 2 time steps, but 3 are asked for"),
    "no sample": ({"x": X[:0]}, "x is empty ([0, 1, 6, 6])"),
    "text": ({"x": np.array(["a"])}, "x has type <U1; numbers are needed"),
    "complex": ({"x": X.astype(complex)}, "x has type complex128; numbers are needed"),
    "dates": ({"x": np.zeros(X.shape, "datetime64[s]")}, "x has type datetime64[s]; numbers are needed"),
    "objects": ({"x": np.array([{}] * 5, dtype=object)}, "not a readable .npz file of plain arrays (it holds Python"),
    "no x": ({"x": None, "inputs": X}, "the file holds no array `x`. Save the inputs under that name"),
    "NaN": ({"x": NAN}, "x holds 1 values that are NaN, infinite or too large for float32, the first at [3, 0, 2, 5]"),
    "too large": ({"x": HUGE}, "too large for float32, the first at [1, 0, 0, 0]. Repair or leave out"),
    "labels: floats": ({"y": LABELS.astype(float)}, "y has type float64; labels are whole numbers from 0"),
    "labels: too few": ({"y": LABELS[:4]}, "y has shape [4], but x holds 5 samples. Give y as [5]"),
    "labels: one-hot": ({"y": np.eye(CLASSES, dtype=int)[LABELS]}, "y has shape [5, 4], but x holds 5 samples"),
    "labels: negative": ({"y": LABELS - 1}, "label -1 of sample 0 is negative; labels go from 0"),
    "labels: objects": ({"y": np.array([None] * 5)}, "not a readable .npz file of plain arrays (it holds Python"),
}
OUT_OF_RANGE: dict[str, tuple[Any, str]] = {
    "one too high": (
        LABELS + 1,
        "label 4 of sample 3 is out of range; the model has 4 classes, so labels go from 0 to",
    ),
    "beyond int64": (np.full(SAMPLES, 2**64 - 1, np.uint64), "is out of range; the model has 4 classes"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_told_by_every_command_that_reads_it(kind: str) -> None:
    arrays, words = BAD_DATA[kind]
    path = data(**arrays)
    for arguments in (
        ("simulate", "tiny.lava", "--data", path, "-o", "spikes.npz"),
        ("verify", "tiny.lava", "--data", path, "--json", "verify.json"),
        ("export", "tiny.pt", "--target", "lava", "-o", "new.lava", "--calibrate", path),
    ):
        message = fail(*arguments)
        assert message.startswith("data.npz: ") and words in message


@pytest.mark.parametrize("kind", OUT_OF_RANGE)
def test_labels_that_the_model_has_no_class_for_are_told(kind: str) -> None:
    labels, words = OUT_OF_RANGE[kind]
    path = data(y=labels)
    for arguments in (
        ("simulate", "tiny.lava", "--data", path, "-o", "spikes.npz"),
        ("verify", "tiny.lava", "--data", path, "--json", "verify.json"),
    ):
        message = fail(*arguments)
        assert message.startswith("data.npz: label ") and words in message


def test_data_beyond_the_calibrated_range_are_refused_unless_they_may_saturate() -> None:
    x = X.copy()
    x[2, 0, 1, 1], x[3, 0, 0, 0] = 7, -0.5
    beyond, high = data(x=x), float(np.load("samples.npz")["x"].max())
    for command in ("simulate", "verify"):
        message = fail(command, "tiny.lava", "--data", beyond)
        assert message.startswith("data.npz: 2 of 180 values of x, which goes from -0.5 to 7, lie outside the range")
        assert f"0 to {high:.3g}" in message and message.endswith("clip those values as a chip does: --saturate.")
    ended = cli.run("simulate", "tiny.lava", "--data", beyond, "--saturate", "-o", "clipped.npz")
    assert ended.code == 0 and "They saturate.\n" in ended.out
    cli.succeed("simulate", "tiny.lava", "--data", data(x=x.clip(0, high)), "-o", "within.npz")
    assert cli.same_arrays("clipped.npz", "within.npz")


def test_data_that_is_no_npz_is_told() -> None:
    assert fail("simulate", "tiny.lava", "--data", "mnist") == (
        "mnist: there is no such file, and no data set of that name (known: digits, moving-digits, "
        "dvs128-gesture:FOLDER, cifar10-dvs:FOLDER, n-mnist:FOLDER, imagenet:FOLDER). Did you mean n-mnist?"
    )
    for path, content in {"text.npz": b"hello", "empty.npz": b"", "csv.npz": b"1,2,3\n" * 50}.items():
        Path(path).write_bytes(content)
        message = fail("simulate", "tiny.lava", "--data", path)
        assert message.startswith(f"{path}: this is not a readable .npz file") and "np.savez(file, x=" in message
    Path("folder.npz").mkdir()
    assert fail("simulate", "tiny.lava", "--data", "folder.npz").startswith("folder.npz: this is not a readable .npz")
    with Path("single.npy").open("wb") as file:
        np.save(file, X)
    assert fail("simulate", "tiny.lava", "--data", "single.npy") == (
        "single.npy: this is a single array. Save it with np.savez(file, x=..., y=...)."
    )


def test_calibration_data_of_zeros_is_told() -> None:
    message = fail("export", "tiny.pt", "--target", "lava", "-o", "new.lava", "--calibrate", data(x=0 * X))
    assert message.startswith("every calibration input is 0") and "--calibrate" in message


# Bundles


def one_byte_changed(made: Path) -> st.SearchStrategy[tuple[str, int, int]]:
    files = sorted(path for path in (made / "tiny.lava").rglob("*") if path.is_file())
    sizes = {path.relative_to(made).as_posix(): path.stat().st_size for path in files}
    place = st.sampled_from(sorted(sizes)).flatmap(
        lambda name: st.tuples(st.just(name), st.integers(0, sizes[name] - 1))
    )
    return st.tuples(place, st.integers(1, 255)).map(lambda drawn: (*drawn[0], drawn[1]))


def test_a_changed_byte_is_found_wherever_it_is(made: Path) -> None:
    """Every command that reads a bundle uses read_bundle; some of the changes go through the command line too."""
    folder = Path("tiny.lava")
    read_bundle(folder)

    @settings(max_examples=300, deadline=None)
    @given(change=one_byte_changed(made))
    @example(change=("tiny.lava/manifest.json", 1, ord("\n") ^ ord(" ")))  # the same JSON, written otherwise
    @example(change=("tiny.lava/manifest.json", 1, ord("\n") ^ ord("\r")))
    def find(change: tuple[str, int, int]) -> None:
        name, position, flipped = change
        with cli.byte_changed(Path(name), position, Path(name).read_bytes()[position] ^ flipped):
            with pytest.raises(BundleError) as caught:
                read_bundle(folder)
            assert Path(name).name in str(caught.value)
            assert "Export " in str(caught.value)

    find()
    read_bundle(folder)


@pytest.mark.parametrize(
    "command",
    [
        ("simulate", "tiny.lava", "--data", "samples.npz", "-o", "spikes.npz"),
        ("simulate", "tiny.lava", "--data", "samples.npz", "-o", "spikes.npz", "--engine", "lava"),
        ("verify", "tiny.lava", "--data", "samples.npz", "--json", "verify.json"),
        ("inspect", "tiny.lava"),
    ],
)
def test_every_command_refuses_a_changed_bundle(command: tuple[str, ...]) -> None:
    for name in ("manifest.json", "program.npz", "quantised.nir", "lava/run.py", "README.md"):
        path = Path("tiny.lava", name)
        with cli.byte_changed(path, 200, path.read_bytes()[200] ^ 1):
            message = fail(*command)
        assert message.startswith("tiny.lava") and name in message and "Export " in message


def test_every_missing_file_of_a_bundle_is_named() -> None:
    for path in [path for path in Path("tiny.lava").rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.unlink()
        message = fail("inspect", "tiny.lava")
        assert path.relative_to("tiny.lava").as_posix() in message
        assert "snn2hw export" in message if path.name == "manifest.json" else "is missing. Export" in message
        path.write_bytes(content)


def test_code_that_was_added_to_a_bundle_is_found() -> None:
    Path("tiny.lava/spikes.npz").touch()  # what a user leaves beside the files is no code
    cli.succeed("inspect", "tiny.lava")
    Path("tiny.lava/lava/json.py").write_text("raise SystemExit\n")
    message = fail("verify", "tiny.lava", "--data", "samples.npz")
    assert message.startswith("tiny.lava/lava/json.py: this file was added after the export. Remove it")


def test_a_bundle_of_a_later_version_is_told() -> None:
    manifest = json.loads(Path("tiny.lava/manifest.json").read_text())
    bundle_module.write_manifest(Path("tiny.lava"), manifest | {"schema": "snn2hw.bundle/2"})
    assert "schema 'snn2hw.bundle/2'; this version of snn2hw reads 'snn2hw.bundle/1'" in fail("inspect", "tiny.lava")


@pytest.mark.parametrize("name", ["nothing.lava", "folder", "samples.npz"])
def test_what_is_no_bundle_is_told_how_to_get_one(name: str) -> None:
    Path("folder").mkdir()
    message = fail("verify", name, "--data", "samples.npz")
    assert message.startswith(f"{name}: no manifest.json, so this is not a bundle.")
    assert "snn2hw export --target lava" in message
    if name != "samples.npz":
        for command in (("inspect", name), ("simulate", name, "--data", "samples.npz")):
            assert "not" in fail(*command)


def test_a_program_that_leaves_layers_unrecorded_is_told() -> None:
    program = cli.arrays("tiny.lava/program.npz")
    text = json.loads(str(program.pop("program")))
    text["recorded"] = [item for item in text["recorded"] if item["name"] != "layer1.0.add"]
    np.savez("tiny.lava/program.npz", program=np.array(json.dumps(text)), **program)
    bundle_module.write_manifest(Path("tiny.lava"), json.loads(Path("tiny.lava/manifest.json").read_text()))
    message = fail("verify", "tiny.lava", "--data", "samples.npz")
    assert "`recorded` lacks layer1.0.add" in message


# Outputs


def outputs(place: str) -> dict[str, tuple[str, ...]]:
    return {
        "export lava": ("export", "tiny.pt", "--target", "lava", "--calibrate", "samples.npz", "-o", place),
        "export nir": ("export", "tiny.pt", "--target", "nir", "--calibrate", "samples.npz", "-o", place),
        "simulate": ("simulate", "tiny.lava", "--data", "samples.npz", "-o", place),
        "verify": ("verify", "tiny.lava", "--data", "samples.npz", "--json", place),
        "check": ("check", "tiny.pt", "--json", place),
        "train": ("train", "digits", "--connect", "ADD", "-o", place),
    }


@pytest.mark.parametrize("command", outputs(""))
@pytest.mark.parametrize("place", ["no/such/folder/out", "samples.npz/out", "/proc/out"])
def test_a_place_where_nothing_can_be_written_is_told_before_the_work_begins(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"snn2hw.cli.commands.{outputs('')[command][0]}")
    for work in {"load", "read_bundle", "verify_bundle", "simulate_cycles"} & set(vars(module)):
        monkeypatch.delattr(module, work)
    message = fail(*outputs(place)[command])
    assert place in message
    assert "folder" in message


@pytest.mark.parametrize("command", [name for name in outputs("") if not name.startswith("export")])
def test_a_directory_where_a_file_should_be_is_told(command: str) -> None:
    Path("taken").mkdir()
    message = fail(*outputs("taken")[command])
    assert "taken" in message and "file" in message


def test_a_nir_file_does_not_replace_a_directory() -> None:
    Path("taken").mkdir()
    assert fail(*outputs("taken")["export nir"]) == "taken is a directory. Name a file, in it or elsewhere."


@pytest.mark.parametrize("content", [{}, {"keep.txt": "mine"}, {"manifest.json": '{"name": "a web page"}'}])
def test_a_folder_that_is_no_bundle_is_never_replaced(content: dict[str, str]) -> None:
    Path("mine").mkdir()
    for name, text in content.items():
        Path("mine", name).write_text(text)
    assert "mine exists and is not a bundle. Choose another -o, or remove it" in fail(*outputs("mine")["export lava"])
    assert "samples.npz exists and is not a bundle" in fail(*outputs("samples.npz")["export lava"])


@pytest.mark.parametrize("target", ["export lava", "export nir"])
def test_a_place_that_is_taken_is_told_before_the_work(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taken").mkdir()
    monkeypatch.delattr("snn2hw.cli.commands.export.load")
    assert fail(*outputs("taken")[target]).startswith("taken ")


def no_space(*arguments: object, **options: object) -> None:
    raise OSError(28, "No space left on device", "somewhere")


@pytest.mark.parametrize("step", ["shutil.copytree", "nir.write", "json.dumps"])
def test_an_export_that_fails_half_way_leaves_the_older_bundle(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, no_space)
    for place in ("tiny.lava", "new.lava"):
        told = fail(*outputs(place)["export lava"])
        assert told == f"{Path(place).resolve()}: it cannot be written (No space left on device)."


def test_a_result_that_cannot_be_written_leaves_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("spikes.npz").write_bytes(b"older")
    monkeypatch.setattr(np, "savez_compressed", no_space)
    told = fail(*outputs("spikes.npz")["simulate"])
    assert told.startswith("spikes.npz: it cannot be written (No space left on device). It takes up to ")
    monkeypatch.setattr(os, "replace", no_space)
    Path("check.json").write_bytes(b"older")
    ended = cli.run(*outputs("check.json")["check"])
    assert ended.code == 2
    assert sorted(path.name for path in Path().iterdir()) == [
        "check.json", "samples.npz", "spikes.npz", "tiny.lava", "tiny.pt",
    ]  # fmt: skip
    assert Path("check.json").read_bytes() == Path("spikes.npz").read_bytes() == b"older"


# Checkpoints of other makers


def lightning(**more: Any) -> dict[str, Any]:
    """What a LightningModule that holds the net of `mynets` as `net` writes."""
    weights = {f"net.{key}": value for key, value in tiny_model(seed=5).state_dict().items()}
    return {"state_dict": weights | more, "hyper_parameters": {"lr": 0.1}, "epoch": 3, "optimizer_states": []}


FACTORY = ("check", "mynets:net", "--input-shape", "1,6,6")


@pytest.fixture
def factory(tiny: Path) -> None:
    Path("mynets.py").write_text("from conftest import tiny_model\ndef net():\n    return tiny_model(seed=5)\n")


@pytest.mark.parametrize("prefix", ["module.", "net.", "model.", "_orig_mod.", "module.model._orig_mod."])
@pytest.mark.usefixtures("factory")
def test_a_prefix_of_all_names_is_taken_off(prefix: str) -> None:
    torch.save({prefix + key: value for key, value in tiny_model().state_dict().items()}, "weights.pth.tar")
    assert "nothing stops" in cli.succeed(*FACTORY, "--weights", "weights.pth.tar")


@pytest.mark.usefixtures("factory")
def test_the_net_of_a_lightning_module_is_taken_and_the_rest_is_named() -> None:
    torch.save(lightning(**{"loss.weight": torch.ones(4), "accuracy.total": torch.zeros(1)}), "epoch3.ckpt")
    ended = cli.run(*FACTORY, "--weights", "epoch3.ckpt")
    assert ended.code == 0
    assert "the weights of net were taken, and left out loss.weight, accuracy.total" in ended.err


@pytest.mark.usefixtures("factory")
def test_two_nets_in_one_lightning_module_are_not_guessed_between() -> None:
    twin = {f"average.{key}": value for key, value in tiny_model(seed=6).state_dict().items()}
    torch.save(lightning(**twin), "epoch3.ckpt")
    assert "is missing" in fail(*FACTORY, "--weights", "epoch3.ckpt")


@pytest.mark.parametrize("name", ["tiny.pth.tar", "tiny.pt.tar", "tiny.ckpt", "tiny.pth"])
def test_every_ending_of_a_checkpoint_is_known(name: str) -> None:
    Path("tiny.pt").rename(name)
    cli.succeed("export", name, "--target", "lava", "--calibrate", "samples.npz")
    assert Path("tiny.lava/manifest.json").is_file()


# Options

SIMULATE = ("simulate", "tiny.lava", "--data", "samples.npz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("simulate", "tiny.lava", "--data", "samples.npz", "--samples", "0"), "--samples 0: at least 1 is needed"),
        (("verify", "tiny.lava", "--data", "samples.npz", "--samples", "-2"), "--samples -2: at least 1 is needed"),
        ((*SIMULATE, "--engine", "gpu"), "engine 'gpu': choose fast, cycle, "),
        ((*SIMULATE, "--device", "tpu"), "--device tpu: choose cpu or cuda"),
        ((*SIMULATE, "--lava-processes", "1"), "--lava-processes 1: 2 to 300 are possible"),
        ((*SIMULATE, "--lava-processes", "301"), "--lava-processes 301: 2 to 300 are possible"),
        ((*SIMULATE, "--lava-processes", "4", "--processes", "structural"), "structural processes are one for each"),
        ((*SIMULATE, "--models", "lost.py"), "--models lost.py: there is no such file"),
        ((*SIMULATE, "--models", "samples.npz"), "--models: fast cannot use it. Add --engine lava"),
        (
            ("verify", "tiny.lava", "--data", "samples.npz", "--models", "samples.npz", "--stock-only"),
            "--models: stock processes have no regions",
        ),
        ((*SIMULATE, "--jobs", "0"), "--jobs 0: at least 1 is needed"),
        ((*SIMULATE, "--engine", "cycle", "--jobs", "2"), "--engine cycle takes neither --device nor --jobs"),
        ((*SIMULATE, "--device", "cuda", "--jobs", "2"), "--jobs 2: processes share the cores of the CPU"),
        (("inspect", "tiny.pt", "--kernels"), "--kernels: kernels follow from ranges, which calibration sets"),
        (
            ("verify", "tiny.lava", "--data", "samples.npz", "--processes", "netx"),
            "--processes netx: choose fused, structural, stock",
        ),
        (
            ("simulate", "tiny.lava", "--data", "samples.npz", "--engine", "lava", "--deadline", "0"),
            "--deadline 0: give more than 0 seconds",
        ),
        (("verify", "tiny.lava", "--data", "samples.npz", "--deadline", "nan"), "--deadline nan: give more than 0"),
        (("export", "tiny.pt", "--target", "gpu"), "there is no exporter for 'gpu'. Installed are "),
        (("check", "tiny.pt", "--target", "gpu"), "there is no exporter for 'gpu'. Installed are "),
        (("inspect", "tiny.lava", "--chip", "loihi3"), "there is no target 'loihi3'. Known are loihi1, loihi2"),
        (("export", "tiny.pt", *TO_LAVA, "--weight-bits", "1"), "1 weight bits: choose 2 to 8"),
        (("export", "tiny.pt", *TO_LAVA, "--input-bits", "9"), "9 input bits: choose 2 to 8"),
        (("export", "tiny.pt", *TO_LAVA, "--print-after", "fold"), "--print-after fold: choose calibrate, quantise,"),
        (("export", "tiny.pt", "--target", "lava"), "tiny.pt does not say on which data it was trained"),
        (("train", "digits", "--connect", "XOR", "-o", "new.pt"), "connect is 'XOR'; it must be one of ADD, AND, IAND"),
    ],
)
def test_an_option_out_of_range_is_told_with_its_range(arguments: tuple[str, ...], words: str) -> None:
    assert words in fail(*arguments)


@pytest.mark.parametrize("arguments", [("export", "tiny.pt"), ("fly",), ("inspect", "--up"), ("simulate", "tiny.lava")])
def test_a_command_that_is_written_wrong_shows_its_usage(arguments: tuple[str, ...]) -> None:
    ended = cli.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: snn2hw ") and "Traceback" not in ended.err


def test_an_exporter_that_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from snn2hw import exporters

    broken = EntryPoint("flux", "nothing_of_that_name:export", exporters.GROUP)
    monkeypatch.setattr(exporters, "entry_points", lambda **selected: [broken])
    message = fail("export", "tiny.pt", "--target", "flux")
    assert message.startswith("the exporter 'flux' (nothing_of_that_name:export) cannot be loaded")
    other = EntryPoint("flux", "another:export", exporters.GROUP)
    monkeypatch.setattr(exporters, "entry_points", lambda **selected: [broken, other])
    assert "two exporters are named 'flux': another:export and nothing_of_that_name:export" in fail(
        "export", "tiny.pt", "--target", "flux"
    )


# Lava


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
@pytest.mark.parametrize("ready", [True, False])
def test_a_wrong_python_for_lava_is_told_before_the_work_begins(
    python: str, ready: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", python)
    monkeypatch.setenv("SNN2HW_CACHE_DIR", str(Path("cache").absolute()))
    monkeypatch.setattr(environment, "_is_complete", lambda folder: ready)
    message = fail(*outputs("spikes.npz")["simulate"], "--engine", "lava")
    assert f"Lava's environment cannot be made with {python} (SNN2HW_LAVA_PYTHON): " in message
    assert "Python 3.10 or later" in message and "Set SNN2HW_LAVA_PYTHON" in message


def test_the_doctor_names_a_missing_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", "/no/such/python")
    monkeypatch.setenv("SNN2HW_CACHE_DIR", str(Path("cache").absolute()))
    out = cli.succeed("doctor", code=1)
    assert "missing" in out and "/no/such/python" in out and "SNN2HW_LAVA_PYTHON" in out


def test_a_run_in_lava_beyond_its_deadline_is_told() -> None:
    message = fail(*outputs("spikes.npz")["simulate"], "--engine", "lava", "--deadline", "0.1")
    assert "did not end within its deadline of 0.1 s" in message


# The command line itself


def test_debug_shows_the_traceback_and_keeps_the_exit_code() -> None:
    ended = cli.run("--debug", "export", "missing.pt", *TO_LAVA)
    assert ended.code == 2
    assert ended.err.startswith("Traceback (most recent call last):")
    assert "check_readable" in ended.err
    assert ended.err.endswith("error: missing.pt: there is no such file.\n")
    assert "Traceback" not in cli.run("export", "missing.pt", *TO_LAVA).err


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--device cuda: torch finds no CUDA device" in fail(*SIMULATE, "--device", "cuda")


def test_an_error_inside_snn2hw_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snn2hw.cli.commands.inspect.load_target", lambda chip: 1 / 0)
    ended = cli.run("inspect", "tiny.pt")
    assert ended.code == 2
    assert ended.err == (
        "error: something went wrong inside snn2hw (ZeroDivisionError: division by zero). Run it again as "
        "`snn2hw --debug ...` and report the traceback.\n"
    )


def test_an_interrupted_command_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snn2hw.cli.commands.simulate.fast.simulate", interrupt)
    before = cli.contents(Path())
    ended = cli.run(*outputs("spikes.npz")["simulate"])
    assert (ended.code, ended.out, ended.err) == (130, "", "error: interrupted.\n")
    assert cli.contents(Path()) == before


@pytest.mark.parametrize("name", ["old[bold]", "a[b", ":x:", "[/red]"])
def test_names_are_printed_as_they_are(name: str) -> None:
    assert fail("inspect", f"{name}.pt") == f"{name}.pt: there is no such file."
    folder = Path(name.replace("/", "-"))
    folder.mkdir()
    shutil.copy("tiny.pt", folder)
    model, bundle = f"{folder}/tiny.pt", f"{folder}/tiny.lava"
    out = cli.succeed("export", model, "--target", "lava", "-o", bundle, "--calibrate", "samples.npz")
    assert out.startswith(f"Wrote {bundle}: ")
    assert cli.succeed("check", model).startswith(f"{model}: nothing stops")


def test_the_installed_command_says_one_line_and_exits_with_2(tiny: Path) -> None:
    Path("trap.pt").write_bytes(pickle.dumps(Trap(), protocol=5))
    before = cli.contents(tiny)
    ended = cli.run_script("export", "trap.pt", *TO_LAVA)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: trap.pt: the file holds ") and ended.err.count("\n") == 1
    assert cli.contents(tiny) == before
