"""snn2hw analyse: when blocks are the identity, gradients through depth, firing rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from snn2hw.analysis.gradients import ALPHAS, Course, courses
from snn2hw.analysis.identity import NEURONS, Condition, conditions
from snn2hw.analysis.rates import LayerActivity, activity
from snn2hw.cli import console
from snn2hw.cli.asked import Analyse
from snn2hw.cli.commands.arguments import load, read_data
from snn2hw.errors import OptionError
from snn2hw.files import check_file, write_text

SCHEMA = "snn2hw.analysis/1"


def analyse(asked: Analyse) -> None:
    """Print what the blocks of the papers do by themselves and, of a model, what its layers do; write it on demand."""
    check_file(asked.output)
    console.check_json(asked.json_file)
    if asked.model is None and asked.data is not None:
        raise OptionError(f"--data {asked.data}: samples are for a model. Name one.")
    layers = [] if asked.model is None else _of_model(asked.model, asked)
    identities, gradients = list(conditions()), courses()
    _show_identities(identities)
    _show_gradients(gradients)
    if layers:
        _show_activity(asked.model or "", layers)
    if asked.json_file is not None:
        document = {
            "schema": SCHEMA,
            "identity": [asdict(condition) for condition in identities],
            "gradients": [asdict(course) for course in gradients],
            "layers": [asdict(layer) for layer in layers],
        }
        console.write_json(asked.json_file, document)
    if asked.output is not None:
        from snn2hw.analysis.page import page_of  # plotly is slow to import

        write_text(asked.output, page_of(identities, gradients, layers))
        console.say(f"Wrote {asked.output}.")


def _of_model(model: str, asked: Analyse) -> list[LayerActivity]:
    loaded = load(model, asked.options)
    data = asked.data or loaded.data
    if data is None:
        raise OptionError(f"{model} does not say on which data it was trained: give samples with --data.")
    with console.bars() as bars:
        samples = read_data(
            data,
            loaded.input_shape,
            asked.samples,
            timesteps=loaded.timesteps,
            skip_corrupt=asked.skip_corrupt,
            bars=bars,
        )
        return activity(loaded, samples, progress=lambda done, of: bars("model", done, of))


def _show_identities(identities: Sequence[Condition]) -> None:
    table = Table(
        "connect",
        *NEURONS,
        title="Thresholds at which a block with the papers' start is the identity",
        title_justify="left",
    )
    for connect in dict.fromkeys(condition.connect for condition in identities):
        table.add_row(connect, *(str(condition) for condition in identities if condition.connect == connect))
    console.console.print(table)


def _show_gradients(gradients: Sequence[Course]) -> None:
    depth = len(gradients[0].norms) - 1
    table = Table(
        "connect",
        *(f"slope {alpha / 2:g}" for alpha in ALPHAS),
        title=f"What is left of a gradient after {depth} blocks that are the identity, by the surrogate's slope",
        title_justify="left",
    )
    for connect in dict.fromkeys(course.connect for course in gradients):
        table.add_row(connect, *(f"{course.ratio:.4g}" for course in gradients if course.connect == connect))
    console.console.print(table)


def _show_activity(model: str, layers: Sequence[LayerActivity]) -> None:
    table = Table("layer", title=f"Layers of {escape(model)}", title_justify="left")
    for heading in ("emitted a neuron and step", "silent neurons", "gradient over the last layer's"):
        table.add_column(heading, justify="right")
    for layer in layers:
        gradient = "" if layer.gradient is None else f"{layer.gradient:.3g}"
        table.add_row(escape(layer.layer), f"{layer.rate:.4f}", f"{100 * layer.silent:.1f} %", gradient)
    console.console.print(table)
