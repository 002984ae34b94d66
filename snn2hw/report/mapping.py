"""The layers on the cores of every known chip, and the messages between the cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from snn2hw import ir
from snn2hw.errors import DoesNotFit
from snn2hw.ir.fixed_point import Int
from snn2hw.mapping.place import place
from snn2hw.mapping.placement import RESOURCES
from snn2hw.mapping.traffic import traffic
from snn2hw.targets import known_chips, load_target


@dataclass(frozen=True, kw_only=True)
class CoreKind:
    """Cores that hold as much of one layer. needs: what each takes of a core's resources; state: bytes of neuron state
    among it.
    """

    layer: str
    needs: dict[str, int]
    state: int


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A program on one chip. mesh: tiles from west to east and from north to south, and cores of a tile.

    Cores are numbered chip after chip, on a chip by rows of tiles, then by tiles, then within the tile; `cores` has
    them in that order, as ranges: a place in `kinds`, and how many of that kind follow each other. placement: of schema
    snn2hw.mapping/1, without the list of single cores. traffic: messages and hops of all samples, and the most that one
    core receives; hops: of one sample along rows and columns. None or empty if a layer fits no core, and then
    does_not_fit says which and why.
    """

    chip: str
    title: str
    mesh: tuple[int, int, int]
    cores_per_chip: int
    does_not_fit: str | None
    placement: dict[str, Any] | None
    kinds: tuple[CoreKind, ...]
    cores: tuple[tuple[int, int], ...]
    traffic: dict[str, Any] | None
    hops: tuple[float, float] | None

    def spreads(self) -> dict[str, Spread]:
        """How each layer lies on its cores; empty if one fits none."""
        held: dict[str, list[tuple[int, int]]] = {}
        for kind, cores in self.ranges():
            held.setdefault(kind.layer, []).append((kind.needs["neurons"], cores))
        return {
            name: Spread(
                cores=sum(cores for _, cores in parts),
                largest_part=max(neurons for neurons, _ in parts) / sum(neurons * cores for neurons, cores in parts),
            )
            for name, parts in held.items()
        }

    def ranges(self) -> Iterator[tuple[CoreKind, int]]:
        """The cores in order: of which kind, and how many of it follow each other."""
        return ((self.kinds[kind], cores) for kind, cores in self.cores)


Listed = tuple[str, tuple[int, ...], int]
"""A core: its layer, what it takes of each of RESOURCES, and its bytes of state."""


def core_ranges(cores: Iterable[Listed]) -> tuple[tuple[CoreKind, ...], tuple[tuple[int, int], ...]]:
    """The kinds among cores, and the cores in their order as ranges of a kind."""
    places: dict[Listed, int] = {}
    ranges = [(places.setdefault(core, len(places)), sum(1 for _ in alike)) for core, alike in groupby(cores)]
    kinds = (
        CoreKind(layer=layer, needs=dict(zip(RESOURCES, amounts, strict=True)), state=state)
        for layer, amounts, state in places
    )
    return tuple(kinds), tuple(ranges)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """On how many cores a layer lies, and the part of its neurons that the fullest of them holds, above 0 to 1."""

    cores: int
    largest_part: float


def map_to_chips(program: ir.Program, spikes: dict[str, Int], *, samples: int) -> tuple[Mapping, ...]:
    """Place a program on every known chip.

    spikes: how often each unit of each layer emitted in so many samples, [*shape] of the layer.
    """
    return tuple(_map(program, spikes, samples, name) for name in known_chips())


def _map(program: ir.Program, spikes: dict[str, Int], samples: int, name: str) -> Mapping:
    chip = load_target(name)
    reason, summary, messages, hops = None, None, None, None
    kinds: tuple[CoreKind, ...] = ()
    cores: tuple[tuple[int, int], ...] = ()
    try:
        placed = place(program, chip)
    except DoesNotFit as error:
        reason = str(error)
    else:
        summary = placed.summary()
        kinds, cores = core_ranges(
            (core.layer, tuple(core.needs.values()), core.state_bytes)
            for layer in placed.layers
            for core in layer.cores
        )
        between_cores = traffic(placed, spikes)
        messages = between_cores.as_dict()
        messages["received_most"] = max(messages.pop("received"), default=0)
        hops = (between_cores.total("hops_x") / samples, between_cores.total("hops_y") / samples)
    return Mapping(
        chip=name,
        title=chip.title,
        mesh=(chip.mesh_width, chip.mesh_height, chip.cores_per_tile),
        cores_per_chip=chip.cores_per_chip,
        does_not_fit=reason,
        placement=summary,
        kinds=kinds,
        cores=cores,
        traffic=messages,
        hops=hops,
    )
