"""What each framework's spiking neuron means, written as a NIR neuron: one file a framework.

A neuron is recognised by what its class is: a framework's, by package and name, or derived from it, so that no
framework is imported and no namesake taken for the real thing. A derived class is read as the framework's class;
against_rule.py then tries whether that is what it computes. What NIR does not know of firing and resets travels in the
metadata (neuron_rule.py).
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import nn

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.frontends.neurons import norse, sinabs, snntorch, spikingjelly
from snn2hw.frontends.neurons.integer import IntegerNeuron
from snn2hw.frontends.neurons.reader import NeuronProblem, Reader, Wrapper, numpy_dtype, package_of
from snn2hw.frontends.neurons.snntorch import OWN_STATE
from snn2hw.network.neuron_rule import Neuron

__all__ = [
    "OWN_STATE",
    "Convention",
    "NeuronProblem",
    "convention",
    "framework_class",
    "is_multi_step",
    "is_spiking_neuron",
    "known_neurons",
    "leaves_state",
    "reader_of",
    "reset_state",
    "returns_state",
    "to_nir",
]

_FRAMEWORKS = {"snntorch": snntorch, "spikingjelly": spikingjelly, "norse": norse, "sinabs": sinabs}
_READERS: dict[str, dict[str, Reader]] = {name: framework.READERS for name, framework in _FRAMEWORKS.items()}
_BUILT_HERE = "snn2hw.models.neurons"  # with SpikingJelly's names and meaning
_NAMES = frozenset(name for readers in _READERS.values() for name in readers)


def reader_of(module: nn.Module) -> Reader | None:
    """How to read a neuron, or None for a module that is none. Neurons that are refused have a reader that says so."""
    neuron = unwrapped(module)
    kind, framework = framework_class(type(neuron))
    if kind is None:
        foreign = type(neuron).__name__ in _NAMES and not any(reader_of(part) for part in neuron.children())
        return _refusing(_namesake(type(neuron))) if foreign else None
    reader = _READERS[framework].get(kind.__name__)
    problem = None if reader else _refusal(framework, kind)
    missing = [name for name in reader.required_attributes if not hasattr(neuron, name)] if reader else []
    if missing:
        problem = _another_version(kind, missing)
    if problem and kind is not type(neuron):
        problem = NeuronProblem(f"this {type(neuron).__name__} is derived: {problem.problem}", problem.advice)
    return _refusing(problem) if problem else reader


def framework_class(kind: type) -> tuple[type | None, str]:
    """The class of a framework's neuron that a module's class is or derives from, and the framework; None for others.

    Of several the most derived one counts, whether it can be deployed or is refused.
    """
    for base in kind.__mro__:
        framework = "spikingjelly" if base.__module__ == _BUILT_HERE else package_of(base)
        if framework in _READERS and (base.__name__ in _READERS[framework] or _refusal(framework, base)):
            return base, framework
    return None, ""


def is_spiking_neuron(module: nn.Module) -> bool:
    """Whether a module is a neuron of a framework: one that can be deployed, or one that is refused by name."""
    return reader_of(module) is not None


def known_neurons() -> tuple[str, ...]:
    """Class names of the neurons that can be deployed."""
    return tuple(
        name if framework in ("snntorch", "spikingjelly") else f"{framework}.{name}"
        for framework, readers in _READERS.items()
        for name in readers
    )


def to_nir(module: nn.Module, shape: Shape, dtype: torch.dtype) -> Neuron:
    """The NIR neuron of a framework's module, for neurons of `shape` computed in `dtype`.

    Raises NeuronProblem if the module does what NIR, with the metadata of neuron_rule.py, cannot express.
    """
    return _reader(module).to_nir(unwrapped(module), shape, numpy_dtype(dtype))


def convention(module: nn.Module) -> Convention:
    """The firing, reset and initial-state convention of a neuron module."""
    return _reader(module).convention(unwrapped(module))


def returns_state(module: nn.Module) -> bool:
    """True where the module returns (spikes, state) instead of spikes."""
    return _reader(module).returns_state(unwrapped(module))


def leaves_state(module: nn.Module) -> bool:
    """Whether a neuron's caller must keep its state from step to step."""
    return not bool(getattr(unwrapped(module), "init_hidden", True))


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


def unwrapped(module: nn.Module) -> nn.Module:
    """The framework's module behind what may stand for it in a traced model."""
    return module.inner if isinstance(module, Wrapper) else module


def _reader(module: nn.Module) -> Reader:
    reader = reader_of(module)
    if reader is None:
        raise KeyError(type(module).__name__)
    return reader


def _refusal(framework: str, kind: type) -> NeuronProblem | None:
    """Why a class of a framework that has no reader cannot be deployed; None for one that is no neuron."""
    file = _FRAMEWORKS[framework]
    problem: NeuronProblem | None = file.refuse(kind) if kind.__module__.startswith(file.LAYERS) else None
    return problem


def _namesake(kind: type) -> NeuronProblem:
    frameworks = " or ".join(package for package, readers in _READERS.items() if kind.__name__ in readers)
    return NeuronProblem(
        f"this {kind.__name__} is a class of {kind.__module__}, not the neuron of {frameworks} that goes by this name",
        f"Use the {kind.__name__} of {frameworks} or derive the class from it, or rename a layer that is no neuron",
    )


def _another_version(kind: type, missing: list[str]) -> NeuronProblem:
    return NeuronProblem(
        f"the {kind.__name__} of {kind.__module__} lacks {', '.join(missing)}, which it has in the versions that are "
        "supported",
        f"Update {package_of(kind)}",
    )


def _refusing(problem: NeuronProblem) -> Reader:
    def refuse(*_: object) -> NoReturn:
        raise problem

    return Reader(to_nir=refuse, convention=refuse, refused=True)
