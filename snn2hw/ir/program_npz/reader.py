"""Reads and checks program.npz (schema snn2hw.program/1). Every error names the node and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from .fields import Entry
from .nodes import read_node
from .records import (
    Array,
    Input,
    Limits,
    Merge,
    Neuron,
    Node,
    Program,
    ProgramError,
    Readout,
    Region,
    Relay,
    Threshold,
)

SCHEMA = "snn2hw.program/1"
REGION_KINDS = ("residual_block", "layer", "pool", "readout")
RECORD_TYPES = ("uint8", "int32")
RECORDED = (Neuron, Threshold, Merge, Relay)


def read_program(path: Path) -> Program:
    """Read program.npz. Raises ProgramError if it is no such file or breaks a rule of its schema."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive leads zipfile, zlib and numpy into errors of many types
        raise ProgramError(f"{path}: not a readable program ({type(error).__name__}: {error})") from error
    if "program" not in arrays:
        raise ProgramError(f"{path}: it has no entry 'program'; it holds {', '.join(sorted(arrays)) or 'nothing'}")
    try:
        text = json.loads(str(arrays.pop("program")))
    except ValueError as error:
        raise ProgramError(f"{path}: the entry 'program' is no JSON: {error}") from error
    if not isinstance(text, dict) or text.get("schema") != SCHEMA:
        schema = text.get("schema") if isinstance(text, dict) else text
        raise ProgramError(f"{path}: schema {schema!r}, this code reads {SCHEMA!r}")
    try:
        return build_program(text, arrays)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None


def build_program(text: Mapping[str, Any], arrays: Mapping[str, Array]) -> Program:
    """Build a Program from the decoded JSON and the arrays named `<node>:<parameter>`. Raises ProgramError."""
    head = Entry("the program", text)
    timesteps = head.integer("timesteps", low=1)
    limits = _read_limits(head)
    nodes: dict[str, Node] = {}
    for entry in head.items("nodes"):
        node = read_node(entry, arrays, nodes, timesteps, limits)
        if node.name in nodes:
            raise ProgramError(f"two nodes are named {node.name}")
        nodes[node.name] = node
    for kind in (Input, Readout):
        count = sum(isinstance(node, kind) for node in nodes.values())
        if count != 1:
            raise ProgramError(f"the program has {count} {kind.__name__.lower()} nodes, it needs exactly 1")
    if strays := sorted({name.rpartition(":")[0] for name in arrays} - nodes.keys()):
        raise ProgramError(f"the file holds arrays of {strays[0]!r}, which is no node of the program")
    recorded = {}
    for entry in head.items("recorded"):
        name, dtype = entry.text("name"), entry.choice("dtype", RECORD_TYPES)
        if not isinstance(nodes.get(name), RECORDED):
            raise ProgramError(f"recorded names {name!r}, which is no neuron, threshold, merge or relay of the program")
        if name == "logits":
            raise ProgramError("a recorded node is named 'logits', the name of the read-out's array; rename the layer")
        recorded[name] = dtype
    _check_recorded(recorded, nodes)
    regions = [_read_region(entry, nodes) for entry in head.items("regions")]
    _check_regions(regions, nodes)
    return Program(
        timesteps=timesteps,
        numerics=text.get("numerics"),
        limits=limits,
        nodes=nodes,
        regions=tuple(regions),
        recorded=recorded,
    )


def _read_limits(head: Entry) -> Limits:
    """The limits of the chip; Loihi's where the file names none."""
    if "numerics" not in head.value:
        return Limits()
    numerics = head.entry("numerics")
    numerics.integer("membrane_shift", low=6, high=6)
    numerics.integer("decay_bits", low=12, high=12)
    numerics.choice("leak_rounding", ("towards zero",))
    return Limits(**{limit.name: numerics.integer(limit.name, low=0) for limit in fields(Limits)})


def _check_recorded(recorded: Collection[str], nodes: Mapping[str, Node]) -> None:
    spiking = [name for name, node in nodes.items() if isinstance(node, RECORDED)]
    if missing := [name for name in spiking if name not in recorded]:
        raise ProgramError(f"`recorded` lacks {', '.join(missing)}, so that engines could not be compared there")


def _read_region(entry: Entry, nodes: Mapping[str, Node]) -> Region:
    name, kind = entry.text("name"), entry.choice("kind", REGION_KINDS)
    names = entry.get("nodes")
    if not isinstance(names, list) or not names or any(item not in nodes for item in names):
        raise ProgramError(f"region {name} lists nodes that the program does not have: {names!r}")
    order = list(nodes)
    if [order.index(item) for item in names] != sorted(order.index(item) for item in names):
        raise ProgramError(f"region {name} lists its nodes out of order: {', '.join(names)}")
    entries = {edge.source for item in names for edge in nodes[item].inputs} - set(names)
    if len(entries) != 1:
        raise ProgramError(f"region {name} reads {len(entries)} nodes outside it, it must read 1: {sorted(entries)}")
    return Region(name=name, kind=kind, nodes=tuple(names), entry=entries.pop())


def _check_regions(regions: list[Region], nodes: Mapping[str, Node]) -> None:
    owner: dict[str, Region] = {}
    for region in regions:
        for name in region.nodes:
            if name in owner:
                raise ProgramError(f"node {name} is in two regions, {owner[name].name} and {region.name}")
            owner[name] = region
    for name, node in nodes.items():
        if isinstance(node, Input) == (name in owner):
            raise ProgramError(f"node {name} is {'in a region' if name in owner else 'in no region'}")
    exits = {region.exit for region in regions}
    for region in regions:
        if not isinstance(nodes[region.entry], Input) and region.entry not in exits:
            raise ProgramError(f"region {region.name} reads {region.entry}, which is inside another region")
        if (region.kind == "readout") != isinstance(nodes[region.exit], Readout):
            raise ProgramError(f"region {region.name} is a {region.kind}, but its last node is {region.exit}")
