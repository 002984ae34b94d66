"""snn2hw doctor: what is installed and what this machine can do, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from pathlib import Path

import torch

from snn2hw.cli import console
from snn2hw.cli.asked import Doctor
from snn2hw.errors import EXTRAS
from snn2hw.exporters import Part, runnable_backends
from snn2hw.files import VERSION
from snn2hw.scratch import remove_leftovers

INSTRUCTIONS = {"AVX2": "avx2", "AVX-512": "avx512_f", "VNNI": "avx512_vnni", "AMX": "amx_int8"}
"""What makes integer convolutions fast, and what torch calls it."""


def doctor(asked: Doctor) -> int:
    """Print what is installed; return 1 if something is missing. Or remove what killed commands left here."""
    if asked.clean:
        return _clean()
    console.check_json(asked.json_file)
    parts = [
        Part(name="snn2hw", present=VERSION),
        Part(name="Python", present=platform.python_version()),
        *(_package(name, name) for name in ("torch", "nir", "snntorch", "numpy", "numba")),
        *(_package(name, f"'snn2hw[{extra}]'") for name, extra in EXTRAS.items()),
        Part(name="processor", present=_processor()),
        Part(
            name="CUDA", present=torch.cuda.get_device_name() if torch.cuda.is_available() else "none: the CPU is used"
        ),
    ]
    for backend in runnable_backends().values():
        parts += backend.parts()
    console.show_doctor(parts)
    if asked.json_file is not None:
        document = {"schema": "snn2hw.doctor/1", "parts": [vars(part) for part in parts]}
        console.write_json(asked.json_file, document)
    return 1 if any(part.present is None for part in parts) else 0


def _clean() -> int:
    removed = [left for place in (Path(tempfile.gettempdir()), Path()) for left in remove_leftovers(place)]
    for left in removed:
        console.say(f"Removed {left}, which a command left that was killed.")
    if not removed:
        console.say("There is nothing to remove here or among the temporary files.")
    return 0


def _processor() -> str:
    known = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")()
    able = [name for name, flag in INSTRUCTIONS.items() if flag in _flags()]
    return f"{platform.machine()}, torch uses {known}; {', '.join(able) or 'none of ' + ', '.join(INSTRUCTIONS)}"


def _flags() -> set[str]:
    """What the processor can do, as Linux lists it, in torch's spelling."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            (line,) = [line for line in file if line.startswith("flags")][:1]
    except (OSError, ValueError):  # another system, or another kind of processor
        return set()
    return {word.replace("avx512f", "avx512_f") for word in line.split()}


def _package(name: str, how: str) -> Part:
    try:
        return Part(name=name, present=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Part(name=name, present=None, advice=f"pip install {how}")
