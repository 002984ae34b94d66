"""Verify: the user's model == the float network == the integers == the program == Lava.

Four comparisons, each required: the user's own module against the float network (network_vs_torch.py); the integers
against the float network and the stated scales (integers.py); the model with the integers put back, and real Lava,
against the program, at every layer, neuron and step. One that could not run makes a verdict incomplete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.samples import Samples, right_answers
from snn2hw.engines import cycle, fast
from snn2hw.engines.batches import is_balanced
from snn2hw.engines.cycle import input_payloads
from snn2hw.engines.torch_model import run_torch
from snn2hw.errors import LavaError
from snn2hw.exporters.lava.bundle import Bundle
from snn2hw.exporters.lava.host import Processes
from snn2hw.exporters.lava.simulate import simulate as simulate_in_lava
from snn2hw.frontends.source import LoadedModel
from snn2hw.verification.comparison import Comparison, compare, joined
from snn2hw.verification.integers import NAME as INTEGERS
from snn2hw.verification.integers import compare_integers
from snn2hw.verification.network_vs_torch import NAME as NETWORK
from snn2hw.verification.network_vs_torch import CannotRun, compare_network_on
from snn2hw.verification.witnesses import float_witness, integer_witness

SCHEMA = "snn2hw.verify/1"
BATCH = 64
CHUNK_BYTES = 512 << 20  # one engine's spikes of the samples that are compared at a time
NETWORK_SAMPLES = 64  # on which the user's module is run in float64: what a tracer gets wrong shows on few
Progress = Callable[[str, int, int], None]
Verdict = Literal["exact", "diverged", "incomplete"]


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
    def verdict(self) -> Verdict:
        """ "diverged" if a required comparison differs, "incomplete" if one did not run or compared nothing, "exact"
        if all of them ran and none differs.
        """
        if any(comparison.mismatches for comparison in self.comparisons if comparison.exact_required):
            return "diverged"
        return "incomplete" if self.not_compared else "exact"

    @property
    def not_compared(self) -> tuple[str, ...]:
        """The required comparisons that did not run or compared nothing."""
        ran = {comparison.name for comparison in self.comparisons if comparison.compared}
        return tuple(name for name in REQUIRED if name not in ran or name in self.skipped)

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
                    "ties": comparison.ties,
                    "note": comparison.note,
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
REQUIRED = (NETWORK, INTEGERS, LAVA, REQUANTISED)


def verify(
    bundle: Bundle,
    samples: Samples,
    loaded: LoadedModel | None,
    *,
    processes: Processes = "fused",
    lava_processes: int | None = None,
    models: Path | None = None,
    missing_model: str = "",
    deadline: float | None = None,
    progress: Progress | None = None,
    chunk: int | None = None,
) -> Verification:
    """Compare the bundle's program with Lava, and what it was made of step by step back to the user's model.

    The program runs in the fast simulator; in the cycle simulator if its schedule does not balance. Samples are taken
    some at a time, so that memory does not grow with their number.

    Args:
        bundle: as read by `read_bundle`.
        samples: what to run; the whole check is exact for these samples and says nothing about others.
        loaded: the model the bundle came from; None if it cannot be had, for the reason `missing_model`.
        processes: which Lava process models run: fused, structural or stock ones (docs/lava.md).
        lava_processes: the most that fused ones may be.
        models: a file of process models of the user's own, to be proved too (docs/lava.md).
        deadline: seconds that each run in Lava may take.
        progress: told (engine, done, total).
        chunk: how many samples are compared at a time.
    Raises:
        DataError, LavaError, FixedPointOverflow.
    """
    tell = progress or (lambda engine, done, total: None)
    program = bundle.program
    before, skipped = _of_the_network(bundle, samples, loaded, missing_model, tell)
    floats, integers = None, None
    if loaded is not None:
        floats, integers = float_witness(loaded), integer_witness(loaded, bundle.integers)
    size = chunk or _chunk_size(program)
    found: list[Verification] = []
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        spikes = _run_program(program, part, tell)
        lava = simulate_in_lava(
            bundle.path,
            part,
            processes=processes,
            lava_processes=lava_processes,
            models=models,
            deadline=deadline,
            progress=lambda done, total: tell("lava", done, total),
        )
        for name, values in spikes.items():
            if name not in lava or lava[name].shape != values.shape:
                raise LavaError(
                    f"{LAVA}: {name} of shape {list(values.shape)} is not in what Lava returned. Export the bundle "
                    "again."
                )
        comparisons = [compare(LAVA, program, expected=spikes, actual=lava, exact=True, first_sample=start)]
        logits: dict[str, NDArray[Any]] = {"program": spikes["logits"], "lava": lava["logits"]}
        if floats is not None and integers is not None:
            steps = torch.from_numpy(part.steps(program.schedule.timesteps))
            payloads = torch.from_numpy(np.moveaxis(input_payloads(program, part), 1, 0)).double()
            exact = run_torch(integers, payloads * program.graph.input.scale, program, "requantised", tell)
            exact["logits"] = _whole(exact["logits"])
            wide = run_torch(floats, steps, program, "float", tell)
            logits["requantised"], logits["float"] = exact["logits"], wide.pop("logits")
            comparisons += [
                compare(REQUANTISED, program, expected=exact, actual=spikes, exact=True, first_sample=start),
                compare(FLOAT, program, expected=wide, actual=spikes, exact=False, first_sample=start),
            ]
        found.append(
            Verification(
                samples=len(part),
                timesteps=program.schedule.timesteps,
                comparisons=tuple(comparisons),
                skipped={} if loaded is not None else dict.fromkeys((REQUANTISED, FLOAT), missing_model),
                accuracy=None if part.y is None else _accuracy(program.graph.readout, logits, part.y),
                head=program.graph.readout.heads[0].name if program.graph.readout.heads else None,
                spikes={node.name: int(spikes[node.name].sum(dtype=np.int64)) for node in program.graph.recorded},
            )
        )
    result = reduce(_merge, found)
    return replace(result, comparisons=(*before, *result.comparisons), skipped=skipped | result.skipped)


def _of_the_network(
    bundle: Bundle, samples: Samples, loaded: LoadedModel | None, missing_model: str, tell: Progress
) -> tuple[list[Comparison], dict[str, str]]:
    """The comparisons with the float network: of the user's model, and of the integers; what could not run, and why."""
    comparisons, skipped = [], {}
    if loaded is None:
        skipped[NETWORK] = missing_model
    else:
        try:
            comparisons.append(
                compare_network_on(
                    bundle.network,
                    loaded.model,
                    samples[:NETWORK_SAMPLES],
                    bundle.program.schedule.timesteps,
                    progress=lambda done, total: tell("torch", done, total),
                )
            )
        except CannotRun as error:
            skipped[NETWORK] = str(error)
    comparisons.append(compare_integers(bundle.program, bundle.network, bundle.integers))
    return comparisons, skipped


def _run_program(program: ir.Program, samples: Samples, tell: Progress) -> ir.Spikes:
    engine = fast.simulate if is_balanced(program) else cycle.simulate
    return engine(program, samples, progress=lambda done, total: tell("program", done, total))


def _chunk_size(program: ir.Program) -> int:
    """How many samples' spikes CHUNK_BYTES hold."""
    recorded = program.graph.recorded
    each = sum(math.prod(node.shape) * ir.record_dtype(program.bounds[node.name])().itemsize for node in recorded)
    return max(1, CHUNK_BYTES // (each * program.schedule.timesteps))


def _merge(one: Verification, more: Verification) -> Verification:
    """Two verifications of different samples of one bundle as one."""
    accuracy = None
    if one.accuracy is not None and more.accuracy is not None:
        count, others = int(one.accuracy["n"]), int(more.accuracy["n"])
        accuracy = {
            engine: count + others
            if engine == "n"
            else (round(value * count) + round(more.accuracy[engine] * others)) / (count + others)
            for engine, value in one.accuracy.items()
        }
    return Verification(
        samples=one.samples + more.samples,
        timesteps=one.timesteps,
        comparisons=tuple(joined(a, b) for a, b in zip(one.comparisons, more.comparisons, strict=True)),
        skipped=one.skipped,
        accuracy=accuracy,
        head=one.head,
        spikes={name: count + more.spikes[name] for name, count in one.spikes.items()},
    )


def _whole(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits as whole numbers where float64 holds one (within 1e-3 of it); left as they are elsewhere."""
    whole = np.rint(logits)
    return np.where(np.abs(logits - whole) < 1e-3, whole, logits)


def _accuracy(node: ir.Readout, logits: dict[str, NDArray[Any]], y: NDArray[np.int64]) -> dict[str, float | int]:
    order: Sequence[str] = ("float", "requantised", "program", "lava")
    found: dict[str, float | int] = {
        engine: float(right_answers(logits[engine][:, node.first], y).mean()) for engine in order if engine in logits
    }
    return found | {"n": len(y)}
