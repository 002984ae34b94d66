"""What a network consists of, layer by layer: the numbers behind `snn2hw inspect`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snn2hw import ir
from snn2hw.program_file import kind_name
from snn2hw.targets import Target


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One node: weights counts its integers; cores is a lower bound, None where nothing has to be stored."""

    name: str
    kind: str
    shape: ir.Shape
    weights: int
    latency: int
    delay: int
    cores: int | None


def summarise(program: ir.Program, target: Target) -> list[LayerSummary]:
    """One row a node. A neuron layer's cores hold its neurons and the shared weights of the synapses that feed it."""
    rows = []
    for node in program.graph:
        weights = weight_count(node)
        cores = None
        if isinstance(node, ir.Neuron):
            stored = sum(weight_count(program.graph[source]) for source in node.inputs)
            cores = max(
                math.ceil(math.prod(node.shape) / target.neurons_per_core),
                math.ceil(stored / target.weight_bytes_per_core),
            )
        rows.append(
            LayerSummary(
                name=node.name,
                kind=kind_name(node),
                shape=node.shape,
                weights=weights,
                latency=program.schedule.latency[node.name],
                delay=max(program.schedule.delays[node.name], default=0),
                cores=cores,
            )
        )
    return rows


def weight_count(node: ir.Node) -> int:
    """Number of stored weights of a node, one byte each."""
    if isinstance(node, ir.Conv | ir.Linear):
        return int(np.size(node.weight))
    return 1 if isinstance(node, ir.Scale) else 0
