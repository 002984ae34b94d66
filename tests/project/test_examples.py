"""The examples run as their docstrings say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("data", ["digits", "moving-digits"])
def test_from_training_to_chip(tmp_path: Path, data: str) -> None:
    shown = run_example("from_training_to_chip.py", data, "4", tmp_path / "chip")
    assert "Verdict: exact for these 40 samples." in shown
    made = {path.name for path in (tmp_path / "chip").iterdir()}
    assert made == {"net.pt", "net.lava", "verified.json", "log.csv", "analysis.html", "report"}
    assert {path.name for path in (tmp_path / "chip" / "report").iterdir()} == {"report.html", "report.json"}
    assert program_accuracy(tmp_path / "chip" / "report") > 0.2, "a net that learnt nothing may not even spike"


def test_trt_against_plain(tmp_path: Path) -> None:
    shown = run_example("trt_against_plain.py", "digits", "1", "2", tmp_path / "trt")
    assert shown.count("Verdict: exact for these 40 samples.") == 4
    accuracies = {
        method: [program_accuracy(tmp_path / "trt" / f"{method}-{seed}") for seed in (0, 1)]
        for method in ("plain", "trt")
    }
    assert all(f"{50 * sum(of_seeds):.1f} ±" in shown for of_seeds in accuracies.values())
    assert accuracies["plain"] != accuracies["trt"]
    assert (tmp_path / "trt" / "compared" / "compare.html").exists()


def run_example(script: str, *arguments: object) -> str:
    """What an example prints."""
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        env=os.environ | {"PYTHONWARNINGS": "ignore"}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def program_accuracy(report: Path) -> float:
    """The accuracy of the integers, as a report says it."""
    rows = json.loads((report / "report.json").read_text())["waterfall"]
    return next(float(row["accuracy"]) for row in rows if row["name"] == "program")
