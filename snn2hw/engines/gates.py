"""Which gates are computed together with the neurons before them."""

from __future__ import annotations

from dataclasses import dataclass

from snn2hw import ir
from snn2hw.engines.neuron_kernels import Gate


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedGate:
    """A gate of a neuron's spikes and the values of `other`. spikes_read: whether anything else reads the spikes."""

    node: ir.Threshold | ir.Merge
    gate: Gate
    other: str
    spikes_read: bool


def fuse_gates(graph: ir.Graph) -> dict[str, FusedGate]:
    """The gate to compute with each neuron: one of two layers' values, of which the neuron's come last."""
    order = {node.name: place for place, node in enumerate(graph)}
    readers: dict[str, set[str]] = {node.name: set() for node in graph}
    fused: dict[str, FusedGate] = {}
    for node in graph:
        for name, _ in _terms(graph, node):
            readers[name].add(node.name)
    for node in graph:
        if not isinstance(node, ir.Threshold | ir.Merge):
            continue
        terms = _terms(graph, node)
        if len({name for name, _ in terms}) != 2 or len(terms) != 2:
            continue
        if any(not ir.is_spiking(graph[name]) for name, _ in terms):
            continue
        (other, other_factor), (neuron, spike_factor) = sorted(terms, key=lambda term: order[term[0]])
        if isinstance(graph[neuron], ir.Neuron) and neuron not in fused:
            binary = isinstance(node, ir.Threshold)
            fused[neuron] = FusedGate(
                node=node,
                gate=Gate(spike_factor, other_factor, binary, node.threshold if isinstance(node, ir.Threshold) else 0),
                other=other,
                spikes_read=readers[neuron] != {node.name},
            )
    return fused


def _terms(graph: ir.Graph, node: ir.Node) -> list[tuple[str, int]]:
    """The values that a node sums, each with the factor of the Scale nodes between."""
    terms = []
    for source in node.inputs:
        between = graph[source]
        if isinstance(between, ir.Scale):
            terms += [(name, factor * between.factor) for name, factor in _terms(graph, between)]
        else:
            terms.append((source, 1))
    return terms
