"""Verify: the user's model == the float network == the integers == the program == every back end in the bundle.

These comparisons are required: the user's own module against the float network (network_vs_torch.py); the integers
against the float network and the stated scales (integers.py); the model with the integers put back, and each runnable
back end, such as real Lava, against the program, at every layer, neuron and step. One that could not run makes a
verdict incomplete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import NamedProgress
from snn2hw.data.samples import Samples, right_answers
from snn2hw.engines import cycle, fast
from snn2hw.engines.batches import is_balanced
from snn2hw.engines.cycle import input_payloads
from snn2hw.engines.torch_model import run_torch
from snn2hw.errors import BackendError, OptionError
from snn2hw.exporters import Runnable, find_runnable
from snn2hw.exporters.bundle import Bundle
from snn2hw.files import VERIFY_SCHEMA
from snn2hw.frontends.source import LoadedModel
from snn2hw.verification.comparison import Comparison, compare, joined, name_of
from snn2hw.verification.integers import NAME as INTEGERS
from snn2hw.verification.integers import compare_integers
from snn2hw.verification.network_judge import NAME as NETWORK
from snn2hw.verification.network_vs_torch import CannotRun, compare_network_on
from snn2hw.verification.witnesses import float_witness, integer_witness

BATCH = 64
CHUNK_BYTES = 512 << 20  # one engine's spikes of the samples that are compared at a time
NETWORK_SAMPLES = 64  # on which the user's module is run in float64: what a tracer gets wrong shows on few
Verdict = Literal["exact", "diverged", "incomplete"]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict and all that it rests on.

    required: the names of the comparisons that must run and find nothing. correct: of each engine how many samples it
    gives the right answer for; None for unlabelled samples. head: of several heads the one that the labels and the
    answers speak of, the first. spikes: what each layer emitted over all samples and steps, graded ones by value.
    """

    samples: int
    timesteps: int
    comparisons: tuple[Comparison, ...]
    skipped: dict[str, str]
    required: tuple[str, ...]
    correct: dict[str, int] | None
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
        return tuple(name for name in self.required if name not in ran or name in self.skipped)

    def to_json(self) -> dict[str, Any]:
        """The document of schema snn2hw.verify/1."""
        return {
            "schema": VERIFY_SCHEMA,
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
            "accuracy": None
            if self.correct is None
            else {engine: count / self.samples for engine, count in self.correct.items()} | {"n": self.samples},
            "head": self.head,
            "spikes": self.spikes,
        }


PROGRAM = "program"
OF_THE_INTEGERS = (PROGRAM, "requantised-torch")
OF_THE_FLOATS = (PROGRAM, "float-torch")
REQUANTISED, FLOAT = name_of(OF_THE_INTEGERS), name_of(OF_THE_FLOATS)


def required_of(bundle: Bundle) -> tuple[str, ...]:
    """The comparisons that a bundle's verdict rests on: those of its numbers, and one for each back end that runs."""
    return (NETWORK, INTEGERS, *(name_of((backend, PROGRAM)) for backend in bundle.runnable), REQUANTISED)


def verify(
    bundle: Bundle,
    samples: Samples,
    loaded: LoadedModel | None,
    *,
    run_options: Mapping[str, object] | None = None,
    missing_model: str = "",
    progress: NamedProgress | None = None,
    chunk: int | None = None,
) -> Verification:
    """Compare the bundle's program with its back ends, and what it was made of step by step back to the user's model.

    The program runs in the fast simulator; in the cycle simulator if its schedule does not balance. Samples are taken
    some at a time, so that memory does not grow with their number.

    Args:
        bundle: as read by `read_bundle`.
        samples: what to run; the whole check is exact for these samples and says nothing about others.
        loaded: the model the bundle came from; None if it cannot be had, for the reason `missing_model`.
        run_options: how back ends run, by name; those not named run with their defaults.
        progress: told (engine, done, total).
        chunk: how many samples are compared at a time.
    Raises:
        DataError, BackendError, FixedPointOverflow.
    """
    tell = progress or (lambda engine, done, total: None)
    program, options = bundle.program, run_options or {}
    before, skipped = _of_the_network(bundle, samples, loaded, missing_model, tell)
    backends, not_installed = _backends_of(bundle)
    if loaded is None:
        skipped |= dict.fromkeys((REQUANTISED, FLOAT), missing_model)
    floats, integers = None, None
    if loaded is not None:
        floats, integers = float_witness(loaded), integer_witness(loaded, bundle.integers)
    size = chunk or _chunk_size(program)
    parts: list[Verification] = []
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        spikes = _run_program(program, part, tell)
        comparisons: list[Comparison] = []
        logits: dict[str, NDArray[Any]] = {PROGRAM: spikes["logits"]}
        for name, backend in backends.items():
            given = _run_backend(backend, bundle, part, options.get(name) or backend.run_options(), spikes, tell)
            logits[name] = given["logits"]
            comparisons.append(
                compare((name, PROGRAM), program, expected=spikes, actual=given, exact=True, first_sample=start)
            )
        if floats is not None and integers is not None:
            steps = torch.from_numpy(part.steps(program.schedule.timesteps))
            payloads = torch.from_numpy(np.moveaxis(input_payloads(program, part), 1, 0)).double()
            exact = run_torch(integers, payloads * program.graph.input.scale, program, "requantised", tell)
            exact["logits"] = _whole(exact["logits"])
            wide = run_torch(floats, steps, program, "float", tell)
            logits = {"float": wide.pop("logits"), "requantised": exact["logits"]} | logits
            comparisons += [
                compare(OF_THE_INTEGERS, program, expected=exact, actual=spikes, exact=True, first_sample=start),
                compare(OF_THE_FLOATS, program, expected=wide, actual=spikes, exact=False, first_sample=start),
            ]
        parts.append(
            Verification(
                samples=len(part),
                timesteps=program.schedule.timesteps,
                comparisons=tuple(comparisons),
                skipped=skipped | not_installed,
                required=required_of(bundle),
                correct=None if part.y is None else _correct(program.graph.readout, logits, part.y),
                head=program.graph.readout.heads[0].name if program.graph.readout.heads else None,
                spikes={node.name: int(spikes[node.name].sum(dtype=np.int64)) for node in program.graph.recorded},
            )
        )
    result = reduce(_merge, parts)
    return replace(result, comparisons=(*before, *result.comparisons))


def _backends_of(bundle: Bundle) -> tuple[dict[str, Runnable], dict[str, str]]:
    """The bundle's runnable back ends; of those that are not installed here the comparison, and why it cannot run."""
    backends, skipped = {}, {}
    for name in bundle.runnable:
        try:
            backends[name] = find_runnable(name)
        except OptionError as error:
            skipped[name_of((name, PROGRAM))] = str(error)
    return backends, skipped


def _run_backend(
    backend: Runnable, bundle: Bundle, samples: Samples, options: object, expected: ir.Spikes, tell: NamedProgress
) -> ir.Spikes:
    """The spikes of a back end. Raises BackendError if it returns not every layer, or one of another shape."""
    name = backend.name
    spikes = backend.run(bundle.runnable[name], samples, options, lambda done, total: tell(name, done, total))
    for layer, values in expected.items():
        if layer not in spikes or np.shape(spikes[layer]) != values.shape:
            raise BackendError(
                f"{name_of((name, PROGRAM))}: {layer} of shape {list(values.shape)} is not in what {name} returned. "
                "Export the bundle again."
            )
    return spikes


def _of_the_network(
    bundle: Bundle, samples: Samples, loaded: LoadedModel | None, missing_model: str, tell: NamedProgress
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


def _run_program(program: ir.Program, samples: Samples, tell: NamedProgress) -> ir.Spikes:
    engine = fast.simulate if is_balanced(program) else cycle.simulate
    return engine(program, samples, progress=lambda done, total: tell("program", done, total))


def _chunk_size(program: ir.Program) -> int:
    """How many samples' spikes CHUNK_BYTES hold."""
    recorded = program.graph.recorded
    each = sum(math.prod(node.shape) * ir.record_dtype(program.bounds[node.name])().itemsize for node in recorded)
    return max(1, CHUNK_BYTES // (each * program.schedule.timesteps))


def _merge(one: Verification, more: Verification) -> Verification:
    """Two verifications of different samples of one bundle as one."""
    correct = None
    if one.correct is not None and more.correct is not None:
        correct = {engine: count + more.correct[engine] for engine, count in one.correct.items()}
    return Verification(
        samples=one.samples + more.samples,
        timesteps=one.timesteps,
        comparisons=tuple(joined(a, b) for a, b in zip(one.comparisons, more.comparisons, strict=True)),
        skipped=one.skipped,
        required=one.required,
        correct=correct,
        head=one.head,
        spikes={name: count + more.spikes[name] for name, count in one.spikes.items()},
    )


def _whole(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits as whole numbers where float64 holds one (within 1e-3 of it); left as they are elsewhere."""
    whole = np.rint(logits)
    return np.where(np.abs(logits - whole) < 1e-3, whole, logits)


def _correct(node: ir.Readout, logits: dict[str, NDArray[Any]], y: NDArray[np.int64]) -> dict[str, int]:
    """How many samples each engine gives the right answer for. logits: [N, K] by engine; y: [N]."""
    return {engine: int(right_answers(values[:, node.first], y).sum()) for engine, values in logits.items()}
