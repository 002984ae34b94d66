"""The Python interface: what a notebook does with `import snn2hw`."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import CLASSES, SHAPE, TIMESTEPS, tiny_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import snn2hw
from snn2hw.api.advice import in_arguments
from snn2hw.errors import DataError, ModelError, OptionError, UnsupportedError
from snn2hw.exporters import bundle

SAMPLES = 5
LAYERS = {"neuron1", "layer1.0.add", "layer2.0.add"}


@pytest.fixture
def net() -> nn.Module:
    return tiny_model()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(SAMPLES, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y() -> torch.Tensor:
    return torch.arange(SAMPLES) % CLASSES


def compiled(net: nn.Module, x: Any, **options: Any) -> snn2hw.Deployment:
    return snn2hw.compile(net, x, timesteps=TIMESTEPS, **options)


def test_importing_it_imports_nothing_slow() -> None:
    code = "import sys, snn2hw; dir(snn2hw); print(sorted({'torch', 'numpy', 'rich', 'nir'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {"check", "compile", "load"} <= set(dir(snn2hw))
    with pytest.raises(AttributeError, match="no attribute 'run'"):
        snn2hw.run  # noqa: B018


def test_from_a_module_to_lava_and_back(net: nn.Module, x: torch.Tensor, y: torch.Tensor, alone: Path) -> None:
    assert snn2hw.check(net, x, timesteps=TIMESTEPS)
    deployment = compiled(net, (x, y))
    run = deployment.run((x, y))
    assert run.logits.shape == (SAMPLES, CLASSES)
    assert set(run.spikes) >= LAYERS
    assert all(values.shape[:2] == (SAMPLES, TIMESTEPS) for values in run.spikes.values())
    assert run.accuracy == float((run.predicted == y.numpy()).mean())

    result = deployment.verify((x, y))
    assert (result.verdict, result.witnesses) == ("exact", ("PyTorch", "program", "lava"))
    assert "Verdict: exact for these 5 samples. Integer-exact: PyTorch, program, lava." in str(result)

    place = deployment.export("net.lava")
    loaded = snn2hw.load(place, net=net)
    for engine in ("cycle", "lava"):
        other = loaded.run(x, engine=engine)
        assert all(np.array_equal(other.spikes[name], run.spikes[name]) for name in run.spikes)
    assert loaded.verify(x, without="lava").statement == "integer-exact: PyTorch, program (without lava)"
    run.save("spikes.npz")
    with np.load("spikes.npz") as file:
        assert np.array_equal(file["logits"], run.logits)


def test_the_verdict_can_fail(net: nn.Module, x: torch.Tensor, alone: Path) -> None:
    """A bundle whose model has another weight is refused, and without the model the verdict is incomplete."""
    compiled(net, x).export("net.lava")
    assert (
        "compiled from a model in memory"
        in snn2hw.load("net.lava").verify(x, without="lava").skipped["network-vs-torch"]
    )
    assert snn2hw.load("net.lava").verify(x, without="lava").verdict == "incomplete"
    with torch.no_grad():
        next(net.parameters())[0, 0] += 1
    with pytest.raises(ModelError, match=r"its weights are not those that net\.lava was made from"):
        snn2hw.load("net.lava", net=net)


def test_nothing_is_written_for_the_fast_engine(
    net: nn.Module, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    deployment = compiled(net, x)
    monkeypatch.delattr(bundle, "directory_in_place")
    deployment.run(x)
    assert deployment.verify(x, without=["lava"]).verdict == "exact"
    deployment.report(x)
    assert capfd.readouterr() == ("", "")  # neither bars nor words where nobody looks


def test_the_module_comes_back_as_it_was(net: nn.Module, x: torch.Tensor) -> None:
    net.train().double()
    net.register_forward_hook(lambda module, given, returned: returned)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    hooks = [len(part._forward_hooks) for part in net.modules()]
    deployment = compiled(net, x)
    assert deployment.verify(x, without="lava").verdict == "exact"
    assert [part.training for part in net.modules()] == modes
    assert [len(part._forward_hooks) for part in net.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in net.state_dict().items())
    assert all(parameter.requires_grad and bool((parameter.grad == 1).all()) for parameter in net.parameters())
    with torch.no_grad():  # and what is trained later does not reach the deployment
        for parameter in net.parameters():
            parameter.add_(1)
    assert deployment.verify(x, without="lava").verdict == "exact"


def test_samples_in_every_form_mean_the_same(net: nn.Module, x: torch.Tensor, y: torch.Tensor, alone: Path) -> None:
    np.savez("samples.npz", x=x.numpy(), y=y.numpy())
    data = TensorDataset(x, y)
    steps = x[:, None].expand(-1, TIMESTEPS, *SHAPE)
    deployment = compiled(net, x)
    expected = deployment.run(x)
    labelled = (x.numpy(), y.numpy()), (x, y), data, DataLoader(data, batch_size=2), "samples.npz", Path("samples.npz")
    for given in (*labelled, iter([(x[:3], y[:3]), (x[3:], y[3:])]), steps, x.double()):
        run = deployment.run(given)
        assert np.array_equal(run.logits, expected.logits)
        assert (run.labels is None) == (given is steps or isinstance(given, torch.Tensor))
    assert snn2hw.compile(net, steps).timesteps == TIMESTEPS
    batches = iter([(x[:3], y[:3]), (x[3:], y[3:])])
    assert snn2hw.compile(net, batches, timesteps=TIMESTEPS).compiled.calibration_samples == SAMPLES
    assert len(deployment.run(DataLoader(data, batch_size=2), count=3).logits) == 3
    with pytest.raises(DataError, match="no set of samples"):
        deployment.run(3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="x has shape"):
        deployment.run(x[:, :, :-1])


def test_models_in_every_form(made: Path, x: torch.Tensor, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made / "tiny.pt"
    from_file = snn2hw.compile(file, x)
    logits = from_file.run(x).logits
    Path("nets.py").write_text("from conftest import tiny_model as build\n")
    monkeypatch.syspath_prepend(str(alone))
    for net in ("nets.py:build", "nets:build"):
        assert np.array_equal(snn2hw.compile(net, x, timesteps=TIMESTEPS).run(x).logits, logits)
    from_file.export("net.nir", target="nir")
    for graph in ("net.nir", nir.read("net.nir")):
        deployment = snn2hw.compile(graph, x, timesteps=TIMESTEPS)
        assert np.array_equal(deployment.run(x).logits, logits)
        assert deployment.verify(x, without="lava").statement == "integer-exact: NIR file, program (without lava)"


def test_every_blocker_is_told_at_once(x: torch.Tensor) -> None:
    class Softmaxed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_model()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.net(torch.sigmoid(x)), 1)

    found = snn2hw.check(Softmaxed(), x)
    assert not found and found.blockers
    assert "what to do" in str(found) and "<table>" in found._repr_html_()
    with pytest.raises(UnsupportedError):
        snn2hw.compile(Softmaxed(), x, timesteps=2)


def test_results_show_themselves(net: nn.Module, x: torch.Tensor, y: torch.Tensor, alone: Path) -> None:
    deployment = compiled(net, (x, y))
    verification = deployment.verify((x, y), without="lava")
    report = deployment.report((x, y), verification=verification)
    for result in (deployment, deployment.run(x), verification, report, snn2hw.check(net, x)):
        assert str(result)
        assert result._repr_html_().startswith("<")
    assert "integer-exact: PyTorch, program (without lava)" in str(report)
    assert report._repr_html_().startswith("<iframe srcdoc=")
    page = report.save("report")
    assert "integer-exact: PyTorch, program (without lava)" in page.read_text()
    assert Path("report/report.json").is_file()


def test_what_must_be_known_is_logged(net: nn.Module, x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    deployment = compiled(net, x / 2)
    with pytest.raises(DataError, match="saturate=True"):
        deployment.run(x)
    with caplog.at_level(logging.WARNING, "snn2hw"):
        deployment.run(x, saturate=True)
    assert "They saturate." in caplog.text


def test_errors_speak_of_arguments(net: nn.Module, x: torch.Tensor) -> None:
    with pytest.raises(OptionError, match="give timesteps=T") as caught:
        snn2hw.compile(net, x)
    assert "--" not in str(caught.value)
    with pytest.raises(OptionError, match=r"input_shape=\(C,H,W\)"):
        snn2hw.check(net)
    with pytest.raises(OptionError, match=r"samples=FILE\.npz"):
        snn2hw.compile(net, timesteps=2, input_shape=SHAPE)
    with pytest.raises(OptionError, match="engine='slow': choose fast, cycle, c, lava, onnx"):
        compiled(net, x).run(x, engine="slow")
    with pytest.raises(OptionError, match="without=onnx: no such back end"):
        compiled(net, x).verify(x, without="onnx")


@pytest.mark.parametrize(
    ("of_the_command_line", "of_python"),
    [
        ("Use --timesteps 4 when exporting", "Use timesteps=4 when exporting"),
        ("allow it with --trust-pickle.", "allow it with trust_pickle=True."),
        ("or pip install --no-deps sinabs", "or pip install --no-deps sinabs"),
        ("Leave out --weights, or", "Leave out weights, or"),
        ("clip those values: --saturate.", "clip those values: saturate=True."),
        ("leave it out: --without lava.", "leave it out: without=lava."),
    ],
)
def test_options_become_arguments(of_the_command_line: str, of_python: str) -> None:
    assert in_arguments(of_the_command_line) == of_python


def test_a_users_script_passes_a_strict_type_check(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\nimport torch\nfrom torch import nn\n\nimport snn2hw\n\n\n"
        "def deploy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float | None:\n"
        "    if not snn2hw.check(net, x, timesteps=4):\n        return None\n"
        "    deployment = snn2hw.compile(net, (x, y), timesteps=4)\n"
        "    verdict: str = deployment.verify(x).verdict\n"
        "    deployment.report((x, y)).save('report')\n"
        "    place = deployment.export('net.lava')\n"
        "    spikes = snn2hw.load(place, net=net).run(np.zeros((1, 2))).spikes\n"
        "    print(verdict, spikes['neuron1'].shape)\n"
        "    return deployment.run((x, y)).accuracy\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
