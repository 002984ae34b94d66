"""The NIR graph of a model while it is built: nodes under unique names, edges, and sums where several values meet.

What is built of the values is in gates.py (sums and products of spikes), pools.py and joins.py.
"""

from __future__ import annotations

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker
from snn2hw.frontends.torch.values import Value, as_integer


class Refused(Exception):
    """An operation that cannot be expressed; carries its blocker."""

    def __init__(self, layer: str, problem: str, advice: str) -> None:
        self.blocker = Blocker(layer=layer, problem=problem, advice=advice)
        super().__init__(str(self.blocker))


class Builder:
    """Collects NIR nodes and edges under unique names; the names in `reserved` are left to layers."""

    def __init__(self, reserved: frozenset[str] = frozenset()) -> None:
        self.reserved = reserved
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []

    def graph(self) -> nir.NIRGraph:
        """The nodes and edges collected so far."""
        return nir.NIRGraph(nodes=self.nodes, edges=self.edges, type_check=False)

    def add(self, name: str, node: nir.NIRNode, value: Value | None, shape: Shape, *, is_layer: bool = False) -> Value:
        """Add a node fed by `value`; what it emits is a current, not an integer."""
        name = name if is_layer else self._unique(name)
        self.nodes[name] = node
        if value is not None:
            for source in self._sources(name, value):
                self.edges.append((source, name))
        return Value(terms=((name, 1),), shape=shape)

    def add_spiking(self, name: str, node: nir.NIRNode, value: Value, *, is_layer: bool = False) -> Value:
        """Add a neuron or threshold unit: what it emits is 0 or 1."""
        return as_integer(self.add(name, node, value, value.shape, is_layer=is_layer), 0, 1)

    def merge(self, name: str, value: Value) -> Value:
        """Give a sum a node of its own: a Scale of 1, for a NIR node adds up what feeds it."""
        low, high = value.low, value.high
        merged = self.add(name, nir.Scale(scale=everywhere(1, value.shape)), value, value.shape)
        return merged if low is None or high is None else as_integer(merged, low, high)

    def output(self, name: str, value: Value, metadata: dict[str, str] | None = None) -> Value:
        """The Output node, which adds up what feeds it."""
        node = nir.Output(output_type={"output": np.array(value.shape)}, metadata=metadata or {})
        return self.add(name, node, value, value.shape)

    def _sources(self, name: str, value: Value) -> list[str]:
        """The nodes whose plain sum is `value`: a term with another factor than 1 gets a Scale."""
        if value.constant:
            raise Refused(name, f"the constant {value.constant} is added to spikes", "Move it into a bias")
        return [source if factor == 1 else self._scaled(source, factor, value.shape) for source, factor in value.terms]

    def _scaled(self, source: str, factor: int, shape: Shape) -> str:
        name = f"{source}.negated" if factor == -1 else f"{source}.times{factor}"
        if name not in self.nodes:
            self.nodes[name] = nir.Scale(scale=everywhere(factor, shape))
            self.edges.append((source, name))
        return name

    def _unique(self, name: str) -> str:
        name = name.replace("/", "_")
        candidate, count = name, 1
        while candidate in self.nodes or candidate in self.reserved:
            count += 1
            candidate = f"{name}@{count}"
        return candidate


def everywhere(value: float, shape: Shape) -> np.ndarray:
    """One number as an array [*shape] that stores it once: NIR wants full shapes, and deep nets have many neurons."""
    return np.broadcast_to(np.float32(value), shape)
