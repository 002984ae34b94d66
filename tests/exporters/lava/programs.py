"""Small random programs in the file format, and a model of a few lines that says what they must answer.

The model runs sample by sample and step by step. It has no cycles, latencies, delays or reset offsets, so it shares
nothing with the engines but the rules of docs/program.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw.exporters.lava.run_time import copy_run_time

SYNAPSES = ("conv", "linear", "scale", "sum_pool", "max_pool")


class Builder:
    """Collects nodes and regions; latencies, delays, reset offsets and bounds follow from the graph."""

    def __init__(self, *, timesteps: int, shape: tuple[int, ...] = (3, 8, 8), high: int = 4, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.timesteps, self.shape = timesteps, shape
        self.arrays: dict[str, np.ndarray] = {}
        self.bounds: dict[str, int] = {}
        self.regions: list[dict[str, Any]] = []
        self.nodes: dict[str, dict[str, Any]] = {}
        self.add("input", "x", shape, [], scale=0.25, low=0, high=high)
        self.bounds["x"] = high

    def add(self, kind: str, name: str, shape: tuple[int, ...], inputs: list[str], **parameters: Any) -> str:
        latencies = {source: self.nodes[source]["latency"] for source in inputs}
        arrival = max(latencies.values(), default=0)
        node = {"name": name, "kind": kind, "shape": list(shape), "latency": arrival + (kind in SYNAPSES)}
        node["inputs"] = [{"source": source, "delay": arrival - latencies[source]} for source in inputs]
        if kind in ("neuron", "readout"):
            node["reset_offset"] = (node["latency"] + 1) % self.timesteps
        for key, value in parameters.items():
            if isinstance(value, np.ndarray):
                self.arrays[f"{name}:{key}"] = value
            else:
                node[key] = value
        total = sum(self.bounds[source] for source in inputs)
        if kind in SYNAPSES:
            node["accumulator_bound"] = total * self._gain(kind, parameters)
            total = node["accumulator_bound"]
        self.bounds[name] = 1 if kind in ("neuron", "threshold") else total
        if kind == "relay":
            self.bounds[name] = max(-node["low"], node["high"])
        if kind in ("neuron", "readout", "relay"):
            node["scale"] = 1.0
        bound = {"accumulator": int(total), "membrane": 0, "payload": int(self.bounds[name]), "signed": True}
        node["bound"] = {"kind": "proved", "observed": None, **bound}
        self.nodes[name] = node
        return name

    @staticmethod
    def _gain(kind: str, parameters: dict[str, Any]) -> int:
        if kind == "scale":
            return abs(parameters["factor"])
        if kind == "max_pool":
            return 1
        if kind == "sum_pool":
            return int(np.prod(parameters["kernel"]))
        return int(np.abs(parameters["weight"]).reshape(len(parameters["weight"]), -1).sum(axis=1).max())

    def conv(self, name: str, source: str, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1,
             dilation: int = 1, low: int = -9, high: int = 12) -> str:  # fmt: skip
        channels, height, width = self.nodes[source]["shape"]
        padding = dilation * (kernel // 2)
        extent = [(size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for size in (height, width)]
        weight = self.random.integers(low, high + 1, (outputs, channels // groups, kernel, kernel)).astype(np.int32)
        return self.add("conv", name, (outputs, *extent), [source], weight=weight, stride=[stride] * 2,
                        padding=[padding] * 2, dilation=[dilation] * 2, groups=groups)  # fmt: skip

    def linear(self, name: str, source: str, outputs: int) -> str:
        weight = self.random.integers(-128, 128, (outputs, int(np.prod(self.nodes[source]["shape"])))).astype(np.int16)
        return self.add("linear", name, (outputs,), [source], weight=weight)

    def pool(self, name: str, source: str, kernel: int, stride: int, padding: int = 0, kind: str = "sum_pool") -> str:
        channels, *extent = self.nodes[source]["shape"]
        extent = [(size + 2 * padding - kernel) // stride + 1 for size in extent]
        return self.add(kind, name, (channels, *extent), [source], kernel=[kernel] * 2, stride=[stride] * 2,
                        padding=[padding] * 2)  # fmt: skip

    def scale(self, name: str, source: str, factor: int) -> str:
        return self.add("scale", name, tuple(self.nodes[source]["shape"]), [source], factor=factor)

    def neuron(self, name: str, inputs: list[str] | str, *, reset: str = "zero", style: str = "plain") -> str:
        """`style`: plain (one threshold, no leak, no bias), leaky, channels (per channel), full (per neuron, and
        with a memory of its current)."""
        inputs = [inputs] if isinstance(inputs, str) else inputs
        shape = tuple(self.nodes[inputs[0]]["shape"])
        per = {"plain": (), "leaky": (), "channels": (shape[0],) + (1,) * (len(shape) - 1), "full": shape}[style]
        rich = style != "plain"
        draw = self.random.integers
        return self.add("neuron", name, shape, inputs, reset=reset,
                        threshold=np.asarray(draw(20, 45, per)),
                        decay=np.asarray(draw(300, 2500, per) if rich else 0),
                        current_decay=np.asarray(draw(1500, 4097, per) if style == "full" else 4096),
                        bias_mantissa=np.asarray(draw(-60, 120, per) if rich else 0),
                        bias_exponent=np.asarray(draw(0, 4, per) if rich else 0),
                        reset_amount=np.asarray(draw(20, 45, per)))  # fmt: skip

    def threshold(self, name: str, inputs: list[str], threshold: int) -> str:
        return self.add("threshold", name, tuple(self.nodes[inputs[0]]["shape"]), inputs, threshold=threshold)

    def merge(self, name: str, inputs: list[str]) -> str:
        return self.add("merge", name, tuple(self.nodes[inputs[0]]["shape"]), inputs)

    def relay(self, name: str, inputs: list[str], *, shift: int, low: int = -9, high: int = 9) -> str:
        shape = tuple(self.nodes[inputs[0]]["shape"])
        bias = self.random.integers(-20, 20, (shape[0], *[1] * (len(shape) - 1)))
        return self.add("relay", name, shape, inputs, shift=shift, low=low, high=high, bias=bias)

    def membrane_block(self, name: str, stream: str) -> str:
        """A block with a membrane shortcut: it adds a current to the currents that it reads."""
        before = set(self.nodes)
        width = self.nodes[stream]["shape"][0]
        first = self.neuron(f"{name}.sn1", self.scale(f"{name}.read", stream, 1), style="channels")
        branch = self.conv(f"{name}.conv", first, width)
        self.relay(name, [branch, self.scale(f"{name}.identity", stream, 1)], shift=0, low=-(2**20), high=2**20)
        self.region("residual_block", name, *(set(self.nodes) - before - {name}), name)
        return name

    def region(self, kind: str, name: str, *nodes: str) -> str:
        self.regions.append({"name": name, "kind": kind, "nodes": [n for n in self.nodes if n in nodes]})
        return nodes[-1]

    def layer(
        self, name: str, source: str, outputs: int, *, reset: str = "zero", style: str = "plain", **conv: Any
    ) -> str:
        synapse = self.conv(f"{name}.conv", source, outputs, **conv)
        return self.region("layer", name, synapse, self.neuron(name, synapse, reset=reset, style=style))

    def sew_block(self, name: str, source: str, outputs: int, *, gate: str, stride: int = 1, reset: str = "zero",
                  style: str = "plain", shortcut_neuron: bool = True) -> str:  # fmt: skip
        """A residual block whose gate follows the neurons; a stride or a new width puts synapses in the shortcut."""
        before = set(self.nodes)
        first = self.neuron(
            f"{name}.sn1", self.conv(f"{name}.conv1", source, outputs, stride=stride), reset=reset, style=style
        )
        branch = self.neuron(f"{name}.sn2", self.conv(f"{name}.conv2", first, outputs), reset=reset, style=style)
        shortcut = source
        if stride > 1 or outputs != self.nodes[source]["shape"][0]:
            shortcut = self.conv(f"{name}.down", source, outputs, kernel=1, stride=stride, low=10, high=40)
            if shortcut_neuron:
                shortcut = self.neuron(f"{name}.down.sn", shortcut, reset=reset, style=style)
        if gate == "ADD":
            self.merge(name, [branch, shortcut])
        elif gate == "AND":
            self.threshold(name, [branch, shortcut], 1)
        else:
            self.threshold(name, [self.scale(f"{name}.minus", branch, -1), shortcut], 0)
        return self.region("residual_block", name, *(set(self.nodes) - before - {name}), name)

    def joined_block(self, name: str, source: str, *, reset: str = "zero", style: str = "plain") -> str:
        """A residual block of the classical kind: the branches meet before the neuron."""
        before = set(self.nodes)
        width = self.nodes[source]["shape"][0]
        first = self.neuron(f"{name}.sn1", self.conv(f"{name}.conv1", source, width), reset=reset, style=style)
        branch = self.conv(f"{name}.conv2", first, width)
        self.neuron(name, [branch, self.scale(f"{name}.identity", source, 17)], reset=reset, style=style)
        return self.region("residual_block", name, *(set(self.nodes) - before - {name}), name)

    def or_pool(self, name: str, source: str) -> str:
        total = self.pool(f"{name}.sum", source, 3, 2, 1)
        return self.region("pool", name, total, self.threshold(name, [total], 0))

    def readout(self, source: str, classes: int = 5) -> None:
        last = self.linear("fc", source, classes)
        bias = self.random.integers(-99, 99, classes)
        self.region("readout", "readout", last, self.add("readout", "logits", (classes,), [last], bias=bias))

    def text(self) -> dict[str, Any]:
        recorded = [
            {"name": name, "dtype": "uint8" if node["kind"] in ("neuron", "threshold") else "int32"}
            for name, node in self.nodes.items()
            if node["kind"] in ("neuron", "threshold", "merge", "relay")
        ]
        return {"schema": "snn2hw.program/1", "timesteps": self.timesteps, "nodes": list(self.nodes.values()),
                "regions": self.regions, "recorded": recorded}  # fmt: skip

    def save(self, path: Path) -> Path:
        np.savez(path, program=np.array(json.dumps(self.text())), **self.arrays)
        return path

    def samples(self, count: int, *, static: bool = False) -> np.ndarray:
        """Real inputs [N, C, H, W] or [N, T, C, H, W], some of them beyond what a payload can hold."""
        steps = () if static else (self.timesteps,)
        high = self.nodes["x"]["high"] * self.nodes["x"]["scale"]
        return self.random.uniform(-0.2 * high, 1.2 * high, (count, *steps, *self.shape)).astype(np.float32)

    def expected(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return model(self.text(), self.arrays, x)


def model(program: dict[str, Any], arrays: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """All recorded layers [N, T, *shape] and the logits [N, K], computed step by step."""
    nodes, timesteps = program["nodes"], program["timesteps"]
    if x.ndim == len(nodes[0]["shape"]) + 1:
        x = np.repeat(x[:, None], timesteps, axis=1)
    spikes: dict[str, list[Any]] = {item["name"]: [] for item in program["recorded"]}
    logits = []
    for sample in x:
        states: dict[str, Any] = {}
        for step in sample:
            values: dict[str, np.ndarray] = {}
            for node in nodes:
                total = sum(values[edge["source"]] for edge in node["inputs"])
                parameters = {
                    key.split(":")[1]: a.astype(np.int64)
                    for key, a in arrays.items()
                    if key.split(":")[0] == node["name"]
                }
                values[node["name"]] = respond(node, parameters, total, step, states)
            for name in spikes:
                spikes[name].append(values[name])
        logits.append(states[nodes[-1]["name"]])
    shaped = {item["name"]: np.array(spikes[item["name"]]) for item in program["recorded"]}
    dtypes = {item["name"]: item["dtype"] for item in program["recorded"]}
    steps = (len(x), timesteps)
    return {name: a.reshape(*steps, *a.shape[1:]).astype(dtypes[name]) for name, a in shaped.items()} | {
        "logits": np.array(logits)
    }


def respond(
    node: dict[str, Any], parameters: dict[str, np.ndarray], x: Any, real: np.ndarray, states: dict[str, Any]
) -> Any:
    name, kind = node["name"], node["kind"]
    if kind == "input":
        return np.clip(np.rint(real.astype(np.float64) / node["scale"]), node["low"], node["high"]).astype(np.int64)
    if kind == "conv":
        return correlate(x, parameters["weight"], node["stride"], node["padding"], node["dilation"], node["groups"])
    if kind == "sum_pool":
        ones = np.ones((len(x), 1, *node["kernel"]), np.int64)
        return correlate(x, ones, node["stride"], node["padding"], [1, 1], len(x))
    if kind == "max_pool":
        (down, right), (rows, columns), (height, width) = node["padding"], node["stride"], node["kernel"]
        wide = np.pad(x.astype(float), ((0, 0), (down, down), (right, right)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), axis=(1, 2))[:, ::rows, ::columns]
        return windows.max(axis=(3, 4)).astype(np.int64)
    if kind == "linear":
        return parameters["weight"] @ x.ravel()
    if kind == "scale":
        return node["factor"] * x
    if kind == "threshold":
        return (x > node["threshold"]).astype(np.int64)
    if kind == "readout":
        states[name] = states.get(name, 0) + x + parameters["bias"]
        return states[name]
    if kind == "merge":
        return x
    if kind == "relay":  # floor(. + 1/2), by a division that rounds down
        rounded = (2 * (x + parameters["bias"]) + 2 ** node["shift"]) // 2 ** (node["shift"] + 1)
        return np.maximum(node["low"], np.minimum(rounded, node["high"]))
    threshold, reset = parameters["threshold"] * 64, node["reset"]
    u, v, owed = states.get(name, (np.zeros(x.shape, np.int64),) * 3)
    u = (
        np.sign(u) * (np.abs(u) * (4096 - parameters["current_decay"]) >> 12)
        + 64 * x
        + parameters["bias_mantissa"] * 2 ** parameters["bias_exponent"]
    )
    v = np.sign(v) * (np.abs(v) * (4096 - parameters["decay"]) >> 12) - owed + u
    spike = v > threshold
    taken = spike * parameters["reset_amount"] * 64
    if reset == "zero":
        v = v * ~spike
    if reset == "subtract":
        v = v - taken
    states[name] = (u, v, taken if reset == "subtract_late" else 0 * taken)
    return spike.astype(np.int64)


def correlate(
    x: np.ndarray, weight: np.ndarray, stride: list[int], padding: list[int], dilation: list[int], groups: int
):
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    kernel = weight.shape[2:]
    span = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    parts = zip(np.split(windows, groups), np.split(weight, groups), strict=True)
    return np.concatenate([np.einsum("chwij,ocij->ohw", part, w) for part, w in parts])


def make_bundle(builder: Builder, folder: Path) -> Path:
    """The part of a bundle that running it needs: the program and a copy of the run-time code."""
    copy_run_time(folder / "lava")
    builder.save(folder / "program.npz")
    return folder


def save_samples(builder: Builder, folder: Path, count: int, *, static: bool = False) -> np.ndarray:
    """Write `count` samples to x.npz and return them."""
    x = builder.samples(count, static=static)
    np.savez(folder / "x.npz", x=x)
    return x
