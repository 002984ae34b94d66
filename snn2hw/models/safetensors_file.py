"""Checkpoints as .safetensors: tensors that no code comes with, and what a checkpoint says beside them as metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from snn2hw.errors import ModelError
from snn2hw.files import check_readable

ENDING = ".safetensors"
SAID = ("arch", "config", "data")  # entries of a checkpoint of this project that are metadata here, as JSON


def read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors by name; of a checkpoint of this project the dictionary that torch.save would hold.

    Raises ModelError if there is no such file, or it is damaged.
    """
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = {name: json.loads(metadata[name]) for name in SAID if name in metadata}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: this is not a .safetensors file, or it is damaged ({error}).") from None
    if "schema" not in metadata:
        return tensors
    return {"schema": metadata["schema"], **said, "state_dict": tensors}


def safetensors_bytes(content: Mapping[str, Any]) -> bytes:
    """A checkpoint of this project, whose state_dict holds tensors on the CPU, as the bytes of a .safetensors file."""
    tensors: dict[str, Tensor] = {name: tensor.contiguous().clone() for name, tensor in content["state_dict"].items()}
    said = {name: json.dumps(content[name]) for name in SAID if name in content}
    return save(tensors, metadata={"schema": content["schema"], **said})
