"""Process models of the user: --models FILE.py. docs/lava.md of snn2hw says what such a model must do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from processes.regions import REGION_PROCESSES
from program import Program, ProgramError, Region

Models = tuple[type[Any], ...]


def load_models(path: Path) -> Models:
    """The process models that FILE.py lists as MODELS. Raises ProgramError."""
    spec = importlib.util.spec_from_file_location("user_models", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ProgramError(f"--models {path}: there is no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["user_models"] = module
    spec.loader.exec_module(module)
    models = getattr(module, "MODELS", None)
    processes = tuple(REGION_PROCESSES.values())
    names = ", ".join(process.__name__ for process in processes)
    if not models or any(getattr(model, "implements_process", None) not in processes for model in models):
        raise ProgramError(f"--models {path}: MODELS must list models that implement one of {names}")
    return tuple(models)


def model_of(region: Region, models: Models) -> type[Any] | None:
    """The first model for a region: it implements the region's Process and, if it has `regions`, they name it."""
    for model in models:
        fits = model.implements_process is REGION_PROCESSES[region.kind]
        if fits and region.name in getattr(model, "regions", (region.name,)):
            return model
    return None


def check_models(program: Program, models: Models) -> None:
    """Raise ProgramError if a model would never be used: a name with a typing error must not pass for a test."""
    used = {model_of(region, models) for region in program.regions}
    for model in models:
        if model not in used:
            regions = ", ".join(f"{region.name} ({region.kind})" for region in program.regions)
            raise ProgramError(f"--models: {model.__name__} replaces no region of this program, which has {regions}")
