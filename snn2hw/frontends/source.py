"""Models brought to a NIR graph: a checkpoint, a .nir file, package.module:factory, file.py:factory, and modules and
graphs in memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import nir
import numpy as np
import torch
from torch import nn

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Source
from snn2hw.errors import ModelError, OptionError
from snn2hw.files import sha256
from snn2hw.frontends import neurons
from snn2hw.frontends.checkpoints.checkpoint import conversions, load_weights, read_checkpoint, read_weights
from snn2hw.frontends.checkpoints.hints import Hints
from snn2hw.frontends.checkpoints.torch_file import ENDINGS, search_here
from snn2hw.frontends.neurons.parameters import number_or_range
from snn2hw.frontends.nir_model import NirModel
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.time_in import SAYINGS
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.frontends.torch.user_model import UserModel
from snn2hw.network.layout import only
from snn2hw.network.neuron_rule import DT, Neuron, rule_of
from snn2hw.network.nir_file import check_finite, check_neurons, read_nir, same_network, what_changed
from snn2hw.network.normalise import normalise

__all__ = ["LoadedModel", "load_model", "read_nir", "same_network", "sha256"]

Value = TypeVar("Value")

IN_MEMORY = " in memory"
"""How the name of a model ends that was handed over as a module or graph."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model as NIR, with the traced PyTorch model where there is one.

    model: the user's own module, or a .nir file's graph as it was written: what the network is compared with. data:
    the named set it was trained on. notes: what was converted or taken for granted, for people to read.
    """

    network: nir.NIRGraph
    traced: Traced | None
    model: UserModel | NirModel
    input_shape: Shape
    timesteps: int
    source: Source
    data: str | None
    conventions: dict[str, neurons.Convention]
    notes: tuple[str, ...] = ()


def load_model(model: str, options: ModelOptions, *, default_timesteps: int | None = None) -> LoadedModel:
    """Load a MODEL argument. `default_timesteps` counts where neither the options nor the file say T.

    Raises:
        ModelError: the file or factory cannot be read or is malformed.
        UnsupportedError: the model holds constructs that cannot be deployed; all of them are listed.
        OptionError: something must be said by an option, or contradicts the file.
    """
    if options.timesteps is not None and options.timesteps < 1:
        raise OptionError(f"{options.timesteps} time steps: at least 1 is needed. Use --timesteps T.")
    if options.weights is not None and model.endswith((*ENDINGS, ".nir")):
        raise OptionError(f"{model} has weights of its own. Leave out --weights, or name package.module:factory.")
    hints = _hints(options, default_timesteps)
    if options.dt is not None and not model.endswith(".nir"):
        raise OptionError(f"{model}: --dt is for .nir files, whose time constants are in seconds. Leave it out.")
    if model.endswith(ENDINGS):
        checkpoint = read_checkpoint(Path(model), hints, trust_pickle=options.trust_pickle)
        known_shape = _required(checkpoint.input_shape or options.input_shape, "--input-shape C,H,W", model)
        shape = _agree("input shape", options.input_shape, known_shape)
        steps = options.timesteps or checkpoint.timesteps or default_timesteps
        return _traced(checkpoint.model, model, shape, steps, Path(model), options, checkpoint.data, checkpoint.notes)
    if given := hints.of_network():
        are, them = ("is", "it") if len(given) == 1 else ("are", "them")
        raise OptionError(f"{model}: {', '.join(given)} {are} for files that hold weights alone. Leave {them} out.")
    if model.endswith(".nir"):
        return _nir_graph(read_nir(Path(model)), model, Path(model), options, default_timesteps)
    if ":" in model:
        module = _call_factory(model)
        notes: tuple[str, ...] = ()
        if options.weights:
            weights = read_weights(Path(options.weights), trust_pickle=options.trust_pickle)
            notes = load_weights(module, weights, options.weights)
        shape = _required(options.input_shape, "--input-shape C,H,W", model)
        steps = options.timesteps or default_timesteps
        file = Path(options.weights) if options.weights else None
        return _traced(module, model, shape, steps, file, options, None, notes)
    raise ModelError(
        f"{model}: this is neither a checkpoint ({', '.join(ENDINGS)}), nor a .nir file, nor package.module:factory, "
        "nor file.py:factory. Rename the file or name the factory that builds the model."
    )


def load_module(module: nn.Module, options: ModelOptions, *, default_timesteps: int | None = None) -> LoadedModel:
    """Load a module that is in memory. It stays as it is, in its mode and on its device, and may be trained further:
    what is read, run and compared is a copy on the CPU.

    Raises what `load_model` raises.
    """
    name = f"{type(module).__name__}{IN_MEMORY}"
    shape = _required(options.input_shape, "--input-shape C,H,W", name)
    copied = copy_of(module, share_parameters=False).cpu()
    return _traced(copied, name, shape, options.timesteps or default_timesteps, None, options, None, ())


def load_graph(graph: nir.NIRGraph, options: ModelOptions, *, default_timesteps: int | None = None) -> LoadedModel:
    """Load a NIR graph that is in memory. Raises what `load_model` raises."""
    return _nir_graph(graph, f"NIRGraph{IN_MEMORY}", None, options, default_timesteps)


def is_in_memory(model: str) -> bool:
    """Whether a model of this name was a module or graph in memory, which no file holds."""
    return model.endswith(IN_MEMORY)


def _traced(
    module: nn.Module,
    model: str,
    shape: Shape,
    asked_steps: int | None,
    file: Path | None,
    options: ModelOptions,
    data: str | None,
    notes: tuple[str, ...],
) -> LoadedModel:
    notes += conversions(module.state_dict(), torch.float32)
    traced = trace(module.float(), shape, timesteps=asked_steps, time=options.time)
    if traced.steps is not None and options.timesteps not in (None, traced.steps):
        raise OptionError(
            f"{model}: --timesteps {options.timesteps}, but the model itself takes {traced.steps} steps in each call. "
            "Leave it out, or change the model."
        )
    if traced.time != "step" and not neurons.is_multi_step(module):  # SpikingJelly's own mode says it already
        notes = (*notes, SAYINGS[traced.time])
    timesteps = traced.steps or _required(asked_steps, "--timesteps T", model)
    check_finite(traced.network, model)
    conventions = {path: neurons.convention(traced.module.get_submodule(path)) for path in traced.neurons}
    for path, start in traced.starts.items():
        conventions[path] = replace(conventions[path], start=number_or_range(start))
    return LoadedModel(
        network=traced.network,
        traced=traced,
        model=traced.user_model,
        input_shape=input_shape_of(traced.network),
        timesteps=timesteps,
        source=_source(model, file, options, shape, timesteps),
        data=data,
        conventions=conventions,
        notes=notes,
    )


def _source(model: str, file: Path | None, options: ModelOptions, shape: Shape, timesteps: int) -> Source:
    given = asdict(options) | {"input_shape": list(shape), "timesteps": timesteps}
    return Source(
        model=model,
        file=None if file is None else str(file),
        sha256=None if file is None else sha256(file),
        options={key: value for key, value in given.items() if value is not None and value is not False},
    )


def _hints(options: ModelOptions, default_timesteps: int | None) -> Hints:
    return Hints(
        arch=options.arch,
        connect=options.connect,
        iand_order=options.iand_order,
        neuron=options.neuron,
        input_shape=options.input_shape,
        timesteps=options.timesteps,
        default_timesteps=default_timesteps,
    )


def _nir_graph(
    written: nir.NIRGraph, model: str, path: Path | None, options: ModelOptions, default_timesteps: int | None
) -> LoadedModel:
    check_finite(written, model)
    check_neurons(written, model)
    try:
        network = normalise(written, dt=DT if options.dt is None else options.dt)
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from None
    shape = input_shape_of(network)
    asked = options.input_shape
    if asked is not None and len(asked) == 2 and _has_conv1d(written):
        asked = (asked[0], 1, asked[1])
    shape = _agree("input shape", asked, shape)
    timesteps = _required(options.timesteps or default_timesteps, "--timesteps T", model)
    conventions = {}
    for name, node in network.nodes.items():
        if isinstance(node, Neuron):
            rule = rule_of(name, node)
            conventions[name] = neurons.Convention(
                framework="NIR" if options.dt is None else f"NIR, dt = {options.dt:g} s",
                fires="v > v_threshold",
                reset=rule.reset.value,
                start="v_reset",
            )
    return LoadedModel(
        network=network,
        traced=None,
        model=NirModel(
            written=written,
            dt=DT if options.dt is None else options.dt,
            shapes={
                name: tuple(node.v_threshold.shape) for name, node in network.nodes.items() if isinstance(node, Neuron)
            },
        ),
        input_shape=shape,
        timesteps=timesteps,
        source=_source(model, path, options, shape, timesteps),
        data=None,
        conventions=conventions,
        notes=what_changed(written, network),
    )


def input_shape_of(network: nir.NIRGraph) -> Shape:
    """Shape of one step of one sample; lines [C, L] are images of height 1."""
    return tuple(int(n) for n in np.ravel(network.nodes[only(network, nir.Input)].input_type["input"]))


def _has_conv1d(graph: nir.NIRGraph) -> bool:
    return any(isinstance(node, nir.Conv1d) for node in graph.nodes.values())


def _call_factory(model: str) -> nn.Module:
    module_name, _, attribute = model.rpartition(":")
    search_here()  # a factory often lies beside the data
    try:
        module = _of_file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the user's own code
        raise ModelError(f"{model}: importing {module_name} failed ({type(error).__name__}: {error}).") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ModelError(f"{model}: {module_name} has no callable {attribute!r}.")
    try:
        built = factory()
    except (Exception, SystemExit) as error:  # so does calling it
        raise ModelError(
            f"{model}: calling {attribute}() without arguments failed ({type(error).__name__}: {error}). Write a "
            "function that builds the model and name that."
        ) from error
    if not isinstance(built, nn.Module):
        raise ModelError(f"{model}: {attribute}() returned a {type(built).__name__}, not a torch.nn.Module.")
    return built


def _of_file(path: Path) -> ModuleType:
    """The module of a Python file, wherever it lies; what lies beside it can be imported."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _agree(what: str, asked: Shape | None, in_file: Shape) -> Shape:
    if asked is not None and asked != in_file:
        raise OptionError(f"the {what} {list(asked)} is asked for, but the file says {list(in_file)}.")
    return in_file


def _required(value: Value | None, option: str, model: str) -> Value:
    if value is None:
        raise OptionError(f"{model} does not say it: give {option}.")
    return value
