"""What people see in the terminal: tables, progress bars, verdicts."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from snn2hw.errors import Blocker
from snn2hw.files import check_file, write_text
from snn2hw.shown import progress, tables
from snn2hw.shown.progress import Bars
from snn2hw.shown.terminal import Terminal

if TYPE_CHECKING:  # they import torch, which is slow, and --help does without
    from snn2hw import ir
    from snn2hw.deployment import Convention
    from snn2hw.engines.layers import Layers
    from snn2hw.exporters import Part
    from snn2hw.exporters.bundle import Entry
    from snn2hw.mapping.summary import LayerSummary
    from snn2hw.verification.comparison import Measures
    from snn2hw.verification.verdict import Verification

LISTED = 5  # layers that a line names
STDOUT = "-"
PIPE_WIDTH = 120  # columns of a table where no terminal says how wide it is

console = Terminal(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
errors = Terminal(stderr=True, highlight=False, emoji=False, soft_wrap=True)


quiet, verbose = False, False


def set_volume(*, less: bool, more: bool) -> None:
    """How much is told in this call of the command line: -q and -v."""
    global quiet, verbose
    quiet, verbose = less, more
    console.quiet = less


def say(message: str) -> None:
    """Print a line as it stands: names of files may hold what looks like markup."""
    console.print(message, markup=False)


def check_json(path: Path | None) -> None:
    """Raise OptionError if --json cannot be written there. For - it goes to stdout, where nothing else then does."""
    if path is not None and str(path) == STDOUT:
        console.quiet = True
    else:
        check_file(path)


def write_json(path: Path, document: object) -> None:
    """Write a document: to a file, complete or not at all, or to stdout for -."""
    text = json.dumps(document, indent=1) + "\n"
    if str(path) == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(path, text)


def note(message: str) -> None:
    """Say what takes long: on a terminal, and with -v in a pipe too; with -q nowhere."""
    if (sys.stderr.isatty() or verbose) and not quiet:
        errors.print(message, markup=False)


def fail(message: str) -> None:
    """Print an error on stderr."""
    errors.print(f"[bold red]error[/]: {escape(message)}")


@contextmanager
def bars() -> Iterator[Bars]:
    """Progress bars on a terminal; silence in a pipe, or with -v a line now and then; with -q nothing."""
    if quiet:
        yield lambda label, done, total: None
    elif verbose and not sys.stderr.isatty():
        yield progress.Heartbeat(lambda text: errors.print(text, markup=False))
    else:
        with progress.terminal_bars() as shown:
            yield shown


def show_conventions(conventions: Mapping[str, Convention]) -> None:
    """The firing, reset and initial-state conventions, once for each kind of neuron."""
    for kind, count in Counter(conventions.values()).items():
        say(
            f"Neurons: {count} layers of {kind.framework}, firing at {kind.fires}, reset {kind.reset}, starting at "
            f"{kind.start}."
        )


def show_manifest_conventions(conventions: Mapping[str, Mapping[str, str]]) -> None:
    """The same from a bundle's manifest."""
    from snn2hw.deployment import Convention

    show_conventions({name: Convention(**convention) for name, convention in conventions.items()})


def show_blockers(blockers: list[Blocker]) -> None:
    """Every blocker: where, what, what to do."""
    title = "1 blocker" if len(blockers) == 1 else f"{len(blockers)} blockers"
    table = Table("layer", "problem", "what to do", title=title, title_justify="left")
    for blocker in blockers:
        place = f"{blocker.layer}\n{blocker.line}" if blocker.line else blocker.layer
        table.add_row(escape(place), escape(blocker.problem), escape(blocker.advice))
    console.print(table)


def show_layers(rows: list[LayerSummary], *, depth: int) -> None:
    """The network as a table."""
    table = Table("layer", "kind", "shape")
    for heading in ("weights", "latency", "delay", "cores"):
        table.add_column(heading, justify="right")
    for row in rows:
        shape = "x".join(map(str, row.shape))
        cells = (str(row.weights or ""), str(row.latency), str(row.delay or ""), str(row.cores or ""))
        table.add_row(escape(row.name), row.kind, shape, *cells)
    console.print(table)
    weights = sum(row.weights for row in rows)
    neurons = sum(math.prod(row.shape) for row in rows if row.kind == "neuron")
    console.print(f"{neurons:,} neurons, {weights:,} weights, pipeline {depth} cycles deep.")


def show_kernels(layers: Layers) -> None:
    """Which kernel computes each layer's sums in the fast simulator, and the bounds that it follows from."""
    table = Table("layer", "kernel", title="Kernels of the fast simulator on this machine", title_justify="left")
    for heading in ("largest payload", "largest sum"):
        table.add_column(heading, justify="right")
    for name, synapse in layers.synapses.items():
        bound = layers.program.bounds[name]
        table.add_row(escape(name), synapse.kernel, f"{synapse.payload:,}", f"{bound.accumulator:,}")
    console.print(table)


def show_heads(program: ir.Program) -> None:
    """The heads of a model with several, and which of them accuracy speaks of."""
    if heads := program.graph.readout.heads:
        listed = ", ".join(f"{head.name} ({head.stop - head.start} logits)" for head in heads)
        say(f"Heads: {listed}; accuracy is that of {heads[0].name}.")


def show_grids(moved: Mapping[str, bool]) -> None:
    """Which layers keep the grid of their weights, if some do. moved: of each whether its weights were moved."""
    if moved and not all(moved.values()):
        away = [name for name, each in moved.items() if each]
        others = f"; rounded: {', '.join(away[:LISTED])}{', ...' if len(away) > LISTED else ''}" if away else ""
        say(f"Grids kept: {len(moved) - len(away)} of {len(moved)} layers, whose weights are the model's own{others}.")


def show_bounds(program: ir.Program) -> None:
    """Which accumulators are proved to stay in range, and which rest on calibration."""
    from snn2hw import ir

    neurons = [node for node in program.graph if isinstance(node, ir.Neuron)]
    open_ones = [node.name for node in neurons if program.bounds[node.name].kind != "proved"]
    console.print(
        f"Ranges: {len(neurons) - len(open_ones)} of {len(neurons)} neuron layers proved to stay within "
        f"{program.numerics.membrane_limit.bit_length()} bits."
    )
    for name in open_ones:
        bound = program.bounds[name]
        console.print(
            f"  {escape(name)}: the worst case exceeds the limit; calibration saw {100 * (bound.observed or 0):.1f} % "
            "of it. The engines stop if it is ever reached."
        )


def show_verification(result: Verification) -> None:
    """Accuracy waterfall, spikes, comparisons."""
    from snn2hw.verification.verdict import parts_of

    tables.show(console, parts_of(result))


def show_verdict(result: Verification) -> None:
    """The first difference of each comparison that must be exact, and the verdict, in colour."""
    from snn2hw.verification.verdict import verdict_of

    colour = {"exact": "green", "diverged": "red", "incomplete": "yellow"}[result.verdict]
    for line in verdict_of(result):
        escaped = escape(line).replace(f"Verdict: {result.verdict}", f"Verdict: [bold {colour}]{result.verdict}[/]")
        console.print(escaped.replace("First difference", "[bold red]First difference[/]"))


def show_backends(backends: Mapping[str, Entry]) -> None:
    """What each back end of a bundle wrote, and which of them run."""
    entries = (f"{name} ({entry.artefact}{', runs' if entry.runnable else ''})" for name, entry in backends.items())
    say(f"Back ends: {', '.join(entries)}.")


def show_doctor(parts: Sequence[Part]) -> None:
    """What is installed and how to get the rest."""
    table = Table("part", "found", "what to do")
    for part in parts:
        table.add_row(part.name, escape(part.present or "missing"), escape(part.advice))
    console.print(table)


def show_comparison(result: Measures, a: str, b: str) -> None:
    """Two runs layer by layer, and whether they are equal."""
    table = Table("layer", title=f"{escape(a)} and {escape(b)}", title_justify="left")
    for heading in ("compared", "different", "cosine", "rate difference"):
        table.add_column(heading, justify="right")
    for layer in result.layers:
        cosine = "silent" if layer.cosine is None else f"{layer.cosine:.6f}"
        counts = (f"{layer.compared:,}", f"{layer.mismatches:,}", cosine, f"{layer.rate_difference:+.6f}")
        table.add_row(escape(layer.name), *counts)
    console.print(table)
    for side, names in ((a, result.only_a), (b, result.only_b)):
        if names:
            console.print(f"Only in {escape(side)}: {escape(', '.join(names))}.")
    difference = result.first()
    if difference is None:
        console.print(f"[bold green]Equal[/]: {sum(layer.compared for layer in result.layers):,} values.")
        return
    name, first = difference
    step = "" if first.step is None else f", step {first.step}"
    console.print(
        f"[bold red]First difference[/]: layer {escape(name)}, sample {first.sample}{step}, index "
        f"{list(first.index)}: {escape(a)} gives {first.expected}, {escape(b)} gives {first.actual}."
    )
