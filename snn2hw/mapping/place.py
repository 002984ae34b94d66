"""Place: cut every layer into boxes of channels, rows and columns, one core each, as NxTF does.

A core stores the kernels of its channels once, however many places of the image it holds: convolutions share weights.
So cutting channels divides the weights, cutting the image copies them. Layers are placed from the read-out backwards,
since the output axons of a neuron are one for every core that it reaches, known once the layers behind it are placed.

Of all grids that fit, the one with the fewest cores is taken, those counted in that the layer before will need for its
output axons; among these, as NxTF (Rueckauer et al. 2022, arXiv 2101.04261) weighs them, the one with the least weights
with their copies, then input axons, then output axons of the layers before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.errors import DoesNotFit
from snn2hw.mapping.placement import (
    Core,
    PlacedLayer,
    Placement,
    box_of,
    even_edges,
    limits_of,
    lower_bound,
    useful_parts,
    weight_bytes,
)
from snn2hw.mapping.populations import AXES, Feed, Population, populations_of
from snn2hw.targets import Target

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
Counts = NDArray[np.int64]

ADVICE = {
    "neurons": "no chip is this small",
    "weights": "Give the layer fewer input channels, groups, a smaller kernel, or fewer weight bits",
    "memory": "Give the layer fewer input channels, groups or a smaller kernel, or neurons with less state",
    "input axons": "Give the layer a smaller kernel, or pool before it; Loihi 2 has no known limit",
    "output axons": "Make the layers that read it smaller, or fewer; Loihi 2 has no known limit",
}


def place(program: ir.Program, chip: Target) -> Placement:
    """Put all layers of a program on cores of a chip.

    Raises DoesNotFit for the first layer from the read-out of which not even one neuron fits a core.
    """
    populations = populations_of(program)
    bounds = {population.name: lower_bound(population, chip) for population in populations}
    fans: dict[str, list[_Fan]] = {population.name: [] for population in populations}
    chosen: dict[str, Edges] = {}
    for population in reversed(populations):
        edges = _best_grid(population, fans[population.name], bounds, chip)
        chosen[population.name] = edges
        for feed in population.feeds:
            if feed.source in fans:
                fans[feed.source].append(_Fan.of(feed, edges))
    layers: list[PlacedLayer] = []
    first = 0
    for population in populations:
        layer = _lay_out(population, chosen[population.name], fans[population.name], first, bounds, chip)
        layers.append(layer)
        first += len(layer.cores)
    return Placement(chip=chip, layers=tuple(layers), notes=_notes(program, populations, chip))


@dataclass(frozen=True)
class _Fan:
    """How many parts of one reader each place of a layer reaches, on each axis: their product counts cores."""

    counts: tuple[Counts, Counts, Counts]

    @classmethod
    def of(cls, feed: Feed, edges: Edges) -> _Fan:
        channels, rows, columns = (feed.reads[axis].of_parts(edges[axis]).sum(axis=0) for axis in AXES)
        return cls((channels, rows, columns))

    def sums(self, axis: int, edges: NDArray[np.int64]) -> Counts:
        """The sum over each part of the layer's grid."""
        return np.add.reduceat(self.counts[axis], edges[:-1])


def _best_grid(population: Population, fans: list[_Fan], bounds: dict[str, int], chip: Target) -> Edges:
    """The edges of the cheapest grid that fits. All grids are weighed at once: arrays [channels, rows, columns]."""
    parts = [useful_parts(size) for size in population.shape]
    grids = [
        [even_edges(size, int(count)) for count in counts] for size, counts in zip(population.shape, parts, strict=True)
    ]
    needs = _needs(population, fans, grids, chip)
    shape = tuple(map(len, parts))
    fits = np.ones(shape, np.bool_)
    for name, limit in limits_of(chip).items():
        if limit is not None:
            fits &= np.broadcast_to(needs[name] <= limit, shape)
    bits_fit = population.weight_bits <= chip.largest_weight_bits
    if not fits[-1, -1, -1] or not bits_fit:  # no grid is finer than the last
        raise _does_not_fit(population, {name: int(need[-1, -1, -1]) for name, need in needs.items()}, chip)
    cores = parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]
    axons_in, reached, forced = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for feed in population.feeds:
        read = [np.array([feed.reads[axis].of_parts(edges).sum() for edges in grids[axis]]) for axis in AXES]
        axons_in += parts[0][:, None, None] * read[1][None, :, None] * read[2][None, None, :]
        reaches = read[0][:, None, None] * read[1][None, :, None] * read[2][None, None, :]
        reached += reaches
        if chip.output_axons_per_core is not None:
            forced += np.maximum(reaches / chip.output_axons_per_core - bounds.get(feed.source, 0), 0)
    stored = needs["weights"] * cores
    order = np.lexsort([key[fits] for key in (reached, axons_in, stored, cores + np.ceil(forced))])
    best = np.argwhere(fits)[order[0]]
    return grids[0][best[0]], grids[1][best[1]], grids[2][best[2]]


def _needs(
    population: Population, fans: list[_Fan], grids: list[list[NDArray[np.int64]]], chip: Target
) -> dict[str, Counts]:
    """What the fullest core of each grid takes of each resource, each [channels, rows, columns] or 1.

    Output axons are bounded from above: the largest sums of the three axes need not meet in one core.
    """
    sizes = [np.array([int(np.diff(edges).max()) for edges in grid]) for grid in grids]
    neurons = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2][None, None, :]
    weights = np.array([weight_bytes(population, int(size), chip) for size in sizes[0]])[:, None, None]
    axons_in = np.zeros((1, len(grids[1]), len(grids[2])), np.int64)
    for feed in population.feeds:
        rows, columns = (
            np.array([feed.reads[axis].of_parts(edges).sum(axis=1).max() for edges in grids[axis]]) for axis in (1, 2)
        )
        axons_in += rows[None, :, None] * columns[None, None, :]
    axons_out = np.zeros_like(neurons)
    for fan in fans:
        largest = [np.array([fan.sums(axis, edges).max() for edges in grids[axis]]) for axis in AXES]
        axons_out += largest[0][:, None, None] * largest[1][None, :, None] * largest[2][None, None, :]
    return {
        "neurons": neurons,
        "weights": np.broadcast_to(weights, neurons.shape),
        "memory": weights + neurons * population.state_bytes,
        "input axons": np.broadcast_to(axons_in, neurons.shape),
        "output axons": axons_out,
    }


def _lay_out(
    population: Population, edges: Edges, fans: list[_Fan], first: int, bounds: dict[str, int], chip: Target
) -> PlacedLayer:
    """The cores of a grid, exactly."""
    read = [[feed.reads[axis].of_parts(edges[axis]).sum(axis=1) for axis in (1, 2)] for feed in population.feeds]
    sums = [[fan.sums(axis, edges[axis]) for axis in AXES] for fan in fans]
    empty = PlacedLayer(
        population=population, edges=edges, first_core=first, cores=(), lower_bound=bounds[population.name]
    )
    cores = []
    for number, parts in enumerate(empty.boxes(), start=first):
        box = box_of(edges, parts)
        channels, rows, columns = (end - start for start, end in box)
        chip_number, place = divmod(number, chip.cores_per_chip)
        y, x = divmod(place // chip.cores_per_tile, chip.mesh_width)
        cores.append(
            Core(
                layer=population.name,
                box=box,
                neurons=channels * rows * columns,
                weight_bytes=weight_bytes(population, channels, chip),
                state_bytes=channels * rows * columns * population.state_bytes,
                input_axons=sum(int(row[parts[1]] * column[parts[2]]) for row, column in read),
                output_axons=sum(int(c[parts[0]] * r[parts[1]] * w[parts[2]]) for c, r, w in sums),
                chip=chip_number,
                x=x,
                y=y,
            )
        )
    return PlacedLayer(
        population=population, edges=edges, first_core=first, cores=tuple(cores), lower_bound=bounds[population.name]
    )


def _does_not_fit(population: Population, needs: dict[str, int], chip: Target) -> DoesNotFit:
    if population.weight_bits > chip.largest_weight_bits:
        return DoesNotFit(
            f"{population.name}: its weights take {population.weight_bits} bits, but {chip.title} has at most "
            f"{chip.largest_weight_bits}. Export with fewer --weight-bits."
        )
    for name, limit in limits_of(chip).items():
        if limit is not None and needs[name] > limit:
            return DoesNotFit(
                f"{population.name}: one neuron alone on a core of {chip.title} takes {needs[name]:,} {UNITS[name]}, "
                f"{needs[name] - limit:,} more than the {limit:,} there are. {ADVICE[name]}."
            )
    raise ValueError(f"{population.name} fits")


UNITS = {
    "neurons": "neurons",
    "weights": "bytes of weights",
    "memory": "bytes of weights and state",
    "input axons": "input axons",
    "output axons": "output axons",
}


def _notes(program: ir.Program, populations: tuple[Population, ...], chip: Target) -> tuple[str, ...]:
    """What a placement cannot vouch for."""
    emitted = {program.graph.input.name: program.bounds[program.graph.input.name].payload}
    emitted |= {population.name: population.payload for population in populations}
    graded = [name for name, payload in emitted.items() if payload > chip.largest_payload]
    if not graded:
        return ()
    listed = ", ".join(graded)
    return (
        f"{chip.title} has spikes of at most {chip.largest_payload}, but these emit more: {listed}. They are counted, "
        "but do not run there.",
    )
