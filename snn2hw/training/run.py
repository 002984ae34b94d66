"""A whole training: from the first weights, or from where it was cut, to a checkpoint that deploys."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from snn2hw.data.aliases import Progress
from snn2hw.data.named import NAMED_DATASETS
from snn2hw.data.samples import Samples
from snn2hw.errors import OptionError
from snn2hw.files import write_bytes, write_text
from snn2hw.frontends.checkpoints.checkpoint import read_checkpoint
from snn2hw.frontends.checkpoints.torch_file import check_archive
from snn2hw.models.blocks import zero_initialise
from snn2hw.models.checkpoint import build_model, save_checkpoint
from snn2hw.passes.calibrate import CALIBRATION_SAMPLES
from snn2hw.training.distributed import Group
from snn2hw.training.objectives import Loss, cross_entropy, temporal_reversed
from snn2hw.training.quantised import QuantisationAware
from snn2hw.training.recipes import Recipe
from snn2hw.training.trainer import Data, Epoch, Trainer, accuracy
from snn2hw.training.trt import TemporalReversedTraining

SCHEMA = "snn2hw.training/1"
METHODS: dict[str, Callable[[], Loss]] = {
    "plain": lambda: cross_entropy,
    "trt": lambda: temporal_reversed(TemporalReversedTraining()),
}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Fine-tuning for weights of few bits: which net, how many bits, and how export will choose the weights' scales."""

    start: Path
    weight_bits: int
    calibration: str = "max"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a training is: a training that was cut goes on only as the same.

    data: the name of the set. tuning: where it begins, if not with first weights that `seed` sets.
    """

    arch: str
    config: dict[str, Any]
    recipe: Recipe
    data: str
    method: str = "plain"
    seed: int = 0
    tuning: Tuning | None = None

    def build(self) -> nn.Module:
        """The net as the training finds it."""
        if self.tuning is not None:
            return read_checkpoint(self.tuning.start).model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build_model(self.arch, self.config)
        if self.recipe.zero_init:
            zero_initialise(model)
        return model

    def trainer(self, train: Data, *, device: str = "cpu", group: Group | None = None) -> tuple[nn.Module, Trainer]:
        """The net, and what trains it: for few bits a QuantisationAware of it.

        Raises OptionError for an unknown method and one that does not go with fine-tuning; of fine-tuning what
        QuantisationAware raises.
        """
        if self.method not in METHODS:
            raise OptionError(f"method {self.method!r}: choose {', '.join(METHODS)}")
        model = trained = self.build()
        if self.tuning is not None:
            if self.method != "plain":
                raise OptionError(f"method {self.method!r}: fine-tuning for few bits knows the plain one alone")
            trained = self._quantised(model, train)
        loss = METHODS[self.method]()
        trainer = Trainer(trained, self.recipe, train, loss=loss, seed=self.seed, device=device, group=group)
        if isinstance(trained, QuantisationAware):
            trainer.optimizer.register_step_post_hook(lambda *_: trained.refresh())
        return model, trainer

    def _quantised(self, model: nn.Module, train: Data) -> QuantisationAware:
        tuning = cast(Tuning, self.tuning)
        x, _ = train.batch(torch.arange(min(len(train), CALIBRATION_SAMPLES)))
        return QuantisationAware(
            model,
            Samples(x.numpy(), None, x.dim() == 5, train.name),
            timesteps=self.recipe.timesteps,
            weight_bits=tuning.weight_bits,
            method=tuning.calibration,
        )


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
    on_batch: Progress | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train and write the checkpoint `output`, whole, after the last epoch.

    Until then all that the next epochs depend on is in `state_file(output)`; with `resume` a training that was cut
    goes on from there, and on a CPU ends with the same weights as one that was not. `log`, a .csv, has a row an epoch.
    `on_batch(done, of)` and `on_epoch` are told how far it is. Of several processes the one that leads writes.

    Raises OptionError as Job.trainer does, for a state file of another training or one that is in the way, none to
    resume from, and a loss that stops being a finite number: the state of the last epoch before stays. OSError where
    a file cannot be written; the one that was there is.
    """
    group = group or Group()
    model, trainer = job.trainer(train, device=device, group=group)
    state_path = state_file(output)
    if resume:
        state = read_state(state_path, job)
        try:
            trainer.load_state_dict(state)
        except ValueError as error:
            raise OptionError(f"{state_path}: this is no state of that training: {error}. Begin anew.") from None
        if isinstance(trainer.model, QuantisationAware):
            trainer.model.refresh()
    elif state_path.exists():
        raise OptionError(
            f"{state_path} holds a training that was cut. Go on with it by --resume, or remove the file to begin anew."
        )
    while len(trainer.history) < job.recipe.epochs:
        epoch = trainer.epoch(on_batch)
        if group.leads:
            write_state(state_path, job, trainer.state_dict())
            if log is not None:
                _write_log(log, trainer.history)
        if on_epoch is not None:
            on_epoch(epoch)
    result = TrainingResult(accuracy(trainer.model, test, job.recipe.timesteps, group=group), tuple(trainer.history))
    if group.leads:
        save_checkpoint(output, model, job.arch, job.config, data=job.data if job.data in NAMED_DATASETS else None)
        state_path.unlink(missing_ok=True)
    return result


def state_file(output: Path) -> Path:
    """Where a training that writes `output` keeps its state."""
    return output.with_name(f"{output.name}.training")


def write_state(path: Path, job: Job, state: dict[str, Any]) -> None:
    """Write the state of a training whole, or leave what was there."""
    archive = io.BytesIO()
    torch.save({"schema": SCHEMA, "job": _flat(job), "state": state}, archive)
    write_bytes(path, archive.getvalue())


def read_state(path: Path, job: Job) -> dict[str, Any]:
    """The state of a training. Raises OptionError if there is none, or of another training than `job`."""
    if not path.is_file():
        raise OptionError(f"{path}: there is no training to go on with. Leave out --resume to begin one.")
    try:
        check_archive(path)
        content = torch.load(path, weights_only=True, map_location="cpu")
        known = content["schema"] == SCHEMA
    except Exception as error:  # a damaged file leads torch into errors of many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(f"{path}: this is no state of a training ({reason}). Remove it and begin anew.") from None
    if not known:
        raise OptionError(f"{path}: its schema is {content['schema']!r}, not {SCHEMA!r}. Remove it and begin anew.")
    begun, asked = content.get("job"), _flat(job)
    if not isinstance(begun, dict) or not isinstance(content.get("state"), dict):
        raise OptionError(f"{path}: this is no state of a training (it lacks job or state). Remove it and begin anew.")
    if differences := [name for name in asked if begun.get(name) != asked[name]]:
        listed = ", ".join(f"{name} {begun.get(name)!r}, not {asked[name]!r}" for name in differences)
        raise OptionError(f"{path}: that training was begun with {listed}. Ask for the same, or leave out --resume.")
    state: dict[str, Any] = content["state"]
    return state


def _flat(job: Job) -> dict[str, Any]:
    """A job as one level of names, with values that torch.load reads."""
    values: dict[str, Any] = asdict(job)
    config, recipe, tuning = values.pop("config"), values.pop("recipe"), values.pop("tuning") or {}
    return {**config, **recipe, **values, **{name: str(value) for name, value in tuning.items()}}


def _write_log(path: Path, history: list[Epoch]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Epoch)]
    writer.writerow(names)
    writer.writerows([getattr(epoch, name) for name in names] for epoch in history)
    write_text(path, text.getvalue())
