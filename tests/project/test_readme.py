"""README and worked example are true: they run, and print what they say. `python tests/readme.py` writes it anew."""

import re
import subprocess
import sys
from pathlib import Path

from readme import ROOT, blocks, run_blocks


def test_every_command_of_the_worked_example_prints_what_it_says(tmp_path: Path) -> None:
    examples = blocks()
    assert len(examples) >= 5
    for (command, expected), printed in zip(examples, run_blocks(tmp_path), strict=True):
        assert _comparable(printed) == _comparable(expected), f"`{command}` now prints:\n{printed}"


def test_the_verdict_in_the_readme_is_that_of_the_worked_example() -> None:
    (quoted,) = re.findall(r"^```text\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (printed,) = [printed for command, printed in blocks() if " verify " in command]
    assert "Verdict: exact" in quoted and quoted in printed


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert 8 <= len(code.splitlines()) <= 12
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *_, verdict, accuracy = done.stdout.splitlines()
    assert verdict == "Verdict: exact for these 20 samples. Integer-exact: PyTorch, program, lava."
    assert float(accuracy) > 0.9
    assert (tmp_path / "report/report.html").is_file() and (tmp_path / "iand.lava/manifest.json").is_file()


def _comparable(printed: str) -> str:
    """The printed text without how many float spikes differ: that depends on how the processor rounds float32."""
    return re.sub(r"(program-vs-float-torch.*for information.*│)[^│]*│$", r"\1", printed, flags=re.MULTILINE)


def test_the_readme_names_the_two_commands_that_the_makefile_has() -> None:
    text, targets = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"    make {command} " in text
        assert f"\n{command}: " in targets


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []
