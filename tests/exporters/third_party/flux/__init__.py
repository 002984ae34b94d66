"""Flux, a back end of somebody else: it writes nets of dense layers as JSON and runs them in plain numpy.

It shares no arithmetic with snn2hw: what it computes follows docs/program.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw import ir
from snn2hw.data.aliases import Note, Progress
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment
from snn2hw.errors import Blocker
from snn2hw.exporters import Part, option
from snn2hw.files import check_file, write_text

DENSE = (ir.Input, ir.Linear, ir.Neuron, ir.Readout)


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a file is written."""

    title: str = option("a net", "For flux: what the file calls the network.")


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a file is run. Lava has an option `processes` too, of another type."""

    processes: int = option(1, "For flux: how many samples are computed at a time.")


class Flux:
    """A runnable back end whose file is complete without a bundle."""

    name = "flux"
    suffix = ".flux"
    bundled = False
    options = Writing
    run_options = Running

    def blockers(self, deployment: Deployment, options: Writing) -> list[Blocker]:
        """Whatever is no chain of dense layers and neurons that reset to zero."""
        return [
            Blocker(layer=node.name, problem="flux has dense layers alone", advice="Leave it out")
            for node in deployment.program.graph
            if not isinstance(node, DENSE)
            or (isinstance(node, ir.Neuron) and (node.reset.value != "zero" or (node.current_decay != 4096).any()))
        ]

    def check_place(self, place: Path) -> None:
        """A file may be replaced."""
        check_file(place)

    def write(self, deployment: Deployment, place: Path, options: Writing) -> Sequence[str]:
        """Write the layers with their integers."""
        program = deployment.program
        layers = [{"kind": type(node).__name__, "name": node.name} | _numbers(node) for node in program.graph]
        document = {"title": options.title, "timesteps": program.schedule.timesteps, "layers": layers}
        write_text(place, json.dumps(document))
        return [f"flux: {options.title} has {len(layers)} layers."]

    def readme(self, deployment: Deployment, place: Path) -> str:
        """What the file is."""
        return f"# Flux\n\n{place} is the network for Flux.\n"

    def parts(self) -> Sequence[Part]:
        """Numpy, which is there."""
        return [Part(name="flux", present=np.__version__)]

    def prepare(self, tell: Note) -> None:
        """Nothing to do."""

    def run(self, artefact: Path, samples: Samples, options: Running, progress: Progress) -> ir.Spikes:
        """Compute sample after sample."""
        document = json.loads(artefact.read_text())
        results = []
        for number, sample in enumerate(samples.steps(document["timesteps"]).swapaxes(0, 1)):
            results.append(run_sample(document["layers"], sample))
            progress(number + 1, len(samples))
        return {name: np.stack([result[name] for result in results]) for name in results[0]}


def run_sample(layers: list[dict[str, Any]], steps: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The spikes [T, K] of each layer of neurons, and the logits [K], of one sample [T, *shape]."""
    spikes: dict[str, list[Any]] = {layer["name"]: [] for layer in layers if layer["kind"] == "Neuron"}
    membrane: dict[str, Any] = {}
    logits = 0
    for x in steps:
        for layer in layers:
            if layer["kind"] == "Input":
                x = np.clip(np.rint(x.astype(float) / layer["scale"]), layer["low"], layer["high"]).astype(int).ravel()
            elif layer["kind"] == "Linear":
                x = np.array(layer["weight"]) @ x
            elif layer["kind"] == "Readout":
                logits = logits + x + np.array(layer["bias"])
            else:
                v = membrane.get(layer["name"], 0 * x)
                bias = np.array(layer["bias_mantissa"]) * 2 ** np.array(layer["bias_exponent"])
                v = np.sign(v) * (np.abs(v) * (4096 - np.array(layer["decay"])) // 4096) + 64 * x + bias
                x = (v > 64 * np.array(layer["threshold"])).astype(int)
                membrane[layer["name"]] = np.where(x, 0, v)
                spikes[layer["name"]].append(x)
    return {name: np.stack(values) for name, values in spikes.items()} | {"logits": logits}


def _numbers(node: ir.Node) -> dict[str, Any]:
    names = ("scale", "low", "high", "weight", "bias", "bias_mantissa", "bias_exponent", "decay", "threshold")
    values = {name: getattr(node, name) for name in names if hasattr(node, name)}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


BACKEND = Flux()
