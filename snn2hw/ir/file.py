"""program.npz: a Program as integers and text, without pickle. docs/program.md gives the format.

program_npz/ reads and checks the file; here its records become a Program.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO, assert_never

import numpy as np

from snn2hw import ir
from snn2hw.errors import BundleError
from snn2hw.ir.fixed_point import Int, Reset
from snn2hw.ir.numerics import load_numerics, numerics_from
from snn2hw.ir.program_npz import reader, records

_PAIRS = ("kernel", "stride", "padding", "dilation")


def kind_name(node: ir.Node) -> str:
    """The kind of a node as files name it."""
    match node:
        case ir.Input():
            return "input"
        case ir.Conv():
            return "conv"
        case ir.Linear():
            return "linear"
        case ir.Scale():
            return "scale"
        case ir.SumPool():
            return "sum_pool"
        case ir.MaxPool():
            return "max_pool"
        case ir.Neuron():
            return "neuron"
        case ir.Threshold():
            return "threshold"
        case ir.Merge():
            return "merge"
        case ir.Relay():
            return "relay"
        case ir.Readout():
            return "readout"
        case _:
            assert_never(node)


def write_program(program: ir.Program, path: Path | BinaryIO) -> None:
    """Write program.npz, to a path or an open file. The same program gives the same bytes."""
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
            "schema": reader.SCHEMA,
            "timesteps": program.schedule.timesteps,
            "numerics": program.numerics.as_dict(),
            "nodes": nodes,
            "regions": [{"name": r.name, "kind": r.kind, "nodes": list(r.nodes)} for r in program.regions],
            "recorded": recorded,
        }
    )
    np.savez(path, allow_pickle=False, program=np.array(text), **arrays)


def read_program(path: Path) -> ir.Program:
    """Read program.npz. Raises BundleError if it is damaged, of another version, or contradicts itself."""
    try:
        file = reader.read_program(path)
        numerics = load_numerics() if file.numerics is None else numerics_from(file.numerics)
    except (records.ProgramError, ValueError) as error:
        where = "" if isinstance(error, records.ProgramError) else f"{path}: "
        raise BundleError(f"{where}{error}. Export again.") from None
    nodes = file.nodes.values()
    return ir.Program(
        graph=ir.Graph(tuple(map(_node, nodes))),
        numerics=numerics,
        bounds={node.name: ir.Bound(**vars(node.bound)) for node in nodes},
        schedule=ir.Schedule(
            timesteps=file.timesteps,
            latency={node.name: node.latency for node in nodes},
            delays={node.name: tuple(edge.delay for edge in node.inputs) for node in nodes},
            reset_offset={
                node.name: node.reset_offset for node in nodes if isinstance(node, records.Neuron | records.Readout)
            },
        ),
        regions=tuple(ir.Region(name=region.name, kind=region.kind, nodes=region.nodes) for region in file.regions),
    )


def _node(node: records.Node) -> ir.Node:
    """A node of the file as one of the graph."""
    inputs = tuple(edge.source for edge in node.inputs)
    common: dict[str, Any] = {"name": node.name, "inputs": inputs, "shape": node.shape}
    match node:
        case records.Input():
            return ir.Input(**common, scale=node.scale, low=node.low, high=node.high)
        case records.Conv():
            return ir.Conv(
                **common,
                weight=node.weight,
                stride=node.stride,
                padding=node.padding,
                dilation=node.dilation,
                groups=node.groups,
            )
        case records.Linear():
            return ir.Linear(**common, weight=node.weight)
        case records.Scale():
            return ir.Scale(**common, factor=node.factor)
        case records.SumPool():
            return ir.SumPool(**common, kernel=node.kernel, stride=node.stride, padding=node.padding)
        case records.MaxPool():
            return ir.MaxPool(**common, kernel=node.kernel, stride=node.stride, padding=node.padding)
        case records.Neuron():
            return ir.Neuron(
                **common,
                threshold=node.threshold,
                decay=node.decay,
                current_decay=node.current_decay,
                bias_mantissa=node.bias_mantissa,
                bias_exponent=node.bias_exponent,
                reset=Reset(node.reset),
                reset_amount=node.reset_amount,
                scale=node.scale,
            )
        case records.Threshold():
            return ir.Threshold(**common, threshold=node.threshold)
        case records.Merge():
            return ir.Merge(**common)
        case records.Relay():
            return ir.Relay(**common, bias=node.bias, shift=node.shift, low=node.low, high=node.high, scale=node.scale)
        case records.Readout():
            heads = tuple(ir.Head(**vars(head)) for head in node.heads)
            return ir.Readout(**common, bias=node.bias, scale=node.scale, heads=heads)
        case _:
            assert_never(node)
