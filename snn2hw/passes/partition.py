"""Partition: group nodes into regions with one entry and one exit, each of which becomes one process.

A node is a border if everything after it depends on what came before it only through its spikes: no edge passes it. In
a residual network the borders are the blocks' outputs, so every block becomes one region.
"""

from __future__ import annotations

from snn2hw import ir


def partition(graph: ir.Graph) -> tuple[ir.Region, ...]:
    """The regions of a graph, in order. The input belongs to none."""
    last_reader: dict[str, int] = {}
    for position, node in enumerate(graph):
        for source in node.inputs:
            last_reader[source] = position
    regions: list[ir.Region] = []
    members: list[ir.Node] = []
    reach = -1  # the furthest reader of any node seen so far
    for position, node in enumerate(graph):
        passed = reach > position
        reach = max(reach, last_reader.get(node.name, position))
        if isinstance(node, ir.Input):
            continue
        members.append(node)
        if (ir.is_spiking(node) and not passed) or position == len(graph.nodes) - 1:
            regions.append(ir.Region(name=node.name, kind=_kind(members), nodes=tuple(m.name for m in members)))
            members = []
    return tuple(regions)


def _kind(members: list[ir.Node]) -> str:
    if any(isinstance(node, ir.Readout) for node in members):
        return "readout"
    if not any(isinstance(node, ir.Neuron) for node in members):
        return "pool"
    return "residual_block" if any(len(node.inputs) > 1 for node in members) else "layer"
