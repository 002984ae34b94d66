"""How long and how much memory an export to a Lava bundle takes: python benchmarks/export.py [depth ...]

For each depth of SEW ResNet at 224x224 (random weights, ADD, one calibration sample, T = 4), in one process each:
seconds and peak memory of the stages, and the functions that take the most time.
"""

from __future__ import annotations

import cProfile
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from snn2hw.data.samples import Samples
from snn2hw.deployment import Source
from snn2hw.exporters.export import choose, export
from snn2hw.frontends.source import LoadedModel
from snn2hw.frontends.torch.trace import trace
from snn2hw.models.neurons import IFNode
from snn2hw.models.sew_resnet import imagenet_net
from snn2hw.pipeline import Options, deploy
from snn2hw.verification.network_vs_torch import check_network

SHAPE = (3, 224, 224)
TIMESTEPS = 4
SHOWN = 8


def build(depth: int) -> nn.Module:
    """The net with BatchNorm statistics as after training, so that spikes flow."""
    torch.manual_seed(0)
    net = imagenet_net(depth, "ADD", IFNode)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 0.5)
            module.bias.data.normal_(0.2, 0.2)
    return net


def measure(depth: int) -> None:
    """Export one net and print the figures."""
    net = build(depth)
    samples = Samples(np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32), None, False)
    profile, marks = cProfile.Profile(), [time.perf_counter()]
    profile.enable()
    traced = trace(net, SHAPE)
    marks.append(time.perf_counter())
    loaded = LoadedModel(
        network=traced.network,
        traced=traced,
        model=traced.user_model,
        input_shape=SHAPE,
        timesteps=TIMESTEPS,
        source=Source(model="random", file=None, sha256=None, options={}),
        data=None,
        conventions={},
    )
    checked = check_network(loaded, samples, TIMESTEPS)
    deployment = deploy(loaded, samples, Options(timesteps=TIMESTEPS), checked)
    marks.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        export(deployment, Path(folder, "net.lava"), [choose("lava")])
    marks.append(time.perf_counter())
    profile.disable()
    stages = ", ".join(
        f"{name} {end - start:.1f} s"
        for name, start, end in zip(("trace", "compile", "write"), marks[:-1], marks[1:], strict=True)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"SEW-ResNet-{depth}: {marks[-1] - marks[0]:.1f} s ({stages}), peak memory {peak:.2f} GiB", flush=True)
    pstats.Stats(profile).sort_stats("tottime").print_stats(SHOWN)


def measure_each(script: str, measure_one: Callable[[int], None]) -> None:
    """Measure the depths that the command line names, each in a process: `script` again, with --one."""
    if sys.argv[1:2] == ["--one"]:
        measure_one(int(sys.argv[2]))
    else:
        for wanted in sys.argv[1:] or ["18", "152"]:
            subprocess.run([sys.executable, script, "--one", wanted], check=True)


if __name__ == "__main__":
    measure_each(__file__, measure)
