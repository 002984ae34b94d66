"""The forms in which a graph is written: plain, portable and legacy. docs/nir.md says which client each is for."""

from __future__ import annotations

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
    return Encoder(graph, whole=whole, neuron=if_only).run()


PROFILES: dict[str, Profile] = {"plain": plain, "portable": portable, "legacy": legacy}


def find_profile(name: str) -> Profile:
    """The profile of this name. Raises OptionError if there is none."""
    if name not in PROFILES:
        raise OptionError(f"--profile {name}: choose {', '.join(PROFILES)}.")
    return PROFILES[name]
