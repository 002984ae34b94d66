"""Bad input to run.py: a bundle edited by hand, samples that do not fit, a machine or a Lava that does not do.

Each is exit code 2 and one message without a traceback, and nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import Builder, make_bundle

from snn2hw.exporters.lava.environment import clean_variables, ensure_environment
from snn2hw.exporters.lava.run_time import RUNTIME

T = 2
Text = dict[str, Any]


@pytest.fixture(scope="module")
def builder() -> Builder:
    """A layer, a block whose shortcut is delayed, a pool and a read-out."""
    builder = Builder(timesteps=T)
    last = builder.layer("stem", "x", 4)
    builder.readout(builder.or_pool("pool", builder.sew_block("block", last, 4, gate="ADD")))
    return builder


@pytest.fixture
def bundle(builder: Builder, tmp_path: Path) -> Path:
    """A bundle with samples that it can run."""
    make_bundle(builder, tmp_path)
    np.savez(tmp_path / "x.npz", x=builder.samples(2).clip(0, 1))
    return tmp_path


def run(bundle: Path, *options: object, limit: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run run.py in the bundle's folder, under a limit of the shell."""
    command = [ensure_environment(), "lava/run.py", "--input", "x.npz", "--output", "spikes.npz", *options]
    shell = ["sh", "-c", f'{limit or ":"} && exec "$0" "$@"', *map(str, command)]
    variables = {**clean_variables(), **variables}
    return subprocess.run(shell, cwd=bundle, env=variables, capture_output=True, text=True, check=False)


def refused(bundle: Path, *options: object, **keywords: str) -> str:
    """What run.py says to something that it cannot use."""
    before = sorted(bundle.rglob("*"))
    done = run(bundle, *options, **keywords)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.count("error: ") == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert sorted(bundle.rglob("*")) == before
    return done.stderr


def test_what_the_tests_below_spoil_runs(bundle: Path) -> None:
    assert run(bundle).returncode == 0
    assert (bundle / "spikes.npz").is_file()


# The bundle


def test_a_program_that_the_manifest_does_not_describe(builder: Builder, bundle: Path) -> None:
    digest = hashlib.sha256((bundle / "program.npz").read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps({"sha256": {"program.npz": digest}}))
    assert run(bundle).returncode == 0
    (bundle / "spikes.npz").unlink()
    (bundle / "manifest.json").write_text(json.dumps({"sha256": {"program.npz": digest[::-1]}}))
    assert "program.npz was changed after the bundle was written" in refused(bundle)
    (bundle / "manifest.json").write_text("[]")
    assert "states no sha256 of program.npz. Export the bundle again" in refused(bundle)
    (bundle / "manifest.json").write_text("{")
    assert "manifest.json cannot be read" in refused(bundle)


def node(text: Text, name: str) -> Text:
    return next(item for item in text["nodes"] if item["name"] == name)


def delay(text: Text) -> Text:
    return next(edge for edge in node(text, "block")["inputs"] if edge["delay"])


EDITS: dict[str, tuple[Callable[[Text], object], str]] = {
    "another schema": (lambda text: text.update(schema="snn2hw.program/2"), "schema 'snn2hw.program/2'"),
    "no stride": (lambda text: node(text, "block.conv1").pop("stride"), "node block.conv1 (conv) has no 'stride'"),
    "a negative delay": (lambda text: delay(text).update(delay=-1), "node block (merge): delay is -1, legal is 0 to"),
    "half a delay": (lambda text: delay(text).update(delay=0.5), "node block (merge): delay is 0.5, expected an int"),
    "a reset offset of T": (
        lambda text: node(text, "block.sn1").update(reset_offset=T),
        f"node block.sn1 (neuron): reset_offset is {T}, legal is 0 to {T - 1}",
    ),
    "a negative reset offset": (
        lambda text: node(text, "logits").update(reset_offset=-1),
        f"node logits (readout): reset_offset is -1, legal is 0 to {T - 1}",
    ),
    "no steps": (lambda text: text.update(timesteps=0), "the program: timesteps is 0, legal is 1 to any"),
    "an unknown source": (lambda text: node(text, "block.conv1")["inputs"][0].update(source="ghost"), "reads 'ghost'"),
    "another shape": (
        lambda text: node(text, "block.conv1").update(shape=[6, 8, 8]),
        "node block.conv1 says shape (6, 8, 8), its parameters give (4, 8, 8)",
    ),
    "an unknown kind": (lambda text: node(text, "block").update(kind="maxpool"), "kind 'maxpool'"),
    "a node in no region": (lambda text: text["regions"][1]["nodes"].pop(), "node block is in no region"),
    "a region with two entries": (
        lambda text: text["regions"][1]["nodes"].remove("block.sn1"),
        "region block reads 2 nodes outside it",
    ),
    "a recorded synapse": (lambda text: text["recorded"][0].update(name="fc"), "recorded names 'fc'"),
    "an unknown recorded type": (
        lambda text: text["recorded"][0].update(dtype="float16"),
        "dtype is 'float16', expected one of uint8, int32",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_program_edited_by_hand(edit: str, builder: Builder, bundle: Path) -> None:
    change, message = EDITS[edit]
    text = json.loads(json.dumps(builder.text()))
    change(text)
    np.savez(bundle / "program.npz", program=np.array(json.dumps(text)), **builder.arrays)
    assert message in refused(bundle)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("block.conv1:weight", lambda array: array.astype(float), "'block.conv1:weight' is of type float64"),
        ("block.conv1:weight", None, "'block.conv1:weight' is missing"),
        ("block.conv1:weight", lambda array: array[:, 1:], "weight (4, 3, 3, 3) with 1 groups does not fit the input"),
        ("stem:threshold", lambda array: array + (1 << 17), "threshold spans"),
        ("stem:threshold", lambda array: np.full(3, 9), "threshold (3,) does not broadcast to (4, 8, 8)"),
        ("stem:bias_exponent", lambda array: array + 8, "bias_exponent spans 8 to 8, legal is 0 to 7"),
    ],
)
def test_arrays_edited_by_hand(
    name: str, change: Callable[[np.ndarray], np.ndarray] | None, message: str, builder: Builder, bundle: Path
) -> None:
    arrays = dict(builder.arrays)
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = change(array)
    np.savez(bundle / "program.npz", program=np.array(json.dumps(builder.text())), **arrays)
    assert message in refused(bundle)


# The samples

EXPECTED = "expected x of shape [N, 3, 8, 8] or [N, 2, 3, 8, 8]"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": np.zeros((2, 3, 8, 8))}, f"no array 'x' but ['data']; {EXPECTED}"),
        ({"x": np.zeros((2, 8, 8, 3))}, f"x has shape [2, 8, 8, 3]; {EXPECTED}"),
        ({"x": np.zeros((2, 5, 3, 8, 8))}, f"x has shape [2, 5, 3, 8, 8]; {EXPECTED}"),
        ({"x": np.zeros((0, 3, 8, 8))}, "holds no sample"),
        ({"x": np.full((2, 3, 8, 8), np.nan)}, "values that are no finite numbers"),
        ({"x": np.zeros((2, 3, 8, 8), complex)}, "of type complex128"),
        (
            {"x": np.arange(-192, 192).reshape(2, 3, 8, 8) / 100},
            "259 of 384 values of x, which goes from -1.92 to 1.91, lie outside the range seen in calibration, 0 to 1",
        ),
    ],
)
def test_samples_that_do_not_fit(arrays: dict[str, np.ndarray], message: str, bundle: Path) -> None:
    np.savez(bundle / "x.npz", **arrays)
    assert message in refused(bundle)


def test_values_outside_the_range_are_clipped_on_demand(builder: Builder, bundle: Path) -> None:
    x = builder.samples(1)
    assert x.max() > 1
    np.savez(bundle / "x.npz", x=x)
    assert "--saturate" in refused(bundle)
    assert run(bundle, "--saturate").returncode == 0
    with np.load(bundle / "spikes.npz") as spikes:
        assert np.array_equal(spikes["block"], builder.expected(x)["block"])


def test_more_samples_than_there_are_and_no_archive(bundle: Path) -> None:
    assert "3 samples are asked for, but x.npz holds 2" in refused(bundle, "--samples", 3)
    (bundle / "x.npz").write_bytes(b"no archive")
    assert "x.npz cannot be read as .npz" in refused(bundle)


# The machine


def test_too_few_descriptors_are_told_before_lava_hangs(bundle: Path) -> None:
    message = refused(bundle, "--processes", "structural", limit="ulimit -n 120")
    assert "Lava processes need about " in message
    assert " open files, the hard limit is 120. Raise it (ulimit -Hn " in message


def test_fewer_processes_than_the_regions_can_share(bundle: Path) -> None:
    for wrong in ("1", "301"):
        done = run(bundle, "--lava-processes", wrong)
        assert done.returncode == 2
        assert done.stderr.endswith(f"argument --lava-processes: {wrong} is not between 2 and 300\n")


@pytest.mark.parametrize("version", ["0.9.0", "0.10.1"])
def test_another_version_of_lava(version: str, bundle: Path) -> None:
    (bundle / "sitecustomize.py").write_text(f"import importlib.metadata as m\nm.version = lambda name: {version!r}\n")
    message = refused(bundle, PYTHONPATH=str(bundle))
    assert message.startswith("error: this needs lava-nc 0.10.0, ")
    assert f" has {version}: " in message


def test_a_python_that_is_too_old() -> None:
    code = "import run, sys; sys.version_info = (3, 9, 7); sys.exit(run.main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=RUNTIME, capture_output=True, text=True, check=False)
    version = sys.version.split()[0]
    assert (done.returncode, done.stderr) == (2, f"error: this needs Python 3.10 or later, this is {version}\n")
