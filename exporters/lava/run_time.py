"""The code that runs a bundle without snn2hw: the folder runtime/, and with it the reader of program.npz.

`python -m snn2hw.exporters.lava.run_time` prints its digest, for the file of those that former versions wrote.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from snn2hw.exporters.trust import check_code, code_in, digest_of
from snn2hw.ir import program_npz
from snn2hw.scratch import scratch_folder

RUNTIME = Path(__file__).with_name("runtime")
READER = Path(program_npz.__file__).parent
FORMER = Path(__file__).with_name("former_run_times.txt")
NOT_COPIED = ("__pycache__", "*.ini", "*.toml", ".*")


def copy_run_time(place: Path) -> None:
    """Write the run time into the folder `place`, over what stands there."""
    for source, folder in ((RUNTIME, place), (READER, place / READER.name)):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)


def check_run_time(place: Path, *, trusted: bool) -> None:
    """Raise BundleError unless the folder `place` holds a run time that a known version wrote, or is trusted."""
    lines = FORMER.read_text(encoding="utf-8").splitlines()
    former = {line.split()[0] for line in lines if line and not line.startswith("#")}
    check_code(place, own_run_time(), former, trusted=trusted)


def own_run_time() -> dict[str, str]:
    """The sha256 of every file of the run time that this version writes."""
    with scratch_folder() as folder:
        copy_run_time(folder)
        return code_in(folder)


if __name__ == "__main__":
    print(digest_of(own_run_time()))
