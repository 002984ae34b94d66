"""The program in nothing but Lava's processes, for those who must: --stock-only.

It is wiring.py with the processes that Lava has instead of this project's:

| what             | instead of      | Process                                                                       |
|------------------|-----------------|-------------------------------------------------------------------------------|
| samples          | Source          | io.source.RingBuffer with the payload of every cycle                          |
| delay of an edge | Delay           | as many Convs with one group per channel and weight 1                         |
| recorded node    | Recorder        | io.sink.RingBuffer as long as the run, read at its end                        |
| read-out         | Accumulator     | io.sink.RingBuffer; its bias and the sum over the steps are added on reading  |
| neuron           | CheckedLIFReset | none: LIFReset must do, and what it cannot do is refused                      |
| relay, max_pool  | Payload, Largest | none: refused                                                                |

Lava hands over what a sink holds number by number, so this is for small networks and few samples.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import AbstractPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source

from engine import Job, Recording
from processes.neurons import why_not_stock
from program import Array, MaxPool, Neuron, Node, ProgramError, Readout, Relay, Scale
from wiring import Wiring, connect, make_conv


class StockNetwork(Wiring):
    """A whole program as stock processes. `payloads` [N, T or 1, *shape]."""

    def __init__(self, job: Job, payloads: Array) -> None:
        program = job.program
        refused = {
            node.name: reason
            for node in program.nodes.values()
            if isinstance(node, Neuron) and (reason := why_not_stock(job, node))
        }
        if refused:
            name, reason = next(iter(refused.items()))
            raise ProgramError(
                f"--stock-only: layer {name}, and {len(refused)} in all, cannot be a LIFReset of Lava: {reason}. "
                "Use --processes structural, which replaces these neurons alone."
            )
        if relays := [name for name, node in program.nodes.items() if isinstance(node, (MaxPool, Relay))]:
            raise ProgramError(
                f"--stock-only: layer {relays[0]}, and {len(relays)} in all, hands on a current or the largest "
                "of several, which no process of Lava does. Use --processes structural."
            )
        self.cycles = program.cycles(job.samples)
        steps = np.broadcast_to(payloads, (len(payloads), program.timesteps, *program.input.shape))
        data = np.zeros((*program.input.shape[::-1], self.cycles), np.int32)
        data[..., : job.samples * program.timesteps] = steps.reshape(-1, *program.input.shape).T
        self.source = Source(data=data)
        self.source.name = program.input.name  # its constructor takes none
        super().__init__(job, {program.input.name: self.source.s_out})
        self.sinks: dict[str, Sink] = {}
        for name, node in program.nodes.items():
            if node is not program.input:
                self.add(name)

    def make(self, node: Node) -> AbstractPort:
        """Make a node's process, note its output, return its input."""
        return self._sink(node).a_in if isinstance(node, Readout) else super().make(node)

    def delay(self, source: str, cycles: int) -> AbstractPort:
        """The output of a node, `cycles` cycles late: one Conv for each."""
        node = self.nodes[source]
        name = f"{source} (delayed by {cycles})"
        one = Scale(name, node.shape, 0, (), node.bound, accumulator_bound=0, factor=1)
        conv = make_conv(one, node.shape)
        self.keep(conv)
        connect(self._delayed(source, cycles - 1), conv.s_in)
        return conv.a_out

    def record(self, name: str) -> None:
        """Record what a node emits."""
        connect(self.outputs[name], self._sink(self.nodes[name]).a_in)

    def _sink(self, node: Node) -> AbstractProcess:
        self.sinks[node.name] = sink = Sink(shape=node.shape[::-1], buffer=self.cycles)
        sink.name = f"{node.name} (sink)"
        return self.keep(sink)

    def read(self) -> None:
        """Copy what the sinks hold into the recordings. To be called when the run is over, before Lava is stopped."""
        program, job = self.job.program, self.job
        for name, sink in self.sinks.items():
            held = sink.data.get().astype(np.int64)  # [W, H, C, cycles]
            if name == program.readout.name:
                latency, timesteps = program.readout.latency, program.timesteps
                mine = held[..., latency : latency + job.samples * timesteps].T  # [N * T, K]
                steps = mine.reshape(job.samples, timesteps, -1) + program.readout.bias.reshape(-1)
                np.lib.format.open_memmap(job.recordings["logits"], mode="r+")[...] = steps.sum(axis=1)
                continue
            recording = Recording(job, name)
            for cycle in range(1, self.cycles + 1):
                recording.write(cycle, held[..., cycle - 1])
