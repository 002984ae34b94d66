"""What each framework's spiking neuron means, written as a NIR neuron: one file a framework.

Neurons are recognised by class name (and, where two frameworks share a name, by the package they come from), so that no
framework is imported. Where a framework fires at v >= threshold, NIR's v > v_threshold is met with the next smaller
float. Resets that NIR does not know travel in the metadata (neuron_rule.py).
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import nn

from snn2hw.frontends.neurons import norse, sinabs, snntorch, spikingjelly
from snn2hw.frontends.neurons.reader import Convention, NeuronProblem, Reader, Shape, Wrapper, numpy_dtype
from snn2hw.integer_neuron import IntegerNeuron
from snn2hw.neuron_rule import Neuron

__all__ = [
    "Convention",
    "NeuronProblem",
    "convention",
    "is_multi_step",
    "is_spiking_neuron",
    "known_neurons",
    "reader_of",
    "reset_state",
    "returns_state",
    "to_nir",
]

_FRAMEWORKS = (snntorch, spikingjelly, norse, sinabs)
_READERS: dict[str, Reader] = {name: reader for framework in _FRAMEWORKS for name, reader in framework.READERS.items()}


def reader_of(module: nn.Module) -> Reader | None:
    """How to read a neuron, or None for a module that is none. Neurons that are refused have a reader that says so."""
    own = _own(module)
    kind = type(own)
    package = kind.__module__.partition(".")[0]
    reader = _READERS.get(kind.__name__) or _READERS.get(f"{package}.{kind.__name__}")
    if reader is not None:
        missing = [attribute for attribute in reader.needs if not hasattr(own, attribute)]
        return reader if not missing else _refusing(_namesake(kind.__name__, missing))
    problems = (framework.refuse(own) for framework in _FRAMEWORKS)
    problem = next((problem for problem in problems if problem is not None), None)
    return None if problem is None else _refusing(problem)


def is_spiking_neuron(module: nn.Module) -> bool:
    """Whether a module is a neuron of a framework: one that can be deployed, or one that is refused by name."""
    return reader_of(module) is not None


def known_neurons() -> tuple[str, ...]:
    """Class names of the neurons that can be deployed."""
    return tuple(_READERS)


def to_nir(module: nn.Module, shape: Shape, dtype: torch.dtype) -> Neuron:
    """The NIR neuron of a framework's module, for neurons of `shape` computed in `dtype`.

    Raises NeuronProblem if the module does what NIR, with the metadata of neuron_rule.py, cannot express.
    """
    return _reader(module).to_nir(_own(module), shape, numpy_dtype(dtype))


def convention(module: nn.Module) -> Convention:
    """The firing, reset and initial-state convention of a neuron module."""
    return _reader(module).convention(_own(module))


def returns_state(module: nn.Module) -> bool:
    """True where the module returns (spikes, state) instead of spikes."""
    return _reader(module).returns_state(_own(module))


def is_multi_step(model: nn.Module) -> bool:
    """True for a model that takes all steps at once, [T, N, ...], as SpikingJelly's step mode "m"."""
    return any(getattr(module, "step_mode", "s") == "m" for module in model.modules() if is_spiking_neuron(module))


def reset_state(model: nn.Module) -> None:
    """Set every neuron of a model back to its initial state."""
    for module in model.modules():
        if isinstance(module, norse.Cell | IntegerNeuron):
            module.reset_state()
        elif not isinstance(module, Wrapper) and (reader := reader_of(module)):
            reader.reset_state(module)


def _own(module: nn.Module) -> nn.Module:
    return module.inner if isinstance(module, Wrapper) else module


def _reader(module: nn.Module) -> Reader:
    reader = reader_of(module)
    if reader is None:
        raise KeyError(type(module).__name__)
    return reader


def _namesake(kind: str, missing: list[str]) -> NeuronProblem:
    return NeuronProblem(
        f"a class named {kind} that lacks {', '.join(missing)}, so it is not the neuron that goes by this name",
        "Use the framework's own neuron, or one with the same attributes and meaning",
    )


def _refusing(problem: NeuronProblem) -> Reader:
    def refuse(*_: object) -> NoReturn:
        raise problem

    return Reader(to_nir=refuse, convention=refuse, refused=True)
