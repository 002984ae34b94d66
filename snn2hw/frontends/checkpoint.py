"""Reading PyTorch files safely: weights and plain data only, never code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.errors import ModelError
from snn2hw.models.checkpoint import ARCHITECTURES, SCHEMA, build_model

SHOWN_KEYS = 10


def read_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any], str | None]:
    """Build the model of a checkpoint that this project wrote; returns it, its config, and its named data set if any.

    Raises ModelError if the file is damaged, holds code, is of another kind or version, or does not fit its
    architecture.
    """
    content = read_torch_file(path)
    if not isinstance(content, Mapping) or "schema" not in content:
        raise ModelError(
            f"{path}: this file does not say which model it belongs to ({_summary(content)}). Give the model as "
            f"package.module:factory with --weights {path.name}, or save it with its architecture as "
            "docs/checkpoint.md shows."
        )
    if content["schema"] != SCHEMA:
        raise ModelError(f"{path}: schema {content['schema']!r}; this version of snn2hw reads {SCHEMA!r}.")
    if missing := [key for key in ("arch", "config", "state_dict") if key not in content]:
        raise ModelError(f"{path}: the checkpoint lacks {', '.join(missing)}.")
    if content["arch"] not in ARCHITECTURES:
        raise ModelError(
            f"{path}: unknown architecture {content['arch']!r}; known are {', '.join(ARCHITECTURES)}. For a model of "
            f"your own use package.module:factory with --weights {path.name}."
        )
    model = build_model(content["arch"], content["config"])
    load_weights(model, content["state_dict"], str(path))
    data = content.get("data")
    return model, dict(content["config"]), data if isinstance(data, str) else None


def read_torch_file(path: Path) -> Any:
    """What torch.save wrote, read without running code. Raises ModelError if that cannot be done."""
    check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) and _is_torch_zip(path):
            raise ModelError(
                f"{path}: the file holds Python objects that would run code when loaded ({_forbidden(error)}). snn2hw "
                "reads weights only: save model.state_dict() instead of the model, and give the model as "
                "package.module:factory."
            ) from None
        raise ModelError(f"{path}: this is not a file that torch.save wrote, or it is damaged.") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: this is not a file that torch.save wrote, or it is damaged ({first}).") from None


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file: the file itself, or its entry state_dict, model or net."""
    content: Any = read_torch_file(path)
    if isinstance(content, Mapping):
        for key in ("state_dict", "model", "net"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return dict(content)
    raise ModelError(f"{path}: no state dict found ({_summary(content)}). Save model.state_dict().")


def load_weights(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict strictly. Raises ModelError that lists missing, unknown and mis-shaped entries."""
    own = model.state_dict()
    problems = [f"{key} is missing" for key in own if key not in state]
    problems += [f"{key} is not part of the model" for key in state if key not in own]
    problems += [
        f"{key} has shape {list(state[key].shape)}, the model needs {list(own[key].shape)}"
        for key in own
        if key in state and isinstance(state[key], Tensor) and state[key].shape != own[key].shape
    ]
    problems += [f"{key} is not a tensor" for key in own if key in state and not isinstance(state[key], Tensor)]
    if problems:
        listed = "\n  ".join(problems[:SHOWN_KEYS])
        more = f"\n  and {len(problems) - SHOWN_KEYS} more" if len(problems) > SHOWN_KEYS else ""
        raise ModelError(f"{where}: the weights do not fit the model:\n  {listed}{more}")
    model.load_state_dict(state)


def check_file(path: Path) -> None:
    """Raise ModelError if there is no readable, non-empty file."""
    if not path.exists():
        raise ModelError(f"{path}: there is no such file.")
    if path.is_dir():
        raise ModelError(f"{path}: this is a directory, not a model file.")
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: the file is empty.")


def _is_torch_zip(path: Path) -> bool:
    return zipfile.is_zipfile(path) or path.read_bytes()[:2] == b"\x80\x02"


def _forbidden(error: Exception) -> str:
    """The name torch complained about."""
    for word in str(error).replace("`", " ").split():
        if (
            "." in word
            and word.strip(".,:").replace(".", "").replace("_", "").isalnum()
            and not word.startswith("torch.")
        ):
            return word.strip(".,:")
    return "not allowed by weights_only"


def _summary(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = ", ".join(str(key) for key in list(content)[:5])
        return f"a dictionary with {len(content)} entries: {keys}{', ...' if len(content) > 5 else ''}"
    return f"a {type(content).__name__}"
