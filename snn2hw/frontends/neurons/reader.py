"""What this package says about a framework's neuron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.network.neuron_rule import Neuron


class NeuronProblem(Exception):
    """A neuron that cannot be expressed: what is wrong and what to change. Becomes a blocker with the layer's path."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem, self.advice = problem, advice
        super().__init__(f"{problem}. {advice}")


class Wrapper(nn.Module):
    """Stands in a traced model for a neuron that does not run step by step by itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


def _no_state(module: Any) -> bool:
    return False


def _nothing(module: Any) -> None:
    return None


def step_by_step(module: Any, x: Tensor) -> Tensor:
    """What a module that takes one step a call emits for x [T, N, *shape], same shape."""
    return torch.stack([spikes_of(module(frame)) for frame in x])


def spikes_of(returned: Any) -> Tensor:
    """The spikes [N, *shape] among what a neuron returns, which may be (spikes, state, ...).

    Raises TypeError if there are none.
    """
    spikes = returned[0] if isinstance(returned, tuple) and returned else returned
    if not isinstance(spikes, Tensor):
        raise TypeError(f"it returned a {type(spikes).__name__}, not spikes")
    return spikes


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """Something about one neuron that its framework did not give it: what it is, and how to do without."""

    what: str
    advice: str


def _no_suspects(module: Any) -> list[Suspect]:
    return []


@dataclass(frozen=True, kw_only=True)
class Reader:
    """All that is asked about one class of neurons; each function takes the framework's module.

    to_nir: the NIR node, or NeuronProblem. reset_state: back to the start, for inputs of any shape. returns_state:
    whether it returns (spikes, state) instead of spikes. wrap: what stands for it in a traced model. keeping_state:
    advice where its caller keeps its state. required_attributes: a neuron without one of these is of a version that is
    not known. refused: to_nir raises whatever the parameters. run: the spikes [T, N, *shape] for currents x of the same
    shape, called as its users call it. restart: what its users call between samples. suspects: what was put into it
    that may change what it computes. rounds: it multiplies by several factors in turn, and so may round even where
    their product is a power of two.
    """

    to_nir: Callable[[Any, Shape, type[np.floating]], Neuron]
    convention: Callable[[Any], Convention]
    reset_state: Callable[[Any], None] = _nothing
    returns_state: Callable[[Any], bool] = _no_state
    wrap: Callable[[nn.Module], nn.Module] | None = None
    keeping_state: str = "Let the neuron keep its own state"
    required_attributes: tuple[str, ...] = ()
    refused: bool = False
    run: Callable[[Any, Tensor], Tensor] = step_by_step
    restart: Callable[[Any], None] = _nothing
    suspects: Callable[[Any], list[Suspect]] = _no_suspects
    rounds: bool = False


def package_of(definition: object) -> str:
    """The package that a class or function, or the class of an object, comes from."""
    return str(getattr(definition, "__module__", "")).partition(".")[0]


def numpy_dtype(dtype: torch.dtype) -> type[np.floating]:
    """The numpy type of a model's arithmetic."""
    return np.float64 if dtype == torch.float64 else np.float32
