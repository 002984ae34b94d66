"""Verify: PyTorch == program == Lava, at every layer, neuron and step.

Three witnesses that share as little as possible: the Program in the cycle simulator, the user's own PyTorch model with
the integer parameters of quantised.nir (requantise.py), and real Lava. A comparison counts as exact only if it ran.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data import Samples
from snn2hw.errors import LavaError
from snn2hw.exporters.lava.bundle import Bundle
from snn2hw.frontends.trace import Traced
from snn2hw.requantise import requantise
from snn2hw.simulator.cycle import input_payloads, simulate
from snn2hw.simulator.lava import Processes
from snn2hw.simulator.lava import simulate as simulate_in_lava

SCHEMA = "snn2hw.verify/1"
BATCH = 64
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place, in time, where two engines differ; `cycle` is the program's cycle, from 1."""

    sample: int
    step: int
    cycle: int
    index: tuple[int, ...]
    expected: int | float
    actual: int | float


@dataclass(frozen=True, kw_only=True)
class LayerComparison:
    """One layer: how many values were compared, how many differ, and the first that does."""

    name: str
    compared: int
    mismatches: int
    first: Difference | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two engines, layer by layer, in the order of the network."""

    name: str
    exact_required: bool
    layers: tuple[LayerComparison, ...]

    @property
    def compared(self) -> int:
        return sum(layer.compared for layer in self.layers)

    @property
    def mismatches(self) -> int:
        return sum(layer.mismatches for layer in self.layers)

    def first(self) -> tuple[str, Difference] | None:
        """The layer and place of the difference that comes first in the network's time."""
        found = [(layer.first.cycle, at, layer) for at, layer in enumerate(self.layers) if layer.first]
        if not found:
            return None
        _, _, layer = min(found, key=lambda item: item[:2])
        return (layer.name, layer.first) if layer.first else None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict and all that it rests on.

    accuracy: per engine, and the number of samples `n`; None for unlabelled samples. head: of several heads the one
    that the labels and the accuracy speak of, the first. spikes: what each layer emitted
    over all samples and steps, graded spikes by their value.
    """

    samples: int
    timesteps: int
    comparisons: tuple[Comparison, ...]
    skipped: dict[str, str]
    accuracy: dict[str, float | int] | None
    head: str | None = None
    spikes: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """ "exact" only if every required comparison ran, compared something, and found no difference."""
        required = [comparison for comparison in self.comparisons if comparison.exact_required]
        ran = {comparison.name for comparison in required if comparison.compared}
        complete = ran == {LAVA, REQUANTISED} and not set(self.skipped) & {LAVA, REQUANTISED}
        return "exact" if complete and not any(c.mismatches for c in required) else "diverged"

    def to_json(self) -> dict[str, Any]:
        """The document of schema snn2hw.verify/1."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "samples": self.samples,
            "timesteps": self.timesteps,
            "comparisons": [
                {
                    "name": comparison.name,
                    "exact_required": comparison.exact_required,
                    "compared": comparison.compared,
                    "mismatches": comparison.mismatches,
                    "layers": [asdict(layer) for layer in comparison.layers],
                }
                for comparison in self.comparisons
            ],
            "skipped": self.skipped,
            "accuracy": self.accuracy,
            "head": self.head,
            "spikes": self.spikes,
        }


LAVA = "lava-vs-program"
REQUANTISED = "program-vs-requantised-torch"
FLOAT = "program-vs-float-torch"


def verify(
    bundle: Bundle,
    samples: Samples,
    traced: Traced | None,
    *,
    processes: Processes = "fused",
    missing_model: str = "",
    deadline: float | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare the bundle's program with Lava and with the model it came from.

    Args:
        bundle: as read by `read_bundle`.
        samples: what to run; the whole check is exact for these samples and says nothing about others.
        traced: the model the bundle came from; None if it cannot be had, for the reason `missing_model`.
        processes: which Lava process models run, fused ones or structural ones of stock processes.
        progress: told (engine, done, total).
    Raises:
        DataError, LavaError, FixedPointOverflow.
    """
    tell = progress or (lambda engine, done, total: None)
    program = bundle.program
    spikes = simulate(program, samples, progress=lambda done, total: tell("program", done, total))
    comparisons: list[Comparison] = []
    skipped: dict[str, str] = {}
    logits: dict[str, NDArray[Any]] = {"program": spikes["logits"]}
    lava = simulate_in_lava(
        bundle.path,
        samples,
        processes=processes,
        deadline=deadline,
        progress=lambda done, total: tell("lava", done, total),
    )
    for name, values in spikes.items():
        if name not in lava or lava[name].shape != values.shape:
            raise LavaError(
                f"{LAVA}: {name} of shape {list(values.shape)} is not in what Lava returned. Export the bundle again."
            )
    comparisons.append(compare(LAVA, program, expected=spikes, actual=lava, exact=True))
    logits["lava"] = lava["logits"]
    if traced is None:
        skipped = dict.fromkeys((REQUANTISED, FLOAT), missing_model)
    else:
        integers = requantise(traced, bundle.integers)
        steps = torch.from_numpy(samples.steps(program.schedule.timesteps))
        payloads = torch.from_numpy(np.moveaxis(input_payloads(program, samples), 1, 0)).double()
        exact = _run_torch(integers, payloads * program.graph.input.scale, program, "requantised", tell)
        exact["logits"] = _whole(exact["logits"])
        floats = _run_torch(traced, steps, program, "float", tell)
        comparisons.append(compare(REQUANTISED, program, expected=exact, actual=spikes, exact=True))
        spiking_only = {name: values for name, values in floats.items() if name != "logits"}
        comparisons.append(compare(FLOAT, program, expected=spiking_only, actual=spikes, exact=False))
        logits["requantised"], logits["float"] = exact["logits"], floats["logits"]
    return Verification(
        samples=len(samples),
        timesteps=program.schedule.timesteps,
        comparisons=tuple(comparisons),
        skipped=skipped,
        accuracy=None if samples.y is None else _accuracy(program.graph.readout, logits, samples.y),
        head=program.graph.readout.heads[0].name if program.graph.readout.heads else None,
        spikes={node.name: int(spikes[node.name].sum(dtype=np.int64)) for node in program.graph.recorded},
    )


def compare(
    name: str,
    program: ir.Program,
    *,
    expected: dict[str, NDArray[Any]],
    actual: dict[str, NDArray[Any]],
    exact: bool,
) -> Comparison:
    """Compare two engines' spikes.npz contents on every layer that both recorded."""
    order = [*(node.name for node in program.graph.recorded), "logits"]
    layers = [
        _compare_layer(layer, program, np.asarray(expected[layer]), np.asarray(actual[layer]))
        for layer in order
        if layer in expected and layer in actual
    ]
    return Comparison(name=name, exact_required=exact, layers=tuple(layers))


def _compare_layer(name: str, program: ir.Program, expected: NDArray[Any], actual: NDArray[Any]) -> LayerComparison:
    different = expected != actual
    first = None
    if different.any():
        where = [int(i) for i in np.argwhere(different)[0]]
        if name == "logits":
            node, step, index = program.graph.readout.name, program.schedule.timesteps - 1, tuple(where[1:])
        else:
            node, step, index = name, where[1], tuple(where[2:])
        first = Difference(
            sample=where[0],
            step=step,
            cycle=program.schedule.cycle(node, where[0], step),
            index=index,
            expected=_number(expected[tuple(where)]),
            actual=_number(actual[tuple(where)]),
        )
    return LayerComparison(name=name, compared=int(expected.size), mismatches=int(different.sum()), first=first)


def _number(value: Any) -> int | float:
    """A whole number as one, whatever an engine computes in."""
    return int(value) if float(value).is_integer() else float(value)


def _run_torch(
    traced: Traced, x: torch.Tensor, program: ir.Program, engine: str, tell: Progress
) -> dict[str, NDArray[Any]]:
    """Spikes [N, T, *shape] of every layer the model computes too, and the summed logits in the program's units."""
    recorded = {node.name for node in program.graph.recorded}
    batches: list[dict[str, NDArray[Any]]] = []
    for start in range(0, x.shape[1], BATCH):
        batch = x[:, start : start + BATCH].to(traced.dtype)
        steps = list(traced.run(batch))
        spikes: dict[str, NDArray[Any]] = {
            name: np.stack([step[name].numpy() for step in steps], axis=1) for name in steps[0] if name in recorded
        }
        logits = np.stack([step["logits"].numpy() for step in steps]).astype(np.float64).sum(axis=0)
        spikes["logits"] = logits * program.graph.readout.scales
        batches.append(spikes)
        tell(engine, min(start + BATCH, x.shape[1]), x.shape[1])
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _whole(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits as whole numbers where float64 holds one (within 1e-3 of it); left as they are elsewhere."""
    whole = np.rint(logits)
    return np.where(np.abs(logits - whole) < 1e-3, whole, logits)


def _accuracy(node: ir.Readout, logits: dict[str, NDArray[Any]], y: NDArray[np.int64]) -> dict[str, float | int]:
    order: Sequence[str] = ("float", "requantised", "program", "lava")
    found: dict[str, float | int] = {
        engine: float((logits[engine][:, node.first].argmax(axis=1) == y).mean())
        for engine in order
        if engine in logits
    }
    return found | {"n": len(y)}
