"""Training by backpropagation through time with surrogate gradients, and the digits networks of the examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snn2hw.data import Samples
from snn2hw.errors import ModelError, OptionError
from snn2hw.frontends.checkpoint import read_checkpoint
from snn2hw.models.checkpoint import build_model, save_checkpoint
from snn2hw.models.neurons import run_timesteps
from snn2hw.models.sew_resnet import GATES, Stage
from snn2hw.pipeline import CALIBRATION_SAMPLES
from snn2hw.training.datasets import Dataset, digits_test, digits_train
from snn2hw.training.quantised import QuantisationAware


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1, how many there are, and the mean loss and the accuracy (0 to 1) in training."""

    number: int
    epochs: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: the accuracy (0 to 1) on the test set after the last epoch, every epoch, the time taken."""

    test_accuracy: float
    epochs: tuple[Epoch, ...]
    seconds: float


def train(
    model: nn.Module,
    train: Dataset,
    test: Dataset,
    *,
    timesteps: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train `model` in place and measure it on `test`, once, after the last epoch.

    The loss is the cross-entropy of the mean logits over `timesteps` steps; AdamW, its rate warmed up and then annealed
    by a cosine to zero, minimises it. Every image is shifted by up to one pixel each way. BN learns its statistics in
    the first half of the epochs and keeps them in the second. `seed` sets the order of the samples and the shifts: on
    one machine, with the same number of threads, the same seed and initial model give the same weights. A
    QuantisationAware model is quantised again after every step.

    Raises OptionError for options out of range and if the loss stops being a finite number.
    """
    _check_options(timesteps, epochs, batch_size, learning_rate)
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(len(train) / batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    if isinstance(model, QuantisationAware):
        optimizer.register_step_post_hook(lambda *_: model.refresh())
    history = []
    for number in range(1, epochs + 1):
        model.train()
        if number > epochs / 2:
            _freeze_norm_statistics(model)
        losses, correct = 0.0, 0
        for x, y in _batches(train, batch_size, generator):
            logits = run_timesteps(model, x, timesteps)
            loss = F.cross_entropy(logits, y)
            if not torch.isfinite(loss):
                raise OptionError(
                    f"the loss became {loss.item()} in epoch {number}: lower the learning rate, now {learning_rate}"
                )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses += loss.item() * len(y)
            correct += int((logits.argmax(dim=1) == y).sum())
        history.append(Epoch(number, epochs, losses / len(train), correct / len(train)))
        if on_epoch is not None:
            on_epoch(history[-1])
    return TrainingResult(accuracy(model, test, timesteps), tuple(history), time.perf_counter() - start)


def accuracy(model: nn.Module, data: Dataset, timesteps: int, batch_size: int = 256) -> float:
    """Return the share (0 to 1) of `data` whose largest mean logit is their class; leaves `model` in eval mode."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in zip(torch.split(data.x, batch_size), torch.split(data.y, batch_size), strict=True):
            correct += int((run_timesteps(model, x, timesteps).argmax(dim=1) == y).sum())
    return correct / len(data)


def _check_options(timesteps: int, epochs: int, batch_size: int, learning_rate: float) -> None:
    for name, value in (("timesteps", timesteps), ("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise OptionError(f"{name} is {value}; it must be at least 1")
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise OptionError(f"learning_rate is {learning_rate}; it must be above 0")


def _freeze_norm_statistics(model: nn.Module) -> None:
    """Let every BN use its running statistics, as inference will.

    In training mode each time step is normalised by its own statistics, but inference has one set for all steps, and
    spikes grow more frequent over the first ones: weights that never saw the common set lose much of the accuracy.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _batches(data: Dataset, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for indices in torch.split(torch.randperm(len(data), generator=generator), batch_size):
        yield shift(data.x[indices], 1, generator), data.y[indices]


def shift(x: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each sample of x [N,...,H,W] by up to `pixels` along both axes; zeros move in from outside."""
    height, width = x.shape[-2:]
    padded = F.pad(x.flatten(1, -3), (pixels,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = torch.randint(2 * pixels + 1, (2, len(x)), generator=generator)
    return windows[torch.arange(len(x)), :, top, left].reshape(x.shape)


def digits_config(connect: str, *, timesteps: int, beta: float) -> tuple[str, dict[str, Any]]:
    """Return the architecture's name and the config of the digits network for "ADD", "AND", "IAND" or "spiking".

    Two of its three blocks change the image size; raises OptionError for another `connect`.
    """
    if connect not in (*GATES, "spiking"):
        raise OptionError(f"connect is {connect!r}; it must be one of {', '.join(GATES)}, spiking")
    stages = [Stage(channels=16), Stage(channels=32, stride=2, blocks=2), Stage(channels=64, stride=2)]
    config = {
        "connect": connect if connect in GATES else None,
        "input_shape": [1, 8, 8],
        "timesteps": timesteps,
        "neuron": {"kind": "Leaky", "beta": beta, "threshold": 1.0},
        "stem": {"kernel": 3, "channels": 16},
        "block": "basic",
        "stages": [asdict(stage) for stage in stages],
        "global_pool": True,
        "classes": 10,
    }
    return ("sew_resnet" if connect in GATES else "spiking_resnet"), config


def train_digits(
    connect: str,
    *,
    output: Path,
    timesteps: int = 4,
    epochs: int = 40,
    seed: int = 0,
    beta: float = 1.0,
    batch_size: int = 64,
    learning_rate: float = 4e-3,
) -> TrainingResult:
    """Train a small network on scikit-learn's digits and write it to `output` as a checkpoint.

    `connect` is "ADD", "AND" or "IAND" for a SEW ResNet, "spiking" for a Spiking ResNet; `beta` is the membrane's decay
    a step (1 is IF); `seed` sets the initial weights and the training. Shows a progress bar on a terminal.

    Raises OptionError for options out of range, an output where no file can be, and a loss that stops being a finite
    number. The output is written whole after a training that ended well, else not at all.
    """
    _check_options(timesteps, epochs, batch_size, learning_rate)
    if not 0 <= beta <= 1:
        raise OptionError(f"beta is {beta}; it must be from 0 to 1")
    _check_output(output)
    arch, config = digits_config(connect, timesteps=timesteps, beta=beta)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(arch, config)
    settings: dict[str, Any] = dict(
        timesteps=timesteps, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed
    )
    result = _train_on_digits(model, f"training digits, {connect}", **settings)
    save_checkpoint(output, model, arch, config, data="digits")
    return result


def tune_digits(
    start: Path,
    *,
    output: Path,
    weight_bits: int,
    method: str = "max",
    epochs: int = 10,
    seed: int = 0,
    batch_size: int = 64,
    learning_rate: float = 3e-4,
) -> TrainingResult:
    """Fine-tune the network of checkpoint `start` on digits for weights of so many bits, and write it to `output`.

    What is written are its real weights; exported with the same bits and the same calibration `method` it has the test
    accuracy that is returned. Shows a progress bar on a terminal.

    Raises OptionError for options out of range, an output where no file can be, a network that does not take digits,
    and a loss that stops being a finite number; ModelError for a start that is no network of this project's family;
    QuantisationError where so few bits hold no integer form of it. The output is written whole or not at all.
    """
    _check_options(1, epochs, batch_size, learning_rate)
    _check_output(output)
    found = read_checkpoint(start)
    if found.arch is None or found.config is None:
        raise ModelError(f"{start}: this is no network of this project's own family, which alone can be trained here.")
    train_set = digits_train()
    shape, classes = tuple(found.config["input_shape"]), found.config["classes"]
    if shape != tuple(train_set.x.shape[1:]) or classes <= int(train_set.y.max()):
        raise OptionError(
            f"{start}: it takes {list(shape)} and has {classes} classes, but digits are "
            f"{list(train_set.x.shape[1:])} of 10 classes. Name a network that was trained on digits."
        )
    steps = int(found.config["timesteps"])
    samples = Samples(train_set.x[:CALIBRATION_SAMPLES].numpy(), None, False, "digits")
    quantised = QuantisationAware(found.model, samples, timesteps=steps, weight_bits=weight_bits, method=method)
    settings: dict[str, Any] = dict(
        timesteps=steps, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed
    )
    result = _train_on_digits(quantised, f"tuning for {weight_bits} bits", **settings)
    save_checkpoint(output, found.model, found.arch, found.config, data="digits")
    return result


def _check_output(output: Path) -> None:
    if not output.parent.is_dir() or output.is_dir():
        raise OptionError(f"cannot write {output}: it must be a file in a folder that exists")


def _train_on_digits(model: nn.Module, label: str, *, epochs: int, **settings: Any) -> TrainingResult:
    """`train` on digits with a progress bar."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(label, total=epochs)

        def show(epoch: Epoch) -> None:
            progress.update(bar, completed=epoch.number, description=f"loss {epoch.loss:.4f}")

        return train(model, digits_train(), digits_test(), epochs=epochs, on_epoch=show, **settings)
