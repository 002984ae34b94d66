"""Reads and checks program.npz (schema snn2hw.program/1). Every error names the node and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from program import Array, Input, Merge, Neuron, Node, Program, ProgramError, Readout, Region, Threshold
from program_fields import Entry
from program_nodes import read_node

SCHEMA = "snn2hw.program/1"
REGION_KINDS = ("residual_block", "layer", "pool", "readout")
RECORD_TYPES = ("uint8", "int32")


def check_digest(path: Path) -> None:
    """Compare the program with the SHA-256 that manifest.json beside it states; no manifest, no check.

    Raises ProgramError if they differ or the manifest is no JSON object.
    """
    manifest_path = path.parent / "manifest.json"
    if not manifest_path.is_file():
        return
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProgramError(f"{manifest_path} cannot be read: {error}. Export the bundle again.") from error
    digests = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(digests, dict) or path.name not in digests:
        raise ProgramError(f"{manifest_path} states no sha256 of {path.name}. Export the bundle again.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != digests[path.name]:
        raise ProgramError(
            f"{path} was changed after the bundle was written: its sha256 is {digest}, manifest.json says "
            f"{digests[path.name]}. Export the bundle again."
        )


def read_program(path: Path) -> Program:
    """Read program.npz. Raises ProgramError if it is no such file or breaks a rule of its schema."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, BadZipFile, AttributeError, TypeError) as error:
        raise ProgramError(f"{path} is no program file: {error}") from error
    if "program" not in arrays:
        raise ProgramError(f"{path} has no entry 'program'; it holds {', '.join(sorted(arrays)) or 'nothing'}")
    try:
        text = json.loads(str(arrays.pop("program")))
    except ValueError as error:
        raise ProgramError(f"{path}: the entry 'program' is no JSON: {error}") from error
    if not isinstance(text, dict) or text.get("schema") != SCHEMA:
        found = text.get("schema") if isinstance(text, dict) else text
        raise ProgramError(f"{path} has schema {found!r}, this code reads {SCHEMA!r}")
    return build_program(text, arrays)


def build_program(text: Mapping[str, Any], arrays: Mapping[str, Array]) -> Program:
    """Build a Program from the decoded JSON and the arrays named `<node>:<parameter>`. Raises ProgramError."""
    head = Entry("the program", text)
    timesteps = head.integer("timesteps", low=1)
    nodes: dict[str, Node] = {}
    for entry in head.items("nodes"):
        node = read_node(entry, arrays, nodes, timesteps)
        if node.name in nodes:
            raise ProgramError(f"two nodes are named {node.name}")
        nodes[node.name] = node
    for kind in (Input, Readout):
        count = sum(isinstance(node, kind) for node in nodes.values())
        if count != 1:
            raise ProgramError(f"the program has {count} {kind.__name__.lower()} nodes, it needs exactly 1")
    recorded = {}
    for entry in head.items("recorded"):
        name, dtype = entry.text("name"), entry.choice("dtype", RECORD_TYPES)
        if not isinstance(nodes.get(name), (Neuron, Threshold, Merge)):
            raise ProgramError(f"recorded names {name!r}, which is no neuron, threshold or merge of the program")
        if name == "logits":
            raise ProgramError("a recorded node is named 'logits', the name of the read-out's array; rename the layer")
        recorded[name] = dtype
    regions = [_read_region(entry, nodes) for entry in head.items("regions")]
    _check_regions(regions, nodes)
    return Program(timesteps=timesteps, nodes=nodes, regions=tuple(regions), recorded=recorded)


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
