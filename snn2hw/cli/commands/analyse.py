"""snn2hw analyse: when blocks are the identity, gradients through depth, firing rates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from snn2hw.analysis.gradients import ALPHAS, Course, courses
from snn2hw.analysis.identity import NEURONS, Condition, conditions
from snn2hw.analysis.rates import LayerActivity, activity
from snn2hw.cli import console
from snn2hw.cli.commands.arguments import load, read_data
from snn2hw.errors import OptionError
from snn2hw.files import check_file, write_text
from snn2hw.frontends.options import ModelOptions

SCHEMA = "snn2hw.analysis/1"


def analyse(
    model: str | None,
    data: str | None,
    output: Path | None,
    json_file: Path | None,
    options: ModelOptions,
    *,
    samples: int | None,
    skip_corrupt: bool,
) -> None:
    """Print what the blocks of the papers do by themselves and, of a model, what its layers do; write it on demand."""
    check_file(output)
    check_file(json_file)
    layers = [] if model is None else _of_model(model, data, options, samples, skip_corrupt=skip_corrupt)
    if model is None and data is not None:
        raise OptionError(f"--data {data}: samples are for a model. Name one.")
    identities, gradients = list(conditions()), courses()
    _show_identities(identities)
    _show_gradients(gradients)
    if layers:
        _show_activity(model or "", layers)
    if json_file is not None:
        document = {
            "schema": SCHEMA,
            "identity": [asdict(found) for found in identities],
            "gradients": [asdict(found) for found in gradients],
            "layers": [asdict(found) for found in layers],
        }
        write_text(json_file, json.dumps(document, indent=1) + "\n")
    if output is not None:
        from snn2hw.analysis.page import page_of  # plotly is slow to import

        write_text(output, page_of(identities, gradients, layers))
        console.say(f"Wrote {output}.")


def _of_model(
    model: str, data: str | None, options: ModelOptions, count: int | None, *, skip_corrupt: bool
) -> list[LayerActivity]:
    loaded = load(model, options)
    named = data or loaded.data
    if named is None:
        raise OptionError(f"{model} does not say on which data it was trained: give samples with --data.")
    with console.bars() as bars:
        steps = loaded.timesteps
        chosen = read_data(named, loaded.input_shape, count, timesteps=steps, skip_corrupt=skip_corrupt, bars=bars)
        return activity(loaded, chosen, progress=lambda done, of: bars("model", done, of))


def _show_identities(found: Sequence[Condition]) -> None:
    table = Table(
        "connect",
        *NEURONS,
        title="Thresholds at which a block with the papers' start is the identity",
        title_justify="left",
    )
    for connect in dict.fromkeys(condition.connect for condition in found):
        table.add_row(connect, *(str(condition) for condition in found if condition.connect == connect))
    console.console.print(table)


def _show_gradients(found: Sequence[Course]) -> None:
    depth = len(found[0].norms) - 1
    table = Table(
        "connect",
        *(f"slope {alpha / 2:g}" for alpha in ALPHAS),
        title=f"What is left of a gradient after {depth} blocks that are the identity, by the surrogate's slope",
        title_justify="left",
    )
    for connect in dict.fromkeys(course.connect for course in found):
        table.add_row(connect, *(f"{course.ratio:.4g}" for course in found if course.connect == connect))
    console.console.print(table)


def _show_activity(model: str, layers: Sequence[LayerActivity]) -> None:
    table = Table("layer", title=f"Layers of {escape(model)}", title_justify="left")
    for heading in ("emitted a neuron and step", "silent neurons", "gradient over the last layer's"):
        table.add_column(heading, justify="right")
    for found in layers:
        gradient = "" if found.gradient is None else f"{found.gradient:.3g}"
        table.add_row(escape(found.layer), f"{found.rate:.4f}", f"{100 * found.silent:.1f} %", gradient)
    console.console.print(table)
