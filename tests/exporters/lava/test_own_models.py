"""Process models of a user: the example of docs/lava.md in place of a layer, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from programs import Builder, make_bundle, save_samples

from snn2hw.errors import LavaError
from snn2hw.exporters.lava.host import run_lava
from snn2hw.exporters.lava.run_time import RUNTIME

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "lava_models.py"
SAMPLES = 3


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """A bundle of two layers, one of them strided, and a block."""
    builder = Builder(timesteps=3)
    last = builder.layer("stem", "x", 4)
    last = builder.layer("second", last, 5, stride=2)
    builder.readout(builder.sew_block("block", last, 5, gate="ADD"))
    make_bundle(builder, tmp_path)
    return builder


def different(builder: Builder, bundle: Path, models: Path, processes: str = "fused") -> list[str]:
    """The layers that a run with these models gives other spikes than the program's rules."""
    expected = builder.expected(save_samples(builder, bundle, SAMPLES))
    assert all(0.02 < np.mean(expected[name]) < 0.98 for name in ("stem", "second"))
    run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", models=models, processes=processes, deadline=120)
    with np.load(bundle / "spikes.npz") as actual:
        assert set(actual) == set(expected)
        return [name for name in expected if not np.array_equal(actual[name], expected[name])]


def changed(folder: Path, *changes: tuple[str, str]) -> Path:
    """The example with changes."""
    text = EXAMPLE.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "models.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_the_example_gives_the_same_spikes(processes: str, builder: Builder, tmp_path: Path) -> None:
    assert different(builder, tmp_path, EXAMPLE, processes) == []


def test_the_model_that_is_given_is_the_one_that_runs(builder: Builder, tmp_path: Path) -> None:
    models = changed(tmp_path, ("spikes = self.membrane > neuron.threshold << 6", "spikes = self.membrane > 0"))
    assert different(builder, tmp_path, models)[0] == "stem"


def test_a_model_may_name_its_regions(builder: Builder, tmp_path: Path) -> None:
    named = ('    # regions = ("neuron1",)', '    regions = ("second",)\n    # regions = ("neuron1",)')
    wrong = ("spikes = self.membrane > neuron.threshold << 6", "spikes = self.membrane > 0")
    assert different(builder, tmp_path, changed(tmp_path, named, wrong))[0] == "second"


def refused(bundle: Path, models: Path, processes: str = "fused") -> str:
    """The message for models that cannot be used."""
    np.savez(bundle / "x.npz", x=np.ones((1, 3, 8, 8)))
    with pytest.raises(LavaError) as caught:
        run_lava(bundle, bundle / "x.npz", bundle / "spikes.npz", models=models, processes=processes, deadline=120)
    assert not (bundle / "spikes.npz").exists()
    return str(caught.value)


def test_models_that_cannot_be_used_are_refused(builder: Builder, tmp_path: Path) -> None:
    assert "there is no such Python file" in refused(tmp_path, tmp_path / "lost.py")
    assert "stock processes have no regions" in refused(tmp_path, EXAMPLE, "stock")
    none = changed(tmp_path, ("MODELS = [EventDrivenLayer]", "MODELS = []"))
    assert "MODELS must list models that implement one of ResidualBlock, Layer" in refused(tmp_path, none)
    other = changed(tmp_path, ("MODELS = [EventDrivenLayer]", "MODELS = [Recording]"))
    assert "MODELS must list models that implement one of" in refused(tmp_path, other)
    named = ('    # regions = ("neuron1",)', '    regions = ("steam",)\n    # regions = ("neuron1",)')
    message = refused(tmp_path, changed(tmp_path, named))
    assert "EventDrivenLayer replaces no region of this program, which has stem (layer), second (layer), " in message


def test_a_model_that_cannot_compute_its_region_says_so(tmp_path: Path) -> None:
    builder = Builder(timesteps=2)
    builder.readout(builder.layer("stem", "x", 4, reset="subtract"))
    make_bundle(builder, tmp_path)
    assert "EventDrivenLayer cannot compute the region stem" in refused(tmp_path, EXAMPLE)


def test_the_document_lists_every_process_that_a_model_can_implement() -> None:
    code = (RUNTIME / "processes" / "regions.py").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "lava.md").read_text(), re.MULTILINE)
    processes = set(re.findall(r'^    "\w+": (\w+),$', code, re.MULTILINE))
    assert "Layer" in processes <= set(listed)
