"""A legacy file in the environment that sinabs asks for: nir 1.0.4."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from interop_nets import deployed_net, write

from snn2hw.interop.simulate import input_steps
from snn2hw.network.nir_file import read_nir

SCRIPT = Path(__file__).with_name("sinabs_as_pinned.py")
PINNED = Path(sys.prefix, "sinabs")  # where `make` installs requirements-sinabs.txt


def run(folder: Path, profile: str) -> subprocess.CompletedProcess[str]:
    compiled, samples, _ = deployed_net("digits add")
    write(compiled, folder / "net.nir", profile, quantised=True)
    x = input_steps(read_nir(folder / "net.nir"), samples, compiled.program.schedule.timesteps)
    np.savez(folder / "x.npz", x=x)
    assert (PINNED / "nir").is_dir(), f"{PINNED} is missing: `make setup` installs nir 1.0.4 for sinabs there"
    command = [sys.executable, str(SCRIPT), "net.nir", "x.npz", "spikes.npz"]
    environment = os.environ | {"PYTHONPATH": str(PINNED)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_legacy_file_runs_with_nir_1_0_4_and_gives_the_programs_spikes(tmp_path: Path) -> None:
    done = run(tmp_path, "legacy")
    assert done.returncode == 0, done.stderr
    _, _, expected = deployed_net("digits add")
    with np.load(tmp_path / "spikes.npz") as archive:
        assert archive["nir"] == "1.0.4"
        names = set(archive.files) - {"nir"}
        assert len(names) == 11 and names < expected.keys()
        for name in names:
            assert np.array_equal(archive[name], expected[name]) and archive[name].any(), name


@pytest.mark.parametrize("profile", ["plain", "portable"])
def test_the_other_profiles_do_not(tmp_path: Path, profile: str) -> None:
    done = run(tmp_path, profile)
    assert done.returncode and "unexpected keyword argument" in done.stderr
