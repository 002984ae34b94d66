"""snn2hw doctor: what is installed, and how to get the rest."""

from __future__ import annotations

import importlib.metadata

from snn2hw.cli import console
from snn2hw.exporters import Part, runnable_backends


def doctor() -> bool:
    """Print what is installed; True if nothing is missing."""
    parts = []
    for name in ("torch", "nir", "snntorch", "numpy", "scikit-learn"):
        try:
            parts.append(Part(name=name, present=importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            parts.append(Part(name=name, present=None, advice=f"pip install {name}"))
    for backend in runnable_backends().values():
        parts += backend.parts()
    console.show_doctor(parts)
    return all(part.present is not None for part in parts)
