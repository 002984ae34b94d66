"""Reading PyTorch and .safetensors files safely: weights and plain data, never code unless the user trusts the file."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snn2hw.errors import ModelError
from snn2hw.files import check_readable
from snn2hw.models.safetensors_file import ENDING as SAFETENSORS
from snn2hw.models.safetensors_file import read_safetensors

ENDINGS = (".pt", ".pth", ".pt.tar", ".pth.tar", ".ckpt", SAFETENSORS)
LARGEST_EXPANSION, HARMLESS_BYTES = 20, 1 << 26
"""Trained weights hardly compress: what claims to be so many times its file is no checkpoint, unless it is small."""


def read_torch_file(path: Path, *, trust_pickle: bool = False) -> Any:
    """What torch.save wrote, or a .safetensors file, read without running code unless `trust_pickle`. Raises ModelError
    if it cannot be done.

    Tensors are mapped from the file, so that what nobody looks at, such as an optimiser's state, is never read.
    """
    if path.suffix == SAFETENSORS:
        return read_safetensors(path)
    check_readable(path)
    mapped = check_archive(path) and not trust_pickle  # a module outlives this file's pages
    if trust_pickle:
        search_here()
    try:
        # What torch warns of, the messages below say better.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle, mmap=mapped)
    except (Exception, SystemExit) as error:  # a damaged file leads torch into errors of any type
        if trust_pickle:
            raise ModelError(
                f"{path}: loading it failed ({type(error).__name__}: {error}). Where a class is missing, go to the "
                "folder from which it can be imported."
            ) from error
        if (code := _code_in(path, str(error))) is not None:
            raise ModelError(
                f"{path}: the file holds {code}, which would run code when loaded. snn2hw reads weights only: save "
                "model.state_dict() instead of the model, and give the model as package.module:factory. If you trust "
                "whoever made the file with everything that you may do on this machine, --trust-pickle lets it run."
            ) from None
        raise ModelError(
            f"{path}: this is not a file that torch.save wrote, or it is damaged. Copy or save it again."
        ) from None


def check_archive(path: Path) -> bool:
    """Whether the tensors of a file can be mapped: it is an archive as torch.save writes it, nothing compressed.

    Raises ModelError for an archive that would unpack to many times its size.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False  # torch says what it thinks of it
    _check_expansion(path, sum(entry.file_size for entry in entries), path.stat().st_size)
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def check_claims(path: Path, state: Mapping[str, Any]) -> None:
    """Raise ModelError if tensors claim to be far larger than what is stored of them: they repeat a few numbers."""
    tensors = [value for value in state.values() if isinstance(value, Tensor) and value.device.type == "cpu"]
    tensors = [tensor for tensor in tensors if tensor.layout is torch.strided]
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    stored = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    _check_expansion(path, claimed, sum(stored.values()))


def _check_expansion(path: Path, claimed: int, stored: int) -> None:
    if claimed > max(LARGEST_EXPANSION * stored, HARMLESS_BYTES):
        raise ModelError(
            f"{path}: {claimed / 1e6:,.0f} MB would come out of {stored / 1e6:,.3f} MB, as they never do with trained "
            "weights. This is no checkpoint; do not unpack it."
        )


def search_here() -> None:
    """Let imports find the modules of the current folder, as `python -m` does."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _code_in(path: Path, complaint: str) -> str | None:
    """What torch refused to load because it would run code, or None if the file is simply no file of torch's."""
    if match := re.search(r"GLOBAL (\S+)", complaint):
        return f"the Python object {match[1]}"
    if "TorchScript" in complaint:
        return "a TorchScript program"
    with path.open("rb") as file:
        protocol = file.read(2)
    return "a pickle that torch.save did not write" if protocol in (b"\x80\x03", b"\x80\x04", b"\x80\x05") else None


def summary(content: Any) -> str:
    """What a file turned out to hold, in a few words."""
    if isinstance(content, Mapping):
        keys = ", ".join(str(key) for key in list(content)[:5])
        return f"a dictionary with {len(content)} entries: {keys}{', ...' if len(content) > 5 else ''}"
    return f"a {type(content).__name__}"
