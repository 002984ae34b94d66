"""What a sample costs if the program stops early, how fast samples follow each other, and energy times delay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snn2hw.report.answers import Answers
from snn2hw.report.energy import ProfileEnergy, price_events
from snn2hw.report.events import Events, LayerEvents, SynapseEvents, UnitEvents
from snn2hw.report.latency import Latency, StepTime
from snn2hw.report.mapping import Mapping
from snn2hw.report.prices import Profile

FIRST_CHOICE = "loihi1-davies"  # where the program's own chip has no public price


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    """The program stopped after so many steps: samples whose answer is final by then, joules a sample under each
    profile (hops left out: they are counted for all steps together), and cycles of one sample alone.
    """

    steps: int
    settled: int
    energy: dict[str, float]
    cycles: int


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """Under a profile with times: samples a second in a row, and joule seconds of one sample alone; [least, most].

    energy_delay: None under a profile without prices.
    """

    profile: str
    samples_per_second: tuple[float, float]
    energy_delay: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The profile whose energy stands first; reason: why it is not the program's own chip, and what it leaves out; ""
    where there is nothing to say.
    """

    profile: str
    reason: str


def early_exits(events: Events, answers: Answers, profiles: Sequence[Profile], depth: int) -> tuple[EarlyExit, ...]:
    """What each number of steps costs. depth: of the pipeline, in cycles."""
    settled = np.array(answers.settled)
    exits = []
    for steps in range(1, events.timesteps + 1):
        part = up_to(events, steps)
        totals = {profile.name: price_events(part, profile).total for profile in profiles}
        exits.append(
            EarlyExit(
                steps=steps,
                settled=int((settled <= steps).sum()),
                energy={name: total for name, total in totals.items() if total is not None},
                cycles=steps + depth,
            )
        )
    return tuple(exits)


def up_to(events: Events, steps: int) -> Events:
    """The events of the first steps alone; units that never or always fire are those of all steps."""

    def cut(layer: LayerEvents) -> LayerEvents:
        synapses = layer.synapses and replace(layer.synapses, **_first(layer.synapses, steps))
        unit = layer.unit and replace(layer.unit, **_first(layer.unit, steps))
        return replace(layer, synapses=synapses, unit=unit)

    return replace(events, timesteps=steps, layers=tuple(map(cut, events.layers)))


def _first(part: SynapseEvents | UnitEvents, steps: int) -> dict[str, Any]:
    """The counts by step, cut."""
    return {
        name: counts[:steps] for name, counts in vars(part).items() if isinstance(counts, tuple) and name != "rates"
    }


def efficiencies(latency: Latency, energies: Sequence[ProfileEnergy]) -> tuple[Efficiency, ...]:
    """Of every profile with times."""
    totals = {energy.profile: energy.total for energy in energies}

    def of(times: StepTime) -> Efficiency:
        total, (least, most) = totals[times.profile], times.one_shot
        slow, fast = (1 / seconds if seconds else 0.0 for seconds in times.pipelined[::-1])
        return Efficiency(
            profile=times.profile,
            samples_per_second=(slow, fast),
            energy_delay=None if total is None else (total * least, total * most),
        )

    return tuple(map(of, latency.steps))


def headline(
    chip: str, energies: Sequence[ProfileEnergy], profiles: Sequence[Profile], mappings: Sequence[Mapping], asked: str
) -> Headline | None:
    """The profile whose energy stands first: the one that was asked for, else that of the program's chip, else that of
    another chip with the reason. asked: "" if none was named. None if no profile has a price.
    """
    priced = [energy.profile for energy in energies if energy.total is not None]
    if not priced:
        return None
    chips = {profile.name: profile.chip for profile in profiles}
    own = [name for name in priced if chip in (name, chips[name])]
    first = next(name for name in (asked, *own, FIRST_CHOICE, *priced) if name in priced)
    titles = {mapping.chip: mapping.title for mapping in mappings}
    reasons = []
    if first != asked and first not in own:
        reasons.append(f"there is no public price for {titles.get(chip, chip)}, the program's chip")
    for mapping in mappings:
        if mapping.chip == chips[first] and mapping.does_not_fit:
            reasons.append(f"not all layers fit {mapping.title}, so its hops are left out")
    return Headline(profile=first, reason="; ".join(reasons))
