"""Nets to exchange with other frameworks, compiled, and what the program computes on a few samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment, NetworkCheck, Source
from snn2hw.engines.cycle import simulate
from snn2hw.exporters.export import choose, export
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.trace import trace
from snn2hw.models.neurons import IFNode, ParametricLIFNode
from snn2hw.models.sew_resnet import imagenet_net, seven_b_net
from snn2hw.pipeline import Options, compile_network, deploy
from snn2hw.verification.network_vs_torch import check_network

DIGITS = Path(__file__).resolve().parent.parent / "examples/digits"
ALIKE = ("norse", "snntorch", "spikingjelly")
TRAINED = ("add", "and", "iand", "spiking")


def deployment(network: nn.Module, samples: Samples, timesteps: int) -> Deployment:
    """A torch net compiled on these samples."""
    traced = trace(network, samples.shape)
    return Deployment(
        network_check=NetworkCheck(samples=0, compared=0, ties=0, note=""),
        program=compile_network(traced.network, samples, Options(timesteps=timesteps)),
        network=traced.network,
        source=Source(model="net", file=None, sha256=None, options={}),
        calibrated_on="samples",
        calibration_samples=len(samples),
        conventions={},
    )


def lively(net: nn.Module, *, bias: float = 0.2) -> nn.Module:
    """BatchNorm statistics as after training, so that spikes flow in every layer."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 0.5)
            module.bias.data.normal_(bias, 0.2)
    return net.eval()


def images(*shape: int, count: int = 1) -> Samples:
    return Samples(np.random.default_rng(0).random((count, *shape), dtype=np.float32), None, False)


def digits(name: str) -> tuple[Deployment, Samples]:
    loaded = load_model(str(DIGITS / f"{name}.pt"), ModelOptions())
    training = load_samples("digits", loaded.input_shape, split="train")[:64]
    checked = check_network(loaded, training, loaded.timesteps)
    return deploy(loaded, training, Options(timesteps=loaded.timesteps), checked), load_samples(
        "digits", loaded.input_shape
    )[:20]


def resnet18(connect: str) -> tuple[Deployment, Samples]:
    samples = images(3, 32, 32)
    return deployment(lively(imagenet_net(18, connect, IFNode)), samples, 4), samples


def seven_b(connect: str) -> tuple[Deployment, Samples]:
    samples = images(2, 128, 128)
    return deployment(lively(seven_b_net(connect, ParametricLIFNode), bias=1.0), samples, 3), samples


NETS: dict[str, Callable[[], tuple[Deployment, Samples]]] = {
    **{f"digits {name}": (lambda name=name: digits(name)) for name in TRAINED},  # type: ignore[misc]
    **{f"SEW-ResNet-18 {gate}": (lambda gate=gate: resnet18(gate)) for gate in ("ADD", "AND", "IAND")},  # type: ignore[misc]
    "7B-Net ADD": lambda: seven_b("ADD"),
}


@cache
def deployed_net(name: str) -> tuple[Deployment, Samples, ir.Spikes]:
    """A net, samples, and what its program computes."""
    compiled, samples = NETS[name]()
    return compiled, samples, simulate(compiled.program, samples)


def write(compiled: Deployment, path: Path, profile: str, *, quantised: bool = False) -> list[str]:
    return export(compiled, path, [choose("nir", profile=profile, quantised=quantised, allow_lossy=True)])
