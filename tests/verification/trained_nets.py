"""The trained nets of examples/digits: exported once a folder, and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli import succeed

TRAINED = Path(__file__).parents[2] / "examples" / "digits"
NETS = ("add", "and", "iand", "spiking")
PROCESSES = pytest.mark.parametrize(("processes", "samples"), [("fused", 5), ("structural", 2)])
"""Both ways to run a bundle in Lava; structural processes are slower."""


def exported(folder: Path, net: str, **options: object) -> Path:
    """The bundle of a trained net, made with these options of `export`."""
    bundle = folder / f"{'-'.join(map(str, (net, *options.values())))}.lava"
    if not bundle.exists():
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        succeed("export", TRAINED / f"{net}.pt", "--target", "lava", "-o", bundle, "--calibrate", "digits", *words)
    return bundle


def verified(bundle: Path, *, processes: str, samples: int) -> dict[str, Any]:
    """What `verify` writes of a bundle; that it ends without a mistake is asserted."""
    file = bundle.with_suffix(f".{processes}.json")
    options = ("--samples", samples, "--processes", processes, "--json", file)
    succeed("verify", bundle, "--data", "digits", *options)
    result: dict[str, Any] = json.loads(file.read_text())
    return result
