"""Relays of a float network: the nodes that hand on a current where no neuron stands between.

NIR says them as a Scale of 1 that reads weighted sums: the sum in a membrane shortcut, or what stands between a layer
and a layer behind it. Over spikes the same node is a merge.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from typing import Literal, TypeAlias

import nir
import numpy as np

from snn2hw.network.heads import placed_rows
from snn2hw.network.layout import Layout, emits_integers, lay_out
from snn2hw.network.metadata import SHIFT
from snn2hw.network.neuron_rule import compact

Carries: TypeAlias = Literal["analog", "spikes", "current"]
Layer: TypeAlias = nir.Conv2d | nir.Affine | nir.Linear
LAYERS = (nir.Conv2d, nir.Affine, nir.Linear)


def carried(network: nir.NIRGraph, layout: Layout | None = None) -> dict[str, Carries]:
    """What each node emits: the analog input and averages of it, spikes and sums of them, or weighted sums."""
    layout = layout or lay_out(network)
    kinds: dict[str, Carries] = {}
    for name in layout.order:
        node, read = network.nodes[name], {kinds[source] for source in layout.sources[name]}
        match node:
            case nir.Input():
                kinds[name] = "analog"
            case nir.IF() | nir.LIF() | nir.CubaLIF() | nir.Threshold():
                kinds[name] = "spikes"
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                counts = read == {"spikes"} and emits_integers(network, name)
                kinds[name] = "spikes" if counts else "current"
            case _:
                kinds[name] = next((kind for kind in ("current", "analog") if kind in read), "spikes")
    return kinds


def relays_of(network: nir.NIRGraph, layout: Layout | None = None) -> tuple[str, ...]:
    """The names of the relays, in order."""
    layout = layout or lay_out(network)
    kinds = carried(network, layout)
    return tuple(name for name in layout.order if kinds[name] == "current" and is_one(network.nodes[name]))


def needed_relays(network: nir.NIRGraph, layout: Layout) -> frozenset[str]:
    """The Scales that cannot be folded into the layers before them: relays of integer graphs, and those that several
    nodes or a layer read.
    """
    targets: dict[str, list[str]] = {name: [] for name in network.nodes}
    for source, target in network.edges:
        targets[source].append(target)
    written = {name for name, node in network.nodes.items() if SHIFT in node.metadata}
    return frozenset(written) | {
        name
        for name in relays_of(network, layout)
        if len(targets[name]) > 1 or any(isinstance(network.nodes[target], LAYERS) for target in targets[name])
    }


def with_relays(network: nir.NIRGraph) -> nir.NIRGraph:
    """The network with a Scale of 1 before every layer that reads weighted sums which no node holds yet."""
    layout = lay_out(network)
    kinds = carried(network, layout)
    nodes, edges = dict(network.nodes), list(network.edges)
    for name in layout.order:
        node, reader = network.nodes[name], name
        if not isinstance(node, LAYERS) or placed_rows(node) is not None:
            continue
        while len(layout.sources[reader]) == 1 and isinstance(network.nodes[layout.sources[reader][0]], nir.Flatten):
            reader = layout.sources[reader][0]
        sources = layout.sources[reader]
        if len(sources) == 1 and isinstance(network.nodes[sources[0]], nir.Scale):
            continue
        if any(kinds[source] == "current" for source in sources):
            added = _free(f"{name}.current", nodes)
            nodes[added] = nir.Scale(scale=np.broadcast_to(np.float32(1), layout.input_shape(reader)))
            edges = [(source, added if target == reader else target) for source, target in edges] + [(added, reader)]
    if len(nodes) == len(network.nodes):
        return network
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=network.metadata, type_check=False)


def _free(name: str, taken: Collection[str]) -> str:
    return next(candidate for n in count(1) if (candidate := name if n == 1 else f"{name}@{n}") not in taken)


def is_one(node: nir.NIRNode) -> bool:
    """Whether a node is a Scale of 1."""
    return isinstance(node, nir.Scale) and bool(np.all(compact(node.scale) == 1))
