"""What a network consists of, layer by layer: the numbers behind `snn2hw inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from snn2hw import ir
from snn2hw.ir.file import kind_name
from snn2hw.mapping.placement import Placement


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One node: weights counts its integers; cores is None where nothing has to be stored, or nothing was placed."""

    name: str
    kind: str
    shape: ir.Shape
    weights: int
    latency: int
    delay: int
    cores: int | None


def summarise(program: ir.Program, placement: Placement | None) -> list[LayerSummary]:
    """One row a node."""
    placed = placement.by_name if placement else {}
    return [
        LayerSummary(
            name=node.name,
            kind=kind_name(node),
            shape=node.shape,
            weights=weight_count(node),
            latency=program.schedule.latency[node.name],
            delay=max(program.schedule.delays[node.name], default=0),
            cores=len(placed[node.name].cores) if node.name in placed else None,
        )
        for node in program.graph
    ]


def weight_count(node: ir.Node) -> int:
    """Number of stored weights of a node."""
    match node:
        case ir.Conv() | ir.Linear():
            return int(np.size(node.weight))
        case ir.Scale():
            return 1
        case ir.SumPool() | ir.MaxPool():
            return 0
        case ir.Input() | ir.Neuron() | ir.Threshold() | ir.Merge() | ir.Relay() | ir.Readout():
            return 0
        case _:
            assert_never(node)
