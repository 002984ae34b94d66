"""The command that trains."""

from __future__ import annotations

from snn2hw.cli.app import app
from snn2hw.cli.asked import Train
from snn2hw.cli.command import takes


@app.command()
@takes(Train)
def train(asked: Train) -> None:
    """Train a network of the papers' family, or fine-tune one for few bits."""
    from snn2hw.cli.commands.train import train as work

    work(asked)
