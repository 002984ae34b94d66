"""The forms in which a graph is written: plain, portable and legacy. docs/nir.md says which client each is for."""

from __future__ import annotations

import copy
from typing import Protocol

import nir

from snn2hw.errors import OptionError
from snn2hw.exporters.nir.encode import Encoder
from snn2hw.exporters.nir.neurons import cuba_lif, if_only


class Profile(Protocol):
    """Turns a graph in normal form into the profile's. `whole`: it computes on whole numbers (integer_graph)."""

    def __call__(self, graph: nir.NIRGraph, *, whole: bool) -> nir.NIRGraph: ...


def plain(graph: nir.NIRGraph, *, whole: bool) -> nir.NIRGraph:
    """The natural nodes: IF, LIF, Threshold, Scale, pools. What snn2hw itself compiles."""
    return graph


def portable(graph: nir.NIRGraph, *, whole: bool) -> nir.NIRGraph:
    """CubaLIF, convolutions and sum pools alone: one file for SpikingJelly, norse and snnTorch."""
    return Encoder(graph, whole=whole, neuron=cuba_lif).run()


def legacy(graph: nir.NIRGraph, *, whole: bool) -> nir.NIRGraph:
    """IF, convolutions and sum pools alone, without v_reset: nir 1.0.4, and so sinabs and rockpool, read it."""
    return _metadata_of_the_graph(Encoder(graph, whole=whole, neuron=if_only).run())


def _metadata_of_the_graph(graph: nir.NIRGraph) -> nir.NIRGraph:
    """Every node's metadata as the graph's, under `node:key`: in nir 1.0.4 inputs and outputs have none."""
    nodes, moved = {}, dict(graph.metadata)
    for name, node in graph.nodes.items():
        moved |= {f"{name}:{key}": value for key, value in node.metadata.items()}
        nodes[name] = copy.copy(node)
        nodes[name].metadata = {}
    return nir.NIRGraph(nodes=nodes, edges=graph.edges, metadata=moved, type_check=False)


PROFILES: dict[str, Profile] = {"plain": plain, "portable": portable, "legacy": legacy}


def find_profile(name: str) -> Profile:
    """The profile of this name. Raises OptionError if there is none."""
    if name not in PROFILES:
        raise OptionError(f"--profile {name}: choose {', '.join(PROFILES)}.")
    return PROFILES[name]
