"""What every node of a program receives and emits for a few samples, from the spikes that an engine recorded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import input_payloads, synapse_rule


class Values:
    """Integers [N, T, *shape] of samples: recorded spikes, input payloads, and sums where a synapse reads a synapse."""

    def __init__(self, program: ir.Program, samples: Samples, spikes: ir.Spikes) -> None:
        self.program, self.spikes = program, spikes
        self._emitted: dict[str, NDArray[np.generic]] = {
            node.name: spikes[node.name] for node in program.graph.recorded
        } | {program.graph.input.name: input_payloads(program, samples)}

    def __len__(self) -> int:
        return len(self._emitted[self.program.graph.input.name])

    def emitted(self, name: str) -> NDArray[np.generic]:
        """What a node emits."""
        if name not in self._emitted:
            node = self.program.graph[name]
            if not ir.is_synapse(node):
                raise KeyError(name)
            x = self.received(node)
            sums = synapse_rule(node)(x.reshape(-1, *x.shape[2:]).astype(np.int64))
            self._emitted[name] = sums.reshape(*x.shape[:2], *node.shape)
        return self._emitted[name]

    def received(self, node: ir.Node) -> NDArray[np.generic]:
        """The sum of what a node's inputs emit; the delays make steps meet, so none is needed here."""
        values = [self.emitted(source) for source in node.inputs]
        return values[0] if len(values) == 1 else np.sum([value.astype(np.int64) for value in values], axis=0)
