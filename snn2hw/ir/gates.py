"""Which nodes of an integer graph are the gates of residual connections: ADD, AND, IAND, and OR of a max pool."""

from __future__ import annotations

from typing import Any, assert_never

from snn2hw.ir.nodes import (
    Conv,
    Graph,
    Input,
    Linear,
    MaxPool,
    Merge,
    Neuron,
    Node,
    Readout,
    Relay,
    Scale,
    SumPool,
    Threshold,
)
from snn2hw.ir.program import Program


def joins(program: Program) -> list[dict[str, Any]]:
    """Every place where spikes meet: its gate (ADD, AND, IAND, OR) and the longest delay on its inputs in cycles."""
    joined = []
    for node in program.graph:
        gate = gate_of(program.graph, node)
        if gate is not None:
            joined.append({"name": node.name, "gate": gate, "delay": max(program.schedule.delays[node.name])})
    return joined


def gate_of(graph: Graph, node: Node) -> str | None:
    """The connect function a node computes, or OR for the pool over binary spikes; None for anything else."""
    several = len(node.inputs) > 1
    match node:
        case Threshold():
            sources = [graph[name] for name in node.inputs]
            if any(isinstance(source, Scale) and source.factor < 0 for source in sources):
                return "IAND"
            if isinstance(sources[0], SumPool) and node.threshold == 0:
                return "OR"
            return "AND" if several else None
        case Merge() | Neuron():
            return "ADD" if several else None
        case Input() | Conv() | Linear() | Scale() | SumPool() | MaxPool() | Relay() | Readout():
            return None
        case _:
            assert_never(node)
