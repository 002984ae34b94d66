"""Nets whose events are counted, with the PyTorch model that computes the same integers for other tools to look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from interop_nets import DIGITS, images, lively

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.engines import fast
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.requantise import requantise
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.models.neurons import IFNode
from snn2hw.models.sew_resnet import imagenet_net
from snn2hw.network.write_integers import integer_graph
from snn2hw.pipeline import Options, compile_network
from snn2hw.report.events import EventCounter, Events
from snn2hw.report.values import Values

NAMES = (*(f"digits {net}" for net in ("add", "and", "iand", "spiking")), "SEW-ResNet-18 ADD")


@dataclass(frozen=True, eq=False)
class Counted:
    """A program with its events, and the model with its integers put back (float64)."""

    program: ir.Program
    samples: Samples
    events: Events
    model: Traced

    def steps(self) -> torch.Tensor:
        """The input that the model takes, [T, N, ...]: payloads in the model's units."""
        node = self.program.graph.input
        payloads = np.clip(np.rint(self.samples.x.astype(np.float64) / node.scale), node.low, node.high)
        return torch.from_numpy(np.repeat((payloads * node.scale)[None], self.events.timesteps, axis=0))


def count(program: ir.Program, samples: Samples, *, batch: int | None = None) -> Events:
    """The events of a program on samples."""
    return counted_on(program, samples, batch=batch).events()


def counted_on(program: ir.Program, samples: Samples, *, batch: int | None = None) -> EventCounter:
    """What has counted them."""
    counter = EventCounter(program)
    for part, spikes in fast.stream(program, samples, batch=batch):
        counter.add(Values(program, samples[part], spikes))
    return counter


@cache
def counted(name: str) -> Counted:
    """One of NAMES on a few samples."""
    family, which = name.split()
    if family == "digits":
        loaded = load_model(str(DIGITS / f"{which}.pt"), ModelOptions())
        traced, steps = loaded.traced, loaded.timesteps
        training = load_samples("digits", loaded.input_shape, split="train")[:64]
        samples = load_samples("digits", loaded.input_shape)[:20]
    else:
        samples = training = images(3, 32, 32, count=2)
        traced, steps = trace(lively(imagenet_net(18, which, IFNode)), samples.shape), 4
    program = compile_network(traced.network, training, Options(timesteps=steps))
    quantised = with_parameters(traced, requantise(traced, integer_graph(program.graph)))
    return Counted(program, samples, count(program, samples), quantised)


def with_parameters(traced: Traced, quantised: Traced) -> Traced:
    """The quantised model with its parameters in the layers of its module, for tools that run that."""
    for path, holder in quantised.holders.items():
        weight, bias = quantised.substitutes[holder.calls[0]]
        layer: Any = quantised.module.get_submodule(path)
        layer.weight = torch.nn.Parameter(weight)
        norm_path = traced.norms.get(path)
        if norm_path is None:
            layer.bias = torch.nn.Parameter(bias)
            continue
        norm: Any = quantised.module.get_submodule(norm_path)
        norm.running_mean, norm.running_var, norm.eps = torch.zeros_like(bias), torch.ones_like(bias), 0.0
        norm.weight, norm.bias = torch.nn.Parameter(torch.ones_like(bias)), torch.nn.Parameter(bias)
    return quantised
