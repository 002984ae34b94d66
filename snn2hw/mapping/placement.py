"""Where every neuron of a program sits: the result of placement, and what it needs of a chip and its systems."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.mapping.populations import AXES, Population
from snn2hw.targets import Target

SCHEMA = "snn2hw.mapping/1"
RESOURCES = ("neurons", "weights", "memory", "input axons", "output axons")
"""What a core has a limited amount of. memory: weights and neuron state together."""

Needs = dict[str, int]
Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Core:
    """One core: its layer, the box of it that it holds (first and last place of channels, rows, columns), what that
    takes, and where it is. x and y are those of its tile on its chip.
    """

    layer: str
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    neurons: int
    weight_bytes: int
    state_bytes: int
    input_axons: int
    output_axons: int
    chip: int
    x: int
    y: int

    @property
    def needs(self) -> Needs:
        memory = self.weight_bytes + self.state_bytes
        amounts = (self.neurons, self.weight_bytes, memory, self.input_axons, self.output_axons)
        return dict(zip(RESOURCES, amounts, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedLayer:
    """A population cut into a grid of boxes, one core each.

    edges: for channels, rows and columns the places where a new part begins, and the end. first_core: the number of its
    first core; the others follow by rows, then columns, then channels.
    """

    population: Population
    edges: tuple[Places, Places, Places]
    first_core: int
    cores: tuple[Core, ...]
    lower_bound: int

    @property
    def name(self) -> str:
        return self.population.name

    @property
    def parts(self) -> tuple[int, int, int]:
        """Into how many parts channels, rows and columns are cut."""
        channels, rows, columns = (len(edges) - 1 for edges in self.edges)
        return channels, rows, columns

    def core_numbers(self, channels: Places, rows: Places, columns: Places) -> NDArray[np.int64]:
        """The numbers of the cores that hold these parts of channels, rows and columns: [channels, rows, columns]."""
        channel, row, column = np.ix_(channels, rows, columns)
        return self.first_core + (row * self.parts[2] + column) * self.parts[0] + channel

    def boxes(self) -> Iterator[tuple[int, int, int]]:
        """The parts of channels, rows and columns, in the order of the cores."""
        channels, rows, columns = self.parts
        for row, column, channel in product(range(rows), range(columns), range(channels)):
            yield channel, row, column

    def shares(self, chip: Target) -> dict[str, float]:
        """Which share of each limited resource the fullest core of this layer takes."""
        limits = limits_of(chip)
        return {
            name: max(core.needs[name] for core in self.cores) / limit
            for name, limit in limits.items()
            if limit is not None
        }

    def binding(self, chip: Target) -> str:
        """The resource that its fullest core takes the largest share of: what keeps it from fewer cores."""
        shares = self.shares(chip)
        return max(shares, key=lambda name: shares[name])


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """All layers of a program on the cores of a chip; cores are numbered in order, chip after chip."""

    chip: Target
    layers: tuple[PlacedLayer, ...]
    notes: tuple[str, ...]

    @property
    def cores(self) -> int:
        return sum(len(layer.cores) for layer in self.layers)

    @property
    def chips(self) -> int:
        return math.ceil(self.cores / self.chip.cores_per_chip)

    @property
    def lower_bound(self) -> int:
        """Cores that no placement can do without: those of neurons and of weights stored once."""
        return sum(layer.lower_bound for layer in self.layers)

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems of this chip that are large enough."""
        return tuple(name for name, chips in self.chip.systems.items() if chips >= self.chips)

    @cached_property
    def by_name(self) -> dict[str, PlacedLayer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def costs(self) -> dict[str, int]:
        """The terms that NxTF (Rueckauer et al. 2022) minimises: cores, weights with their copies, axons in and out."""
        every = [core for layer in self.layers for core in layer.cores]
        return {
            "cores": len(every),
            "weight_bytes": sum(core.weight_bytes for core in every),
            "input_axons": sum(core.input_axons for core in every),
            "output_axons": sum(core.output_axons for core in every),
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists of everything, for JSON."""
        return {
            **self.summary(),
            "core_list": [
                {
                    "layer": core.layer,
                    "box": [list(span) for span in core.box],
                    **core.needs,
                    "state": core.state_bytes,
                    "chip": core.chip,
                    "x": core.x,
                    "y": core.y,
                }
                for layer in self.layers
                for core in layer.cores
            ],
        }

    def summary(self) -> dict[str, Any]:
        """The same without the single cores."""
        return {
            "schema": SCHEMA,
            "chip": self.chip.name,
            "limits": limits_of(self.chip),
            "not_public": dict(self.chip.not_public),
            "cores": self.cores,
            "lower_bound": self.lower_bound,
            "chips": self.chips,
            "systems": list(self.systems),
            "costs": self.costs,
            "notes": list(self.notes),
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.population.kind,
                    "shape": list(layer.population.shape),
                    "cores": len(layer.cores),
                    "lower_bound": layer.lower_bound,
                    "binding": layer.binding(self.chip),
                    "shares": layer.shares(self.chip),
                }
                for layer in self.layers
            ],
        }


def limits_of(chip: Target) -> dict[str, int | None]:
    """How much of each resource a core has; None where that is not known."""
    amounts = (
        chip.neurons_per_core,
        chip.weight_bytes_per_core,
        chip.memory_bytes_per_core,
        chip.input_axons_per_core,
        chip.output_axons_per_core,
    )
    return dict(zip(RESOURCES, amounts, strict=True))


def weight_bytes(population: Population, channels: int, chip: Target) -> int:
    """Bytes of the weights that a core with this many channels of a layer stores."""
    bits = max(population.weight_bits, chip.smallest_weight_bits)
    return math.ceil((population.weights + channels * population.channel_weights) * bits / 8)


def lower_bound(population: Population, chip: Target) -> int:
    """Cores that a layer needs if neurons and shared weights divide without a rest; 0 for relays and thresholds, which
    a chip may be able to do without.
    """
    if population.kind not in ("neuron", "readout"):
        return 0
    stored = weight_bytes(population, population.shape[0], chip)
    return max(math.ceil(population.neurons / chip.neurons_per_core), math.ceil(stored / chip.weight_bytes_per_core))


def even_edges(size: int, parts: int) -> NDArray[np.int64]:
    """Where `parts` parts of `size` places begin, and the end, [parts + 1]; their sizes differ by one at most."""
    return np.arange(parts + 1, dtype=np.int64) * size // parts


def useful_parts(size: int) -> NDArray[np.int64]:
    """The numbers of parts [n] worth trying: the smallest for each size of the largest part."""
    return np.unique(-(-size // np.arange(1, size + 1)))


def box_of(layer: PlacedLayer | tuple[NDArray[np.int64], ...], parts: tuple[int, int, int]) -> Any:
    """The first and last place of each axis of a box; a layer's edges are [parts + 1] for each axis."""
    edges = layer.edges if isinstance(layer, PlacedLayer) else layer
    return tuple((int(edges[axis][parts[axis]]), int(edges[axis][parts[axis] + 1])) for axis in AXES)
