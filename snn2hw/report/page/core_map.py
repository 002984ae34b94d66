"""Cores as they lie on the mesh of a chip, coloured by how full they are: a drawing without a script."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from snn2hw.page.plots import GREY, shade
from snn2hw.report.mapping import CoreKind, Mapping

FEW = 3  # chips that lie in one row
ASPECT = 1.6  # width over height of a drawing of many chips


@dataclass(frozen=True)
class Piece:
    """Cores side by side in one row of the drawing, all of one layer and filled to as many per cent."""

    layer: str
    filled: int
    x: int
    y: int
    width: int


class Mesh:
    """Where cores lie in the drawing, in units of a core; chips stand one unit apart."""

    def __init__(self, mapping: Mapping) -> None:
        wide, high, per_tile = mapping.mesh
        self.mapping, self.tiles_wide, self.per_tile = mapping, wide, per_tile
        self.side = math.ceil(math.sqrt(per_tile))  # the cores of a tile in rows of so many
        self.tile_high = math.ceil(per_tile / self.side)
        self.chip = wide * self.side, high * self.tile_high
        self.chips = -(-_count(mapping) // mapping.cores_per_chip)
        square = math.ceil(math.sqrt(self.chips * ASPECT * self.chip[1] / self.chip[0]))
        self.per_row = min(self.chips, max(FEW, square))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the drawing."""
        rows = math.ceil(self.chips / self.per_row)
        return self.per_row * (self.chip[0] + 1) - 1, rows * (self.chip[1] + 1) - 1

    def corner(self, chip: int) -> tuple[int, int]:
        """The upper left corner of a chip."""
        row, column = divmod(chip, self.per_row)
        return column * (self.chip[0] + 1), row * (self.chip[1] + 1)

    def place(self, core: int) -> tuple[int, int]:
        """The upper left corner of a core, by its number."""
        chip, on_chip = divmod(core, self.mapping.cores_per_chip)
        tile, within = divmod(on_chip, self.per_tile)
        x, y = self.corner(chip)
        tile_y, tile_x = divmod(tile, self.tiles_wide)
        return x + tile_x * self.side + within % self.side, y + tile_y * self.tile_high + within // self.side

    def pieces(self) -> Iterator[Piece]:
        """All cores, those side by side as one piece."""
        first = 0
        filled = [round(100 * fullest_share(self.mapping, kind)) for kind in self.mapping.kinds]
        layers = [kind.layer for kind in self.mapping.kinds]
        alike = groupby(self.mapping.cores, lambda part: (layers[part[0]], filled[part[0]]))
        for (layer, share), parts in alike:
            last = first + sum(cores for _, cores in parts)
            by_row: dict[int, list[int]] = {}
            for core in range(first, last):
                x, y = self.place(core)
                by_row.setdefault(y, []).append(x)
            first = last
            for y, xs in by_row.items():  # from left to right, as cores are numbered
                start = 0
                for at, x in enumerate(xs, start=1):
                    if at == len(xs) or xs[at] != x + 1:
                        yield Piece(layer, share, xs[start], y, at - start)
                        start = at


def core_map(mapping: Mapping) -> Markup:
    """All cores of all chips as SVG; a core's colour is its largest share of a limit. Free cores are blank."""
    mesh = Mesh(mapping)
    width, height = mesh.size
    pieces: dict[tuple[str, int], list[Piece]] = {}
    for piece in mesh.pieces():
        pieces.setdefault((piece.layer, piece.filled), []).append(piece)
    drawn = Markup("").join(_drawn(layer, filled, of) for (layer, filled), of in pieces.items())
    wide, high = mesh.chip
    borders = "".join(f"M{x} {y}h{wide}v{high}h-{wide}z" for x, y in (mesh.corner(chip) for chip in range(mesh.chips)))
    title = f"{_count(mapping):,} cores of {mapping.title}, the fuller the lighter"
    return Markup(
        '<svg class="drawing" role="img" aria-label="{}" viewBox="-0.5 -0.5 {} {}" preserveAspectRatio="xMinYMin meet">'
        '{}<path d="{}" fill="none" stroke="{}" stroke-width="0.1"/></svg>'
    ).format(title, width + 1, height + 1, drawn, borders, GREY)


def _drawn(layer: str, filled: int, pieces: list[Piece]) -> Markup:
    path = "".join(f"M{piece.x} {piece.y}h{piece.width}v1h-{piece.width}z" for piece in pieces)
    cores = sum(piece.width for piece in pieces)
    return Markup('<path d="{}" fill="{}" stroke="{}" stroke-width="0.05"><title>{}</title></path>').format(
        path, shade(min(filled / 100, 1.0)), GREY, f"{layer}: {cores:,} cores, {filled} % used"
    )


def fullest_share(mapping: Mapping, kind: CoreKind) -> float:
    """The largest share of a limit that each core of a kind takes."""
    limits = (mapping.placement or {})["limits"]
    return float(max(kind.needs[name] / limit for name, limit in limits.items() if limit))


def _count(mapping: Mapping) -> int:
    return sum(cores for _, cores in mapping.cores)
