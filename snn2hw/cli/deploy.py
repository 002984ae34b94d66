"""Commands that bring a model to a target and prove that it is the same: from check to compare."""

from __future__ import annotations

import typer

from snn2hw.cli.app import (
    app,
)
from snn2hw.cli.asked import Check, Compare, Export, Simulate, Verify
from snn2hw.cli.command import takes

INCOMPLETE = 3  # the exit code of a verification of which a required comparison could not run


@app.command()
@takes(Check)
def check(asked: Check) -> None:
    """List everything that stops a model from being deployed. Exits with 1 if anything does."""
    from snn2hw.cli.commands.check import check as work

    if work(asked):
        raise typer.Exit(1)


@app.command()
@takes(Export)
def export(asked: Export) -> None:
    """Compile a model and write it for a target."""
    from snn2hw.cli.commands.export import export as work

    work(asked)


@app.command()
@takes(Simulate)
def simulate(asked: Simulate) -> None:
    """Run a bundle or model on data."""
    from snn2hw.cli.commands.simulate import simulate as work

    work(asked)


@app.command()
@takes(Verify)
def verify(asked: Verify) -> None:
    """Prove that PyTorch, the program and Lava agree spike for spike. Exits with 1 if they differ, with 3 if a
    required comparison could not run.
    """
    from snn2hw.cli.commands.verify import verify as work

    verdict = work(asked)
    if verdict != "exact":
        raise typer.Exit(1 if verdict == "diverged" else INCOMPLETE)


@app.command()
@takes(Compare)
def compare(asked: Compare) -> None:
    """Run two of anything on the same samples and compare every layer. Exits with 1 if they differ."""
    from snn2hw.cli.commands.compare import compare as work

    if not work(asked):
        raise typer.Exit(1)
