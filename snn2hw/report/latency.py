"""How long a sample takes: cycles from the schedule, and the length of a cycle under a profile's times.

A cycle ends when the slowest core is done. A layer's work in it is its synaptic operations, updates, spikes and the
messages it receives. A core does as large a part of it as it holds of the layer's neurons, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from snn2hw import ir
from snn2hw.report.events import Events, LayerEvents
from snn2hw.report.mapping import Spread
from snn2hw.report.prices import Profile


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """Mean seconds a cycle that a layer's fullest core works; cores: over how many the layer is spread."""

    name: str
    cores: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """The length of a cycle in seconds under a profile: the slowest layer and the barrier behind it, at least and most.

    one_shot: seconds from the first input to the logits of one sample alone; pipelined: seconds a sample when samples
    follow each other without a gap. Both [least, most].
    """

    profile: str
    bottleneck: str
    layers: tuple[LayerTime, ...]
    step: tuple[float, float]
    one_shot: tuple[float, float]
    pipelined: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Cycles: depth of the pipeline, of one sample alone, and of each of many; untimed: profiles without times."""

    depth: int
    one_shot_cycles: int
    pipelined_cycles: int
    steps: tuple[StepTime, ...]
    untimed: tuple[str, ...]


def latency(
    program: ir.Program, events: Events, profiles: tuple[Profile, ...], placed: Mapping[str, Mapping[str, Spread]]
) -> Latency:
    """The latency of a program whose events were counted.

    placed: chip -> layer -> how it lies there. Under a profile whose chip is not among them, each
    layer is spread evenly over the fewest cores that hold its neurons.
    """
    depth, steps = program.schedule.depth, program.schedule.timesteps
    timed = [profile for profile in profiles if profile.times]
    return Latency(
        depth=depth,
        one_shot_cycles=steps + depth,
        pipelined_cycles=steps,
        steps=tuple(_step_time(program, events, profile, placed.get(profile.chip or "", {})) for profile in timed),
        untimed=tuple(profile.name for profile in profiles if not profile.times),
    )


def _step_time(program: ir.Program, events: Events, profile: Profile, placed: Mapping[str, Spread]) -> StepTime:
    layers = []
    for unit, members in stages(program).items():
        relays = [name for name in members if name != unit and name in placed]  # they lie on other cores
        together = [name for name in members if name not in relays]
        for name, done in [*((relay, [relay]) for relay in relays), (unit, together)]:
            work = sum(_work(events[member], events, profile) for member in done)
            spread = placed.get(name) or _evenly(program.graph[name], profile)
            layers.append(LayerTime(name=name, cores=spread.cores, seconds=work * spread.largest_part))
    slowest = max(layers, key=lambda layer: layer.seconds)
    step = (
        slowest.seconds + profile.time("barrier_least"),
        slowest.seconds + profile.time("barrier_most"),
    )
    steps = program.schedule.timesteps
    cycles = steps + program.schedule.depth
    return StepTime(
        profile=profile.name,
        bottleneck=slowest.name,
        layers=tuple(layers),
        step=step,
        one_shot=(cycles * step[0], cycles * step[1]),
        pipelined=(steps * step[0], steps * step[1]),
    )


def stages(program: ir.Program) -> dict[str, list[str]]:
    """Each layer of units with the synapses before it, a synapse with the first units that it reaches."""
    layers: dict[str, list[str]] = {}
    taken: set[str] = set()
    for node in program.graph:
        if ir.is_unit(node):
            layers[node.name] = [node.name]
            waiting = list(node.inputs)
            while waiting:
                source = program.graph[waiting.pop()]
                if ir.is_synapse(source) and source.name not in taken:
                    taken.add(source.name)
                    layers[node.name].append(source.name)
                    waiting += source.inputs
    return layers


def _evenly(node: ir.Node, profile: Profile) -> Spread:
    cores = math.ceil(math.prod(node.shape) / (profile.neurons_per_core or 1))
    return Spread(cores=cores, largest_part=1 / cores)


def _work(layer: LayerEvents, events: Events, profile: Profile) -> float:
    """Seconds a cycle, if one core did it all: the mean over samples and steps."""
    total = 0.0
    if layer.synapses is not None:
        kind = f"synaptic_operation_{layer.kind}" if layer.kind in ("conv", "linear") else "synaptic_operation"
        by_value = layer.synapses.carries == "graded" and profile.graded == "value"
        operations = layer.synapses.by_value if by_value else layer.synapses.operations
        messages = layer.synapses.messages_by_value if by_value else layer.synapses.messages
        total += sum(operations) * profile.time(kind) + sum(messages) * profile.time("message")
    if layer.unit is not None:
        total += sum(layer.unit.active) * profile.time("neuron_active")
        total += sum(layer.unit.inactive) * profile.time("neuron_inactive")
        total += sum(layer.unit.spikes) * profile.time("spike")
    return total / (events.samples * events.timesteps)
