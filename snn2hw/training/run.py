"""A whole training: from the first weights, or from where it was cut, to a checkpoint that deploys."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snn2hw.errors import OptionError
from snn2hw.models.blocks import zero_initialise
from snn2hw.models.checkpoint import build_model, save_checkpoint
from snn2hw.training.distributed import Group
from snn2hw.training.objectives import Loss, cross_entropy, temporal_reversed
from snn2hw.training.recipes import Recipe
from snn2hw.training.trainer import Data, Epoch, Trainer, accuracy
from snn2hw.training.trt import TemporalReversedTraining

SCHEMA = "snn2hw.training/1"
METHODS: dict[str, Callable[[], Loss]] = {
    "plain": lambda: cross_entropy,
    "trt": lambda: temporal_reversed(TemporalReversedTraining()),
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a training is: a training that was cut goes on only as the same."""

    arch: str
    config: dict[str, Any]
    recipe: Recipe
    data: str
    method: str = "plain"
    seed: int = 0

    def build(self) -> nn.Module:
        """The model with its first weights, which `seed` sets."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build_model(self.arch, self.config)
        if self.recipe.zero_init:
            zero_initialise(model)
        return model


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: the accuracy (0 to 1) on the test set after the last epoch, every epoch, the time taken."""

    test_accuracy: float
    epochs: tuple[Epoch, ...]

    @property
    def seconds(self) -> float:
        """Of the epochs, also of those before the training was cut."""
        return sum(epoch.seconds for epoch in self.epochs)


def run(
    job: Job,
    train: Data,
    test: Data,
    output: Path,
    *,
    resume: bool = False,
    log: Path | None = None,
    device: str = "cpu",
    group: Group | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train and write the checkpoint `output`, whole, after the last epoch.

    Until then all that the next epochs depend on is kept in `state_file(output)`; with `resume` a training that was cut
    goes on from there, and on a CPU ends with the same weights as one that was not. `log`, a .csv, has a row an epoch.
    `on_batch(done, of)` and `on_epoch` are told how far it is. Of several processes the one that leads writes.

    Raises OptionError for an unknown method, a state file of another training or one that is in the way, none to resume
    from, and a loss that stops being a finite number: the state of the last epoch before is kept. OSError where a file
    cannot be written; the one that was there is.
    """
    if job.method not in METHODS:
        raise OptionError(f"method {job.method!r}: choose {', '.join(METHODS)}")
    group = group or Group()
    trainer = Trainer(
        job.build(), job.recipe, train, loss=METHODS[job.method](), seed=job.seed, device=device, group=group
    )
    kept = state_file(output)
    if resume:
        trainer.load_state_dict(read_state(kept, job))
    elif kept.exists():
        raise OptionError(
            f"{kept} holds a training that was cut. Go on with it by --resume, or remove the file to begin anew."
        )
    while len(trainer.history) < job.recipe.epochs:
        epoch = trainer.epoch(on_batch)
        if group.leads:
            write_state(kept, job, trainer.state_dict())
            if log is not None:
                _write_log(log, trainer.history)
        if on_epoch is not None:
            on_epoch(epoch)
    result = TrainingResult(accuracy(trainer.model, test, job.recipe.timesteps, group=group), tuple(trainer.history))
    if group.leads:
        save_checkpoint(output, trainer.model, job.arch, job.config, data=job.data)
        kept.unlink(missing_ok=True)
    return result


def state_file(output: Path) -> Path:
    """Where a training that writes `output` keeps its state."""
    return output.with_name(f"{output.name}.training")


def write_state(path: Path, job: Job, state: dict[str, Any]) -> None:
    """Write the state of a training whole, or leave what was there."""
    archive = io.BytesIO()
    torch.save({"schema": SCHEMA, "job": asdict(job), "state": state}, archive)
    _write(path, archive.getvalue())


def read_state(path: Path, job: Job) -> dict[str, Any]:
    """The state of a training. Raises OptionError if there is none, or of another training than `job`."""
    if not path.is_file():
        raise OptionError(f"{path}: there is no training to go on with. Leave out --resume to begin one.")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        known = content["schema"] == SCHEMA
    except Exception as error:  # a damaged file leads torch into errors of many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(f"{path}: this is no state of a training ({reason}). Remove it and begin anew.") from None
    if not known:
        raise OptionError(f"{path}: its schema is {content['schema']!r}, not {SCHEMA!r}. Remove it and begin anew.")
    begun, asked = _flat(content["job"]), _flat(asdict(job))
    if differences := [name for name in asked if begun.get(name) != asked[name]]:
        listed = ", ".join(f"{name} {begun.get(name)!r}, not {asked[name]!r}" for name in differences)
        raise OptionError(f"{path}: that training was begun with {listed}. Ask for the same, or leave out --resume.")
    state: dict[str, Any] = content["state"]
    return state


def _flat(job: dict[str, Any]) -> dict[str, Any]:
    """A job as one level of names."""
    found = {name: value for name, value in job.items() if not isinstance(value, dict)}
    for name in ("config", "recipe"):
        found |= dict(job[name])
    return found


def _write_log(path: Path, history: list[Epoch]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Epoch)]
    writer.writerow(names)
    writer.writerows([getattr(epoch, name) for name in names] for epoch in history)
    _write(path, text.getvalue().encode())


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
