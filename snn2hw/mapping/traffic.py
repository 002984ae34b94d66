"""Spikes between cores, counted exactly from a placement and the spikes of a simulation.

A spike becomes one message to every core that reads it, by each synapse that reads it there. On one chip a message
travels along the rows of the mesh and then along its columns; a hop is the way from one tile to the next. Between chips
it leaves the mesh: how chips are joined depends on the system, so such messages are counted, their hops are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import DataError
from snn2hw.mapping.placement import PlacedLayer, Placement
from snn2hw.mapping.populations import AXES, Feed

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Link:
    """The messages from one layer to another: all, those that stay on a tile, those that go to another chip, and the
    hops of the others along rows (east and west) and columns (north and south).
    """

    source: str
    target: str
    messages: int
    within_tile: int
    between_chips: int
    hops_x: int
    hops_y: int


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The messages of a run. received: by each core, in the order of their numbers. uncounted: layers that emit, but of
    which no spikes were given: relays, which no simulator records.
    """

    links: tuple[Link, ...]
    received: tuple[int, ...]
    uncounted: tuple[str, ...]

    def total(self, quantity: str) -> int:
        """The sum of one of the quantities of all links."""
        return sum(getattr(link, quantity) for link in self.links)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, for JSON."""
        quantities = ("messages", "within_tile", "between_chips", "hops_x", "hops_y")
        return {
            "totals": {quantity: self.total(quantity) for quantity in quantities},
            "links": [asdict(link) for link in self.links],
            "received": list(self.received),
            "uncounted": list(self.uncounted),
        }


def traffic(placement: Placement, spikes: Mapping[str, NDArray[np.integer[Any]]]) -> Traffic:
    """Messages and hops for so many spikes of each neuron.

    Args:
        spikes: for each placed layer that emits, how often each of its neurons did, integers [*the layer's
            shape]. A graded spike is one message. Relays may be left out; layers that are not placed are ignored.
    Raises:
        DataError: counts of a layer are missing, no whole numbers from 0, or of another shape.
    """
    received = np.zeros(placement.cores, np.int64)
    links, uncounted = [], set()
    for layer in placement.layers:
        for feed in layer.population.feeds:
            source = placement.by_name.get(feed.source)
            if source is None:  # the input: it comes from outside the mesh
                continue
            if source.name not in spikes and source.population.kind == "relay":
                uncounted.add(source.name)
                continue
            links.append(_link(source, layer, feed, _counts(source, spikes), received))
    return Traffic(
        links=tuple(links),
        received=tuple(int(count) for count in received),
        uncounted=tuple(layer.name for layer in placement.layers if layer.name in uncounted),
    )


def _counts(layer: PlacedLayer, spikes: Mapping[str, NDArray[np.integer[Any]]]) -> Int:
    shape = layer.population.shape
    if layer.name not in spikes:
        raise DataError(f"{layer.name}: no spike counts were given for this layer. Record it in the simulation.")
    counts = np.asarray(spikes[layer.name])
    if counts.size != layer.population.neurons or (*counts.shape, 1, 1)[:3] != shape:
        raise DataError(f"{layer.name}: spike counts of shape {list(counts.shape)}, but the layer has {list(shape)}.")
    if not np.issubdtype(counts.dtype, np.integer):
        raise DataError(f"{layer.name}: spike counts must be whole numbers, not {counts.dtype}.")
    if counts.min() < 0:
        raise DataError(f"{layer.name}: a spike count is {counts.min()}; counts go from 0.")
    return counts.astype(np.int64).reshape(shape)


def _link(source: PlacedLayer, target: PlacedLayer, feed: Feed, counts: Int, received: Int) -> Link:
    """Count the messages of one feed; those that each core receives are added to `received`."""
    read = counts.astype(np.float64)  # exact below 2^53, and float products are fast
    reading, sending = [], []  # along each axis the parts of which one reads places that the other holds
    for axis in AXES:
        reached = feed.reads[axis].of_parts(target.edges[axis])
        held = np.repeat(np.eye(source.parts[axis], dtype=np.bool_), np.diff(source.edges[axis]), axis=1)
        places = reached[:, None] & held[None]
        pairs = places.any(axis=-1)
        read = np.moveaxis(np.tensordot(places[pairs].astype(np.float64), read, axes=(1, axis)), 0, axis)
        of_target, of_source = np.nonzero(pairs)
        reading.append(of_target)
        sending.append(of_source)
    sent = read.astype(np.int64)
    readers, senders = target.core_numbers(*reading), source.core_numbers(*sending)
    np.add.at(received, readers, sent)
    here = _where(target)[readers - target.first_core]
    there = _where(source)[senders - source.first_core]
    chips, across, along = np.moveaxis(np.abs(here - there), -1, 0)
    same_chip = chips == 0
    return Link(
        source=source.name,
        target=target.name,
        messages=int(sent.sum()),
        within_tile=int(sent[same_chip & (across + along == 0)].sum()),
        between_chips=int(sent[~same_chip].sum()),
        hops_x=int((sent * across)[same_chip].sum()),
        hops_y=int((sent * along)[same_chip].sum()),
    )


def _where(layer: PlacedLayer) -> Int:
    """Chip, x and y of each core of a layer, [cores, 3]."""
    return np.array([(core.chip, core.x, core.y) for core in layer.cores], np.int64)
