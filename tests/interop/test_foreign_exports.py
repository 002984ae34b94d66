"""What SpikingJelly's and snnTorch's exporters write deploys: to a bundle whose every spike Lava confirms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cli
import nir
import numpy as np
import pytest
import snntorch
import torch
from snntorch.export_nir import export_to_nir as export_snntorch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir as export_spikingjelly
from test_nir_files import Residual
from torch import nn

SHAPE, STEPS = (1, 6, 6), 3


def spikingjelly(neuron: Callable[[], nn.Module]) -> nir.NIRGraph:
    net = Residual(SHAPE[0], neuron).eval()
    net.conv.weight.data.mul_(4)
    graph = export_spikingjelly(net, torch.rand(1, *SHAPE), dt=1e-4)
    functional.reset_net(net)
    return graph


def snn_torch(**options: Any) -> nir.NIRGraph:
    """A chain: snnTorch's exporter follows no skip. It wants images without a batch, and parameters of every neuron."""
    beta, threshold = torch.full((3, 6, 6), 0.9), torch.full((3, 6, 6), 0.2)
    settings = dict(init_hidden=True, reset_mechanism="zero", reset_delay=False) | options
    neuron = snntorch.Leaky(beta=beta, threshold=threshold, **settings)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), neuron, nn.AvgPool2d(2), nn.Flatten(0), nn.Linear(27, 6))
    with pytest.warns(DeprecationWarning):
        return export_snntorch(net, torch.rand(*SHAPE))


NETS: dict[str, Callable[[], nir.NIRGraph]] = {
    "SpikingJelly IF": lambda: spikingjelly(lambda: sj_neuron.IFNode(v_threshold=0.2)),
    "SpikingJelly LIF": lambda: spikingjelly(lambda: sj_neuron.LIFNode(tau=1.5, v_threshold=0.1)),
    "snnTorch Leaky": snn_torch,
}


@pytest.mark.parametrize("net", NETS)
def test_a_file_of_another_tool_deploys_to_a_verified_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    nir.write("net.nir", NETS[net]())
    np.savez("samples.npz", x=np.random.default_rng(0).random((4, *SHAPE), dtype=np.float32))
    given: tuple[Any, ...] = ("net.nir", "--timesteps", STEPS, "--calibrate", "samples.npz")
    cli.run("export", *given, "--target", "lava", "-o", "net.lava")
    ended = cli.run("compare", "net.lava@lava", "net.lava@cycle", "--data", "samples.npz", "--json", "result.json")
    assert ended.code == 0, ended
    assert "Equal" in ended.out
    cli.run("simulate", "net.lava", "--data", "samples.npz", "-o", "spikes.npz")
    spikes = cli.arrays("spikes.npz")
    assert len(spikes) > 1 and all(values.mean() > 0 for name, values in spikes.items() if name != "logits")
