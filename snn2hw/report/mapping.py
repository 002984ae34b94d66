"""The layers on the cores of every known chip, and the messages between the cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snn2hw import ir
from snn2hw.errors import DoesNotFit
from snn2hw.ir.fixed_point import Int
from snn2hw.mapping.place import place
from snn2hw.mapping.traffic import traffic
from snn2hw.targets import known_chips, load_target


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A program on one chip. mesh: tiles from west to east and from north to south, and cores of a tile.

    placement: of schema snn2hw.mapping/1. traffic: messages and hops of all samples; hops: of one sample along rows and
    columns. All None if a layer fits no core, and then does_not_fit says which and why.
    """

    chip: str
    title: str
    mesh: tuple[int, int, int]
    does_not_fit: str | None
    placement: dict[str, Any] | None
    traffic: dict[str, Any] | None
    hops: tuple[float, float] | None

    def spreads(self) -> dict[str, Spread]:
        """How each layer lies on its cores; empty if one fits none."""
        if self.placement is None:
            return {}
        held: dict[str, list[int]] = {}
        for core in self.placement["core_list"]:
            held.setdefault(core["layer"], []).append(core["neurons"])
        return {
            name: Spread(cores=len(neurons), largest_part=max(neurons) / sum(neurons)) for name, neurons in held.items()
        }


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
    reason, placement, messages, hops = None, None, None, None
    try:
        placed = place(program, chip)
    except DoesNotFit as error:
        reason = str(error)
    else:
        placement = placed.as_dict()
        between_cores = traffic(placed, spikes)
        messages = between_cores.as_dict()
        hops = (between_cores.total("hops_x") / samples, between_cores.total("hops_y") / samples)
    return Mapping(
        chip=name,
        title=chip.title,
        mesh=(chip.mesh_width, chip.mesh_height, chip.cores_per_tile),
        does_not_fit=reason,
        placement=placement,
        traffic=messages,
        hops=hops,
    )
