"""The notebooks of examples/ run as they are, from an empty folder, and hold what they print."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from readme import ROOT

NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))
COVERED = ("spikingjelly_sew_resnet", "four_bits")
"""Slow ones, each part of which other tests run."""


def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, nbformat.NO_CONVERT)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in COVERED else (), id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    read = notebook(path)
    # Users have a torchvision, which SpikingJelly's models ask for when they are imported; the tests have a stand-in.
    read.cells.insert(0, nbformat.v4.new_code_cell("import torchvision_stand_in"))
    NotebookClient(read, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_what_it_printed(path: Path) -> None:
    cells = [cell for cell in notebook(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell.outputs]
    assert shown and not any(output.output_type == "error" for output in shown)
    assert not re.search(r"/(home|root|tmp|work)/", path.read_text())
