"""snn2hw doctor: what is installed, and how to get the rest."""

from __future__ import annotations

import importlib.metadata

from snn2hw.cli import console
from snn2hw.cli.asked import Doctor
from snn2hw.errors import EXTRAS
from snn2hw.exporters import Part, runnable_backends


def _package(name: str, how: str) -> Part:
    try:
        return Part(name=name, present=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Part(name=name, present=None, advice=f"pip install {how}")


def doctor(_: Doctor) -> int:
    """Print what is installed; return 1 if something is missing."""
    parts = []
    for name in ("torch", "nir", "snntorch", "numpy", "numba"):
        parts.append(_package(name, name))
    parts += [_package(name, f"'snn2hw[{extra}]'") for name, extra in EXTRAS.items()]
    for backend in runnable_backends().values():
        parts += backend.parts()
    console.show_doctor(parts)
    return 1 if any(part.present is None for part in parts) else 0
