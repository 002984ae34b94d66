"""The user's own module, run as its author runs it: the witness that shares nothing with the tracer.

A copy of the module, never the traced one, is called step by step, or with all steps at once where its framework works
so. It runs in float64, where a decision that rounding could turn is rare: every float32 that comes up on the way, in a
parameter, a surrogate's result or a `.float()` in the forward, becomes a float64 of the same value.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import DataError
from snn2hw.frontends import neurons
from snn2hw.frontends.neurons.float64 import Float32IsFloat64, InFloat64
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.emissions import Head
from snn2hw.frontends.torch.quantised_layers import keep_quantised_weights
from snn2hw.frontends.torch.time_in import TimeIn

_STEP_NAMES = ("t", "ts", "step", "time", "timestep", "time_step")


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """What a module did in one run from its initial state.

    spikes: of each neuron, by its path, what it emitted, [T, N, *shape] (bool where all are 0 or 1). calls: how often
    each was called. logits: of each head either [T, N, *shape] or, where the module takes the mean over time itself,
    [N, *shape].
    """

    spikes: dict[str, Tensor]
    calls: dict[str, int]
    logits: list[Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class UserModel:
    """A module as its author wrote it, and how it is called.

    neurons: paths of the spiking neurons that are compared. time: how it takes time. heads: where in what it returns
    the logits of each head lie. input_shape: of one step of one sample, as the module takes it. orders: the shape that
    a layer of neurons has in the network, and where each of its values lies in what the module computes of a sample;
    None for in their order.
    """

    module: nn.Module
    neurons: tuple[str, ...]
    time: TimeIn
    heads: tuple[Head, ...]
    input_shape: Shape = ()
    orders: Mapping[str, tuple[Shape, NDArray[np.int64] | None]] = field(default_factory=dict)

    def in_network(self, path: str, values: Tensor) -> Tensor:
        """What the module computes for the neurons at `path`, [T, N, ...], as the network has it, [T, N, *shape]."""
        shape, places = self.orders.get(path, (tuple(values.shape[2:]), None))
        if math.prod(values.shape[2:]) != math.prod(shape):
            return values
        if places is not None:
            values = values.flatten(2)[:, :, torch.from_numpy(places)]
        return values.reshape(*values.shape[:2], *shape)

    @contextmanager
    def copied(self, dtype: torch.dtype) -> Iterator[Running]:
        """A copy of the module that runs in `dtype`. The user's own is not touched.

        The copy has the parameters of the module itself, which are widened where they are used: a deep net's take much
        memory. Its buffers are its own.

        Raises ModelError where the module cannot be copied.
        """
        module = copy_of(self.module)
        keep_quantised_weights(module)
        for part in module.modules():
            part._buffers.update({name: _in(dtype, buffer) for name, buffer in part._buffers.items()})
        arithmetic: AbstractContextManager[object] = InFloat64() if dtype == torch.float64 else nullcontext()
        usual = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # of the tensors that a forward makes without saying which
        try:
            with torch.no_grad(), Float32IsFloat64() if dtype == torch.float64 else nullcontext(), arithmetic:
                yield Running(self, module)
        finally:
            torch.set_default_dtype(usual)


def _in(dtype: torch.dtype, buffer: Tensor | None) -> Tensor | None:
    return buffer if buffer is None or not buffer.is_floating_point() else buffer.to(dtype)


class Running:
    """A copy of the user's module that may be run any number of times."""

    def __init__(self, model: UserModel, module: nn.Module) -> None:
        self.model, self.module = model, module
        self._emitted: dict[str, list[Tensor]] = {}
        for path in model.neurons:  # registered last: they see what the user's own hooks return
            module.get_submodule(path).register_forward_hook(self._note(path))

    def run(self, x: Tensor) -> Recorded:
        """Run x [T, N, *shape] from the initial state.

        Raises whatever the user's code raises.
        """
        x = x.clone()  # a forward may change its input in place
        x = x.reshape(*x.shape[:2], *(self.model.input_shape or x.shape[2:]))
        reset_by_its_author(self.module)
        self._emitted = {path: [] for path in self.model.neurons}
        if self.model.time == "inside" and bool((x != x[:1]).any()):
            raise DataError(
                "the model shows one input to its neurons in every step of a loop of its own, but the samples differ "
                "from step to step. Give it data without steps."
            )
        if self.model.time != "step":
            given = {"first": x, "second": x.transpose(0, 1), "inside": x[0]}[self.model.time]
            returned = self._heads(self.module(given))
        elif _takes_all_steps(self.module):
            returned = self._heads(self.module(x))
        else:
            returned = self._batch_first(x) if _is_batch_first(self.module) else self._steps(x)
        reset_by_its_author(self.module)
        steps, count = x.shape[:2]
        calls = {path: len(parts) for path, parts in self._emitted.items()}
        spikes = {
            path: self.model.in_network(path, _in_time(self._emitted.pop(path), steps, count))
            for path in calls
            if calls[path]
        }
        return Recorded(spikes=spikes, calls=calls, logits=returned)

    def currents_into(self, path: str, x: Tensor) -> Tensor:
        """What the neuron at `path` receives when x [T, N, *shape] is run: [T, N, *shape of the neurons]."""
        taken: list[Tensor] = []

        def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            taken.append(arguments[0].detach().clone())

        handle = self.module.get_submodule(path).register_forward_pre_hook(note)
        try:
            self.run(x)
        finally:
            handle.remove()
        return self.model.in_network(path, _in_time(taken, *x.shape[:2]))

    def _steps(self, x: Tensor) -> list[Tensor]:
        """One call a step; a state that the module returns is handed back to it, as norse's users do."""
        logits: list[list[Tensor]] = []
        keeps_state, counts = _takes_state(self.module), _takes_step(self.module)
        state: Any = None
        for step, frame in enumerate(x):
            more = (state,) if keeps_state and state is not None else (step,) if counts else ()
            returned = self.module(frame, *more)
            if keeps_state and isinstance(returned, tuple) and len(returned) == 2:
                state = returned[1]
            logits.append(self._heads(returned))
        return [torch.stack(head) for head in zip(*logits, strict=True)]

    def _batch_first(self, x: Tensor) -> list[Tensor]:
        """sinabs: time behind the batch, [N, T, ...] or [N T, ...], and as many samples a call as its layers take."""
        steps, count = x.shape[:2]
        folded, size = _folding(self.module, count)
        calls = -(-count // size)
        x = torch.cat([x, x[:, :1].expand(-1, calls * size - count, *x.shape[2:])], dim=1)
        returned = []
        for part in torch.split(x.movedim(0, 1), size):
            reset_by_its_author(self.module)
            returned.append(self._heads(self.module(part.flatten(0, 1) if folded else part)))
        for path, emitted in self._emitted.items():
            if len(emitted) == calls:
                self._emitted[path] = [torch.cat(emitted)]
        return [_batch_last(torch.cat(head), steps)[:, :count] for head in zip(*returned, strict=True)]

    def _heads(self, returned: Any) -> list[Tensor]:
        heads = []
        for head in self.model.heads:
            part = returned
            for key in head.place:
                part = part[key]
            part = part.detach()
            part = part if part.is_floating_point() else part.to(torch.get_default_dtype())
            heads.append((part if head.time is None else part.movedim(head.time, 0)).clone())
        return heads

    def _note(self, path: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, returned: Any) -> None:
            spikes = returned[0] if isinstance(returned, tuple) else returned
            binary = bool(((spikes == 0) | (spikes == 1)).all())
            self._emitted[path].append(spikes.detach().to(torch.bool) if binary else spikes.detach().clone())

        return hook


def reset_by_its_author(module: nn.Module) -> None:
    """What users do between samples: each neuron back to its start, and `reset()` of whatever else has one."""
    neurons.reset_state(module)
    for part in module.modules():
        reset = getattr(part, "reset", None)
        if not neurons.is_spiking_neuron(part) and inspect.ismethod(reset) and not inspect.signature(reset).parameters:
            reset()


def _takes_state(module: nn.Module) -> bool:
    """Whether the caller of a module keeps its state: forward(x, state=None), as norse's modules are called."""
    others = list(inspect.signature(module.forward).parameters.values())[1:]
    return len(others) == 1 and others[0].default is None and "state" in others[0].name


def _takes_step(module: nn.Module) -> bool:
    """Whether the caller of a module counts its steps: forward(x, t=0)."""
    others = list(inspect.signature(module.forward).parameters.values())[1:]
    return len(others) == 1 and type(others[0].default) is int and others[0].name in _STEP_NAMES


def _takes_all_steps(module: nn.Module) -> bool:
    """Whether there are neurons of norse that run over time by themselves: those that are no cells."""
    kinds = (neurons.framework_class(type(part))[0] for part in module.modules() if neurons.is_spiking_neuron(part))
    return any(kind and _is_of("norse", kind) and not kind.__name__.endswith("Cell") for kind in kinds)


def _is_of(package: str, kind: type) -> bool:
    return kind.__module__.partition(".")[0] == package


def _is_batch_first(module: nn.Module) -> bool:
    return any(_is_of("sinabs", kind) for part in module.modules() for kind in type(part).__mro__)


def _folding(module: nn.Module, count: int) -> tuple[bool, int]:
    """Whether sinabs's layers take time folded into the batch, and how many samples a call has; all `count` where they
    were not built for a number of samples.
    """
    squeezed: list[Any] = [
        part for part in module.modules() if any(kind.__name__.endswith("Squeeze") for kind in type(part).__mro__)
    ]
    sizes = [int(part.batch_size) for part in squeezed if (part.batch_size or -1) > 0]
    return bool(squeezed), max(sizes, default=count)


def _in_time(parts: list[Tensor], steps: int, count: int) -> Tensor:
    """What a neuron emitted, call by call, as [T, N, *shape] where it can be brought to that."""
    if len(parts) == 1 and parts[0].shape[0] != steps:
        return _batch_last(parts[0], steps)[:, :count]
    if len(parts) == 1 and steps > 1:
        return parts[0]
    return torch.stack([part.to(torch.promote_types(part.dtype, parts[0].dtype)) for part in parts])


def _batch_last(values: Tensor, steps: int) -> Tensor:
    """[N, T, ...] or [N T, ...] as [T, N, ...]."""
    if values.dim() > 1 and values.shape[1] == steps and values.shape[0] % steps:
        return values.movedim(0, 1)
    return values.reshape(-1, steps, *values.shape[1:]).movedim(0, 1)
