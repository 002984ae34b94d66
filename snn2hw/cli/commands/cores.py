"""What a placement takes of a chip, as a table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from snn2hw.cli.console import console, say
from snn2hw.mapping.placement import PlacedLayer, Placement


def show_placement(placement: Placement) -> None:
    """Cores, memory and axons of each layer (of its fullest core), and which limit keeps it from fewer cores."""
    title = f"Cores of {placement.chip.title}; neurons, bytes and axons are those of a layer's fullest core"
    table = Table("layer", "cut c x h x w", title=title, title_justify="left")
    for heading in ("cores", "neurons", "weights", "state", "axons in", "axons out"):
        table.add_column(heading, justify="right")
    table.add_column("bound by")
    table.add_column("used", justify="right")
    for layer in placement.layers:
        binding = layer.binding(placement.chip)
        used = f"{100 * layer.shares(placement.chip)[binding]:.0f} %"
        cut = "x".join(map(str, layer.parts))
        table.add_row(escape(layer.name), cut, str(len(layer.cores)), *_fullest(layer), binding, used)
    console.print(table)


def show_total(placement: Placement) -> None:
    """Cores and chips, the systems that hold them, and what the count does not know."""
    chip, systems = placement.chip, placement.systems
    count = "1 chip" if placement.chips == 1 else f"{placement.chips:,} chips"
    say(
        f"{placement.cores:,} {chip.title} cores on {count}; neurons and shared weights alone ask for "
        f"{placement.lower_bound:,}. "
        + (f"Fits {', '.join(systems)}." if systems else f"Larger than any system: {_largest(placement)}.")
    )
    for note in placement.notes:
        say(note)


def show_unknown(placement: Placement) -> None:
    """Which limits of the chip are not known and so not checked."""
    for limit, reason in placement.chip.not_public.items():
        say(f"Not checked: {limit} ({reason}).")


def _fullest(layer: PlacedLayer) -> list[str]:
    columns = ("neurons", "weight_bytes", "state_bytes", "input_axons", "output_axons")
    return [f"{max(getattr(core, column) for core in layer.cores):,}" for column in columns]


def _largest(placement: Placement) -> str:
    systems = placement.chip.systems
    name = max(systems, key=lambda system: systems[system], default=None)
    return "none is known" if name is None else f"{name} has {systems[name]:,} chips"
