"""The fast simulator against SpikingJelly and snnTorch, side by side: python benchmarks/simulator.py [case ...]

Every contender computes the logits of the same net (random weights, BatchNorm statistics as after training, IF neurons,
ADD) on the same samples, in turn, several times over; the medians count. Peak memory is that of one process each.
Writes benchmarks/simulator.json and prints the tables of docs/performance.md. With --growth instead: how the cost grows
with steps, batch and depth, as docs/growth.png.

SpikingJelly runs in eval under no_grad, float32, multi-step: eager as it comes, with channels-last weights, compiled.
snnTorch runs the same net with its neurons, step by step.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
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
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import torchvision_stand_in  # noqa: F401
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import sew_resnet

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import batches, layers, neurons, synapse_kernels
from snn2hw.frontends.torch.trace import trace
from snn2hw.ir.file import read_program, write_program
from snn2hw.ir.numerics import load_numerics
from snn2hw.models.neurons import IFNode
from snn2hw.models.sew_resnet import wide_seven_b_net
from snn2hw.pipeline import Options, compile_network

RESULTS = Path(__file__).with_name("simulator.json")
REPETITIONS = 7
CONTENDERS = ("snn2hw", "spikingjelly", "spikingjelly channels-last", "spikingjelly compiled", "snntorch")


@dataclass(frozen=True)
class Case:
    """A net on samples of a shape; `depth` 0 is Wide-7B-Net."""

    depth: int
    size: int
    steps: int
    batch: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3 if self.depth else 2, self.size, self.size)

    def __str__(self) -> str:
        name = f"SEW-ResNet-{self.depth}" if self.depth else "Wide-7B-Net"
        return f"{name}, {self.size}x{self.size}, T={self.steps}, batch {self.batch}"


CASES = {
    **{f"{depth}-224-{batch}": Case(depth, 224, 4, batch) for depth in (18, 34, 50) for batch in (1, 4, 16)},
    "18-32-32": Case(18, 32, 4, 32),
    "wide-128-4": Case(0, 128, 16, 4),
}


def build(case: Case) -> nn.Module:
    """SpikingJelly's net (our Wide-7B-Net, with its neurons), multi-step, so that every layer fires."""
    torch.manual_seed(0)
    if case.depth:
        make = getattr(sew_resnet, f"sew_resnet{case.depth}")
        net = make(spiking_neuron=neuron.IFNode, surrogate_function=surrogate.ATan(), detach_reset=True, cnf="ADD")
    else:
        net = in_spikingjelly(wide_seven_b_net("ADD", IFNode), IFNode)
    return lively(net)


def in_spikingjelly(net: nn.Module, of: type[nn.Module]) -> nn.Module:
    """A net of torch's layers and neurons of one class, with SpikingJelly's in their places."""
    _replace(net, of, lambda: neuron.IFNode(surrogate_function=surrogate.ATan()))
    for module in net.modules():  # SpikingJelly's layers are torch's, with a step mode
        if type(module).__module__.startswith("torch.nn.") and hasattr(layer, type(module).__name__):
            module.__class__ = getattr(layer, type(module).__name__)
            module.step_mode = "s"
    return net


def lively(net: nn.Module) -> nn.Module:
    """A net with BatchNorm statistics as after training, so that every layer fires."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 0.5)
            module.bias.data.normal_(0.2, 0.2)
    return net.eval()


def samples_of(case: Case, count: int, seed: int) -> Samples:
    """Images that every step shows; for Wide-7B-Net frames of event counts."""
    random = np.random.default_rng(seed)
    if case.depth:
        return Samples(random.normal(size=(count, *case.shape)).astype(np.float32), None, False)
    return Samples(random.poisson(0.5, (count, case.steps, *case.shape)).astype(np.float32), None, True)


def program_of(case: Case) -> ir.Program:
    """The net compiled, calibrated on one sample."""
    network = trace(build(case), case.shape).network
    return compile_network(network, samples_of(case, 1, 0), Options(timesteps=case.steps))


def contender(name: str, case: Case, program: ir.Program | None = None) -> Callable[[], Any]:
    """What computes the logits of the case's samples once."""
    samples = samples_of(case, case.batch, 1)
    if name == "snn2hw":
        ready = layers.Layers(program or program_of(case))
        size = batches.batch_size(ready.program)
        parts = [samples[start : start + size] for start in range(0, case.batch, size)]
        return lambda: np.concatenate([batches.run_batch(ready, part, ())["logits"] for part in parts])
    net, steps = build(case), torch.from_numpy(samples.steps(case.steps))
    if name == "snntorch":
        _replace(net, neuron.BaseNode, lambda: snntorch.Leaky(beta=1.0, init_hidden=True, reset_mechanism="zero"))
        leaky = [module for module in net.modules() if isinstance(module, snntorch.Leaky)]

        def by_step() -> torch.Tensor:
            for module in leaky:
                module.reset_mem()
            return sum(net(x) for x in steps)

        return torch.no_grad()(by_step)
    functional.set_step_mode(net, "m")
    if name.endswith("channels-last"):
        net = net.to(memory_format=torch.channels_last)
    forward = net
    if name.endswith("compiled"):  # its layers share one forward: compiled anew for each shape, it runs all of them
        torch._dynamo.config.recompile_limit = 256
        forward = torch.compile(net, dynamic=False)

    def at_once() -> torch.Tensor:
        functional.reset_net(net)
        return forward(steps)

    return torch.no_grad()(at_once)


def measure(case: Case) -> dict[str, Any]:
    """Median seconds of each contender, in turn, and the peak memory of a process that runs it alone."""
    ready = {}
    for name in CONTENDERS:
        try:
            ready[name] = contender(name, case)
            ready[name]()
        except Exception as error:  # a contender that cannot run this net on this machine is told, and left out
            print(f"{case}: {name} does not run: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
            ready.pop(name, None)
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(REPETITIONS):
        for name, run in ready.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    figures = {name: {"seconds": statistics.median(values)} for name, values in seconds.items()}
    key = next(key for key, value in CASES.items() if value == case)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program.npz")
        write_program(program_of(case), program)
        for name in figures:
            command = [sys.executable, __file__, "--memory", name, key, str(program)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True)
            figures[name]["peak_mib"] = float(printed.stdout.split()[-1])
    return figures


def print_memory(name: str, case: Case, program: Path) -> None:
    """The peak memory in MiB of a process that runs a contender twice. Ours reads its program from a file."""
    run = contender(name, case, read_program(program) if name == "snn2hw" else None)
    run()
    run()
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def roofline(case: Case) -> list[dict[str, Any]]:
    """What each layer reaches: operations a second of the products, bytes a second of the neurons."""
    ready = layers.Layers(program_of(case))
    payloads = batches.payloads(ready.program, samples_of(case, case.batch, 1))
    rows: dict[tuple[str, str], list[float]] = {}

    def timed(method: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def run(self: Any, x: torch.Tensor, *arguments: Any) -> Any:
            start = time.perf_counter()
            result = method(self, x, *arguments)
            elapsed = time.perf_counter() - start
            node = self.node
            if kind == "products":
                pixels = result.numel() // len(node.weight)
                work = 2.0 * pixels * node.weight.size
            else:
                work = (
                    x.numel() * x.element_size() + x.numel() // x.shape[1] * arguments[0]
                )  # sums read, spikes written
            total = rows.setdefault((node.name, kind), [0.0, 0.0])
            total[0] += elapsed
            total[1] += work
            return result

        return run

    originals = synapse_kernels.Synapse.__call__, neurons.Neurons.__call__
    ready.run(payloads, lambda *_: None, everything=False)
    synapse_kernels.Synapse.__call__ = timed(originals[0], "products")  # type: ignore[method-assign]
    neurons.Neurons.__call__ = timed(originals[1], "neurons")  # type: ignore[method-assign]
    try:
        for _ in range(REPETITIONS):
            ready.run(payloads, lambda *_: None, everything=False)
    finally:
        synapse_kernels.Synapse.__call__, neurons.Neurons.__call__ = originals  # type: ignore[method-assign]
    return [
        {"layer": name, "kind": kind, "ms": 1e3 * total / REPETITIONS, "per_second": work / total}
        for (name, kind), (total, work) in rows.items()
    ]


def machine_peaks() -> dict[str, float]:
    """The most operations a second of a large convolution, and bytes a second of copies within and beyond the cache."""
    node = ir.Conv(
        name="c", inputs=("x",), shape=(256, 28, 28), weight=np.ones((256, 256, 3, 3)), stride=(1, 1), padding=(1, 1),
        dilation=(1, 1), groups=1,
    )  # fmt: skip
    source = ir.Input(name="x", shape=(256, 28, 28), scale=1.0, low=0, high=1)
    bounds = {
        "x": ir.Bound(kind="proved", accumulator=1, membrane=0, payload=1),
        "c": ir.Bound(kind="proved", accumulator=2304, membrane=0, payload=2304),
    }
    program = ir.Program(
        graph=ir.Graph((source, node)),
        numerics=load_numerics(),
        bounds=bounds,
        schedule=ir.Schedule(timesteps=1, latency={}, delays={}, reset_offset={}),
        regions=(),
    )
    kernel = synapse_kernels.Synapse(node, program, torch.device("cpu"))
    x = torch.ones((16, 1, 28, 28, 256), dtype=torch.uint8)
    kernel(x)
    operations = 2.0 * 16 * 28 * 28 * 256 * 256 * 9
    peaks = {f"{kernel.kernel} operations": operations / _best(lambda: kernel(x))}
    for label, size in (("4 MiB", 1 << 22), ("256 MiB", 1 << 28)):
        a, b = torch.zeros(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
        peaks[f"bytes copied, {label}"] = 2 * size / _best(lambda a=a, b=b: b.copy_(a))
    return peaks


def growth(file: Path) -> None:
    """Plot seconds against steps, batch and depth: straight lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    depths = {18: "18", 34: "34", 50: "50", 101: "101", 152: "152"}
    series = {
        "time steps": [(steps, Case(18, 112, steps, 2)) for steps in (1, 2, 4, 8, 16)],
        "samples": [(batch, Case(18, 112, 4, batch)) for batch in (1, 2, 4, 8, 16)],
        "10^9 operations a step (18 to 152)": [
            (_operations(Case(depth, 112, 4, 2)) / 1e9, Case(depth, 112, 4, 2)) for depth in depths
        ],
    }
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    for axis, (label, points) in zip(axes, series.items(), strict=True):
        runs = [(x, contender("snn2hw", case)) for x, case in points]
        times = [(x, 1e3 * _best(run)) for x, run in runs]
        axis.plot(*zip(*times, strict=True), marker="o")
        axis.set(xlabel=label, ylabel="ms", xlim=(0, None), ylim=(0, None))
        print(label, [(round(x, 2), round(ms, 1)) for x, ms in times], flush=True)
    figure.suptitle("Fast simulator, 112x112, SEW-ResNet-18 unless said otherwise")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def _operations(case: Case) -> float:
    graph = program_of(case).graph
    return float(
        sum(node.weight.size * int(np.prod(node.shape[1:])) for node in graph if isinstance(node, ir.Conv | ir.Linear))
    )


def _best(run: Callable[[], Any]) -> float:
    run()
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _replace(net: nn.Module, kind: type[nn.Module], make: Callable[[], nn.Module]) -> None:
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, make())


def main(keys: list[str]) -> None:
    """Measure the cases, print the tables, write the JSON."""
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; {date.today()}; ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "numba", "spikingjelly", "snntorch")))
    document: dict[str, Any] = {"machine": machine_peaks(), "cases": {}}
    print("Peaks: " + ", ".join(f"{name} {value / 1e9:.0f} G/s" for name, value in document["machine"].items()))
    print("\n| net | " + " | ".join(CONTENDERS) + " |\n|" + "---|" * (len(CONTENDERS) + 1))
    for key in keys or CASES:
        figures_of = measure(CASES[key])
        document["cases"][str(CASES[key])] = figures_of
        reference = figures_of["snn2hw"]["seconds"]
        cells = ["-"] * len(CONTENDERS)
        for name, figures in figures_of.items():
            ratio = f"{1e3 * figures['seconds']:.0f} ms ({figures['seconds'] / reference:.1f})"
            cells[CONTENDERS.index(name)] = f"{ratio}, {figures['peak_mib']:.0f} MiB"
        print(f"| {CASES[key]} | " + " | ".join(cells) + " |", flush=True)
    case = CASES[(keys or list(CASES))[0]]
    document["roofline"] = {"case": str(case), "layers": roofline(case)}
    print(f"\n{case}, layer by layer\n\n| layer | what | ms | reached |\n|---|---|---|---|")
    for row in document["roofline"]["layers"]:
        unit = "GOP/s" if row["kind"] == "products" else "GB/s"
        print(f"| {row['layer']} | {row['kind']} | {row['ms']:.2f} | {row['per_second'] / 1e9:.0f} {unit} |")
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print_memory(sys.argv[2], CASES[sys.argv[3]], Path(sys.argv[4]))
    elif sys.argv[1:2] == ["--growth"]:
        growth(Path(__file__).resolve().parents[1] / "docs" / "growth.png")
    else:
        main(sys.argv[1:])
