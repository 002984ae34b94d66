"""snn2hw sweep: accuracy against bits."""

from __future__ import annotations

import re
from typing import Any

from rich.markup import escape
from rich.table import Table

from snn2hw.analysis.layer_bits import LayerBits, find_layer_bits
from snn2hw.analysis.sweep import Sweep, check
from snn2hw.analysis.sweep import sweep as run
from snn2hw.api.reading import check_range
from snn2hw.cli import console
from snn2hw.cli.asked import Sweep as Asked
from snn2hw.cli.commands.arguments import calibration_samples, check_device, load, read_data
from snn2hw.errors import OptionError
from snn2hw.files import check_file, write_text
from snn2hw.passes.calibrate import calibrate as note_ranges
from snn2hw.passes.weight_scales import METHODS

RANGE = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?")


def sweep(asked: Asked) -> None:
    """Quantise a model in every way that is asked for; print a table, write a page and a document."""
    counts = parse_bits(asked.bits)
    every = asked.calibration == "all"
    methods = tuple(METHODS) if every else tuple(dict.fromkeys(asked.calibration.split(",")))
    check(counts, methods)
    if asked.per_layer:
        methods = methods[:1] if every else methods
        if len(methods) > 1:
            raise OptionError(f"--calibration {asked.calibration}: --per-layer takes one.")
        if asked.output is not None:
            raise OptionError(f"-o {asked.output}: --per-layer draws nothing. Write its result with --json FILE.")
    elif asked.loss is not None:
        raise OptionError("--loss is for --per-layer.")
    check_device(asked.device, 1, "fast")
    check_file(asked.output)
    console.check_json(asked.json_file)
    loaded = load(asked.model, asked.options)
    data = asked.data or loaded.data
    if data is None:
        raise OptionError(
            f"{asked.model} does not say on which data it was trained: give labelled samples with --data."
        )
    skip_corrupt = asked.skip_corrupt
    samples = read_data(data, loaded.input_shape, asked.samples, timesteps=loaded.timesteps, skip_corrupt=skip_corrupt)
    ranges_of = calibration_samples(loaded, asked.calibrate, skip_corrupt=skip_corrupt)
    with console.bars() as bars:
        ranges = note_ranges(
            loaded.network, ranges_of, timesteps=loaded.timesteps, progress=lambda a, b: bars("calibrate", a, b)
        )
        options: dict[str, Any] = {
            "bits": counts,
            "input_bits": asked.input_bits,
            "device": asked.device,
            "progress": bars,
            "on_first": lambda program: check_range(samples, program.graph.input, console, saturate=asked.saturate),
        }
        result: Sweep | LayerBits
        if asked.per_layer:
            loss = 1.0 if asked.loss is None else asked.loss
            result = find_layer_bits(loaded, ranges, samples, loss=loss, method=methods[0], **options)
        else:
            result = run(loaded, ranges, samples, methods=methods, **options)
    if isinstance(result, LayerBits):
        show_layers(result)
    else:
        show(result)
    if asked.json_file is not None:
        console.write_json(asked.json_file, result.to_json())
    if asked.output is not None and isinstance(result, Sweep):
        from snn2hw.analysis.sweep_page import page_of  # plotly is slow to import

        write_text(asked.output, page_of(result))
        console.say(f"Wrote {asked.output}.")


def parse_bits(text: str) -> tuple[int, ...]:
    """Numbers and ranges of bits, as in 3-8 or 2,4,8. Raises OptionError for anything else."""
    bits: list[int] = []
    for part in text.split(","):
        match = RANGE.fullmatch(part.strip())
        if match is None:
            raise OptionError(f"--bits {text}: give numbers and ranges, as in 3-8 or 2,4,8.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise OptionError(f"--bits {text}: {first} to {last} holds no number. Write the smaller one first.")
        bits += range(first, last + 1)
    return tuple(sorted(set(bits)))


def show(result: Sweep) -> None:
    """A row for each method and a column for each number of bits: accuracy, and the points lost; the best stand out."""
    of = f" of head {escape(result.head)}" if result.head else ""
    table = Table(
        "calibration",
        title=f"Accuracy{of} on {result.samples} samples of {escape(result.data)}, T={result.timesteps}; float "
        f"{100 * result.accuracy(result.float_correct):.2f} %",
        title_justify="left",
    )
    best = {}
    for bits in result.bits:
        table.add_column(f"{bits} bits", justify="right")
        best[bits] = max(
            (p.correct for p in result.points if p.weight_bits == bits and p.correct is not None), default=-1
        )
    for method in result.methods:
        cells = []
        for point in (point for point in result.points if point.method == method):
            if point.correct is None:
                cells.append("none")
                continue
            cell = f"{100 * result.accuracy(point.correct):.2f} ({0.0 - result.lost(point.correct):+.2f})"
            cells.append(f"[bold]{cell}[/]" if point.correct == best[point.weight_bits] else cell)
        table.add_row(method, *cells)
    console.console.print(table)
    for point in result.points:
        if point.refused is not None:
            console.say(f"{point.method}, {point.weight_bits} bits: {point.refused}")


def show_layers(result: LayerBits) -> None:
    """A row for each layer: its weights, the bits found, and the points lost where it alone has so many."""
    table = Table(
        "layer",
        title=f"Bits by layer on {result.samples} samples of {escape(result.data)}, T={result.timesteps}, calibration "
        f"{result.method}; float {100 * result.float_correct / result.samples:.2f} %",
        title_justify="left",
    )
    counts = sorted({count for each in result.alone.values() for count in each})
    for heading in ("weights", "bits", *(f"alone at {count}" for count in counts)):
        table.add_column(heading, justify="right")
    for name, bits in result.layers.items():
        alone = [result.alone[name][count] for count in counts]
        cells = ["none" if correct is None else f"{0.0 - result.lost(correct):+.2f}" for correct in alone]
        table.add_row(escape(name), f"{result.weights[name]:,}", str(bits), *cells)
    console.console.print(table)
    console.say(
        f"Weights: {result.bits / 8:,.0f} bytes instead of {result.uniform_bits / 8:,.0f}; accuracy "
        f"{100 * result.correct / result.samples:.2f} % ({0.0 - result.lost(result.correct):+.2f}), where "
        f"{result.weight_bits} bits for all have {100 * result.uniform_correct / result.samples:.2f} %."
    )
