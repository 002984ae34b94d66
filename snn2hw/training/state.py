"""The state of a training that was cut, checked before anything takes it over.

A file may hold anything. A trainer as it is before the first epoch says what must be there: the same entries, of the
same types and shapes, and of what training does not change the same values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

MOVING = ("lr", "betas", "momentum", "last_epoch", "_step_count", "_last_lr")
"""The settings of an optimizer and of a schedule that change as training goes on."""
REMEMBERED = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"})
"""What AdamW and what SGD remember of a parameter."""
EPOCH_NUMBERS = ("loss", "accuracy", "learning_rate", "seconds")


def check_state(
    fresh: Mapping[str, Any], given: Any, parameters: Sequence[Tensor], *, epochs: int, steps_per_epoch: int
) -> None:
    """Raise ValueError that names the first entry of `given` that no such training can have left.

    fresh: what `Trainer.state_dict` gives before the first epoch. parameters: what the optimizer changes, [*shape]
    each, in its order. epochs: how many there are in all. steps_per_epoch: how often the schedule moves in one.
    """
    _check_keys("the state", fresh, given)
    _check_like("model", fresh["model"], given["model"])
    _check_optimizer(fresh["optimizer"], given["optimizer"], parameters)
    _check_like("schedule", fresh["schedule"], given["schedule"], moving=True)
    _check_like("scaler", fresh["scaler"], given["scaler"])
    for name in ("generator", "torch_generator"):
        _check_like(name, fresh[name], given[name], moving=True)
        try:
            torch.Generator().set_state(given[name])
        except RuntimeError:
            raise ValueError(f"{name} is no state of a random generator") from None
    _check_history(given["history"], epochs)
    steps = len(given["history"]) * steps_per_epoch
    if given["schedule"]["last_epoch"] != steps or given["schedule"]["_step_count"] != steps + 1:
        raise ValueError(f"schedule: it has moved another number of times than the {steps} of its epochs")


def _check_optimizer(fresh: Mapping[str, Any], given: Any, parameters: Sequence[Tensor]) -> None:
    """The settings of each group, and what is remembered of each parameter."""
    _check_keys("optimizer", fresh, given)
    _check_like("optimizer.param_groups", fresh["param_groups"], given["param_groups"], moving=True)
    if not isinstance(given["state"], Mapping):
        raise ValueError(f"optimizer.state is {type(given['state']).__name__}, expected entries by parameter")
    for number, entries in given["state"].items():
        where = f"optimizer.state.{number}"
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(entries, Mapping):
            raise ValueError(f"{where} belongs to no parameter")
        if set(entries) not in REMEMBERED:
            raise ValueError(f"{where}: no optimizer remembers {', '.join(map(str, entries)) or 'nothing'}")
        parameter = parameters[number].detach().cpu()
        for name, value in entries.items():
            if name == "step":
                _check_like(f"{where}.step", torch.ones(()), value)
                if value < 1:
                    raise ValueError(f"{where}.step is {value:g}, expected 1 or more")
            elif not (value is None and name == "momentum_buffer"):
                _check_like(f"{where}.{name}", parameter, value)


def _check_history(given: Any, epochs: int) -> None:
    if not isinstance(given, list) or not 1 <= len(given) <= epochs:
        raise ValueError(f"history: it must be a list of 1 to {epochs} epochs")
    for number, epoch in enumerate(given, start=1):
        if not isinstance(epoch, Mapping) or set(epoch) != {"number", "epochs", *EPOCH_NUMBERS}:
            raise ValueError(f"history: entry {number} is no epoch")
        if epoch["number"] != number or epoch["epochs"] != epochs:
            raise ValueError(f"history: entry {number} is not epoch {number} of {epochs}")
        for name in EPOCH_NUMBERS:
            _check_number(f"history.{number}.{name}", 0.0, epoch[name])


def _check_keys(where: str, fresh: Mapping[Any, Any], given: Any) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is {type(given).__name__}, expected entries by name")
    if differing := sorted(map(str, fresh.keys() ^ given.keys())):
        raise ValueError(f"{where}: the entry {differing[0]} is {'missing' if differing[0] in fresh else 'unknown'}")


def _check_like(where: str, fresh: Any, given: Any, *, moving: bool = False, moves: bool = False) -> None:
    """Compare an entry with the fresh one.

    moving: entries of the names in MOVING may have other values, what they hold is a number all the same. moves: this
    is such an entry.
    """
    match fresh:
        case Tensor():
            same = isinstance(given, Tensor) and given.dtype == fresh.dtype and given.shape == fresh.shape
            if not same or not torch.isfinite(given).all():
                raise ValueError(f"{where} is no {fresh.dtype} tensor of shape {list(fresh.shape)} and finite numbers")
        case Mapping():
            _check_keys(where, fresh, given)
            for name, value in fresh.items():
                _check_like(f"{where}.{name}", value, given[name], moving=moving, moves=name in MOVING)
        case list() | tuple():
            if type(given) is not type(fresh) or len(given) != len(fresh):
                raise ValueError(f"{where} is {type(given).__name__}, expected {len(fresh)} entries")
            for number, value in enumerate(fresh):
                _check_like(f"{where}.{number}", value, given[number], moving=moving, moves=moves)
        case int() | float() if moving and moves:
            _check_number(where, fresh, given)
        case _:
            if type(given) is not type(fresh) or given != fresh:
                raise ValueError(f"{where} is {given!r}, expected {fresh!r}")


def _check_number(where: str, like: float, given: Any) -> None:
    if type(given) is not type(like) or not (isinstance(given, int) or math.isfinite(given)):
        raise ValueError(f"{where} is {given!r}, expected a finite {type(like).__name__}")
