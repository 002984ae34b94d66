"""snn2hw train: networks of this project's own family."""

from __future__ import annotations

from pathlib import Path

from snn2hw import console
from snn2hw.output_files import check_file


def train_digits(connect: str, output: Path, *, timesteps: int, epochs: int | None, seed: int, beta: float) -> None:
    """Train on digits and write the checkpoint."""
    from snn2hw.training.loop import train_digits as train

    check_file(output)
    chosen = {} if epochs is None else {"epochs": epochs}
    result = train(connect, output=output, timesteps=timesteps, seed=seed, beta=beta, **chosen)
    console.say(f"Wrote {output}: test accuracy {100 * result.test_accuracy:.2f} %, trained in {result.seconds:.0f} s.")
