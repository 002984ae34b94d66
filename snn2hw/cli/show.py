"""Commands that show what a model or bundle is, does and costs, and what is installed."""

from __future__ import annotations

import typer

from snn2hw.cli.app import app
from snn2hw.cli.asked import Analyse, Inspect, Report, Sweep
from snn2hw.cli.command import takes


@app.command()
@takes(Inspect)
def inspect(asked: Inspect) -> None:
    """Show layers, shapes, parameters, latency and cores."""
    from snn2hw.cli.commands.inspect import inspect as work

    work(asked)


@app.command()
@takes(Report)
def report(asked: Report) -> None:
    """Count spikes and operations, price them, and write a page for people and a file for scripts."""
    from snn2hw.cli.commands.report import report as work

    work(asked)


@app.command()
@takes(Sweep)
def sweep(asked: Sweep) -> None:
    """Show what accuracy is left at every number of weight bits, by each way of choosing the weights' scales."""
    from snn2hw.cli.commands.sweep import sweep as work

    work(asked)


@app.command()
@takes(Analyse)
def analyse(asked: Analyse) -> None:
    """Show when blocks are the identity, gradients through depth and, of a model, how often its layers fire."""
    from snn2hw.cli.commands.analyse import analyse as work

    work(asked)


@app.command()
def doctor() -> None:
    """Show what is installed, what is missing, and how to get it. Exits with 1 if something is missing."""
    from snn2hw.cli.commands.doctor import doctor as work

    if not work():
        raise typer.Exit(1)
