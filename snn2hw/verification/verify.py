"""Verify: the user's model == the float network == the integers == the program == every back end in the bundle.

These comparisons are required: the user's own module against the float network (network_vs_torch.py); the integers
against the float network and the stated scales (integers.py); the model with the integers put back, and each runnable
back end, such as real Lava, against the program, at every layer, neuron and step. One that could not run makes a
verdict incomplete. A back end that the user leaves out is not required, and the verdict names it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import nir
import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import NamedProgress, Note
from snn2hw.data.samples import Samples, right_answers
from snn2hw.deployment import WeightBits
from snn2hw.engines import cycle, fast
from snn2hw.engines.batches import is_balanced
from snn2hw.engines.cycle import input_payloads
from snn2hw.engines.torch_model import run_torch
from snn2hw.errors import BackendError, OptionError
from snn2hw.exporters import Runnable, find_runnable
from snn2hw.frontends.source import LoadedModel
from snn2hw.verification.comparison import Comparison, compare, name_of
from snn2hw.verification.integers import NAME as INTEGERS
from snn2hw.verification.integers import compare_integers
from snn2hw.verification.network_judge import NAME as NETWORK
from snn2hw.verification.network_vs_torch import CannotRun, compare_network_on
from snn2hw.verification.verdict import (
    FLOAT,
    NIR_FILE,
    OF_THE_FLOATS,
    OF_THE_INTEGERS,
    PROGRAM,
    PYTORCH,
    REQUANTISED,
    Verification,
    merged,
)
from snn2hw.verification.witnesses import float_witness, integer_witness

BATCH = 64
CHUNK_BYTES = 512 << 20  # one engine's spikes of the samples that are compared at a time
NETWORK_SAMPLES = 64  # on which the user's module is run in float64: what a tracer gets wrong shows on few


class Verifiable(Protocol):
    """A program, and what it was made of: a bundle, or what was just compiled.

    runnable: what each runnable back end wrote for it, by name. bits: what its weights are stated to have, if they are.
    """

    @property
    def bits(self) -> WeightBits | None: ...
    @property
    def program(self) -> ir.Program: ...
    @property
    def network(self) -> nir.NIRGraph: ...
    @property
    def integers(self) -> nir.NIRGraph: ...
    @property
    def runnable(self) -> Mapping[str, Path]: ...


def required_of(bundle: Verifiable, without: Collection[str] = ()) -> tuple[str, ...]:
    """The comparisons that a bundle's verdict rests on: those of its numbers, and one for each back end that runs and
    is not left out.
    """
    backends = (name for name in bundle.runnable if name not in without)
    return (NETWORK, INTEGERS, *(name_of((name, PROGRAM)) for name in backends), REQUANTISED)


def prepare_backends(bundle: Verifiable, without: Collection[str], tell: Note) -> dict[str, str]:
    """Get the bundle's runnable back ends ready, before the work begins; of those that cannot run, the reason by name.

    without: back ends that the user leaves out. Raises OptionError if the bundle has none of such a name.
    """
    if unknown := [name for name in without if name not in bundle.runnable]:
        there = ", ".join(bundle.runnable) or "none"
        raise OptionError(f"--without {unknown[0]}: no such back end runs what was exported. Runnable are: {there}.")
    unable = {}
    for name in bundle.runnable:
        if name in without:
            continue
        try:
            find_runnable(name).prepare(tell)
        except (OptionError, BackendError) as error:
            unable[name] = f"{error} For a verdict of the other witnesses leave it out: --without {name}."
    return unable


def verify(
    bundle: Verifiable,
    samples: Samples,
    loaded: LoadedModel | None,
    *,
    without: Collection[str] = (),
    unable: Mapping[str, str] | None = None,
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
        without: back ends that are left out: the verdict is that of the other witnesses, and says so.
        unable: what `prepare_backends` returns: back ends that cannot run, and why.
        run_options: how back ends run, by name; those not named run with their defaults.
        progress: told (engine, done, total).
        chunk: how many samples are compared at a time.
    Raises:
        DataError, BackendError, FixedPointOverflow.
    """
    tell = progress or (lambda engine, done, total: None)
    program, options = bundle.program, run_options or {}
    before, skipped = _of_the_network(bundle, samples, loaded, missing_model, tell)
    unable = unable or {}
    backends = {name: find_runnable(name) for name in bundle.runnable if name not in without and name not in unable}
    skipped |= {name_of((name, PROGRAM)): reason for name, reason in unable.items()}
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
                skipped=skipped,
                required=required_of(bundle, without),
                correct=None if part.y is None else _correct(program.graph.readout, logits, part.y),
                head=program.graph.readout.heads[0].name if program.graph.readout.heads else None,
                spikes={node.name: int(spikes[node.name].sum(dtype=np.int64)) for node in program.graph.recorded},
                left_out=tuple(name for name in bundle.runnable if name in without),
                model=PYTORCH if loaded is None or loaded.traced is not None else NIR_FILE,
            )
        )
    result = reduce(merged, parts)
    return replace(result, comparisons=(*before, *result.comparisons))


def _run_backend(
    backend: Runnable, bundle: Verifiable, samples: Samples, options: object, expected: ir.Spikes, tell: NamedProgress
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
    bundle: Verifiable, samples: Samples, loaded: LoadedModel | None, missing_model: str, tell: NamedProgress
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
    comparisons.append(compare_integers(bundle.program, bundle.network, bundle.integers, bundle.bits))
    return comparisons, skipped


def _run_program(program: ir.Program, samples: Samples, tell: NamedProgress) -> ir.Spikes:
    engine = fast.simulate if is_balanced(program) else cycle.simulate
    return engine(program, samples, progress=lambda done, total: tell("program", done, total))


def _chunk_size(program: ir.Program) -> int:
    """How many samples' spikes CHUNK_BYTES hold."""
    recorded = program.graph.recorded
    each = sum(math.prod(node.shape) * ir.record_dtype(program.bounds[node.name])().itemsize for node in recorded)
    return max(1, CHUNK_BYTES // (each * program.schedule.timesteps))


def _whole(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits as whole numbers where float64 holds one (within 1e-3 of it); left as they are elsewhere."""
    whole = np.rint(logits)
    return np.where(np.abs(logits - whole) < 1e-3, whole, logits)


def _correct(node: ir.Readout, logits: dict[str, NDArray[Any]], y: NDArray[np.int64]) -> dict[str, int]:
    """How many samples each engine gives the right answer for. logits: [N, K] by engine; y: [N]."""
    return {engine: int(right_answers(values[:, node.first], y).sum()) for engine, values in logits.items()}
