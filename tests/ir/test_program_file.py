"""program.npz: what is written is read, and damage or contradiction is a BundleError."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import GATES, NEURONS, compile_model, random_samples, residual_net

from snn2hw import ir
from snn2hw.engines.cycle import simulate
from snn2hw.errors import BundleError
from snn2hw.ir import program_npz
from snn2hw.ir.file import read_program, write_program


def a_program(gate: str = "ADD", neuron: str = "plif", **options: Any) -> ir.Program:
    model = residual_net(gate, NEURONS[neuron], **options)
    return compile_model(model, random_samples(4), timesteps=3)[1]


@pytest.mark.parametrize("neuron", ["leaky-subtract", "if-soft", "lif-reset"])
@pytest.mark.parametrize("gate", GATES)
def test_a_program_is_read_as_it_was_written(tmp_path: Path, gate: str, neuron: str) -> None:
    program = a_program(gate, neuron)
    write_program(program, tmp_path / "program.npz")
    again = read_program(tmp_path / "program.npz")
    assert str(again) == str(program)
    assert (again.bounds, again.schedule, again.regions) == (program.bounds, program.schedule, program.regions)
    for written, read in zip(program.graph, again.graph, strict=True):
        assert type(written) is type(read) and vars(written).keys() == vars(read).keys()
        for name, value in vars(written).items():
            assert np.array_equal(value, getattr(read, name)) and type(value) is type(getattr(read, name)), name
    samples = random_samples(2, seed=1)
    expected, spikes = simulate(program, samples), simulate(again, samples)
    assert all(np.array_equal(expected[name], spikes[name]) for name in expected)


def test_the_file_is_what_the_document_says(tmp_path: Path) -> None:
    program = a_program()
    write_program(program, tmp_path / "program.npz")
    with np.load(tmp_path / "program.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    text = json.loads(str(arrays.pop("program")))
    assert (text["schema"], text["timesteps"]) == ("snn2hw.program/1", 3)
    assert {values.dtype.kind for values in arrays.values()} == {"i"}
    assert arrays.keys() >= {"0:weight", "2:threshold", "2:decay", "2:bias_mantissa", "output:bias"}
    nodes = {node["name"]: node for node in text["nodes"]}
    assert list(nodes) == [node.name for node in program.graph]
    add = nodes["block1.add"]
    assert (add["kind"], [edge["source"] for edge in add["inputs"]]) == ("merge", ["block1.neuron2", "block1.down.2"])
    assert [edge["delay"] for edge in add["inputs"]] == [0, 1]
    assert nodes["0"]["accumulator_bound"] == program.bounds["0"].accumulator
    recorded = {item["name"]: item["dtype"] for item in text["recorded"]}
    assert recorded["block1.add"] == "uint8" and "average" not in recorded and "output" not in recorded


def rewritten(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """A program file whose JSON and arrays `change` has altered."""
    path = folder / "program.npz"
    write_program(a_program(), path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    text = json.loads(str(arrays.pop("program")))
    change(text, arrays)
    np.savez(path, program=np.array(json.dumps(text)), **arrays)
    return path


def node_of(text: dict[str, Any], name: str) -> dict[str, Any]:
    return next(node for node in text["nodes"] if node["name"] == name)


CONTRADICTIONS: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "another schema": lambda text, arrays: text.update(schema="snn2hw.program/2"),
    "no schema": lambda text, arrays: text.pop("schema"),
    "no nodes": lambda text, arrays: text.pop("nodes"),
    "nodes out of order": lambda text, arrays: text["nodes"].reverse(),
    "a name twice": lambda text, arrays: text["nodes"].insert(1, text["nodes"][1]),
    "an unknown kind": lambda text, arrays: node_of(text, "0").update(kind="pool"),
    "an unknown source": lambda text, arrays: node_of(text, "0")["inputs"][0].update(source="lost"),
    "an unknown reset": lambda text, arrays: node_of(text, "2").update(reset="sometimes"),
    "a negative delay": lambda text, arrays: node_of(text, "0")["inputs"][0].update(delay=-1),
    "no latency": lambda text, arrays: node_of(text, "0").pop("latency"),
    "a reset offset outside T": lambda text, arrays: node_of(text, "2").update(reset_offset=3),
    "a negative reset offset": lambda text, arrays: node_of(text, "2").update(reset_offset=-1),
    "no reset offset": lambda text, arrays: node_of(text, "2").pop("reset_offset"),
    "no weights": lambda text, arrays: arrays.pop("0:weight"),
    "fractional weights": lambda text, arrays: arrays.update({"0:weight": arrays["0:weight"] / 2}),
    "an array of no node": lambda text, arrays: arrays.update({"lost:weight": arrays["0:weight"]}),
    "no time steps": lambda text, arrays: text.update(timesteps=0),
    "a layer that is not recorded": lambda text, arrays: text["recorded"].pop(),
    "a region of unknown nodes": lambda text, arrays: text["regions"][0]["nodes"].append("lost"),
    "a node in no region": lambda text, arrays: text["regions"].pop(),
    "a list": lambda text, arrays: text.update(nodes=[1, 2]),
    "another shape": lambda text, arrays: node_of(text, "0").update(shape=[9, 8, 8]),
    "weights that do not fit": lambda text, arrays: arrays.update({"0:weight": arrays["0:weight"][:, 1:]}),
    "a threshold beyond the chip's": lambda text, arrays: arrays.update({"2:threshold": np.array(1 << 17)}),
    "a decay beyond the chip's": lambda text, arrays: arrays.update({"2:decay": np.array(4096)}),
    "half a stride": lambda text, arrays: node_of(text, "0").update(stride=[0.5, 1]),
    "no scale": lambda text, arrays: node_of(text, "2").update(scale=0.0),
    "too few scales": lambda text, arrays: node_of(text, "2").update(scale=[1.0]),
    "no bound": lambda text, arrays: node_of(text, "2").pop("bound"),
    "a bound of an unknown kind": lambda text, arrays: node_of(text, "2")["bound"].update(kind="hoped"),
    "a bound that is no number": lambda text, arrays: node_of(text, "2")["bound"].update(payload="1"),
    "a sign that is no truth": lambda text, arrays: node_of(text, "2")["bound"].update(signed=1),
    "a region with two entries": lambda text, arrays: text["regions"][1]["nodes"].pop(0),
    "a recorded synapse": lambda text, arrays: text["recorded"][0].update(name="0"),
    "another shift of membranes": lambda text, arrays: text["numerics"].update(membrane_shift=7),
    "a limit that is missing": lambda text, arrays: text["numerics"].pop("input_limit"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, case: str) -> None:
    path = rewritten(tmp_path, CONTRADICTIONS[case])
    with pytest.raises(BundleError, match=r"program.npz: .*Export again\."):
        read_program(path)


def test_a_file_that_was_only_read_and_written_is_not_refused(tmp_path: Path) -> None:
    assert read_program(rewritten(tmp_path, lambda text, arrays: None)).schedule.timesteps == 3


def test_damage_anywhere_in_a_file_is_told_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "program.npz"
    write_program(a_program(blocks=((2, 1),), max_pool=()), path)
    good, refused = path.read_bytes(), 0
    places = range(0, len(good), len(good) // 400)
    for at in places:
        for damaged in (good[:at], good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :]):
            path.write_bytes(damaged)
            try:
                read_program(path)
            except BundleError:
                refused += 1
    assert refused > 1.5 * len(places)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a readable program \(FileNotFoundError"):
        read_program(tmp_path / "program.npz")


def test_the_reader_needs_numpy_and_the_standard_library_alone() -> None:
    """Bundles carry a copy of it and run without snn2hw, in Python 3.10."""
    imported = set()
    for path in sorted(Path(program_npz.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 10))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names == {"numpy"}
