"""Executes one region of a program cycle by cycle, in numpy. It knows nothing of Lava. Arrays are in Lava's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuron import Clock, NeuronState
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
    Threshold,
    lava_order,
    lava_parameter,
)
from synapses import Rule, make_synapse


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
        self.array = np.lib.format.open_memmap(job.recordings[name], mode="r+")
        self.limits = np.iinfo(self.array.dtype)
        self.may_exceed = isinstance(job.program.nodes[name], Merge)  # the others emit 0 and 1

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
        self.array[index] = lava_order(value)


class Delays:
    """The last outputs of one node, so that its readers can see them later. Before the first cycle all is zero."""

    def __init__(self, longest: int, zero: Array) -> None:
        self.ring = [zero] * (longest + 1)

    def put(self, cycle: int, value: Array) -> None:
        """Store the output of a cycle."""
        self.ring[cycle % len(self.ring)] = value

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

    def step(self, cycle: int, x: Array) -> Array:
        """Take the input of one cycle, return the total so far."""
        if cycle % self.clock.timesteps == self.offset:
            self.total[...] = 0
        self.total += x
        self.total += self.bias
        index = self.clock.index(cycle)
        if index is not None and index[1] == self.clock.timesteps - 1:
            self.logits[index[0]] = lava_order(self.total)
        return self.total


class RegionEngine:
    """Runs the nodes of one region. In each cycle call `begin`, then `finish` with what the region's entry emits.

    A node is *late* if its output depends on what the entry emits in the same cycle. If the exit is not late, `output`
    is ready after `begin`: the region can send before it receives, and regions in a chain work at the same time.
    """

    def __init__(self, job: Job, region: Region) -> None:
        program = job.program
        self.region = region
        self.nodes = [program.nodes[name] for name in region.nodes]
        bounds = program.payload_bounds()
        shapes = {name: program.nodes[name].shape for name in (region.entry, *region.nodes)}
        self.zeros = {name: np.zeros(shape[::-1], np.int32) for name, shape in shapes.items()}
        longest = dict.fromkeys(shapes, 0)
        for node in self.nodes:
            for edge in node.inputs:
                longest[edge.source] = max(longest[edge.source], edge.delay)
        self.outputs = {name: Delays(longest[name], self.zeros[name]) for name in shapes}
        self.recordings = {name: Recording(job, name) for name in region.nodes if name in program.recorded}
        self.synapses: dict[str, Rule] = {}
        self.pending: dict[str, Array] = {}
        self.states: dict[str, NeuronState | ReadoutState] = {}
        for node in self.nodes:
            if isinstance(node, SYNAPSES):
                input_shape = shapes[node.inputs[0].source]
                self.synapses[node.name] = make_synapse(node, input_shape)
                self.pending[node.name] = np.zeros(input_shape[::-1], np.int32)
            elif isinstance(node, Neuron):
                input_bound = program.input_bound(node.name, bounds)
                self.states[node.name] = NeuronState(node, job.clock(node.name), input_bound)
            elif isinstance(node, Readout):
                self.states[node.name] = ReadoutState(node, job)
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
            self._run(node)

    def finish(self, entry: Array) -> None:
        """End a cycle: run the rest and put aside what the synapses will answer in the next cycle."""
        self.outputs[self.region.entry].put(self.cycle, entry)
        for node in self.late:
            self._run(node)
        for node in self.nodes:
            if node.name in self.synapses:
                self.pending[node.name] = self._input(node)

    def _input(self, node: Node) -> Array:
        values = [self.outputs[edge.source].get(self.cycle, edge.delay) for edge in node.inputs]
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def _run(self, node: Node) -> None:
        if node.name in self.synapses:
            value = self.synapses[node.name](self.pending[node.name])
        elif node.name in self.states:
            value = self.states[node.name].step(self.cycle, self._input(node))
        elif isinstance(node, Threshold):
            value = (self._input(node) > node.threshold).astype(np.int32)
        else:
            value = self._input(node)
        self.outputs[node.name].put(self.cycle, value)
        if node.name in self.recordings:
            self.recordings[node.name].write(self.cycle, value)
