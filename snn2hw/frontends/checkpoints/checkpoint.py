"""Checkpoints: from what lies in a file to a model with its weights."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from snn2hw.data.aliases import Shape
from snn2hw.errors import ModelError, OptionError
from snn2hw.frontends.checkpoints.hints import Hints
from snn2hw.frontends.checkpoints.state_dict import Arguments, recognise, without_prefix
from snn2hw.frontends.checkpoints.torch_file import check_claims, read_torch_file, summary
from snn2hw.models.checkpoint import ARCHITECTURES, SCHEMA, build_model

SHOWN_KEYS = 10
ARGUMENT_ENTRIES = ("args", "hyper_parameters")
WEIGHT_ENTRIES = ("state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model from a file, with what the file or a hint says about it, and what was converted or taken for granted.

    arch and config: of a net of this project's family.
    """

    model: nn.Module
    input_shape: Shape | None
    timesteps: int | None
    data: str | None = None
    notes: tuple[str, ...] = ()
    arch: str | None = None
    config: Mapping[str, Any] | None = None


def read_checkpoint(path: Path, hints: Hints | None = None, *, trust_pickle: bool = False) -> Checkpoint:
    """Build the model of a checkpoint: one of this project, weights that state_dict.py recognises, or a whole module.

    Args:
        hints: what the user says about a network whose file does not.
        trust_pickle: let the file run code, as a pickled module needs.
    Raises:
        ModelError: the file is damaged, holds code, is of another kind or version, or does not fit its architecture.
        OptionError: hints are missing, or a hint contradicts the file.
    """
    hints = hints or Hints()
    content = read_torch_file(path, trust_pickle=trust_pickle)
    if isinstance(content, Mapping) and "schema" in content:
        _refuse_hints(path, hints)
        return _own_checkpoint(path, content)
    weights = _weights_in(content)
    if isinstance(weights, nn.Module):
        _refuse_hints(path, hints)
        return Checkpoint(model=weights, input_shape=None, timesteps=None)
    advice = (
        f"Give the model as package.module:factory with --weights {path.name}, or save it with its architecture as "
        "docs/checkpoint.md shows."
    )
    unknown = f"{path}: this file does not say which model it belongs to ({summary(content)})"
    if weights is None:
        raise ModelError(f"{unknown}. {advice}")
    check_claims(path, weights)
    try:
        recognised = recognise(weights, _arguments_in(content), hints)
    except ModelError as error:
        raise ModelError(f"{unknown}: {error} {advice}") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None
    model = _build(path, recognised.arch, recognised.config)
    notes = load_weights(model, recognised.state, f"{path} (names as docs/checkpoint.md maps them)")
    config = recognised.config
    return Checkpoint(
        model=model,
        input_shape=tuple(config["input_shape"]),
        timesteps=config["timesteps"],
        notes=(*notes, *recognised.notes),
        arch=recognised.arch,
        config=config,
    )


def _own_checkpoint(path: Path, content: Mapping[Any, Any]) -> Checkpoint:
    if content["schema"] != SCHEMA:
        raise ModelError(f"{path}: schema {content['schema']!r}; this version of snn2hw reads {SCHEMA!r}.")
    if missing := [key for key in ("arch", "config", "state_dict") if key not in content]:
        raise ModelError(f"{path}: the checkpoint lacks {', '.join(missing)}.")
    if content["arch"] not in tuple(ARCHITECTURES):
        raise ModelError(
            f"{path}: unknown architecture {content['arch']!r}; known are {', '.join(ARCHITECTURES)}. For a model of "
            f"your own use package.module:factory with --weights {path.name}."
        )
    model, config = _build(path, content["arch"], content["config"]), content["config"]
    if isinstance(content["state_dict"], Mapping):
        check_claims(path, content["state_dict"])
    notes = load_weights(model, content["state_dict"], str(path))
    data = content.get("data")
    return Checkpoint(
        model=model,
        input_shape=tuple(config["input_shape"]),
        timesteps=int(config["timesteps"]),
        data=data if isinstance(data, str) else None,
        notes=notes,
        arch=content["arch"],
        config=config,
    )


def _build(path: Path, arch: str, config: Mapping[str, Any]) -> nn.Module:
    try:
        return build_model(arch, config)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except RuntimeError as error:  # sizes beyond all memory
        raise ModelError(f"{path}: no model can be built with the sizes of its config: {error}") from None


def _refuse_hints(path: Path, hints: Hints) -> None:
    if given := hints.of_network():
        raise OptionError(f"{path} says itself which network it holds. Leave out {', '.join(given)}.")


def read_weights(path: Path, *, trust_pickle: bool = False) -> Mapping[str, Tensor]:
    """The state dict in a file, tensors [*shape] by name: the file itself, or its entry of a name in WEIGHT_ENTRIES.

    Raises ModelError if there is none, or the file holds code that is not trusted.
    """
    content = read_torch_file(path, trust_pickle=trust_pickle)
    weights = _weights_in(content)
    if weights is None:
        raise ModelError(f"{path}: no state dict found ({summary(content)}). Save model.state_dict().")
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    check_claims(path, state)
    return state


def _weights_in(content: Any) -> nn.Module | Mapping[str, Tensor] | None:
    """The weights in what a file holds: a module, tensors by name, or neither."""
    if isinstance(content, Mapping):
        entries = (content.get(key) for key in WEIGHT_ENTRIES)
        content = next((entry for entry in entries if isinstance(entry, Mapping | nn.Module)), content)
    if isinstance(content, nn.Module):
        return content
    if not isinstance(content, Mapping) or not content:
        return None
    are_tensors = all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    return dict(content) if are_tensors else None


def _arguments_in(content: Any) -> Arguments:
    entries = (content.get(key) for key in ARGUMENT_ENTRIES) if isinstance(content, Mapping) else ()
    return next((args for args in entries if isinstance(args, argparse.Namespace | Mapping)), None)


def load_weights(model: nn.Module, state: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
    """Load a state dict strictly, but for a prefix of all names; return what was converted or left out, in words.

    state: tensors [*shape] by name, each of the shape that the model's has. Of a LightningModule's, whose losses and
    metrics lie beside the model, the part that is the whole model is taken.

    Raises ModelError that lists missing, unknown and mis-shaped entries, or names one that is not finite.
    """
    if not isinstance(state, Mapping):
        raise ModelError(f"{where}: its state_dict is {summary(state)}. Save model.state_dict() there.")
    expected = model.state_dict()
    left_out: tuple[str, ...] = ()
    if not any(key in expected for key in state) and all(isinstance(key, str) for key in state):
        state, left_out = _part_of(without_prefix(state), expected)
    problems = [f"{key} is missing" for key in expected if key not in state]
    problems += [f"{key} is not part of the model" for key in state if key not in expected]
    problems += [
        f"{key} has shape {list(state[key].shape)}, the model needs {list(expected[key].shape)}"
        for key in expected
        if key in state and isinstance(state[key], Tensor) and state[key].shape != expected[key].shape
    ]
    problems += [
        f"{key} {wrong}"
        for key in expected
        if key in state and (wrong := _wrong_kind(state[key], expected[key])) is not None
    ]
    if problems:
        listed = "\n  ".join(problems[:SHOWN_KEYS])
        more = f"\n  and {len(problems) - SHOWN_KEYS} more" if len(problems) > SHOWN_KEYS else ""
        raise ModelError(f"{where}: the weights do not fit the model:\n  {listed}{more}")
    check_finite(state, f"{where}: ")
    model.load_state_dict(state)
    return (*conversions(state, torch.float32), *left_out)


def _part_of(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The part under one prefix that holds the whole model, with what is left out in words; all if there is no such."""
    prefixes = {key.partition(".")[0] + "." for key in state}
    whole = [prefix for prefix in prefixes if expected and all(prefix + key in state for key in expected)]
    if len(whole) != 1 or any(key in expected for key in state):
        return state, ()
    part = {key.removeprefix(whole[0]): tensor for key, tensor in state.items() if key.startswith(whole[0])}
    rest = [key for key in state if not key.startswith(whole[0])]
    listed = ", ".join(rest[:SHOWN_KEYS]) + (", ..." if len(rest) > SHOWN_KEYS else "")
    return part, (f"the weights of {whole[0].rstrip('.')} were taken, and left out {listed}",)


def _wrong_kind(value: object, expected: Tensor) -> str | None:
    """What is wrong with an entry of a state dict besides its shape, or None."""
    if not isinstance(value, Tensor):
        return "is not a tensor"
    if is_lazy(value):
        return None  # check_finite says more
    if value.layout is not torch.strided or value.device.type != "cpu":
        return f"has no plain values ({value.layout}, device {value.device})"
    if value.is_floating_point() != expected.is_floating_point():
        return f"has type {_type(value)}, the model needs {_type(expected)}"
    return None


def conversions(state: Mapping[str, Tensor], wanted: torch.dtype) -> tuple[str, ...]:
    """How many tensors, by name and [*any shape], have which type of real numbers other than `wanted`, in words."""
    types = Counter(_type(tensor) for tensor in state.values() if tensor.is_floating_point() and tensor.dtype != wanted)
    return tuple(
        f"{count} of {len(state)} tensors are {kind}; they were converted to {str(wanted).removeprefix('torch.')}"
        for kind, count in sorted(types.items())
    )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_finite(state: Mapping[str, Any], where: str = "") -> None:
    """Raise ModelError if a tensor of a state dict is NaN or infinite somewhere, or has no values yet."""
    for name, tensor in state.items():
        if is_lazy(tensor):
            raise ModelError(f"{where}{name}: it has no shape yet. Call the model once on a sample, or name its sizes.")
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{where}{name}: {bad} of {tensor.numel()} values are NaN or infinite. The training diverged; use an "
                "earlier checkpoint."
            )
