"""Training by backpropagation through time with surrogate gradients, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from snn2hw.data.aliases import Progress
from snn2hw.data.samples import right_answers
from snn2hw.errors import OptionError
from snn2hw.models.neurons import run_timesteps
from snn2hw.training.augment import delete_steps, shift
from snn2hw.training.distributed import Group
from snn2hw.training.objectives import Loss, Objective, cross_entropy
from snn2hw.training.recipes import Recipe
from snn2hw.training.state import check_state

EVALUATED_TOGETHER = 256  # samples


class Data(Protocol):
    """Labelled samples in memory or in files."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def y(self) -> Tensor:
        """The class of every sample, int64 [N]."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Samples [N,C,H,W] or [N,T,C,H,W] and classes [N]; with a generator as training is to see them."""


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1, how many there are, the mean loss and the accuracy (0 to 1) in training, the
    learning rate of its first batch, and the seconds it took.
    """

    number: int
    epochs: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float


class Trainer:
    """A model, a recipe and data. `epoch` trains for one; `state_dict` is all that the next ones depend on.

    On one machine, with the same number of threads, the same seed and initial model give the same weights, also where
    the training was cut between two epochs and goes on from its state.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        data: Data,
        *,
        loss: Loss = cross_entropy,
        seed: int = 0,
        device: str = "cpu",
        group: Group | None = None,
    ) -> None:
        self.group = group or Group()
        self.model, self.recipe, self.data = model.to(device), recipe, data
        self.device = torch.device(device)
        if recipe.batch_size % self.group.size:
            raise OptionError(
                f"a batch of {recipe.batch_size} samples cannot be shared evenly by {self.group.size} processes"
            )
        self.objective: nn.Module = Objective(model, loss)
        if self.group.size > 1:
            self.objective = DistributedDataParallel(self.objective)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = recipe.make_optimizer(model)
        self.schedule = recipe.make_schedule(self.optimizer, self.batches)
        self.scaler = torch.amp.GradScaler(enabled=recipe.amp and self.device.type == "cuda")
        self.history: list[Epoch] = []

    @property
    def batches(self) -> int:
        """Batches an epoch. Several processes leave out the last, smaller one."""
        whole = len(self.data) / self.recipe.batch_size
        return math.ceil(whole) if self.group.size == 1 else math.floor(whole)

    def epoch(self, on_batch: Progress | None = None) -> Epoch:
        """Train for one epoch. `on_batch(done, of)` is told batches.

        Raises OptionError if the loss or a weight stops being a finite number, with the epoch, the batch and the first
        layer; what the model holds is then worth nothing.
        """
        start = time.perf_counter()
        recipe, number = self.recipe, len(self.history) + 1
        self.model.train()
        if recipe.freeze_norm and number > recipe.epochs / 2:
            _freeze_norm_statistics(self.model)
        rate = self.optimizer.param_groups[0]["lr"]
        totals = torch.zeros(3, dtype=torch.float64)  # loss, right answers, samples
        for done, (x, y) in enumerate(self._batches(), start=1):
            steps = recipe.trained_timesteps or recipe.timesteps
            if x.dim() == 5:
                x = delete_steps(x, steps, self.generator)
            with torch.autocast(self.device.type, enabled=recipe.amp):
                loss, logits = self.objective(x, y, steps)
            if not torch.isfinite(loss):
                self._stop(f"the loss became {loss.item()} in epoch {number}, batch {done}", self._origin(x, y, steps))
            self._minimise(loss)
            right = _right(logits, y)
            totals += torch.tensor([loss.item() * len(y), right, len(y)], dtype=torch.float64)
            if on_batch is not None:
                on_batch(done, self.batches)
        if broken := self._broken():  # neurons hide it: what is no number never fires
            self._stop(f"the weights are no numbers any more after epoch {number}", broken)
        if not recipe.per_batch:
            self.schedule.step()
        loss_sum, right, count = self.group.sum(totals).tolist()
        seconds = time.perf_counter() - start
        self.history.append(Epoch(number, recipe.epochs, loss_sum / count, right / count, rate, seconds))
        return self.history[-1]

    def _minimise(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.recipe.per_batch:
            self.schedule.step()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.data), generator=self.generator)
        for indices in torch.split(order, self.recipe.batch_size)[: self.batches]:
            share = indices[self.group.rank :: self.group.size]
            x, y = self.data.batch(share, self.generator)
            if self.recipe.shift:
                x = shift(x, self.recipe.shift, self.generator)
            yield x.to(self.device), y.to(self.device)

    def _stop(self, what: str, where: str | None) -> NoReturn:
        at = f", first in {where}" if where else ""
        raise OptionError(f"{what}{at}: lower the learning rate, now {self.recipe.learning_rate:g}")

    def _broken(self) -> str | None:
        """The first parameter that holds a number that is none."""
        named = self.model.named_parameters()
        return next((name for name, value in named if not torch.isfinite(value).all()), None)

    def _origin(self, x: Tensor, y: Tensor, steps: int) -> str | None:
        """The parameter or the layer that the first number that is none comes from."""
        if broken := self._broken():
            return broken
        broken_layers: list[str] = []

        def look(path: str) -> Callable[..., None]:
            def note(_module: nn.Module, _inputs: object, output: object) -> None:
                if isinstance(output, Tensor) and not torch.isfinite(output).all():
                    broken_layers.append(path)

            return note

        leaves = [(path, module) for path, module in self.model.named_modules() if not list(module.children())]
        hooks = [module.register_forward_hook(look(path)) for path, module in leaves]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=self.recipe.amp):
            cross_entropy(self.model, x, y, steps)
        for hook in hooks:
            hook.remove()
        return broken_layers[0] if broken_layers else None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, so that torch.load reads it with weights_only=True."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "torch_generator": torch.random.get_rng_state(),
            "history": [asdict(epoch) for epoch in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a training of the same model, recipe and data was, before the first epoch of this one.

        Raises ValueError that names the entry which no such training can have left; nothing is taken over then.
        """
        check_state(
            self.state_dict(),
            state,
            list(self.model.parameters()),
            epochs=self.recipe.epochs,
            steps_per_epoch=self.batches if self.recipe.per_batch else 1,
        )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        torch.random.set_rng_state(state["torch_generator"])
        self.history = [Epoch(**values) for values in state["history"]]


def accuracy(
    model: nn.Module,
    data: Data,
    timesteps: int,
    batch_size: int = EVALUATED_TOGETHER,
    *,
    group: Group | None = None,
) -> float:
    """The share (0 to 1) of `data` whose largest mean logit is their class; leaves `model` in eval mode.

    Where a group of processes trains, each takes a part.
    """
    model.eval()
    group = group or Group()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    right = torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        for indices in torch.split(torch.arange(group.rank, len(data), group.size), batch_size):
            x, y = data.batch(indices)
            right += _right(run_timesteps(model, x.to(device), timesteps), y)
    return group.sum(right).item() / len(data)


def _right(logits: Tensor, y: Tensor) -> int:
    """How many of logits [N, K] are largest at their labels [N]."""
    return int(right_answers(logits.detach().float().cpu().numpy(), y.cpu().numpy()).sum())


def _freeze_norm_statistics(model: nn.Module) -> None:
    """Let every BN use its running statistics, as inference will.

    In training mode each time step is normalised by its own statistics, but inference has one set for all steps, and
    spikes grow more frequent over the first ones: weights that never saw the common set lose much of the accuracy.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
