"""The examples run as their docstrings say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("data", ["digits", "moving-digits"])
def test_from_training_to_chip(tmp_path: Path, data: str) -> None:
    script = EXAMPLES / "from_training_to_chip.py"
    ended = subprocess.run(
        [sys.executable, str(script), data, "1", str(tmp_path / "chip")],
        env=os.environ | {"PYTHONWARNINGS": "ignore"}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Verdict: exact for these 40 samples." in ended.stdout
    made = {str(path.relative_to(tmp_path / "chip")) for path in (tmp_path / "chip").glob("*")}
    assert made == {"net.pt", "net.lava", "log.csv", "analysis.html", "report"}
    assert {path.name for path in (tmp_path / "chip" / "report").iterdir()} == {"report.html", "report.json"}
