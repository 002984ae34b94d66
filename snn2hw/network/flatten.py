"""Flatten: graphs inside a graph are taken apart, and names are made ones that files can hold."""

from __future__ import annotations

import nir
import numpy as np

from snn2hw.errors import ModelError

RESERVED = ("logits", "program", "file", "allow_pickle")  # results and programs hold entries of these names


def flatten(graph: nir.NIRGraph) -> nir.NIRGraph:
    """The graph without graphs in it: inner nodes are named `outer.inner`, their inputs and outputs become delays of 0.

    Raises ModelError if two nodes then have one name, or an inner graph has not one input and one output.
    """
    if not any(isinstance(node, nir.NIRGraph) for node in graph.nodes.values()):
        return graph
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    entries, exits = {}, {}

    def add(name: str, node: nir.NIRNode) -> None:
        if name in nodes:
            raise ModelError(
                f"{name}: two nodes have this name once the graphs in the graph are taken apart. Rename one."
            )
        nodes[name] = node

    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            add(name, node)
            continue
        inner = flatten(node)
        ports = {
            kind: [inside for inside, part in inner.nodes.items() if isinstance(part, kind)]
            for kind in (nir.Input, nir.Output)
        }
        for kind, names in ports.items():
            if len(names) != 1:
                raise ModelError(
                    f"{name}: this graph in the graph has {len(names)} {kind.__name__} nodes. An edge does not say "
                    "which one it means: exactly one is supported."
                )
        entries[name], exits[name] = (f"{name}.{ports[kind][0]}" for kind in (nir.Input, nir.Output))
        for inside, part in inner.nodes.items():
            if isinstance(part, nir.Input | nir.Output):
                shape = part.input_type["input"] if isinstance(part, nir.Input) else part.output_type["output"]
                part = nir.Delay(delay=np.broadcast_to(np.float32(0), [int(size) for size in np.ravel(shape)]))
            add(f"{name}.{inside}", part)
        edges += [(f"{name}.{source}", f"{name}.{target}") for source, target in inner.edges]
    edges += [(exits.get(source, source), entries.get(target, target)) for source, target in graph.edges]
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=graph.metadata, type_check=False)


def rename(graph: nir.NIRGraph) -> nir.NIRGraph:
    """Names that files can hold: printable, without a slash, and none that results use themselves."""
    names: dict[str, str] = {}
    taken = set(graph.nodes)
    for name in graph.nodes:
        new = "".join("." if c == "/" else c if c.isprintable() else "_" for c in name) or "_"
        if new != name or new in RESERVED:
            while new in taken or new in RESERVED:
                new += "_"
            taken.add(new)
            names[name] = new
    if not names:
        return graph
    return nir.NIRGraph(
        nodes={names.get(name, name): node for name, node in graph.nodes.items()},
        edges=[(names.get(source, source), names.get(target, target)) for source, target in graph.edges],
        metadata=graph.metadata,
        type_check=False,
    )
