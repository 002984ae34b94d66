"""Lava in another Python than the one that runs the tests: the same spikes, and the environment is made as for any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import Builder, make_bundle, save_samples

from snn2hw.exporters.lava.environment import ensure_environment
from snn2hw.exporters.lava.host import run_lava

WANTED = ("3.13", "3.12", "3.11", "3.10")


def other_python() -> str | None:
    """A Python on this machine that is of another version than this one, the newest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in WANTED:
        for path in (*sorted(pyenv.glob(f"versions/{version}.*/bin/python")), f"python{version}"):
            code = "import ensurepip, sys; print(*sys.version_info[:2], sep='.')"
            try:
                done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
            except OSError:
                continue
            if done.stdout.strip() == version != f"{sys.version_info[0]}.{sys.version_info[1]}":
                return str(path)
    return None


OTHER = other_python()


@pytest.mark.skipif(OTHER is None, reason="no other Python from 3.10 on is installed here")
@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_lava_gives_the_same_spikes_in_another_python(
    processes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ensure_environment()
    monkeypatch.setenv("SNN2HW_LAVA_PYTHON", str(OTHER))
    assert ensure_environment() != here
    builder = Builder(timesteps=3, shape=(2, 6, 6))
    builder.readout(builder.sew_block("block", builder.layer("stem", "x", 4), 4, gate="IAND"))
    bundle = make_bundle(builder, tmp_path)
    expected = builder.expected(save_samples(builder, bundle, 3))
    run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", processes=processes)
    with np.load(bundle / "spikes.npz") as archive:
        assert set(archive.files) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(archive[name], values, err_msg=name)
