"""Cores as they lie on the mesh of a chip, coloured by how full they are: a drawing without a script."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from snn2hw.page.plots import GREY, shade
from snn2hw.report.mapping import CoreRange, Mapping

FEW = 3  # chips that lie in one row
ASPECT = 1.6  # width over height of a drawing of many chips


@dataclass(frozen=True)
class Piece:
    """Cores side by side in one row of the drawing, all of one layer and equally full; `part` numbers their range."""

    part: int
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
        self.chips = -(-sum(part.cores for part in mapping.cores) // mapping.cores_per_chip)
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
        for number, part in enumerate(self.mapping.cores):
            by_row: dict[int, list[int]] = {}
            for core in range(first, first + part.cores):
                x, y = self.place(core)
                by_row.setdefault(y, []).append(x)
            first += part.cores
            for y, xs in by_row.items():  # from left to right, as cores are numbered
                start = 0
                for at, x in enumerate(xs, start=1):
                    if at == len(xs) or xs[at] != x + 1:
                        yield Piece(number, xs[start], y, at - start)
                        start = at


def core_map(mapping: Mapping) -> Markup:
    """All cores of all chips as SVG; a core's colour is its largest share of a limit. Free cores are blank."""
    mesh = Mesh(mapping)
    width, height = mesh.size
    paths: dict[int, list[str]] = {}
    for piece in mesh.pieces():
        paths.setdefault(piece.part, []).append(f"M{piece.x} {piece.y}h{piece.width}v1h-{piece.width}z")
    drawn = Markup("").join(_drawn(mapping, mapping.cores[part], "".join(path)) for part, path in paths.items())
    wide, high = mesh.chip
    borders = "".join(f"M{x} {y}h{wide}v{high}h-{wide}z" for x, y in (mesh.corner(chip) for chip in range(mesh.chips)))
    title = f"{sum(part.cores for part in mapping.cores):,} cores of {mapping.title}, the fuller the lighter"
    return Markup(
        '<svg class="drawing" role="img" aria-label="{}" viewBox="-0.5 -0.5 {} {}" preserveAspectRatio="xMinYMin meet">'
        '{}<path d="{}" fill="none" stroke="{}" stroke-width="0.1"/></svg>'
    ).format(title, width + 1, height + 1, drawn, borders, GREY)


def _drawn(mapping: Mapping, part: CoreRange, path: str) -> Markup:
    share = fullest_share(mapping, part)
    return Markup('<path d="{}" fill="{}" stroke="{}" stroke-width="0.05"><title>{}</title></path>').format(
        path, shade(min(share, 1.0)), GREY, f"{part.layer}: {part.cores:,} cores, {100 * share:.0f} % used"
    )


def fullest_share(mapping: Mapping, part: CoreRange) -> float:
    """The largest share of a limit that each core of a range takes."""
    limits = (mapping.placement or {})["limits"]
    return float(max(part.needs[name] / limit for name, limit in limits.items() if limit))
