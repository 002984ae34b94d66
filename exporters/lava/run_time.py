"""The code that runs a bundle without snn2hw: the folder runtime/, and with it the reader of program.npz."""

from __future__ import annotations

import shutil
from pathlib import Path

from snn2hw.ir import program_npz

RUNTIME = Path(__file__).with_name("runtime")
READER = Path(program_npz.__file__).parent
NOT_COPIED = ("__pycache__", "*.ini", "*.toml", ".*")


def copy_run_time(place: Path) -> None:
    """Write the run time into the folder `place`, over what stands there."""
    for source, folder in ((RUNTIME, place), (READER, place / READER.name)):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
