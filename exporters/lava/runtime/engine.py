"""Executes one region of a program cycle by cycle, in numpy. It knows nothing of Lava. Arrays are in Lava's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuron import Clock, NeuronState, check_range
from program import (
    SYNAPSES,
    Array,
    Merge,
    Neuron,
    Node,
    Program,
    ProgramError,
    Readout,
    Region,
    Relay,
    Shape,
    Threshold,
    lava_order,
    lava_parameter,
)
from synapses import Rule, Scratch, make_synapse


@dataclass(frozen=True)
class Job:
    """What every region needs to know of a run. `recordings` maps recorded names and 'logits' to .npy files."""

    program: Program
    samples: int
    recordings: Mapping[str, Path]

    def clock(self, name: str) -> Clock:
        """The clock of a node."""
        return Clock(self.program.nodes[name].latency, self.program.timesteps, self.samples)


class Recording:
    """Writes what a node emits into a memory map [N, T, *shape], at the index of the step it answers."""

    def __init__(self, job: Job, name: str) -> None:
        self.name, self.clock = name, job.clock(name)
        self.array = np.asarray(np.lib.format.open_memmap(job.recordings[name], mode="r+"))
        self.limits = np.iinfo(self.array.dtype)
        self.may_exceed = isinstance(job.program.nodes[name], (Merge, Relay))  # the others emit 0 and 1

    def write(self, cycle: int, value: Array) -> None:
        """Store a value; cycles outside every sample are dropped. Raises ProgramError if it does not fit the dtype."""
        index = self.clock.index(cycle)
        if index is None:
            return
        if self.may_exceed and (value.min() < self.limits.min or value.max() > self.limits.max):
            raise ProgramError(
                f"layer {self.name}: sample {index[0]}, step {index[1]}: it emits values from {value.min()} to "
                f"{value.max()}, which its recorded type {self.array.dtype} cannot hold. Export the bundle again."
            )
        self.array[index] = lava_order(value.astype(self.array.dtype))  # to narrow first makes turning 4 times faster


class Delays:
    """The last outputs of one node, so that its readers can see them later. Before the first cycle all is zero."""

    def __init__(self, longest: int, shape: Shape) -> None:
        self.ring = [np.zeros(shape, np.int32) for _ in range(longest + 1)]

    def slot(self, cycle: int) -> Array:
        """Where the output of a cycle belongs. What it held is gone once it is written."""
        return self.ring[cycle % len(self.ring)]

    def get(self, cycle: int, delay: int) -> Array:
        """The output of `delay` cycles before `cycle`."""
        return self.ring[(cycle - delay) % len(self.ring)]


class ReadoutState:
    """Adds up the logits of a sample and stores them in the memory map [N, K] when its last step is in."""

    def __init__(self, node: Readout, job: Job) -> None:
        self.offset, self.clock = node.reset_offset, job.clock(node.name)
        self.bias = lava_parameter(node.bias, node.shape).astype(np.int64)
        self.total = np.zeros(node.shape[::-1], np.int64)
        self.logits = np.lib.format.open_memmap(job.recordings["logits"], mode="r+")

    def step(self, cycle: int, x: Array) -> None:
        """Take the input of one cycle."""
        if cycle % self.clock.timesteps == self.offset:
            self.total[...] = 0
        self.total += x
        self.total += self.bias
        index = self.clock.index(cycle)
        if index is not None and index[1] == self.clock.timesteps - 1:
            self.logits[index[0]] = lava_order(self.total)


class RelayRule:
    """A relay at work, in Lava's order: the payloads of what it receives."""

    def __init__(self, node: Relay, job: Job) -> None:
        self.node, self.clock, self.limit = node, job.clock(node.name), job.program.limits.membrane_limit
        self.bias = lava_parameter(node.bias, node.shape)

    def payloads(self, cycle: int, x: Array) -> Array:
        """What is emitted for the input x of a cycle. Raises RangeError where the sum of a sample is too large."""
        index = self.clock.index(cycle)
        current = x.astype(np.int64) + self.bias
        if index is not None and self.node.bound.kind != "proved":
            check_range(current, self.limit, quantity="summed input", layer=self.node.name, index=index)
        half = (1 << self.node.shift) >> 1
        payload: Array = np.clip((current + half) >> self.node.shift, self.node.low, self.node.high)
        return payload


class RegionEngine:
    """Runs the nodes of one region. In each cycle call `begin`, then `finish` with what the region's entry emits.

    A node is *late* if its output depends on what the entry emits in the same cycle. If the exit is not late, `output`
    is ready after `begin`: the region can send before it receives, and regions in a chain work at the same time.

    In a cycle that answers no step of any sample a node does nothing, and its output is of no meaning. No sample can
    tell: in an aligned program (Program.is_aligned) the cycle in which a node answers a step reads of every source the
    cycle that answers the same step, and every state is set to 0 in the cycle that answers a sample's first step. So by
    induction along the graph whatever a sample reads was computed for it. A program that is not aligned runs in full.
    """

    def __init__(self, job: Job, region: Region) -> None:
        program = job.program
        self.region = region
        self.nodes = [program.nodes[name] for name in region.nodes]
        bounds = program.payload_bounds()
        shapes = {name: program.nodes[name].shape for name in (region.entry, *region.nodes)}
        longest = dict.fromkeys(shapes, 0)
        for node in self.nodes:
            for edge in node.inputs:
                longest[edge.source] = max(longest[edge.source], edge.delay)
        self.outputs = {name: Delays(longest[name], shape[::-1]) for name, shape in shapes.items()}
        self.recordings = {name: Recording(job, name) for name in region.nodes if name in program.recorded}
        self.clocks = {name: job.clock(name) for name in shapes}
        self.skips = program.is_aligned()
        scratch = Scratch()
        self.synapses: dict[str, Rule] = {}
        self.states: dict[str, NeuronState] = {}
        self.relays: dict[str, RelayRule] = {}
        for node in self.nodes:
            if isinstance(node, SYNAPSES):
                self.synapses[node.name] = make_synapse(node, shapes[node.inputs[0].source], scratch)
            elif isinstance(node, Neuron):
                input_bound = program.input_bound(node.name, bounds)
                self.states[node.name] = NeuronState(node, self.clocks[node.name], input_bound, program.limits)
            elif isinstance(node, Relay):
                self.relays[node.name] = RelayRule(node, job)
            elif isinstance(node, Readout):
                self.readout = ReadoutState(node, job)
        late = {region.entry}
        for node in self.nodes:
            if node.name not in self.synapses and any(e.delay == 0 and e.source in late for e in node.inputs):
                late.add(node.name)
        self.early = [node for node in self.nodes if node.name not in late]
        self.late = [node for node in self.nodes if node.name in late]
        self.sends_first = region.exit not in late
        self.cycle = 0

    @property
    def output(self) -> Array:
        """What the exit emits in this cycle, int32 in Lava's order."""
        return self.outputs[self.region.exit].get(self.cycle, 0)

    def begin(self) -> None:
        """Start a cycle: run every node that does not depend on what the entry emits in it."""
        self.cycle += 1
        for node in self.early:
            if self._answers(node.name, self.cycle):
                self._run(node)

    def finish(self, entry: Array) -> None:
        """End a cycle: run the rest and let the synapses take what they will answer in the next cycle."""
        if self._answers(self.region.entry, self.cycle):
            self.outputs[self.region.entry].slot(self.cycle)[...] = entry
        for node in self.late:
            if self._answers(node.name, self.cycle):
                self._run(node)
        for node in self.nodes:
            if node.name in self.synapses and self._answers(node.name, self.cycle + 1):
                self.synapses[node.name].take(self._input(node))

    def _answers(self, name: str, cycle: int) -> bool:
        """Whether what a node emits in a cycle may be read for a sample."""
        return not self.skips or self.clocks[name].index(cycle) is not None

    def _input(self, node: Node) -> Array:
        values = [self.outputs[edge.source].get(self.cycle, edge.delay) for edge in node.inputs]
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def _run(self, node: Node) -> None:
        out = self.outputs[node.name].slot(self.cycle)
        if node.name in self.synapses:
            self.synapses[node.name].answer(out)
        elif node.name in self.states:
            self.states[node.name].step(self.cycle, self._input(node), out)
        elif node.name in self.relays:
            out[...] = self.relays[node.name].payloads(self.cycle, self._input(node))
        elif isinstance(node, Readout):
            self.readout.step(self.cycle, self._input(node))
        elif isinstance(node, Threshold):
            np.greater(self._input(node), node.threshold, out=out)
        else:
            out[...] = self._input(node)
        if node.name in self.recordings:
            self.recordings[node.name].write(self.cycle, out)
