"""Public nets as their authors and tutorials write them, at small sizes: what users bring.

python tests/public_nets.py prints the table for docs/frameworks.md.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import snntorch as snn
import torch
import torch.nn.functional as F
import torchvision_stand_in  # noqa: F401
from nets import random_samples, randomise
from snntorch import surrogate
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import (
    masnn,
    maxformer,
    ms_resnet,
    parametric_lif_net,
    qkformer,
    sew_resnet,
    snas_net,
    spike_dhs,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
    spiking_vggws_ottt,
)
from torch import Tensor, nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.errors import Blocker, QuantisationError, UnsupportedError
from snn2hw.frontends.torch.call import name_of
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.reading import read, wrap_neurons
from snn2hw.frontends.torch.refusals import users_name
from snn2hw.frontends.torch.time_in import TimeIn
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.pipeline import Options, compile_network

with warnings.catch_warnings():  # both warn of torch.jit as they are imported
    warnings.simplefilter("ignore")
    import norse.torch as norse
    import sinabs.activation
    import sinabs.from_torch
    import sinabs.layers
    from norse.torch.models import conv as norse_models

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PublicNet:
    """A net: who wrote it, what makes it, and the shape of one step of one sample."""

    source: str
    make: Callable[[], nn.Module]
    shape: Shape
    timesteps: int = 4


def multi_step(make: Callable[..., nn.Module], **options: Any) -> Callable[[], nn.Module]:
    """A SpikingJelly net in multi-step mode."""

    def build() -> nn.Module:
        net = make(**options)
        functional.set_step_mode(net, "m")
        return net

    return build


class Fang2021(nn.Module):
    """SpikingJelly's tutorial "Clock-driven Fashion-MNIST": a static image, encoded by the first layers, T copies."""

    def __init__(self, steps: int = 4, channels: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.conv_fc = nn.Sequential(
            layer.Conv2d(1, channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron.IFNode(),
            layer.MaxPool2d(2, 2),
            layer.Flatten(),
            layer.Linear(channels * 4 * 4, 10, bias=False),
            neuron.IFNode(),
        )
        functional.set_step_mode(self, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        return self.conv_fc(sequence).mean(0)


class Tutorial3(nn.Module):
    """snnTorch's tutorials 3 and 5: fully connected, the loop over the steps inside, a static input."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.fc1, self.lif1 = nn.Linear(20, 16), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(16, 5), snn.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(self.steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Tutorial6(nn.Module):
    """snnTorch's tutorial 6: a convolutional net, one step a call, states passed within the call."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        grad = surrogate.fast_sigmoid(slope=25)
        self.conv1, self.lif1 = nn.Conv2d(1, 4, 5), snn.Leaky(beta=0.5, spike_grad=grad)
        self.conv2, self.lif2 = nn.Conv2d(4, 8, 5), snn.Leaky(beta=0.5, spike_grad=grad)
        self.fc1, self.lif3 = nn.Linear(8 * 4 * 4, 10), snn.Leaky(beta=0.5, spike_grad=grad)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        cur1 = F.max_pool2d(self.conv1(x), 2)
        spk1, mem1 = self.lif1(cur1, mem1)
        cur2 = F.max_pool2d(self.conv2(spk1), 2)
        spk2, mem2 = self.lif2(cur2, mem2)
        spk3, mem3 = self.lif3(self.fc1(spk2.flatten(1)), mem3)
        return spk3, mem3


def tutorial6_sequential() -> nn.Module:
    """snnTorch's tutorial 6 and 7, the Sequential form: neurons that keep their state, average instead of max pools."""
    grad = surrogate.atan()
    return nn.Sequential(
        nn.Conv2d(2, 4, 5),
        nn.AvgPool2d(2),
        snn.Leaky(beta=0.5, spike_grad=grad, init_hidden=True),
        nn.Conv2d(4, 8, 5),
        nn.AvgPool2d(2),
        snn.Leaky(beta=0.5, spike_grad=grad, init_hidden=True),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 10),
        snn.Leaky(beta=0.5, spike_grad=grad, init_hidden=True, output=True),
    )


def tutorial7() -> nn.Module:
    """snnTorch's tutorial 7 as it is written: max pools over currents."""
    grad = surrogate.atan()
    return nn.Sequential(
        nn.Conv2d(2, 4, 5),
        nn.MaxPool2d(2),
        snn.Leaky(beta=0.5, spike_grad=grad, init_hidden=True),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 10),
        snn.Leaky(beta=0.5, spike_grad=grad, init_hidden=True, output=True),
    )


class StepsFirst(nn.Module):
    """A loop over the first dimension of the input, [T, N, ...], as event nets of snnTorch and norse write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif1 = nn.Conv2d(2, 4, 3, padding=1), snn.Leaky(beta=0.9)
        self.pool, self.fc, self.lif2 = nn.AvgPool2d(2), nn.Linear(64, 5), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, total = self.lif1.init_leaky(), self.lif2.init_leaky(), 0
        for step in range(x.shape[0]):
            spikes, mem1 = self.lif1(self.conv(x[step]), mem1)
            spikes, mem2 = self.lif2(self.fc(self.pool(spikes).flatten(1)), mem2)
            total = total + spikes
        return total / x.shape[0]


class BatchFirst(nn.Module):
    """TET and FTBC style: [N, T, ...], convolutions over all steps at once, a loop over time in the neuron's place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lif, self.fc = neuron.LIFNode(), nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        y = self.bn(self.conv(x.flatten(0, 1))).unflatten(0, (x.shape[0], steps))
        y = torch.stack([self.lif(y[:, step]) for step in range(steps)], dim=1)
        return self.fc(y.flatten(2)).mean(1)


class NorseCells(nn.Module):
    """norse's tutorial on MNIST, with its box cell: the caller keeps the states."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.conv, self.cell1 = nn.Conv2d(1, 4, 5), norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1)))
        self.fc, self.cell2 = nn.Linear(64, 5), norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1)))

    def forward(self, x: Tensor) -> Tensor:
        state1 = state2 = None
        outputs = []
        for _ in range(self.steps):
            z, state1 = self.cell1(self.conv(x), state1)
            z, state2 = self.cell2(self.fc(F.avg_pool2d(z, 2).flatten(1)[:, :64]), state2)
            outputs.append(z)
        return torch.stack(outputs)


def norse_sequential() -> nn.Module:
    """norse's SequentialState, which keeps the states of its cells."""
    cells = [norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1))) for _ in range(2)]
    return norse.SequentialState(
        nn.Conv2d(1, 4, 5), cells[0], nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 10), cells[1], nn.Linear(10, 5)
    )


def sinabs_net(batch_size: int = 4) -> nn.Module:
    """sinabs's quick start: time folded into the batch. SingleSpike, as its networks for training have it."""
    one_spike: dict[str, Any] = {
        "batch_size": batch_size,
        "spike_fn": sinabs.activation.SingleSpike,
        "min_v_mem": None,
    }
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        sinabs.layers.IAFSqueeze(**one_spike),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 12),
        sinabs.layers.IAFSqueeze(**one_spike),
        nn.Linear(12, 5),
    )


def sinabs_from_model() -> nn.Module:
    """sinabs's conversion of a trained ANN, with what it puts in by default: several spikes a step, a lower bound."""
    ann = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    )
    converted: nn.Module = sinabs.from_torch.from_model(ann, batch_size=4).spiking_model
    return converted


class Unet(nn.Module):
    """Spiking-UNet style: down, up by nearest neighbours, the skip joined along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.lif1 = layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode()
        self.deep, self.lif2 = layer.Conv2d(4, 4, 3, padding=1, stride=2), neuron.IFNode()
        self.up, self.lif3 = layer.Conv2d(8, 2, 3, padding=1), neuron.IFNode()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.lif1(self.down(x))
        deep = self.lif2(self.deep(skip))
        return self.lif3(self.up(torch.cat([skip, F.interpolate(deep, scale_factor=2)], dim=1))).flatten(1)


class Points(nn.Module):
    """PointNet style: [N, 3, P], layers shared by all points, the maximum over the points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.lif1 = nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), neuron.IFNode()
        self.conv2, self.bn2, self.lif2 = nn.Conv1d(8, 16, 1), nn.BatchNorm1d(16), neuron.IFNode()
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif1(self.bn1(self.conv1(x)))
        x = self.lif2(self.bn2(self.conv2(x)))
        return self.fc(torch.max(x, 2)[0])


class SeqToANN(nn.Module):
    """TET's and the SEW ResNet authors' container: layers without states over all steps at once."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.module = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        shape = [x.shape[0], x.shape[1]]
        y = self.module(x.flatten(0, 1).contiguous())
        shape.extend(y.size()[1:])
        return y.view(shape)


class SEWBlock(nn.Module):
    """A block of the SEW ResNet authors' networks for events."""

    def __init__(self, channels: int, connect: str) -> None:
        super().__init__()
        self.connect = connect
        self.conv = nn.Sequential(*(part for _ in range(2) for part in self.unit(channels, channels)))

    @staticmethod
    def unit(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            SeqToANN(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)),
            neuron.ParametricLIFNode(init_tau=2.0, detach_reset=True, step_mode="m"),
        ]

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.connect == "ADD":
            return y + x
        if self.connect == "AND":
            return y * x
        return x * (1.0 - y)


class SEWNet(nn.Module):
    """The SEW ResNet authors' networks for DVS Gesture: [N, T, C, H, W] in, the mean over time out."""

    def __init__(self, connect: str = "ADD", classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *SEWBlock.unit(2, 8),
            SEWBlock(8, connect),
            SeqToANN(nn.MaxPool2d(2, 2)),
            SEWBlock(8, connect),
            SeqToANN(nn.MaxPool2d(2, 2)),
            nn.Flatten(2),
        )
        self.out = nn.Linear(8 * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(1, 0, 2, 3, 4)
        return self.out(self.conv(x).mean(0))


class OwnLIF(nn.Module):
    """TET's and LocalZO's neuron: written out in the net's own file, no framework's."""

    def __init__(self, threshold: float = 1.0, tau: float = 0.5) -> None:
        super().__init__()
        self.threshold, self.tau = threshold, tau

    def forward(self, x: Tensor) -> Tensor:
        membrane: Any = 0
        spikes = []
        for step in range(x.shape[1]):
            membrane = membrane * self.tau + x[:, step]
            spike = (membrane - self.threshold > 0).float()
            membrane = (1 - spike) * membrane
            spikes.append(spike)
        return torch.stack(spikes, dim=1)


class TET(nn.Module):
    """TET's VGGSNN: [N, T, ...], layers in containers, its own neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            SeqToANN(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)),
            OwnLIF(),
            SeqToANN(nn.AvgPool2d(2)),
            SeqToANN(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)),
            OwnLIF(),
        )
        self.classifier = SeqToANN(nn.Linear(4 * 4 * 4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 2))


class LastDimension(nn.Module):
    """LocalZO's layers: steps in the last dimension, each put into a tensor of zeros."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        first = self.inner(x[..., 0])
        out = torch.zeros(*first.shape, x.shape[-1], device=x.device)
        out[..., 0] = first
        for step in range(1, x.shape[-1]):
            out[..., step] = self.inner(x[..., step])
        return out


class LocalZO(nn.Module):
    """LocalZO style: a static image, repeated behind its last dimension."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.conv = LastDimension(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)))
        self.lif1 = LastDimension(neuron.LIFNode(decay_input=False, v_reset=0.0))
        self.pool, self.fc = LastDimension(nn.AvgPool2d(2)), LastDimension(nn.Linear(64, 10))
        self.lif2 = LastDimension(neuron.LIFNode(decay_input=False, v_reset=0.0))

    def forward(self, x: Tensor) -> Tensor:
        x, _ = torch.broadcast_tensors(x, torch.zeros((self.steps, *x.shape)))
        x = x.permute(1, 2, 3, 4, 0)
        x = self.pool(self.lif1(self.conv(x)))
        x = self.lif2(self.fc(x.flatten(1, 3)))
        return x.sum(dim=2) / self.steps


class TimeBias(nn.Module):
    """FTBC style: a bias for each channel in each step, calibrated after the conversion of an ANN."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.conv, self.neuron = nn.Conv2d(3, 4, 3, padding=1), neuron.IFNode(v_reset=None)
        self.bias = nn.Parameter(torch.randn(steps, 4) * 0.1)
        self.fc = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        total: Any = 0
        for step in range(self.steps):
            spikes = self.neuron(self.conv(x) + self.bias[step].view(1, -1, 1, 1))
            total = total + self.fc(spikes.flatten(1))
        return total / self.steps


def small_vgg(*stages: int | str) -> nn.Module:
    """SpikingJelly's VGG, whose classifier takes 7x7 however small the image, with a small classifier as for CIFAR."""
    cfg = [4, "M", 8, *stages, "M", 8]
    net = spiking_vgg.SpikingVGG(cfg=cfg, batch_norm=True, spiking_neuron=neuron.IFNode, init_weights=False)
    net.classifier = nn.Sequential(layer.Linear(8 * 7 * 7, 16), neuron.IFNode(), layer.Linear(16, 5))
    functional.set_step_mode(net, "m")
    return net


def ottt_vgg() -> nn.Module:
    """SpikingJelly's VGG for OTTT: standardised weights, spikes times a scale, one step a call."""
    return spiking_vggws_ottt.OTTTSpikingVGG(
        cfg=[8, "M", 8, "A", 512],
        weight_standardization=True,
        num_classes=5,
        spiking_neuron=neuron.OTTTLIFNode,
        v_threshold=0.25,
    )


def snas() -> nn.Module:
    """SpikingJelly's SNASNet, its forward cells: a static image, shown in a loop of its own."""
    arguments = SimpleNamespace(
        timestep=4, second_avgpooling=2, dataset="cifar10", celltype="forward", threshold=1.0, tau=4.0 / 3.0
    )
    connections = np.array([[0, 2, 0, 2], [0, 0, 3, 4], [0, 0, 0, 1], [0, 0, 0, 0]])
    return snas_net.SNASNet(arguments, connections)


def spike_dhs_net() -> nn.Module:
    """SpikingJelly's Spike-DHS with its searched cells, of 4 channels in place of 48."""
    sizes = SimpleNamespace(fea_step=3, fea_num_layers=8, fea_block_multiplier=3, fea_filter_multiplier=4)
    net = spike_dhs.SpikeDHS(3, sizes)
    net.classifier = spike_dhs.SpikingLinear(4 * 3 * 4, 5, spiking=False)
    functional.set_step_mode(net, "m")
    return net


_IMAGE = (3, 32, 32)
_IF = {"spiking_neuron": neuron.IFNode}
_LIF = {"spiking_neuron": neuron.LIFNode}
_PLIF = {"spiking_neuron": neuron.ParametricLIFNode}
_TINY = {"in_channels": 3, "num_classes": 5}

SPIKINGJELLY, SNNTORCH = "SpikingJelly 2.0", "snnTorch tutorials"


def zoo(make: Callable[..., nn.Module], shape: Shape = _IMAGE, **options: Any) -> PublicNet:
    """A net of SpikingJelly's own zoo, in multi-step mode."""
    return PublicNet(source=SPIKINGJELLY, make=multi_step(make, **options), shape=shape)


PUBLIC_NETS: dict[str, PublicNet] = {
    "sew_resnet18, ADD": zoo(sew_resnet.sew_resnet18, cnf="ADD", num_classes=5, **_IF),
    "SEWResNet of bottlenecks, AND": zoo(
        sew_resnet.SEWResNet,
        block=sew_resnet.Bottleneck,
        layers=[1, 1, 1, 1],
        cnf="AND",
        num_classes=5,
        width_per_group=8,
        **_IF,
    ),
    "spiking_resnet18": zoo(spiking_resnet.spiking_resnet18, num_classes=5, **_IF),
    "SpikingVGG, 1x1 before its classifier": PublicNet(
        source=SPIKINGJELLY, make=partial(small_vgg, "M", 8), shape=(3, 8, 8)
    ),
    "SpikingVGG, 7x7 before its classifier": PublicNet(
        source=SPIKINGJELLY, make=partial(small_vgg, 8), shape=(3, 28, 28)
    ),
    "ottt_spiking_vggws": PublicNet(source=SPIKINGJELLY, make=ottt_vgg, shape=(3, 8, 8)),
    "ms_resnet18": zoo(ms_resnet.ms_resnet18, num_classes=5, base_channels=8, **_LIF),
    "max_resnet18": zoo(ms_resnet.max_resnet18, num_classes=5, base_channels=8, **_LIF),
    "AttMSResNet": PublicNet(
        source=SPIKINGJELLY, make=partial(masnn.AttMSResNet, T=4, layers=(1, 1, 1), base_channels=8), shape=_IMAGE
    ),
    "MASNN": PublicNet(
        source=SPIKINGJELLY,
        make=partial(masnn.MASNN, T=4, input_size=(8, 8), channels=(8, 8, 8), fc_hidden=8, reduction_t=2),
        shape=(2, 8, 8),
    ),
    "Spike-driven Transformer": PublicNet(
        source=SPIKINGJELLY,
        make=partial(
            spike_driven_transformer.SpikeDrivenTransformer, T=4, embed_dims=16, num_heads=2, depths=1, **_TINY, **_LIF
        ),
        shape=_IMAGE,
    ),
    "QKFormer": PublicNet(
        source=SPIKINGJELLY,
        make=partial(qkformer.QKFormer, T=4, embed_dims=16, num_heads=(1, 2, 2), depths=(1, 1, 1), **_TINY, **_LIF),
        shape=_IMAGE,
    ),
    "Spikformer": PublicNet(
        source=SPIKINGJELLY,
        make=partial(
            spikformer.Spikformer,
            T=4,
            img_size_h=32,
            img_size_w=32,
            embed_dims=16,
            num_heads=2,
            depths=1,
            **_TINY,
            **_LIF,
        ),
        shape=_IMAGE,
    ),
    "MaxFormer": PublicNet(
        source=SPIKINGJELLY,
        make=partial(maxformer.MaxFormer, T=4, embed_dims=16, depths=(1, 1, 1), **_TINY, **_LIF),
        shape=_IMAGE,
    ),
    "SNASNet": PublicNet(source=SPIKINGJELLY, make=snas, shape=_IMAGE),
    "SpikeDHS": PublicNet(source=SPIKINGJELLY, make=spike_dhs_net, shape=(3, 16, 16), timesteps=6),
    "DVSGestureNet": zoo(parametric_lif_net.DVSGestureNet, (2, 128, 128), channels=4, **_PLIF),
    "CIFAR10DVSNet": zoo(parametric_lif_net.CIFAR10DVSNet, (2, 128, 128), channels=4, **_PLIF),
    "CIFAR10Net": zoo(parametric_lif_net.CIFAR10Net, channels=4, **_PLIF),
    "MNISTNet, FashionMNISTNet": zoo(parametric_lif_net.MNISTNet, (1, 28, 28), channels=4, **_PLIF),
    "NMNISTNet": zoo(parametric_lif_net.NMNISTNet, (2, 34, 34), channels=4, **_PLIF),
    "tutorial for Fashion-MNIST": PublicNet(source="SpikingJelly tutorials", make=Fang2021, shape=(1, 8, 8)),
    "tutorials 3 and 5": PublicNet(source=SNNTORCH, make=Tutorial3, shape=(20,)),
    "tutorial 6": PublicNet(source=SNNTORCH, make=Tutorial6, shape=(1, 28, 28)),
    "tutorial 6, Sequential, average pools": PublicNet(source=SNNTORCH, make=tutorial6_sequential, shape=(2, 20, 20)),
    "tutorial 7": PublicNet(source=SNNTORCH, make=tutorial7, shape=(2, 16, 16)),
    "loop over [T, N, ...]": PublicNet(source="snnTorch style", make=StepsFirst, shape=(2, 8, 8)),
    "box cells, their states passed on": PublicNet(source="norse style", make=NorseCells, shape=(1, 12, 12)),
    "SequentialState of box cells": PublicNet(source="norse style", make=norse_sequential, shape=(1, 12, 12)),
    "ConvNet": PublicNet(source="norse", make=partial(norse_models.ConvNet, feature_size=16), shape=(1, 16, 16)),
    "IAFSqueeze, SingleSpike": PublicNet(source="sinabs style", make=sinabs_net, shape=(1, 8, 8)),
    "from_model of an ANN": PublicNet(source="sinabs", make=sinabs_from_model, shape=(1, 10, 10)),
    "SEW networks for events, ADD": PublicNet(
        source="SEW ResNet authors", make=partial(SEWNet, connect="ADD"), shape=(2, 16, 16)
    ),
    "SEW networks for events, IAND": PublicNet(
        source="SEW ResNet authors", make=partial(SEWNet, connect="IAND"), shape=(2, 16, 16)
    ),
    "loop over [N, T, ...]": PublicNet(source="TET style", make=BatchFirst, shape=(2, 8, 8)),
    "VGGSNN with its own neuron": PublicNet(source="TET style", make=TET, shape=(2, 8, 8)),
    "steps in the last dimension": PublicNet(source="LocalZO style", make=LocalZO, shape=(3, 8, 8)),
    "a bias for each step": PublicNet(source="FTBC style", make=TimeBias, shape=(3, 8, 8)),
    "down and up, with skips": PublicNet(source="Spiking-UNet style", make=Unet, shape=(2, 8, 8)),
    "points, layers shared by all": PublicNet(source="PointNet style", make=Points, shape=(3, 16)),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a net with weights as after training: what it was made to, or what is in the way.

    operations: the names of all operators in its forward, as torch.nn.functional has them.
    """

    model: nn.Module
    time: TimeIn
    samples: Samples
    blockers: tuple[Blocker, ...]
    operations: frozenset[str]
    traced: Traced | None = None
    program: ir.Program | None = None


@cache
def outcome(name: str) -> Outcome:
    """Read a public net, and compile it where nothing is in the way. Raises a ModelError or DataError if it cannot be
    read.
    """
    net = PUBLIC_NETS[name]
    torch.manual_seed(0)
    model = trained_like(net.make())
    module = copy_of(model)
    wrap_neurons(module)
    reading = read(module, net.shape, net.timesteps, None)
    steps = 0 if reading.time == "inside" else net.timesteps
    image = (net.shape[0], 1, net.shape[1]) if len(net.shape) == 2 else net.shape  # what lines are in the network
    result = Outcome(
        model=model,
        time=reading.time,
        samples=random_samples(2, steps=steps, shape=image),
        blockers=tuple(reading.blockers),
        operations=frozenset(users_name(name_of(node)) for node in reading.captured.graph.nodes),
    )
    if reading.blockers:
        return result
    try:
        traced = trace(model, net.shape, timesteps=net.timesteps)
        program = compile_network(traced.network, result.samples, Options(timesteps=net.timesteps))
    except (UnsupportedError, QuantisationError) as error:
        return replace(result, blockers=tuple(error.blockers))
    return replace(result, traced=traced, program=program)


def trained_like(model: nn.Module) -> nn.Module:
    """Statistics and weights as after training, with which every layer spikes."""
    randomise(model)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.bias.data += 0.8
    for part in model.modules():
        if isinstance(part, nn.Linear) or (isinstance(part, nn.Conv1d | nn.Conv2d) and not norms):
            scale = part.weight[0].numel() ** -0.5
            nn.init.normal_(part.weight, mean=0.8 * scale, std=1.5 * scale)
    return model.eval()


_TIMES: dict[TimeIn, str] = {
    "step": "one step a call",
    "first": "all steps in one call, [T, N, ...]",
    "second": "all steps in one call, [N, T, ...]",
    "inside": "one input, shown in a loop of its own",
}


def table() -> str:
    """The table of docs/frameworks.md as markdown."""
    lines = ["| net | whose | takes time | deploys, or is refused because |", "|---|---|---|---|"]
    for name, net in PUBLIC_NETS.items():
        result = outcome(name)
        squeezed = any(
            kind.__name__ == "SqueezeMixin" for part in result.model.modules() for kind in type(part).__mro__
        )
        time = "all steps in one call, [N T, ...]" if squeezed else _TIMES[result.time]
        lines.append(f"| {name} | {net.source} | {time} | {_told(result.blockers)} |")
    return "\n".join(lines)


def _told(blockers: tuple[Blocker, ...]) -> str:
    """What is in the way, each problem once, with the first of its layers, of which one may have become several, @2."""
    if not blockers:
        return "**deploys**"
    layers: dict[str, dict[str, None]] = defaultdict(dict)
    for blocker in blockers:
        problem, layer = (re.sub(r"@\d+", "", text) for text in (blocker.problem.split(". ")[0], blocker.layer))
        layers[problem][layer] = None
    return "; ".join(
        f"{problem} (`{next(iter(paths))}`" + (f" and {len(paths) - 1} more)" if len(paths) > 1 else ")")
        for problem, paths in layers.items()
    )


if __name__ == "__main__":
    print(table())
