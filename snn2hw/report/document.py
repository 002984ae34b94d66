"""report.json: every number of the report, made in one pass over the samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from snn2hw.data.aliases import NamedProgress
from snn2hw.data.samples import Samples
from snn2hw.engines import fast
from snn2hw.errors import OptionError
from snn2hw.frontends.torch.requantise import requantise
from snn2hw.frontends.torch.trace import Traced
from snn2hw.report.accuracy import AccuracyCounter
from snn2hw.report.answers import Answers, Confused, Paired, by_class, compare_answers, confusion
from snn2hw.report.efficiency import EarlyExit, Efficiency, Headline, early_exits, efficiencies, headline
from snn2hw.report.energy import Baseline, PaperFormula, ProfileEnergy, baseline, paper_formula, price_events
from snn2hw.report.events import EventCounter, Events
from snn2hw.report.latency import Latency, latency
from snn2hw.report.mapping import Mapping, map_to_chips
from snn2hw.report.membranes import MembraneCounter, Membranes
from snn2hw.report.network import (
    Approximation,
    Footprint,
    GraphEdge,
    GraphNode,
    Headroom,
    InputCounter,
    LayerWeights,
    approximations,
    graph_of,
    headroom,
    layer_weights,
)
from snn2hw.report.neurobench import NeuroBench, neurobench
from snn2hw.report.parting import LayerMismatch
from snn2hw.report.prices import ARITHMETIC, RULES, Profile, load_profiles
from snn2hw.report.raster import Raster, raster
from snn2hw.report.reproducibility import Reproducibility, reproducibility
from snn2hw.report.shares import Accuracy
from snn2hw.report.subject import Subject
from snn2hw.report.totals import LayerActivity, Operations, activity, footprint, operations
from snn2hw.report.values import Values
from snn2hw.report.verification import Verified


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that report.json holds; docs/report.md tells what each part means.

    unlabelled, without_model: why parts are absent, or None. mappings: the layers on the cores of every known chip.
    Parts that version 1 had not are None or empty where such a report was read.
    """

    schema: Literal["snn2hw.report/2"] = "snn2hw.report/2"
    timesteps: int
    samples: int
    silent: bool
    unlabelled: str | None
    without_model: str | None
    head: str | None
    verification: Verified | None
    waterfall: tuple[Accuracy, ...]
    over_time: tuple[Accuracy, ...]
    answers: Answers | None
    paired: Paired | None
    confusion: tuple[Confused, ...]
    classes: tuple[Accuracy, ...]
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    events: Events
    activity: tuple[LayerActivity, ...]
    membranes: Membranes | None
    operations: Operations
    rasters: tuple[Raster, ...]
    counting_rules: dict[str, str]
    profiles: tuple[Profile, ...]
    energy: tuple[ProfileEnergy, ...]
    headline: Headline | None
    baselines: tuple[Baseline, ...]
    paper_formula: PaperFormula
    latency: Latency
    early_exits: tuple[EarlyExit, ...]
    efficiency: tuple[Efficiency, ...]
    neurobench: NeuroBench | None
    headroom: tuple[Headroom, ...]
    mismatches: tuple[LayerMismatch, ...]
    weights: tuple[LayerWeights, ...]
    footprint: Footprint
    approximations: tuple[Approximation, ...]
    mappings: tuple[Mapping, ...]
    reproducibility: Reproducibility

    def to_json(self) -> str:
        """The document of schema snn2hw.report/2 (report.schema.json) as text, each of its parts on a line."""
        parts = TypeAdapter(Report).dump_python(self, mode="json")
        lines = (f"{json.dumps(name)}: {json.dumps(part, allow_nan=False)}" for name, part in parts.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"


def make_report(
    subject: Subject,
    samples: Samples,
    traced: Traced | None,
    *,
    profiles: Sequence[Profile],
    missing_model: str = "",
    verification: Verified | None = None,
    raster_samples: Sequence[int] = (0,),
    command: str = "",
    asked_profile: str = "",
    progress: NamedProgress | None = None,
) -> Report:
    """Run samples once and count everything; memory does not grow with their number.

    Args:
        subject: what `of_bundle` or `of_deployment` returns.
        samples: what to run.
        traced: the model the program came from; None if it cannot be had, for the reason `missing_model`.
        profiles: prices for the energy part.
        verification: what `read_verification` returns.
        raster_samples: whose spikes to keep one by one.
        command: the command line, for the record.
        asked_profile: the profile whose energy is to stand first; "" for that of the program's chip.
        progress: told (engine, done, total).
    Raises:
        DataError, FixedPointOverflow; OptionError if there are no samples, or no such sample to keep.
    """
    if not len(samples):
        raise OptionError(f"{samples.name}: there are no samples to report on.")
    for number in raster_samples:
        if not 0 <= number < len(samples):
            raise OptionError(f"--raster {number}: the samples go from 0 to {len(samples) - 1}.")
    program = subject.program
    tell = progress or (lambda engine, done, total: None)
    counter = EventCounter(program)
    inputs = InputCounter(program.graph.input)
    right = AccuracyCounter(program, traced, None if traced is None else requantise(traced, subject.integers))
    rasters: dict[int, Raster] = {}
    membranes = MembraneCounter(program)
    ran = fast.stream(program, samples, progress=lambda done, total: tell("program", done, total), watch=membranes.add)
    for part, spikes in ran:
        batch = samples[part]
        values = Values(program, batch, spikes)
        counter.add(values)
        inputs.add(batch)
        right.add(batch, values)
        for number in raster_samples:
            if part.start <= number < part.stop:
                label = None if samples.y is None else int(samples.y[number])
                rasters[number] = raster(program, values, number - part.start, sample=number, label=label)
        tell("compare", part.stop, len(samples))
    events = counter.events()
    mappings = map_to_chips(program, counter.spikes(), samples=len(samples))
    hops = {mapping.chip: mapping.hops for mapping in mappings}
    nodes, edges = graph_of(program)
    weights = layer_weights(program, subject.network)
    arithmetic = load_profiles(ARITHMETIC)
    energy = tuple(price_events(events, profile, hops.get(profile.chip or "")) for profile in profiles)
    times = latency(program, events, tuple(profiles), {mapping.chip: mapping.spreads() for mapping in mappings})
    answers = right.answers.answers()
    confused = confusion(answers)
    memory = footprint(events, weights, traced)
    return Report(
        timesteps=program.schedule.timesteps,
        samples=len(samples),
        silent=events.silent,
        unlabelled="the samples have no labels, so nothing is said of accuracy" if samples.y is None else None,
        without_model=missing_model if traced is None else None,
        head=program.graph.readout.heads[0].name if program.graph.readout.heads else None,
        verification=verification,
        waterfall=right.waterfall(),
        over_time=right.over_time(),
        answers=answers,
        paired=compare_answers(answers),
        confusion=confused,
        classes=by_class(confused),
        nodes=nodes,
        edges=edges,
        events=events,
        activity=activity(events),
        membranes=membranes.membranes(),
        operations=operations(events),
        rasters=tuple(rasters[number] for number in dict.fromkeys(raster_samples)),
        counting_rules={str(rule): text for rule, text in RULES.items()},
        profiles=tuple(profiles),
        energy=energy,
        headline=headline(program.numerics.chip, energy, profiles, mappings, asked_profile),
        baselines=tuple(baseline(events, profile) for profile in arithmetic),
        paper_formula=paper_formula(events, arithmetic[0]),
        latency=times,
        early_exits=early_exits(events, answers, profiles, program.schedule.depth),
        efficiency=efficiencies(times, energy),
        neurobench=neurobench(events, memory, right.waterfall()),
        headroom=headroom(program),
        mismatches=right.parting.mismatches(),
        weights=weights,
        footprint=memory,
        approximations=approximations(program, inputs),
        mappings=mappings,
        reproducibility=reproducibility(subject, samples, command),
    )
