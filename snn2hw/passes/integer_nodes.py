"""The integer nodes that `quantise` has made so far, each under a name that no other has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from snn2hw import ir
from snn2hw.ir.fixed_point import Bool
from snn2hw.network.neuron_rule import Float
from snn2hw.passes.currents import Current, Emitted, Holds
from snn2hw.passes.settings import Settings


class IntegerNodes:
    """Collects nodes in order. `layers` are the names of the float network's nodes, which copies must not take."""

    def __init__(self, layers: Collection[str]) -> None:
        self.layers = layers
        self.nodes: list[ir.Node] = []
        self.payloads: dict[tuple[str, ...], Emitted] = {}  # what layers read of the currents that relays hand on

    def add(self, node: ir.Node, *, unit: float = 1.0, holds: Holds = "spikes", peak: float = 0.0) -> Emitted:
        """Add a node; returns what it emits, integers that stand for `unit` each. holds, peak: what Emitted says."""
        self.nodes.append(node)
        return Emitted(sources=(node.name,), shape=node.shape, unit=unit, holds=holds, peak=peak)

    def shape(self, name: str) -> ir.Shape:
        """The shape of a node that was made."""
        return next(node.shape for node in self.nodes if node.name == name)

    def add_synapses(
        self, currents: Sequence[Current], scale: Float, gain: Float, on_grid: Bool, settings: Settings
    ) -> tuple[str, ...]:
        """Add the layers that feed a neuron, at its scale; returns the names of their last nodes.

        A layer that another neuron reads too is made again for this one. scale, gain, on_grid: one, [], or [C], one a
        channel. Weights on a grid may be the lowest number of their bits, such as -128; others saturate at -127.
        """
        ends = []
        for current in currents:
            largest = settings.largest(current.name)
            chain = current.nodes(scale, gain, -largest - on_grid.astype(np.int64), largest)
            names = {node.name: self.free(node.name) for node in chain}
            for node in chain:
                inputs = tuple(names.get(source, source) for source in node.inputs)
                self.nodes.append(replace(node, name=names[node.name], inputs=inputs))
            ends.append(self.nodes[-1].name)
        return tuple(ends)

    def free(self, name: str) -> str:
        """The name, or the first `name@2` and so on, that no node has yet."""
        taken = {node.name for node in self.nodes}
        candidate, count = name, 1
        while candidate in taken or (candidate != name and candidate in self.layers):
            count += 1
            candidate = f"{name}@{count}"
        return candidate
