"""What users and scripts rely on: a bundle's files, spikes.npz, the JSON of verify and check, exit codes, quiet."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cli
import nir
import numpy as np
import pytest
import torch
from cli import arrays, fail, same_arrays, succeed
from conftest import CLASSES, SAMPLES, SHAPE, TIMESTEPS, tiny_config, tiny_model

from snn2hw import ir
from snn2hw.cli import console
from snn2hw.errors import DoesNotFit
from snn2hw.exporters.bundle import read_bundle
from snn2hw.exporters.lava.environment import clean_variables, ensure_environment
from snn2hw.models.checkpoint import save_checkpoint
from snn2hw.shown.progress import Bars

BUNDLE = Path("tiny.lava")
CALIBRATED = ("--calibrate", "samples.npz")
SIMULATE = ("simulate", "tiny.lava", "--data", "samples.npz")
VERIFY = ("verify", "tiny.lava", "--data", "samples.npz", "--json", "verify.json")
LAYERS = {
    "neuron1": (3, 6, 6),
    "layer1.0.neuron1": (3, 6, 6),
    "layer1.0.neuron2": (3, 6, 6),
    "layer1.0.add": (3, 6, 6),
    "layer2.0.neuron1": (4, 3, 3),
    "layer2.0.downsample.2": (4, 3, 3),
    "layer2.0.neuron2": (4, 3, 3),
    "layer2.0.add": (4, 3, 3),
}
"""Every layer of the tiny net that emits spikes."""

pytestmark = pytest.mark.usefixtures("tiny")


def manifest(bundle: Path = BUNDLE) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return content


def verified(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Run verify, which must end with `code`, and return its JSON."""
    succeed(*(arguments or VERIFY), code=code)
    return read_json("verify.json")


def described(bundle: Path = BUNDLE) -> dict[str, Any]:
    """The JSON inside program.npz."""
    content: dict[str, Any] = json.loads(str(arrays(bundle / "program.npz")["program"]))
    return content


def export(model: str, *options: str, output: str = "new.lava") -> Path:
    succeed("export", model, "--target", "lava", "-o", output, *CALIBRATED, *options)
    return Path(output)


def a_factory() -> str:
    Path("mynets.py").write_text("from conftest import tiny_model\ndef net():\n    return tiny_model(seed=5)\n")
    return "mynets:net"


# The bundle


def test_a_bundle_holds_these_files_and_the_sha256_of_each() -> None:
    files = {path for path, content in cli.contents(BUNDLE).items() if content is not None}
    assert {path for path in files if "/" not in path} == {
        "manifest.json", "program.npz", "network.nir", "quantised.nir", "README.md",
    }  # fmt: skip
    assert "lava/run.py" in files
    assert manifest()["sha256"] == {
        path: hashlib.sha256((BUNDLE / path).read_bytes()).hexdigest() for path in files - {"manifest.json"}
    }


def test_the_manifest_says_what_the_bundle_is_and_where_it_came_from() -> None:
    content = manifest()
    assert set(content) == {
        "schema", "versions", "source", "calibration", "timesteps", "depth", "input", "logits_scale", "layers", "joins",
        "heads", "conventions", "network_vs_torch", "backends", "weight_bits", "sha256", "manifest_sha256",
    }  # fmt: skip
    assert content["schema"] == "snn2hw.bundle/1"
    assert content["versions"] | {"snn2hw": "", "python": "", "torch": "", "nir": "", "numpy": ""} == dict.fromkeys(
        ("snn2hw", "python", "torch", "nir", "numpy"), ""
    )
    assert content["source"] == {
        "model": "tiny.pt",
        "file": "../tiny.pt",
        "sha256": hashlib.sha256(Path("tiny.pt").read_bytes()).hexdigest(),
        "options": {"input_shape": list(SHAPE), "timesteps": TIMESTEPS},
    }
    assert content["calibration"] == {"data": "samples.npz", "samples": SAMPLES}
    neurons = sum(int(np.prod(shape)) for name, shape in LAYERS.items() if not name.endswith(".add"))
    assert content["network_vs_torch"] == {
        "samples": 2,
        "compared": 2 * 2 * TIMESTEPS * (neurons + CLASSES),  # twice in a row
        "ties": 0,
        "note": "",
    }
    assert (content["timesteps"], content["depth"]) == (TIMESTEPS, 7)
    entry = content["input"]
    assert set(entry) == {"shape", "scale", "dtype", "low", "high"}
    assert (entry["shape"], entry["dtype"], entry["low"], entry["high"]) == (list(SHAPE), "int8", 0, 127)
    assert entry["scale"] == pytest.approx(arrays("samples.npz")["x"].max() / 127)


def test_the_manifest_lists_every_layer_with_its_timing_and_ranges() -> None:
    nodes = {node["name"]: node for node in described()["nodes"]}
    latency: dict[str, int] = {}
    for name, node in nodes.items():
        arrival = max((latency[source["source"]] for source in node["inputs"]), default=0)
        latency[name] = arrival + (node["kind"] in ("conv", "linear", "scale", "sum_pool"))
    layers = manifest()["layers"]
    assert [layer["name"] for layer in layers] == [name for name in nodes if name != "input"]
    for layer in layers:
        name, kind = layer["name"], layer["kind"]
        stateful = kind in ("neuron", "readout")
        assert set(layer) == {
            "name", "kind", "shape", "latency", "reset_offset", "payload_max", "accumulator_bound", "bound",
        }  # fmt: skip
        assert (kind, layer["shape"]) == (nodes[name]["kind"], nodes[name]["shape"])
        assert layer["latency"] == latency[name]
        assert layer["reset_offset"] == ((latency[name] + 1) % TIMESTEPS if stateful else None)
        assert layer["bound"] in ("proved", "calibrated")
        assert layer["payload_max"] == {"neuron": 1, "merge": 2}.get(kind, layer["payload_max"])
    weights = arrays(BUNDLE / "program.npz")
    bounds = {layer["name"]: layer["accumulator_bound"] for layer in layers}
    assert bounds["conv1"] == 127 * np.abs(weights["conv1:weight"]).sum(axis=(1, 2, 3)).max()
    assert bounds["layer2.0.conv1"] == 2 * np.abs(weights["layer2.0.conv1:weight"]).sum(axis=(1, 2, 3)).max()


@pytest.mark.parametrize(
    ("arch", "connect", "joins"),
    [
        ("sew_resnet", "ADD", [("layer1.0.add", "ADD", 2), ("layer2.0.add", "ADD", 1)]),
        ("sew_resnet", "AND", [("layer1.0.and", "AND", 2), ("layer2.0.and", "AND", 1)]),
        ("sew_resnet", "IAND", [("layer1.0.iand", "IAND", 3), ("layer2.0.iand", "IAND", 2)]),
        ("spiking_resnet", None, [("layer1.0.neuron2", "ADD", 1), ("layer2.0.neuron2", "ADD", 1)]),
    ],
)
def test_the_manifest_names_each_join_with_its_gate_and_delay(
    arch: str, connect: str | None, joins: list[tuple[str, str, int]]
) -> None:
    save_checkpoint("net.pt", tiny_model(arch, connect=connect), arch, tiny_config(connect=connect))
    written = manifest(export("net.pt"))["joins"]
    assert written == [{"name": name, "gate": gate, "delay": delay} for name, gate, delay in joins]


def test_the_manifest_names_the_pool_of_binary_spikes_as_or() -> None:
    stage = {"channels": 3, "blocks": 1, "stride": 1, "transition": False, "max_pool": True}
    config = tiny_config(connect="AND", stages=[stage])
    save_checkpoint("net.pt", tiny_model(connect="AND", stages=[stage]), "sew_resnet", config)
    joins = manifest(export("net.pt"))["joins"]
    assert [(join["gate"], join["delay"]) for join in joins] == [("AND", 2), ("OR", 0)]


def test_a_bundle_runs_without_snn2hw_and_stays_as_it_was() -> None:
    before = cli.contents(BUNDLE)
    command = [ensure_environment(), "lava/run.py", "--input", "../samples.npz", "--output", "../spikes.npz"]
    done = subprocess.run(command, cwd=BUNDLE, env=clean_variables(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert cli.contents(BUNDLE) == before
    succeed(*SIMULATE, "-o", "ours.npz")
    assert same_arrays("ours.npz", "spikes.npz")


def test_an_export_replaces_the_older_bundle_and_all_that_was_in_it() -> None:
    (BUNDLE / "notes.txt").touch()
    export("tiny.pt", "--timesteps", "2", output="tiny.lava")
    export("tiny.pt", "--timesteps", "2", output="fresh.lava")
    assert manifest()["timesteps"] == 2
    assert cli.contents(BUNDLE).keys() == cli.contents(Path("fresh.lava")).keys()
    assert sorted(path.name for path in Path().iterdir()) == ["fresh.lava", "samples.npz", "tiny.lava", "tiny.pt"]
    assert same_arrays("tiny.lava/program.npz", "fresh.lava/program.npz")


def test_a_damaged_bundle_can_be_exported_again_as_its_message_says() -> None:
    with cli.byte_changed(BUNDLE / "manifest.json", 0, 0):
        fail("inspect", BUNDLE)
        export("tiny.pt", output="tiny.lava")
        read_bundle(BUNDLE)


def test_a_link_to_a_bundle_stays_and_what_it_leads_to_is_replaced() -> None:
    Path("link").symlink_to("tiny.lava")
    export("tiny.pt", "--timesteps", "2", output="link")
    assert Path("link").is_symlink()
    assert read_bundle(BUNDLE).manifest["timesteps"] == 2


# spikes.npz


def test_every_engine_writes_the_same_spikes_npz() -> None:
    for engine in ("fast", "cycle", "lava"):
        out = succeed(*SIMULATE, "--engine", engine, "-o", f"{engine}.npz")
        assert out.startswith(f"Wrote {engine}.npz: logits and the spikes of {len(LAYERS)} layers.\n{engine}: ")
    cycle, lava, fast = arrays("cycle.npz"), arrays("lava.npz"), arrays("fast.npz")
    assert set(cycle) == {*LAYERS, "logits"}
    assert (cycle["logits"].shape, cycle["logits"].dtype) == ((SAMPLES, CLASSES), np.int64)
    for name, shape in LAYERS.items():
        assert (cycle[name].shape, cycle[name].dtype) == ((SAMPLES, TIMESTEPS, *shape), np.uint8), name
    assert cycle.keys() == lava.keys() == fast.keys()
    for name, values in cycle.items():
        for other in (lava, fast):
            assert (values.shape, values.dtype) == (other[name].shape, other[name].dtype), name
            assert np.array_equal(values, other[name]), name
        assert values.any(), f"{name} emits nothing: this test would not see it in the wrong place"


def test_processes_that_share_the_samples_write_the_same() -> None:
    succeed(*SIMULATE, "-o", "one.npz")
    out = succeed(*SIMULATE, "--jobs", "2", "-o", "two.npz")
    assert "of 5 samples right" in out and same_arrays("one.npz", "two.npz")


@pytest.mark.parametrize("step", range(TIMESTEPS))
def test_index_t_is_the_response_to_input_step_t(step: int) -> None:
    """A change of input step t of every other sample is seen in each layer from index t on, and nowhere else."""
    count = 24
    x = np.random.default_rng(3).random((count, TIMESTEPS, *SHAPE), dtype=np.float32)
    np.savez("one.npz", x=x)
    x[::2, step] = 0
    np.savez("other.npz", x=x)
    for name in ("one", "other"):
        succeed("simulate", BUNDLE, "--data", f"{name}.npz", "-o", f"spikes-{name}.npz")
    one, other = arrays("spikes-one.npz"), arrays("spikes-other.npz")
    for name in LAYERS:
        different = (one[name] != other[name]).reshape(count, TIMESTEPS, -1).any(axis=2)
        assert not different[1::2].any(), f"{name} answers one sample in another"
        assert not different[::2, :step].any(), f"{name} answers before the step"
        assert different[::2, step].any(), f"{name} answers after the step"
    assert not (one["logits"] != other["logits"])[1::2].any()
    assert (one["logits"] != other["logits"])[::2].any()


def test_static_and_repeated_samples_are_the_same() -> None:
    np.savez("steps.npz", x=np.stack([arrays("samples.npz")["x"]] * TIMESTEPS, axis=1))
    for engine in ("fast", "cycle", "lava"):
        succeed(*SIMULATE, "--engine", engine, "-o", "static.npz")
        succeed("simulate", BUNDLE, "--data", "steps.npz", "--engine", engine, "-o", "repeated.npz")
        assert same_arrays("static.npz", "repeated.npz")


def test_the_first_samples_can_be_taken_alone() -> None:
    succeed(*SIMULATE, "-o", "all.npz")
    assert "of 2 samples right" in succeed(*SIMULATE, "-o", "two.npz", "--samples", "2")
    assert all(np.array_equal(values[:2], arrays("two.npz")[name]) for name, values in arrays("all.npz").items())


def test_a_model_is_simulated_like_its_bundle() -> None:
    succeed(*SIMULATE, "-o", "bundle.npz")
    succeed("simulate", "tiny.pt", "--data", "samples.npz", *CALIBRATED, "-o", "model.npz")
    assert same_arrays("bundle.npz", "model.npz")


# verify


def test_the_json_of_verify() -> None:
    result = verified(*VERIFY, "--samples", "4")
    assert set(result) == {
        "schema", "verdict", "statement", "witnesses", "without", "samples", "timesteps", "comparisons", "skipped",
        "accuracy", "head", "spikes", "conventions", "program_sha256", "data_sha256",
    }  # fmt: skip
    assert (result["schema"], result["verdict"]) == ("snn2hw.verify/1", "exact")
    assert (result["samples"], result["timesteps"], result["skipped"]) == (4, TIMESTEPS, {})
    assert (result["witnesses"], result["without"]) == (["PyTorch", "program", "lava"], [])
    assert [(comparison["name"], comparison["exact_required"]) for comparison in result["comparisons"]] == [
        ("network-vs-torch", True),
        ("integers-vs-network", True),
        ("lava-vs-program", True),
        ("program-vs-requantised-torch", True),
        ("program-vs-float-torch", False),
    ]
    sizes = {name: 4 * TIMESTEPS * int(np.prod(shape)) for name, shape in LAYERS.items()}
    twice = {name: 2 * size for name, size in sizes.items() if not name.endswith(".add")}
    nodes = {node["name"] for node in described()["nodes"]}
    wanted: dict[str, Any] = {
        "network-vs-torch": twice | {"logits": 2 * 4 * TIMESTEPS * CLASSES},
        "integers-vs-network": dict.fromkeys(nodes),
        "lava-vs-program": sizes | {"logits": 4 * CLASSES},
        "program-vs-requantised-torch": sizes | {"logits": 4 * CLASSES},
        "program-vs-float-torch": sizes,
    }
    for comparison in result["comparisons"]:
        assert set(comparison) == {"name", "exact_required", "compared", "mismatches", "ties", "note", "layers"}
        assert (comparison["ties"], comparison["note"]) == (0, "")
        layers = {layer["name"]: layer for layer in comparison["layers"]}
        assert layers.keys() == wanted[comparison["name"]].keys()
        for name, layer in layers.items():
            assert set(layer) == {"name", "compared", "mismatches", "first"}
            if comparison["name"] != "integers-vs-network":
                assert layer["compared"] == wanted[comparison["name"]][name]
            assert (layer["first"] is None) == (layer["mismatches"] == 0)
            if layer["first"] is not None:
                assert set(layer["first"]) == {"sample", "step", "cycle", "index", "expected", "actual", "detail"}
        for key in ("compared", "mismatches"):
            assert comparison[key] == sum(layer[key] for layer in layers.values())
        if comparison["exact_required"]:
            assert comparison["mismatches"] == 0
    assert result["accuracy"].keys() == {"float", "requantised", "program", "lava", "n"}
    assert result["accuracy"]["n"] == 4
    succeed(*SIMULATE, "-o", "spikes.npz", "--samples", "4")
    spikes = arrays("spikes.npz")
    assert result["spikes"] == {name: int(spikes[name].sum()) for name in LAYERS}
    right = float((spikes["logits"].argmax(axis=1) == arrays("samples.npz")["y"][:4]).mean())
    assert result["accuracy"]["program"] == result["accuracy"]["lava"] == result["accuracy"]["requantised"] == right


def test_what_verify_prints_names_the_verdict_the_conventions_and_the_comparisons() -> None:
    out = succeed(*VERIFY)
    assert "Verdict: exact for these 5 samples." in out
    assert "6 layers of snnTorch, firing at v > threshold, reset to 0, starting at 0" in out
    for words in ("lava-vs-program", "program-vs-requantised-torch", "program-vs-float-torch", "Accuracy on 5 samples"):
        assert words in out


def test_a_verdict_without_a_back_end_names_it_in_the_line_the_json_and_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", "/no/such/python")  # it is not even looked for
    out = succeed(*VERIFY, "--without", "lava")
    line = "integer-exact: PyTorch, program (without lava)"
    assert f"Verdict: exact for these 5 samples. I{line[1:]}." in out
    result = json.loads(Path("verify.json").read_text())
    assert (result["verdict"], result["statement"], result["skipped"]) == ("exact", line, {})
    assert (result["witnesses"], result["without"]) == (["PyTorch", "program"], ["lava"])
    assert "lava-vs-program" not in [comparison["name"] for comparison in result["comparisons"]]
    report = ("report", "tiny.lava", "--data", "samples.npz", "--verify", "verify.json", "-o", "out")
    assert f"Verified: exact for 5 samples. {line}" in succeed(*report)
    assert line in Path("out/report.html").read_text()
    assert "--without onnx: no such back end runs what was exported. Runnable are: lava." in fail(
        *VERIFY, "--without", "onnx"
    )


def test_where_a_back_end_cannot_be_had_the_verdict_is_incomplete_and_says_whom_the_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", "/no/such/python")
    monkeypatch.setenv("SNN2HW_CACHE_DIR", str(Path("cache").absolute()))
    out = succeed(*VERIFY, code=3)
    assert "Verdict: incomplete for these 5 samples. Integer-exact: PyTorch, program (without lava)." in out
    skipped = json.loads(Path("verify.json").read_text())["skipped"]
    assert "/no/such/python" in skipped["lava-vs-program"] and "--without lava" in skipped["lava-vs-program"]


def test_samples_without_labels_are_verified_without_accuracy() -> None:
    np.savez("unlabelled.npz", x=arrays("samples.npz")["x"])
    result = verified("verify", BUNDLE, "--data", "unlabelled.npz", "--json", "verify.json")
    assert (result["verdict"], result["accuracy"]) == ("exact", None)
    out = succeed("simulate", BUNDLE, "--data", "unlabelled.npz")
    assert "right" not in out
    assert "The samples have no labels: no accuracy." in succeed("verify", BUNDLE, "--data", "unlabelled.npz")


# A model that is no longer what it was

OF_THE_MODEL = {"network-vs-torch", "program-vs-requantised-torch", "program-vs-float-torch"}


def skipped(*arguments: object) -> str:
    """Verify a bundle whose model cannot be had; return the reason it gives."""
    result = verified(*arguments, code=3)
    assert result["verdict"] == "incomplete"
    assert [comparison["name"] for comparison in result["comparisons"]] == ["integers-vs-network", "lava-vs-program"]
    assert all(comparison["mismatches"] == 0 for comparison in result["comparisons"])
    assert result["accuracy"].keys() == {"program", "lava", "n"}
    assert result["skipped"].keys() == OF_THE_MODEL
    reason: str
    (reason,) = set(result["skipped"].values())
    return reason


def test_without_its_model_a_bundle_is_not_exact_until_the_model_is_named() -> None:
    Path("tiny.pt").rename("moved.pt")
    assert skipped() == "the model ../tiny.pt is no longer there; name it with --model"
    assert verified(*VERIFY, "--model", "moved.pt")["verdict"] == "exact"


def test_a_bundle_and_its_model_can_move_together() -> None:
    Path("elsewhere").mkdir()
    for name in ("tiny.pt", "tiny.lava"):
        shutil.move(name, "elsewhere")
    result = verified("verify", "elsewhere/tiny.lava", "--data", "samples.npz", "--json", "verify.json")
    assert (result["verdict"], result["skipped"]) == ("exact", {})


def test_a_model_that_was_changed_is_not_what_the_bundle_was_made_from() -> None:
    Path("tiny.pt").rename("old.pt")
    save_checkpoint("tiny.pt", tiny_model(seed=2), "sew_resnet", tiny_config())
    assert skipped() == "the model ../tiny.pt was changed after the export; name the old one with --model"
    assert fail(*VERIFY, "--model", "tiny.pt") == (
        "tiny.pt: its weights are not those that the bundle was made from. Name that model, or export this one."
    )
    assert "there is no such file" in fail(*VERIFY, "--model", "nothing.pt")
    assert verified(*VERIFY, "--model", "old.pt")["verdict"] == "exact"


@pytest.mark.parametrize("options", [(), ("--quantised",)], ids=["float", "quantised"])
def test_a_bundle_from_nir_is_exact_with_the_files_own_executor_as_its_model(options: tuple[str, ...]) -> None:
    succeed("export", "tiny.pt", "--target", "nir", *CALIBRATED, *options)
    bundle = export("tiny.nir", "--timesteps", str(TIMESTEPS))
    assert manifest(bundle)["source"]["file"] == "../tiny.nir"
    result = verified("verify", bundle, "--data", "samples.npz", "--json", "verify.json")
    assert (result["verdict"], result["skipped"]) == ("exact", {})
    assert all(comparison["compared"] for comparison in result["comparisons"])
    Path("tiny.nir").unlink()
    reason = skipped("verify", bundle, "--data", "samples.npz", "--json", "verify.json")
    assert reason == "the model ../tiny.nir is no longer there; name it with --model"


def test_a_factory_that_gives_other_weights_each_time_needs_a_weights_file() -> None:
    Path("randomnets.py").write_text(
        "import itertools\nfrom conftest import tiny_model\nseeds = itertools.count()\n"
        "def net():\n    return tiny_model(seed=next(seeds))\n"
    )
    bundle = export("randomnets:net", "--input-shape", "1,6,6", "--timesteps", "2")
    reason = skipped("verify", bundle, "--data", "samples.npz", "--json", "verify.json")
    assert reason == "the model now has other weights than at the export; name a weights file when exporting"


def test_a_factory_that_is_gone_is_told() -> None:
    bundle = export(a_factory(), "--input-shape", "1,6,6", "--timesteps", "2")
    Path("mynets.py").unlink()
    del sys.modules["mynets"]
    reason = skipped("verify", bundle, "--data", "samples.npz", "--json", "verify.json")
    assert reason.startswith("the model cannot be loaded: mynets:net: importing mynets failed")


# Models


@pytest.mark.parametrize("key", [None, "state_dict", "model", "net"])
def test_a_factory_with_weights_is_exported_verified_and_found_again(key: str | None) -> None:
    state = tiny_model(seed=7).state_dict()
    torch.save(state if key is None else {key: state}, "weights.pt")
    model = a_factory()
    bundle = export(model, "--weights", "weights.pt", "--input-shape", "1,6,6", "--timesteps", "2")
    source = manifest(bundle)["source"]
    assert (source["model"], source["file"]) == ("mynets:net", "../weights.pt")
    assert source["options"] == {"weights": "weights.pt", "input_shape": [1, 6, 6], "timesteps": 2}
    again = ("verify", bundle, "--data", "samples.npz", "--json", "verify.json")
    assert verified(*again)["verdict"] == "exact"
    if key is None:
        Path("weights.pt").rename("moved.pt")
        assert skipped(*again) == "the weights file ../weights.pt is no longer there; name it with --weights"
        assert verified(*again, "--weights", "moved.pt")["verdict"] == "exact"
        torch.save(tiny_model(seed=8).state_dict(), "weights.pt")
        assert "was changed after the export; name the old one with --weights" in skipped(*again)
        assert fail(*again, "--weights", "weights.pt").startswith("weights.pt: its weights are not those")


def test_the_weights_of_a_factory_and_of_a_checkpoint_give_the_same_spikes() -> None:
    torch.save(tiny_model().state_dict(), "weights.pt")
    export(a_factory(), "--weights", "weights.pt", "--input-shape", "1,6,6", "--timesteps", str(TIMESTEPS))
    succeed(*SIMULATE, "-o", "checkpoint.npz")
    succeed("simulate", "new.lava", "--data", "samples.npz", "-o", "factory.npz")
    assert same_arrays("checkpoint.npz", "factory.npz")


def test_a_nir_file_gives_the_same_spikes_as_the_model_it_came_from() -> None:
    out = succeed("export", "tiny.pt", "--target", "nir", *CALIBRATED)
    assert out.startswith("Wrote tiny.nir: ")
    export("tiny.nir", "--timesteps", str(TIMESTEPS))
    succeed(*SIMULATE, "-o", "checkpoint.npz")
    succeed("simulate", "new.lava", "--data", "samples.npz", "-o", "nir.npz")
    assert same_arrays("checkpoint.npz", "nir.npz")


# check, inspect, doctor


def test_the_json_of_check() -> None:
    assert "nothing stops a deployment to lava" in succeed("check", "tiny.pt", "--json", "check.json")
    document = read_json("check.json")
    conventions = document.pop("conventions")
    assert document == {
        "schema": "snn2hw.check/1", "model": "tiny.pt", "target": "lava", "deployable": True, "blockers": [],
    }  # fmt: skip
    assert conventions["layer1.0.neuron2"] == {
        "framework": "snnTorch", "fires": "v > threshold", "reset": "to 0", "start": "0",
    }  # fmt: skip


def test_check_lists_every_layer_that_has_no_integer_form_with_advice() -> None:
    succeed("export", "tiny.pt", "--target", "nir", "-o", "tiny.nir", *CALIBRATED)
    graph = nir.read("tiny.nir", type_check=False)
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.IF)][:2]
    for name in names:
        graph.nodes[name].v_threshold = 1e-12 * graph.nodes[name].v_threshold
    nir.write("tiny.nir", graph)
    out = succeed("check", "tiny.nir", "--timesteps", "3", "--json", "check.json", code=1)
    blockers = read_json("check.json")["blockers"]
    assert len(blockers) == 2 and "2 blockers" in out
    assert all(entry["advice"].startswith("Scale the weights of the layers before it down") for entry in blockers)


def test_check_finds_what_only_the_integer_graph_refuses() -> None:
    """A membrane that leaks to another value than its reset has a bias, which a layer must carry."""
    ones = np.ones(2, np.float32)
    leak = nir.LIF(tau=1e-3 * ones, r=ones, v_leak=0.5 * ones, v_threshold=ones, v_reset=0 * ones)
    nodes = {"input": nir.Input(input_type={"input": np.array([2])}), "leak": leak}
    nodes["output"] = nir.Output(output_type={"output": np.array([2])})
    nir.write("bias.nir", nir.NIRGraph(nodes=nodes, edges=[("input", "leak"), ("leak", "output")], type_check=False))
    succeed("check", "bias.nir", "--timesteps", "3", "--json", "check.json", code=1)
    (blocker,) = read_json("check.json")["blockers"]
    assert blocker["layer"] == "leak" and blocker["advice"] == "Set v_leak to v_reset, or feed it through a layer"


def test_check_asks_the_target_for_its_own_blockers() -> None:
    """A soft reset has no word in NIR: check says what export refuses, and of lava that nothing stops it."""
    Path("soft.py").write_text(
        "import snntorch, torch\nfrom torch import nn\n"
        "def net():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), snntorch.Leaky(1.0, init_hidden=True), "
        "nn.Linear(9, 4))\n"
    )
    net = ("soft:net", "--input-shape", "1,6,6", "--timesteps", "2")
    succeed("check", *net)
    succeed("check", *net, "--target", "nir", "--json", "check.json", code=1)
    (blocker,) = read_json("check.json")["blockers"]
    assert blocker["layer"] == "2" and blocker["advice"].endswith("--allow-lossy")
    refused = fail("export", *net, "--target", "nir", *CALIBRATED)
    assert refused == f"{blocker['layer']}: {blocker['problem']}. {blocker['advice']}"


def test_check_lists_every_blocker_and_exits_with_1() -> None:
    Path("twowrong.py").write_text(
        "from torch import nn\nfrom conftest import tiny_model\n"
        "def net():\n    model = tiny_model()\n    model.neuron1 = nn.Sigmoid()\n"
        "    model.layer2[0].neuron1 = nn.PReLU()\n    return model\n"
    )
    out = succeed("check", "twowrong:net", "--input-shape", "1,6,6", "--json", "check.json", code=1)
    assert "2 blockers" in out
    document = read_json("check.json")
    assert not document["deployable"]
    assert [set(blocker) for blocker in document["blockers"]] == [{"layer", "problem", "advice", "line"}] * 2
    assert [(blocker["layer"], blocker["problem"]) for blocker in document["blockers"]] == [
        ("neuron1", "layers of type Sigmoid are not supported"),
        ("layer2.0.neuron1", "layers of type PReLU are not supported"),
    ]
    assert all("Use a spiking neuron in its place" in blocker["advice"] for blocker in document["blockers"])
    for blocker in document["blockers"]:
        assert blocker["layer"] in out


def test_inspect_shows_the_kernel_of_each_layer() -> None:
    out = succeed("inspect", BUNDLE, "--kernels")
    rows = [
        line for line in out.split("Kernels of the fast simulator")[1].splitlines() if "int8" in line or "float" in line
    ]
    assert len(rows) == sum(isinstance(node, ir.Conv | ir.Linear) for node in read_bundle(BUNDLE).program.graph)


def test_inspect_shows_a_model_and_its_bundle() -> None:
    for model in ("tiny.pt", "tiny.lava"):
        out = succeed("inspect", model)
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
        rows = {name: rest for name, *rest in cells}
        assert rows["layer2.0.conv2"] == ["conv", "4x3x3", "144", "5", "", ""]
        assert rows["layer1.0.add"] == ["merge", "3x6x6", "", "3", "2", ""]
        assert rows["layer2.0.neuron2"] == ["neuron", "4x3x3", "", "5", "", "1"]
        assert "pipeline 7 cycles deep." in out
        assert "8 Loihi 2 cores on 1 chip; neurons and shared weights alone ask for 7. Fits Oheo Gulch" in out


def test_inspect_tells_what_each_layer_takes_of_the_cores_and_what_binds_it() -> None:
    out = succeed("inspect", "tiny.pt", "--cores", "--target", "loihi1")
    table = out.split("Cores of Loihi 1")[1]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if "│" in line]
    rows = {name: rest for name, *rest in cells}
    assert rows["layer2.0.neuron2"] == ["1x1x1", "1", "36", "144", "180", "9", "36", "neurons", "4 %"]
    assert "Loihi 1 has spikes of at most 1, but these emit more: input" in out
    assert "Not checked: input_axons_per_core" in succeed("inspect", "tiny.lava", "--cores", "--target", "loihi2")


def test_inspect_shows_a_net_whose_cores_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DoesNotFit("layer1.0.conv1: too large.")

    monkeypatch.setattr("snn2hw.cli.commands.inspect.place", refuse)
    assert "Does not fit Loihi 2: layer1.0.conv1: too large." in succeed("inspect", "tiny.pt")
    assert fail("inspect", "tiny.pt", "--cores") == "layer1.0.conv1: too large."
    assert "there is no target 'loihi3'. Known are loihi1, loihi2." in fail("inspect", "tiny.pt", "--target", "loihi3")


def test_the_doctor_is_content_where_the_tests_run() -> None:
    out = succeed("doctor")
    assert "lava-nc 0.10.0" in out
    assert "missing" not in out


# The installed command


def test_a_command_has_one_live_display_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time are an error in rich before 14.1."""
    live: list[int] = []
    most = 0
    right = console.bars

    @contextmanager
    def counted() -> Iterator[Bars]:
        nonlocal most
        live.append(1)
        most = max(most, len(live))
        with right() as bars:
            yield bars
        live.pop()

    monkeypatch.setattr(console, "bars", counted)
    sides = ("tiny.pt@cycle", "tiny.lava@fast")
    succeed("compare", *sides, "--data", "samples.npz", *CALIBRATED)
    assert most == 1


@pytest.mark.parametrize("arguments", [SIMULATE, VERIFY])
def test_a_command_is_quiet_in_a_pipe(arguments: tuple[str, ...]) -> None:
    ended = cli.run_script(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out and "\r" not in ended.out


def test_a_command_shows_its_progress_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [cli.SCRIPT, *SIMULATE], stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.wait() == 0
    os.close(ours)
    assert b"samples" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_the_exit_codes_of_the_installed_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.run_script("inspect", "tiny.lava").code == 0
    Path("tiny.pt").unlink()
    assert cli.run_script(*VERIFY, "--samples", "1").code == 3
    assert cli.run_script("inspect", "tiny.pt").code == 2


def test_a_net_without_blocks_is_verified_too() -> None:
    Path("plain.py").write_text(
        "import snntorch, torch\nfrom torch import nn\n"
        "def net():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), snntorch.Leaky(0.9, init_hidden=True), "
        "nn.Linear(9, 4))\n"
    )
    bundle = export("plain:net", "--input-shape", "1,6,6", "--timesteps", "4")
    assert manifest(bundle)["joins"] == []
    result = verified("verify", bundle, "--data", "samples.npz", "--json", "verify.json")
    assert result["verdict"] == "exact"
    assert result["spikes"]["2"] > 0


def test_a_nir_neuron_with_a_memory_of_its_current_goes_the_whole_way() -> None:
    succeed("export", "tiny.pt", "--target", "nir", *CALIBRATED)
    graph = nir.read("tiny.nir", type_check=False)
    ones = np.ones((3, 6, 6), np.float32)
    graph.nodes["neuron1"] = nir.CubaLIF(
        tau_mem=4e-4 * ones, tau_syn=2e-4 * ones, r=4 * ones, v_leak=0 * ones, v_threshold=0.7 * ones, w_in=2 * ones
    )
    nir.write("cuba.nir", graph)
    bundle = export("cuba.nir", "--timesteps", str(TIMESTEPS))
    assert manifest(bundle)["conventions"]["neuron1"]["fires"] == "v > v_threshold"
    for engine in ("fast", "cycle", "lava"):
        succeed("simulate", bundle, "--data", "samples.npz", "--engine", engine, "-o", f"{engine}.npz")
    assert arrays("cycle.npz")["neuron1"].any()
    assert same_arrays("cycle.npz", "lava.npz")
