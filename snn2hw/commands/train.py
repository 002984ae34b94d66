"""snn2hw train: networks of this project's own family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn2hw import console
from snn2hw.errors import OptionError
from snn2hw.output_files import check_file


def train_digits(
    connect: str | None,
    output: Path,
    *,
    timesteps: int | None,
    epochs: int | None,
    seed: int,
    beta: float | None,
    start: Path | None,
    qat: int | None,
    calibration: str | None,
) -> None:
    """Train on digits, or fine-tune for few bits, and write the checkpoint."""
    from snn2hw.training.loop import train_digits as train
    from snn2hw.training.loop import tune_digits as tune

    check_file(output)
    chosen = _given(epochs=epochs)
    if qat is not None:
        if start is None:
            raise OptionError(f"--qat {qat} fine-tunes a trained network. Name its checkpoint with --start.")
        if fixed := _given(connect=connect, timesteps=timesteps, beta=beta):
            raise OptionError(f"--{next(iter(fixed))}: {start} says it. Leave it out.")
        chosen |= _given(method=calibration)
        result = tune(start, output=output, weight_bits=qat, seed=seed, **chosen)
        again = f"--weight-bits {qat}" + (f" --calibration {calibration}" if calibration else "")
        console.say(
            f"Wrote {output}: test accuracy {100 * result.test_accuracy:.2f} % with weights of {qat} bits, tuned in "
            f"{result.seconds:.0f} s. Export it with {again}."
        )
        return
    if alone := _given(start=start, calibration=calibration):
        raise OptionError(f"--{next(iter(alone))} goes with --qat BITS, which fine-tunes a network for few bits.")
    if connect is None:
        raise OptionError("--connect: give ADD, AND, IAND, or spiking for the plain Spiking ResNet.")
    result = train(connect, output=output, seed=seed, **chosen, **_given(timesteps=timesteps, beta=beta))
    console.say(f"Wrote {output}: test accuracy {100 * result.test_accuracy:.2f} %, trained in {result.seconds:.0f} s.")


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given: the others have their defaults where the work is done."""
    return {name: value for name, value in options.items() if value is not None}
