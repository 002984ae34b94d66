"""The nets of the SEW paper with random weights, as bundles for Lava: what benchmarks/lava.py runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.deployment import Source
from snn2hw.exporters.export import choose, export
from snn2hw.frontends.source import LoadedModel
from snn2hw.frontends.torch.trace import trace
from snn2hw.models.blocks import Block
from snn2hw.models.neurons import IFNode, reset_states
from snn2hw.models.sew_resnet import (
    IMAGENET_NETS,
    SEWResNet,
    imagenet_net,
    imagenet_stages,
    seven_b_net,
    wide_seven_b_net,
)
from snn2hw.pipeline import Options, deploy
from snn2hw.verification.network_vs_torch import check_network

STEPS = 4
BIAS_BEFORE_GATE = {"ADD": 0.2, "AND": 2.2, "IAND": -0.7, "spiking": 0.2}
"""Mean of the last BatchNorm's biases: through dozens of blocks, AND needs many spikes and IAND few."""


@dataclass(frozen=True)
class Case:
    """A net on random samples. `net` is a depth, or 7B or Wide-7B; images of 32 pixels have a 3x3 stem without pool."""

    net: str
    connect: str = "ADD"
    size: int = 32
    samples: int = 1

    def __str__(self) -> str:
        name = f"{self.net}-Net" if "7B" in self.net else f"ResNet-{self.net}"
        kind = "Spiking" if self.connect == "spiking" else "SEW"
        connect = "" if self.connect == "spiking" else f" {self.connect}"
        return f"{kind} {name}{connect}, {self.size}x{self.size}, {self.samples} x T={STEPS}"


CASES = {
    "18-32": Case("18", samples=8),
    "18-32-and": Case("18", "AND", samples=8),
    "18-32-iand": Case("18", "IAND", samples=8),
    "spiking18-32": Case("18", "spiking", samples=8),
    "18-224": Case("18", size=224, samples=2),
    "34-224": Case("34", size=224),
    "50-224": Case("50", size=224),
    "101-224": Case("101", size=224),
    "34-32": Case("34", samples=2),
    "50-32": Case("50", samples=2),
    "101-32": Case("101"),
    "152-32": Case("152"),
    "152-32-full": Case("152", samples=44),  # more than the pipeline holds: every layer works in every cycle
    "7b": Case("7B", size=128),
    "wide7b": Case("Wide-7B", size=128),
    "152-224": Case("152", size=224),
}


def build(case: Case) -> SEWResNet:
    """The net, its BatchNorms as after training: the statistics of its activity, their biases above 0."""
    torch.manual_seed(0)
    if "7B" in case.net:
        net = (seven_b_net if case.net == "7B" else wide_seven_b_net)(case.connect, IFNode)
    elif case.size == 224:
        net = imagenet_net(int(case.net), case.connect, IFNode)
    else:
        layout = IMAGENET_NETS[f"resnet{case.net}"]
        net = SEWResNet(
            block=layout.block,
            stages=imagenet_stages(layout),
            stem_kernel=3,
            stem_channels=64,
            input_shape=(3, case.size, case.size),
            classes=10,
            connect=case.connect,
            neuron=IFNode,
        )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(0.5, 0.1)
            module.momentum = None  # the mean over all steps
    for block in net.modules():
        if isinstance(block, Block):
            last = getattr(block, "bn3", None) or block.get_submodule("bn2")
            last.bias.data.normal_(BIAS_BEFORE_GATE[case.connect], 0.1)
    with torch.no_grad():
        for x in torch.from_numpy(samples_of(case, 2, 0).steps(STEPS)):
            net.train()(x)
    reset_states(net)
    return net.eval()


def samples_of(case: Case, count: int, seed: int) -> Samples:
    """Images that every step shows; for the event nets frames of event counts."""
    random = np.random.default_rng(seed)
    if "7B" in case.net:
        return Samples(random.poisson(0.5, (count, STEPS, 2, case.size, case.size)).astype(np.float32), None, True)
    return Samples(random.normal(size=(count, 3, case.size, case.size)).astype(np.float32), None, False)


def export_case(case: Case, folder: Path) -> tuple[ir.Program, Path]:
    """The program of a case, and its bundle."""
    net = build(case)
    traced = trace(net, net.input_shape)
    loaded = LoadedModel(
        network=traced.network,
        traced=traced,
        input_shape=net.input_shape,
        timesteps=STEPS,
        source=Source(model="random", file=None, sha256=None, options={}),
        data=None,
        conventions={},
    )
    samples = samples_of(case, 2, 0)
    deployment = deploy(loaded, samples, Options(timesteps=STEPS), check_network(loaded, samples, STEPS))
    export(deployment, folder / "net.lava", [choose("lava")])
    return deployment.program, folder / "net.lava"
