"""snn2hw examples: the trained nets and scripts that come with snn2hw, as files of the user's own."""

from __future__ import annotations

import os
import shutil
from importlib.resources import as_file, files

from snn2hw.cli import console
from snn2hw.cli.asked import Examples
from snn2hw.errors import OptionError
from snn2hw.exporters.bundle import directory_in_place
from snn2hw.files import check_place


def examples(asked: Examples) -> None:
    """Copy the examples into a folder that is not there yet: complete or not at all."""
    if os.path.lexists(asked.folder):
        raise OptionError(f"{asked.folder} exists. Name a folder that is not there yet.")
    check_place(asked.folder)
    with as_file(files("snn2hw") / "examples") as folder, directory_in_place(asked.folder) as beside:
        shutil.copytree(folder, beside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    console.say(f"Wrote {asked.folder}. Try: snn2hw check {asked.folder / 'digits' / 'iand.pt'}")
