"""What this package says about a framework's neuron, and the tools with which its parameters are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.neuron_rule import Float, Neuron, compact

Shape = tuple[int, ...]


class NeuronProblem(Exception):
    """A neuron that cannot be expressed: what is wrong and what to change. Becomes a blocker with the layer's path."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem, self.advice = problem, advice
        super().__init__(f"{problem}. {advice}")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a framework's neuron behaves where frameworks differ; every report states it."""

    framework: str
    fires: str
    reset: str
    start: str


class Wrapper(nn.Module):
    """Stands in a traced model for a neuron that does not run step by step by itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


def _no_state(module: Any) -> bool:
    return False


def _nothing(module: Any) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """All that is asked about one class of neurons; each function takes the framework's own module.

    to_nir: the NIR node, or NeuronProblem. returns_state: whether it returns (spikes, state) instead of spikes. wrap:
    what stands for it in a traced model. own_state: what to change where its caller keeps its state. needs: attributes
    without which a class of that name is another one. refused: to_nir raises whatever the parameters.
    """

    to_nir: Callable[[Any, Shape, type[np.floating]], Neuron]
    convention: Callable[[Any], Convention]
    reset_state: Callable[[Any], None] = _nothing
    returns_state: Callable[[Any], bool] = _no_state
    wrap: Callable[[nn.Module], nn.Module] | None = None
    own_state: str = "Let the neuron keep its own state"
    needs: tuple[str, ...] = ()
    refused: bool = False


def numbers(value: object) -> np.ndarray:
    """A parameter, tensor or number, as a float64 array."""
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)


def spread(label: str, value: object, shape: Shape) -> Float:
    """A parameter as the framework broadcasts it over [N, *shape], in the fewest numbers that say it."""
    values = numbers(value)
    try:
        return compact(np.broadcast_to(values, (1, *shape))[0])
    except ValueError:
        raise NeuronProblem(
            f"{label} of shape {list(values.shape)} does not fit neurons of shape {list(shape)}",
            f"Give {label} one value, or one per channel as [C, 1, 1]",
        ) from None


def just_below(threshold: Float, dtype: type[np.floating]) -> Float:
    """The threshold with which v > v_threshold says what v >= threshold says in arithmetic of `dtype`."""
    return np.nextafter(threshold.astype(dtype), dtype(-np.inf))


def said(values: object) -> str:
    """One number, or the range of several, for a convention."""
    array = numbers(values)
    low, high = float(array.min()), float(array.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def numpy_dtype(dtype: torch.dtype) -> type[np.floating]:
    """The numpy type of a model's arithmetic."""
    return np.float64 if dtype == torch.float64 else np.float32
