"""MODEL arguments: a checkpoint, a .nir file, or package.module:factory, each brought to a NIR graph."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import nir
import numpy as np
from torch import nn

from snn2hw.deployment import Source
from snn2hw.errors import ModelError, OptionError
from snn2hw.frontends import neurons
from snn2hw.frontends.checkpoint import check_file, load_weights, read_checkpoint, read_weights
from snn2hw.frontends.trace import Traced, trace
from snn2hw.neuron_rule import rule_of
from snn2hw.nir_graph import lay_out, only

Shape = tuple[int, ...]
Given = TypeVar("Given")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What a user adds where a model's file does not say it."""

    weights: str | None = None
    input_shape: Shape | None = None
    timesteps: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model as NIR, with the traced PyTorch model where there is one; `data` is the named set it was trained on."""

    network: nir.NIRGraph
    traced: Traced | None
    input_shape: Shape
    timesteps: int
    source: Source
    data: str | None
    conventions: dict[str, neurons.Convention]


def load_model(model: str, options: ModelOptions) -> LoadedModel:
    """Load a MODEL argument.

    Raises:
        ModelError: the file or factory cannot be read or is malformed.
        UnsupportedError: the model holds constructs that cannot be deployed; all of them are listed.
        OptionError: something must be said by an option, or contradicts the file.
    """
    if options.timesteps is not None and options.timesteps < 1:
        raise OptionError(f"{options.timesteps} time steps: at least 1 is needed. Use --timesteps T.")
    if model.endswith((".pt", ".pth")):
        module, config, data = read_checkpoint(Path(model))
        shape = _agree("input shape", options.input_shape, tuple(config["input_shape"]))
        steps = options.timesteps or int(config["timesteps"])
        return _traced(module, model, shape, steps, Path(model), options, data)
    if model.endswith(".nir"):
        return _nir_file(model, options)
    if ":" in model:
        module = _call_factory(model)
        if options.weights:
            load_weights(module, read_weights(Path(options.weights)), options.weights)
        shape = _required(options.input_shape, "--input-shape C,H,W", model)
        steps = _required(options.timesteps, "--timesteps T", model)
        return _traced(module, model, shape, steps, Path(options.weights) if options.weights else None, options)
    raise ModelError(
        f"{model}: this is neither a checkpoint (.pt, .pth), nor a .nir file, nor package.module:factory. Rename the "
        "file or name the factory that builds the model."
    )


def same_network(a: nir.NIRGraph, b: nir.NIRGraph) -> bool:
    """Whether two graphs have the same nodes with the same parameters, and the same edges."""
    if set(a.nodes) != set(b.nodes) or set(a.edges) != set(b.edges):
        return False
    return all(type(node) is type(b.nodes[name]) and _same_node(node, b.nodes[name]) for name, node in a.nodes.items())


def _same_node(a: nir.NIRNode, b: nir.NIRNode) -> bool:
    left, right = (
        {key: np.asarray(value) for key, value in vars(node).items() if not isinstance(value, dict)} for node in (a, b)
    )
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _traced(
    module: nn.Module,
    model: str,
    shape: Shape,
    timesteps: int,
    file: Path | None,
    options: ModelOptions,
    data: str | None = None,
) -> LoadedModel:
    traced = trace(module.float(), shape)
    found = {
        path: neurons.convention(traced.module.get_submodule(path))
        for path in sorted(traced.layers)
        if neurons.is_spiking_neuron(traced.module.get_submodule(path))
    }
    return LoadedModel(
        network=traced.network,
        traced=traced,
        input_shape=shape,
        timesteps=timesteps,
        source=_source(model, file, options, shape, timesteps),
        data=data,
        conventions=found,
    )


def _source(model: str, file: Path | None, options: ModelOptions, shape: Shape, timesteps: int) -> Source:
    said = asdict(options) | {"input_shape": list(shape), "timesteps": timesteps}
    return Source(
        model=model,
        file=None if file is None else str(file),
        sha256=None if file is None else sha256(file),
        options={key: value for key, value in said.items() if value is not None},
    )


def _nir_file(model: str, options: ModelOptions) -> LoadedModel:
    path = Path(model)
    network = read_nir(path)
    shape = tuple(int(n) for n in np.ravel(network.nodes[only(network, nir.Input)].input_type["input"]))
    shape = _agree("input shape", options.input_shape, shape)
    timesteps = _required(options.timesteps, "--timesteps T", model)
    conventions = {}
    for name, node in network.nodes.items():
        if isinstance(node, nir.IF | nir.LIF):
            rule = rule_of(name, node)
            conventions[name] = neurons.Convention(
                framework="NIR", fires="v > v_threshold", reset=rule.reset.value, start="v_reset"
            )
    return LoadedModel(
        network=network,
        traced=None,
        input_shape=shape,
        timesteps=timesteps,
        source=_source(model, path, options, shape, timesteps),
        data=None,
        conventions=conventions,
    )


def read_nir(path: Path) -> nir.NIRGraph:
    """Read a .nir file and check its structure. Raises ModelError if it is no NIR graph or malformed."""
    check_file(path)
    try:
        graph = nir.read(path, type_check=False)
    except Exception as error:  # nir asserts and indexes where it should check; h5py raises OSError
        raise ModelError(f"{path}: this is not a readable NIR file ({type(error).__name__}: {error}).") from None
    if not isinstance(graph, nir.NIRGraph):
        raise ModelError(f"{path}: the file holds a single {type(graph).__name__} node, not a graph.")
    lay_out(graph)
    return graph


def _call_factory(model: str) -> nn.Module:
    module_name, _, attribute = model.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: a factory often lies beside the data
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's own code
        raise ModelError(f"{model}: importing {module_name} failed ({type(error).__name__}: {error}).") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ModelError(f"{model}: {module_name} has no callable {attribute!r}.")
    try:
        built = factory()
    except Exception as error:  # so does calling it
        raise ModelError(
            f"{model}: calling {attribute}() without arguments failed ({type(error).__name__}: {error}). Write a "
            "function that builds the model and name that."
        ) from error
    if not isinstance(built, nn.Module):
        raise ModelError(f"{model}: {attribute}() returned a {type(built).__name__}, not a torch.nn.Module.")
    return built


def _agree(what: str, asked: Shape | None, own: Shape) -> Shape:
    if asked is not None and asked != own:
        raise OptionError(f"the {what} {list(asked)} is asked for, but the file says {list(own)}.")
    return own


def _required(value: Given | None, option: str, model: str) -> Given:
    if value is None:
        raise OptionError(f"{model} does not say it: give {option}.")
    return value
