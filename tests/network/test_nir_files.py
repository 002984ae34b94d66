""".nir files of other tools: read, brought to normal form, compiled; what cannot be deployed is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import pytest
import snntorch
import torch
from cli import arrays, run
from nets import random_samples
from nir_graphs import (
    IMAGE,
    STEPS,
    affine,
    beside,
    chain,
    conv,
    deploy,
    flat,
    full,
    if_,
    inner,
    leaky,
    load,
    renamed,
    scale,
)
from snntorch.export_nir import export_to_nir as export_snntorch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir as export_spikingjelly
from torch import nn

from snn2hw import ir
from snn2hw.errors import OptionError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel, load_model
from snn2hw.network.nir_file import read_nir, same_network
from snn2hw.network.normalise import normalise
from snn2hw.network.reference import Reference
from snn2hw.pipeline import Options, compile_network

NORMAL = (
    nir.Input | nir.Output | nir.Conv2d | nir.Affine | nir.Linear | nir.Scale | nir.Threshold | nir.Flatten | nir.IF
)
POOLS = nir.SumPool2d | nir.AvgPool2d


CHANNELS = np.array([0.5, 1.5, -0.75]).reshape(3, 1, 1)
EVERY = np.linspace(0.5, 2, 108).reshape(3, 6, 6)
GRAPHS: dict[str, Callable[[], nir.NIRGraph]] = {
    "a grouped layer": lambda: chain(IMAGE, (4, 6, 6), a=conv(4, 1, 3, 3, groups=2), n=if_(4, 6, 6)),
    "a kernel of 3x1": lambda: chain(IMAGE, (3, 6, 6), a=conv(3, 2, 3, 1, padding=(1, 0)), n=if_(3, 6, 6)),
    "strings for padding": lambda: chain(
        IMAGE,
        4,
        a=conv(3, 2, 3, 3, padding="same"),
        n=if_(3, 6, 6),
        b=conv(4, 3, 6, 6, padding="valid"),
        f=flat(4, 1, 1),
    ),
    "1-D layers": lambda: chain(
        (2, 9),
        3,
        a=conv(4, 2, 3),
        n=if_(4, 9),
        b=conv(4, 2, 5, groups=2, stride=2),
        m=if_(4, 4),
        f=flat(4, 4),
        c=affine(3, 16),
    ),
    "pools": lambda: chain(
        IMAGE,
        3,
        a=conv(4, 2, 3, 3),
        n=if_(4, 6, 6),
        p=nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])),
        q=nir.AvgPool2d(kernel_size=np.array([3, 3]), stride=np.array([1, 1]), padding=np.array([1, 1])),
        f=flat(4, 3, 3),
        c=affine(3, 36),
    ),
    "factors behind a layer": lambda: chain(
        IMAGE,
        2,
        a=conv(3, 2, 3, 3),
        s=scale(CHANNELS, 3, 6, 6),
        n=if_(3, 6, 6),
        f=flat(3, 6, 6),
        c=affine(2, 108),
        t=scale([0.5, 3], 2),
    ),
    "factors before layers": lambda: chain(
        IMAGE,
        2,
        a=conv(3, 2, 3, 3),
        n=if_(3, 6, 6),
        s=scale(CHANNELS, 3, 6, 6),
        b=conv(3, 3, 3, 3),
        m=if_(3, 6, 6),
        t=scale(EVERY, 3, 6, 6),
        f=flat(3, 6, 6),
        c=affine(2, 108),
    ),
    "a factor before grouped channels": lambda: chain(
        IMAGE,
        (4, 6, 6),
        i=if_(*IMAGE, threshold=0.4),
        s=scale([[[0.5]], [[2]]], *IMAGE),
        a=conv(4, 1, 3, 3, groups=2),
        n=if_(4, 6, 6),
    ),
    "a fractional shortcut": lambda: beside(
        chain((4,), 4, m=if_(4, threshold=0.2), a=affine(4, 4), n=if_(4)), ("m", "half", "n"), scale(0.5, 4)
    ),
    "a factor for each": lambda: chain((4,), 4, s=scale([1, 0.5, 0.25, 2], 4), n=if_(4, threshold=0.4)),
    "concatenation by kernels": lambda: concatenated(),
    "graphs in a graph": lambda: chain(
        IMAGE,
        3,
        first=if_(*IMAGE, threshold=0.3),
        one=inner(*IMAGE),
        two=chain(IMAGE, IMAGE, deep=inner(*IMAGE)),
        f=flat(*IMAGE),
        c=affine(3, 72),
    ),
    "an integrator as read-out": lambda: chain(
        (4,), 2, n=if_(4, threshold=0.4), a=affine(2, 4), i=nir.I(r=full(5e3, 2))
    ),
    "one number for all neurons": lambda: chain(
        (4,), 4, n=if_(1, threshold=0.4), t=nir.Threshold(threshold=full(0, 1))
    ),
    "no delay": lambda: chain((4,), 4, n=if_(4, threshold=0.4), d=nir.Delay(delay=full(0, 4))),
    "names with slashes": lambda: renamed(chain((4,), 4, n=if_(4, threshold=0.4), m=if_(4)), n="a/b/c", m="logits"),
    "neurons with a gain each": lambda: chain(
        (4,), 4, n=nir.IF(r=np.float32([5e3, 1e4, 2e4, 4e4]), v_threshold=full(0.9, 4), v_reset=full(0, 4))
    ),
}


def concatenated() -> nir.NIRGraph:
    """Two branches whose channels stand side by side: each layer leaves the other's channels at 0."""
    left, right = conv(4, 2, 1, 1, padding=0), conv(4, 2, 3, 3)
    for layer, part in ((left, slice(2, 4)), (right, slice(0, 2))):
        layer.weight[part] = layer.bias[part] = 0
    graph = chain(IMAGE, (4, 6, 6), first=if_(*IMAGE, threshold=0.3), left=left, join=if_(4, 6, 6))
    return beside(graph, ("first", "right", "join"), right)


def active_program(loaded: LoadedModel) -> ir.Program:
    """Compile and execute as `deploy` does, and require that every layer spikes."""
    program, spikes = deploy(loaded, STEPS)
    assert [name for name, values in spikes.items() if name != "logits" and not values.any()] == []
    return program


def spikes(graph: nir.NIRGraph, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return list(Reference(graph, dtype=torch.float64).run(x))


@pytest.mark.parametrize("what", GRAPHS)
def test_a_graph_in_normal_form_spikes_as_it_was_written_and_is_deployed(tmp_path: Path, what: str) -> None:
    graph = GRAPHS[what]()
    loaded = load(graph, tmp_path)
    assert all(isinstance(node, NORMAL | POOLS) for node in loaded.network.nodes.values())
    assert same_network(normalise(loaded.network), loaded.network)
    written = read_nir(tmp_path / "net.nir")
    own_shape = written.nodes["input"].input_type["input"]
    x = torch.rand(STEPS, 3, *own_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, after = spikes(written, x), spikes(loaded.network, x.reshape(STEPS, 3, *loaded.input_shape))
    for name, node in written.nodes.items():
        if isinstance(node, nir.IF | nir.Threshold):
            renamed = {"a/b/c": "a.b.c", "logits": "logits_"}.get(name, name)
            for old, new in zip(before, after, strict=True):
                assert torch.equal(old[name], new[renamed].reshape(old[name].shape)), name
    integrates = any(isinstance(node, nir.I) for node in graph.nodes.values())
    summed = before[-1]["output"] if integrates else sum(step["output"] for step in before)
    assert torch.allclose(summed.reshape(3, -1), sum(step["output"] for step in after).reshape(3, -1), atol=1e-4)
    active_program(loaded)


class Residual(nn.Module):
    """Convolution, a residual block, pool, linear layer, for images [channels, 6, 6]."""

    def __init__(self, channels: int, neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(channels, 3, 3, padding=1), neuron()
        self.conv, self.second = nn.Conv2d(3, 3, 3, padding=1), neuron()
        self.pool, self.flat, self.fc = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.first(self.stem(x))
        return self.fc(self.flat(self.pool(self.second(self.conv(spikes)) + spikes)))


SPIKINGJELLY = {
    "IF": lambda: sj_neuron.IFNode(v_threshold=0.3),
    "LIF": lambda: sj_neuron.LIFNode(tau=2.5, v_threshold=0.1, v_reset=-0.1),
    "PLIF": lambda: sj_neuron.ParametricLIFNode(init_tau=1.7, v_threshold=0.2, decay_input=False),
    "CUBALIF": lambda: sj_neuron.CUBALIFNode(c_decay=0.4, v_decay=0.7, v_threshold=0.4),
}


@pytest.mark.parametrize("dt", [1e-4, 2e-3])
@pytest.mark.parametrize("neuron", SPIKINGJELLY)
def test_a_file_of_spikingjelly_computes_as_its_model(tmp_path: Path, neuron: str, dt: float) -> None:
    torch.manual_seed(3)
    net = Residual(IMAGE[0], SPIKINGJELLY[neuron]).double().eval()
    net.conv.weight.data.mul_(8)
    x = torch.rand(STEPS, 5, *IMAGE, dtype=torch.float64)
    graph = export_spikingjelly(net, x[0], dt=dt)
    functional.reset_net(net)
    loaded = load(graph, tmp_path, dt=dt)
    assert loaded.source.options["dt"] == dt
    with torch.no_grad():
        expected = [net(frame) for frame in x]
    emitted = spikes(loaded.network, x)
    assert torch.allclose(torch.stack([step["output"] for step in emitted]), torch.stack(expected), atol=1e-9)
    assert all(any(step[name].any() for step in emitted) for name in ("first", "second"))
    if neuron == "IF":
        active_program(loaded)


@pytest.mark.parametrize("neuron", ["Leaky", "Synaptic"])
def test_a_file_of_snntorch_computes_as_its_model(tmp_path: Path, neuron: str) -> None:
    torch.manual_seed(4)
    given = dict(beta=torch.linspace(0.6, 0.95, 6), threshold=torch.full((6,), 0.3), init_hidden=True)
    given |= dict(reset_mechanism="zero", reset_delay=False)
    spiking = snntorch.Leaky(**given) if neuron == "Leaky" else snntorch.Synaptic(alpha=torch.full((6,), 0.7), **given)
    net = nn.Sequential(nn.Linear(4, 6), spiking, nn.Linear(6, 3))
    x = torch.rand(6, 5, 4)
    with pytest.warns(DeprecationWarning):
        graph = export_snntorch(net, x[0, 0])
    spiking.reset_hidden()
    loaded = load(graph, tmp_path)
    with torch.no_grad():
        expected = [net(frame) for frame in x]
    for step, logits in zip(Reference(loaded.network).run(x), expected, strict=True):
        assert torch.allclose(step["output"], logits, atol=1e-5)
        assert 0 < step["1"].mean() < 1
    compile_network(loaded.network, random_samples(4, shape=(4,)), Options(timesteps=STEPS))


@pytest.mark.parametrize("dt", [1e-4, 5e-5, 1e-3])
def test_neurons_are_stepped_with_the_given_time_step(tmp_path: Path, dt: float) -> None:
    rest, times = full(0.1, 3), np.float32([1, 2, 5]) * dt
    cuba = dict(tau_syn=2 * times, tau_mem=3 * times, r=full(2, 3), v_leak=rest, w_in=full(-1.5, 3), v_reset=rest)
    loaded = load(chain((3,), 3, n=nir.CubaLIF(v_threshold=full(0.3, 3), **cuba)), tmp_path, dt=dt)
    x = -torch.rand(8, 1, 3, dtype=torch.float64)
    v, i = np.full(3, 0.1), np.zeros(3)
    fired = 0
    for frame, step in zip(x.numpy(), spikes(loaded.network, x), strict=True):
        i = i + dt / (2.0 * times) * (-i - 1.5 * frame[0])
        v = v + dt / (3.0 * times) * (0.1 - v + 2 * i)
        spike = v > 0.3
        v = np.where(spike, 0.1, v)
        fired += spike.sum()
        assert np.array_equal(step["n"][0].numpy(), spike)
    assert fired
    compile_network(loaded.network, random_samples(4, shape=(3,)), Options(timesteps=STEPS))


def test_a_time_step_is_for_nir_files_and_more_than_0(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--dt is for \.nir files"):
        load_model("net.pt", ModelOptions(dt=1e-3))
    for dt in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=r"--dt .*more than 0"):
            load(chain((4,), 4, n=if_(4)), tmp_path, dt=dt)


def test_a_threshold_of_0_fires_on_any_current(tmp_path: Path) -> None:
    below = full(-0.5, 4)
    loaded = load(chain((4,), 4, n=leaky(v_threshold=below, v_reset=below, v_leak=below)), tmp_path)
    out = spikes(loaded.network, torch.tensor([[[0.0, 0.1, -0.1, 2.0]]], dtype=torch.float64))
    assert out[0]["n"].tolist() == [[0, 1, 0, 1]]


def test_a_1d_net_takes_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples [N, C, L] and --input-shape C,L: the height of 1 is ours."""
    monkeypatch.chdir(tmp_path)
    graph = chain((2, 9), 3, conv=conv(4, 2, 3), fire=if_(4, 9), flat=flat(4, 9), fc=affine(3, 36))
    nir.write("signal.nir", graph)
    x = np.random.default_rng(0).random((4, 2, 9), dtype=np.float32)
    np.savez("signals.npz", x=x)
    np.savez("images.npz", x=x[:, :, None])
    fired = []
    for name in ("signals", "images"):
        options = ("--timesteps", 3, "--input-shape", "2,9" if name == "signals" else "2,1,9")
        ended = run(
            "simulate", "signal.nir", "--data", f"{name}.npz", "--calibrate", f"{name}.npz", *options, "-o", name
        )
        assert ended.code == 0 and "1-D signals [2, 9] are taken as images of height 1, [2, 1, 9]" in ended.err
        fired.append(arrays(name)["fire"])
    assert fired[0].any() and np.array_equal(*fired)
