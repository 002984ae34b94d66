"""program.npz: a Program as integers and text, without pickle. docs/program.md gives the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw import ir
from snn2hw.errors import BundleError
from snn2hw.ir.fixed_point import Int, Reset
from snn2hw.ir.nodes import Head

SCHEMA = "snn2hw.program/1"

_KINDS: dict[str, type[ir.Node]] = {
    "input": ir.Input,
    "conv": ir.Conv,
    "linear": ir.Linear,
    "scale": ir.Scale,
    "sum_pool": ir.SumPool,
    "neuron": ir.Neuron,
    "threshold": ir.Threshold,
    "merge": ir.Merge,
    "readout": ir.Readout,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_PAIRS = ("kernel", "stride", "padding", "dilation")


def kind_name(node: ir.Node) -> str:
    """The kind of a node as files name it."""
    return _NAMES[type(node)]


def write_program(program: ir.Program, path: Path) -> None:
    """Write program.npz."""
    arrays: dict[str, Int] = {}
    nodes = []
    for node in program.graph:
        entry: dict[str, Any] = {
            "name": node.name,
            "kind": kind_name(node),
            "shape": list(node.shape),
            "latency": program.schedule.latency[node.name],
            "inputs": [
                {"source": source, "delay": delay}
                for source, delay in zip(node.inputs, program.schedule.delays[node.name], strict=True)
            ],
        }
        for name, value in vars(node).items():
            if isinstance(value, np.ndarray):
                arrays[f"{node.name}:{name}"] = value if name == "weight" else value.astype(np.int32)
            elif name == "heads":
                entry[name] = [vars(head) for head in value]
            elif name not in ("name", "inputs", "shape"):
                entry[name] = value.value if isinstance(value, Reset) else list(value) if name in _PAIRS else value
        if node.name in program.schedule.reset_offset:
            entry["reset_offset"] = program.schedule.reset_offset[node.name]
        if ir.is_synapse(node):
            entry["accumulator_bound"] = program.bounds[node.name].accumulator
        entry["bound"] = vars(program.bounds[node.name])
        nodes.append(entry)
    recorded = [
        {"name": node.name, "dtype": np.dtype(ir.record_dtype(program.bounds[node.name])).name}
        for node in program.graph.recorded
    ]
    text = json.dumps(
        {
            "schema": SCHEMA,
            "timesteps": program.schedule.timesteps,
            "nodes": nodes,
            "regions": [{"name": r.name, "kind": r.kind, "nodes": list(r.nodes)} for r in program.regions],
            "recorded": recorded,
        }
    )
    np.savez(path, allow_pickle=False, program=np.array(text), **arrays)


def read_program(path: Path) -> ir.Program:
    """Read program.npz. Raises BundleError if it is damaged, of another version, or contradicts itself."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        description = json.loads(str(arrays.pop("program")))
        if description.get("schema") != SCHEMA:
            raise BundleError(
                f"{path}: schema {description.get('schema')!r}; this version of snn2hw reads {SCHEMA!r}. Export again."
            )
        return _program(description, arrays)
    except BundleError:
        raise
    except Exception as error:  # a damaged archive leads zipfile, zlib and numpy into errors of many types
        raise BundleError(f"{path}: not a readable program ({type(error).__name__}: {error}). Export again.") from None


def _program(description: dict[str, Any], arrays: dict[str, Any]) -> ir.Program:
    nodes: list[ir.Node] = []
    latency, offsets, delays, bounds = {}, {}, {}, {}
    for entry in description["nodes"]:
        entry = dict(entry)
        name = entry["name"]
        inputs = entry.pop("inputs")
        latency[name] = int(entry.pop("latency"))
        delays[name] = tuple(int(item["delay"]) for item in inputs)
        bounds[name] = ir.Bound(**entry.pop("bound"))
        entry.pop("accumulator_bound", None)
        if (offset := entry.pop("reset_offset", None)) is not None:
            offsets[name] = int(offset)
        entry["shape"] = tuple(entry["shape"])
        entry.update({key: tuple(entry[key]) for key in _PAIRS if key in entry})
        if "reset" in entry:
            entry["reset"] = Reset(entry["reset"])
        if isinstance(entry.get("scale"), list):
            entry["scale"] = tuple(map(float, entry["scale"]))
        if "heads" in entry:
            entry["heads"] = tuple(Head(**head) for head in entry["heads"])
        kind = _KINDS[entry.pop("kind")]
        own = {key.rpartition(":")[2]: value for key, value in arrays.items() if key.rpartition(":")[0] == name}
        nodes.append(kind(inputs=tuple(item["source"] for item in inputs), **entry, **own))
    schedule = ir.Schedule(
        timesteps=int(description["timesteps"]), latency=latency, delays=delays, reset_offset=offsets
    )
    if any(delay < 0 for own in delays.values() for delay in own):
        raise ValueError("a delay is negative")
    regions = tuple(
        ir.Region(name=region["name"], kind=region["kind"], nodes=tuple(region["nodes"]))
        for region in description["regions"]
    )
    graph = ir.Graph(tuple(nodes))
    if schedule.timesteps < 1:
        raise ValueError(f"timesteps is {schedule.timesteps}")
    if stray := [key for key in arrays if key.rpartition(":")[0] not in latency or arrays[key].dtype.kind != "i"]:
        raise ValueError(f"{stray[0]} belongs to no node or holds no integers")
    if stateful := [n.name for n in nodes if isinstance(n, ir.Neuron | ir.Readout) and n.name not in offsets]:
        raise ValueError(f"{stateful[0]} has no reset offset")
    if outside := [name for name, offset in offsets.items() if not 0 <= offset < schedule.timesteps]:
        raise ValueError(f"the reset offset of {outside[0]} is {offsets[outside[0]]}, outside T={schedule.timesteps}")
    if sorted(name for region in regions for name in region.nodes) != sorted(set(latency) - {graph.input.name}):
        raise ValueError("the regions do not hold every node once")
    recorded = {item["name"] for item in description["recorded"]}
    if missing := [node.name for node in graph.recorded if node.name not in recorded]:
        raise ValueError(f"`recorded` lacks {', '.join(missing)}, so that engines could not be compared there")
    return ir.Program(graph=graph, bounds=bounds, schedule=schedule, regions=regions)
