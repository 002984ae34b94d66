"""Who runs a program, side by side in one process: python benchmarks/backends.py [net ...] [--threads N] [--picture]

The fast simulator, the back ends that run the program (all but Lava), and SpikingJelly compute the logits of the same
samples in turn, several times over; the medians count. Those that run the program must give the same logits, or nothing
is measured. Writes benchmarks/backends.json and prints the table of docs/backends.md; --picture draws docs/backends.png
of that file.

The digits nets are the trained ones, the others have random weights, BatchNorm statistics as after training, IF neurons
and ADD. SpikingJelly runs in eval under no_grad, float32, multi-step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import snntorch
import torch
from simulator import Case, build, in_spikingjelly, lively, samples_of
from spikingjelly.activation_based import functional
from torch import nn

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.engines import batches, layers
from snn2hw.exporters.onnx.graph import LOGITS, build_model
from snn2hw.exporters.onnx.run import run_session, start
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.frontends.torch.trace import trace
from snn2hw.models.neurons import IFNode
from snn2hw.models.sew_resnet import seven_b_net
from snn2hw.pipeline import Options, compile_network

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_suffix(".json")
PICTURE = ROOT / "docs/backends.png"
REPETITIONS = 7
REFERENCE = "fast simulator"
Run = Callable[[], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Net:
    """A program, samples for it, and the same net in SpikingJelly."""

    program: ir.Program
    samples: Samples
    in_spikingjelly: nn.Module


def digits(name: str) -> Net:
    """A trained net on 128 test images."""
    model, training = (
        str(ROOT / "examples/digits" / f"{name}.pt"),
        load_samples("digits", (1, 8, 8), split="train")[:64],
    )
    loaded = load_model(model, ModelOptions())
    program = compile_network(loaded.network, training, Options(timesteps=loaded.timesteps))
    net = in_spikingjelly(load_model(model, ModelOptions()).model.module, snntorch.Leaky)
    return Net(program=program, samples=load_samples("digits", (1, 8, 8))[:128], in_spikingjelly=net.eval())


def sew(size: int, batch: int) -> Net:
    """SEW-ResNet-18 on images of size x size, 4 steps."""
    case = Case(18, size, 4, batch)
    return _compiled(lambda: build(case), samples_of(case, batch, 1), 4)


def seven_b(batch: int) -> Net:
    """7B-Net on 16 frames of event counts, 128x128."""
    frames = np.random.default_rng(1).poisson(0.5, (batch, 16, 2, 128, 128)).astype(np.float32)

    def net() -> nn.Module:
        torch.manual_seed(0)
        return lively(in_spikingjelly(seven_b_net("ADD", IFNode), IFNode))

    return _compiled(net, Samples(frames, None, True), 16)


def _compiled(net: Callable[[], nn.Module], samples: Samples, timesteps: int) -> Net:
    program = compile_network(trace(net(), samples.shape).network, samples[:1], Options(timesteps=timesteps))
    return Net(program=program, samples=samples, in_spikingjelly=net())


NETS: dict[str, Callable[[], Net]] = {
    **{f"digits {name}, batch 128": (lambda name=name: digits(name)) for name in ("add", "and", "iand", "spiking")},
    "SEW-ResNet-18, 32x32, batch 32": lambda: sew(32, 32),
    "SEW-ResNet-18, 224x224, batch 1": lambda: sew(224, 1),
    "SEW-ResNet-18, 224x224, batch 4": lambda: sew(224, 4),
    "7B-Net, 128x128, T=16, batch 1": lambda: seven_b(1),
}


def in_fast_simulator(net: Net, threads: int) -> Run:
    """The program in the fast simulator."""
    ready = layers.Layers(net.program)
    size = batches.batch_size(net.program)
    parts = list(net.samples.batches(size))
    return lambda: np.concatenate([batches.run_batch(ready, part, ())[LOGITS] for part in parts])


def in_onnxruntime(net: Net, threads: int) -> Run:
    """The program as an .onnx file in onnxruntime."""
    model = build_model(net.program, payloads=False, spikes=False, conventions={})
    session = start(model.SerializeToString(), threads)
    x = net.samples.x if net.samples.per_step else net.samples.x[:, None]
    return lambda: run_session(session, x)[LOGITS]


def in_spikingjelly_itself(net: Net, threads: int) -> Run:
    """The float net in SpikingJelly."""
    module, steps = net.in_spikingjelly, torch.from_numpy(net.samples.steps(net.program.schedule.timesteps))
    functional.set_step_mode(module, "m")

    def run() -> torch.Tensor:
        functional.reset_net(module)
        return module(steps)

    return torch.no_grad()(run)


RUN_THE_PROGRAM: dict[str, Callable[[Net, int], Run]] = {
    REFERENCE: in_fast_simulator,
    "onnxruntime": in_onnxruntime,
}
CONTENDERS = RUN_THE_PROGRAM | {"SpikingJelly": in_spikingjelly_itself}


def measure(net: Net, threads: int) -> dict[str, float]:
    """Median seconds of each contender, in turn. Raises ValueError if two run the program to other logits."""
    ready = {name: make(net, threads) for name, make in CONTENDERS.items()}
    logits = {name: run() for name, run in ready.items()}
    for name in RUN_THE_PROGRAM:
        if not np.array_equal(logits[name], logits[REFERENCE]):
            raise ValueError(f"{name} gives other logits than the {REFERENCE}")
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(REPETITIONS):
        for name, run in ready.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def draw(results: dict[str, dict[str, float]], file: Path) -> None:
    """Bars of how many times longer than the fast simulator each contender takes, net by net."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in CONTENDERS if name != REFERENCE]
    figure, axis = plt.subplots(figsize=(8, 0.5 + 0.28 * len(results) * (len(names) + 1)))
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        ratios = [figures[name] / figures[REFERENCE] for figures in results.values()]
        places = [row + number * height for row in range(len(results))]
        axis.bar_label(axis.barh(places, ratios, height, label=name), fmt="%.1f", padding=3)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks([row + height * (len(names) - 1) / 2 for row in range(len(results))], list(results))
    axis.invert_yaxis()
    axis.set(xlabel=f"times as long as the {REFERENCE} (the line)", xlim=(0, None))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(names), frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure the nets that are named, or all; print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", help="parts of the names of nets; all if none is given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", action="store_true", help="draw the figures that were written before")
    asked = parser.parse_args()
    if asked.picture:
        draw(json.loads(RESULTS.read_text())["nets"], PICTURE)
        return
    torch.set_num_threads(asked.threads)
    packages = {name: version(name) for name in ("onnxruntime", "spikingjelly", "torch")}
    print(f"{asked.threads} threads; {date.today()}; {', '.join(map(' '.join, packages.items()))}\n")
    print(f"| net | {' | '.join(CONTENDERS)} |\n|{'---|' * (len(CONTENDERS) + 1)}")
    results = {}
    for name, make in NETS.items():
        if asked.nets and not any(part in name for part in asked.nets):
            continue
        figures = results[name] = measure(make(), asked.threads)
        cells = [f"{1e3 * each:.1f} ms ({each / figures[REFERENCE]:.1f})" for each in figures.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    RESULTS.write_text(json.dumps({"threads": asked.threads, "packages": packages, "nets": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
