"""The documentation site: it builds without a broken link, knows every command, and what its tutorial says happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from readme import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_command_and_the_functions_of_python(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text()
    for command in (
        "export",
        "verify",
        "simulate",
        "report",
        "check",
        "inspect",
        "doctor",
        "compare",
        "sweep",
        "train",
    ):
        assert f"<code>snn2hw {command}</code>" in commands
    python = (site / "reference/python.html").read_text()
    for name in ("snn2hw.api.interface.compile", "snn2hw.api.deployment.Deployment.verify", "snn2hw.exporters.Backend"):
        assert f'id="{name}"' in python


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]*src="(https?:[^"]*)"|<link[^>]*href="(https?:[^"]*)"', page.read_text()
        )
        assert [*filter(any, loaded)] == [], page


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("[nowhere](nowhere.md)")
    settings = (ROOT / "mkdocs.yml").read_text()
    kept = re.sub(r"^(nav|hooks|plugins):.*?(?=^\w|\Z)", "", settings, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "mkdocs.yml").write_text(kept)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "nowhere.md" in done.stderr


def test_the_tutorial_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs/tutorial.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    (tmp_path / "tutorial.py").write_text(code)
    done = subprocess.run([sys.executable, "tutorial.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Integer-exact: PyTorch, program (without lava)." in done.stdout
    assert (tmp_path / "net.lava/manifest.json").is_file()
