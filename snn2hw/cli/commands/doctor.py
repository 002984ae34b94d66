"""snn2hw doctor: what is installed, and how to get the rest."""

from __future__ import annotations

import importlib.metadata

from snn2hw.cli import console
from snn2hw.exporters.lava.environment import describe_environment


def doctor() -> bool:
    """Print what is installed; True if nothing is missing."""
    rows = []
    for name in ("torch", "nir", "snntorch", "numpy", "scikit-learn"):
        try:
            rows.append((name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "missing", f"pip install {name}"))
    lava = describe_environment()
    return console.show_doctor(rows, lava)
