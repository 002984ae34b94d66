"""A .nir file as the model that it is: its own float executor, in the place that a PyTorch module has elsewhere.

NIR is a set of equations, and snn2hw/network/reference.py executes them. What the compiler made of the graph as it was
written (normal form, integers) is compared with that execution.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import nir
import numpy as np
import torch
from torch import Tensor

from snn2hw.data.aliases import Shape
from snn2hw.frontends.neurons.integer import IntegerNeuron
from snn2hw.frontends.torch.user_model import Recorded
from snn2hw.network.adopt import is_quantised
from snn2hw.network.flatten import rename
from snn2hw.network.integer_neuron import integer_rule
from snn2hw.network.layout import only
from snn2hw.network.metadata import SCALE, payloads_in
from snn2hw.network.neuron_rule import Neuron
from snn2hw.network.reference import Reference, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class NirModel:
    """A NIR graph as it was written, and the shapes that the compiler's normal form of it has.

    dt: the time step of its neurons, in seconds. shapes: of each neuron layer in the normal form.
    """

    written: nir.NIRGraph
    dt: float
    shapes: dict[str, Shape]

    @contextmanager
    def copied(self, dtype: torch.dtype) -> Iterator[NirRunning]:
        """An execution in `dtype`."""
        yield NirRunning(self, dtype)


class NirRunning:
    """A written NIR graph that may be run any number of times."""

    def __init__(self, model: NirModel, dtype: torch.dtype) -> None:
        self.model = model
        self.graph = rename(model.written)
        self.reference = Reference(self.graph, dtype=dtype, dt=model.dt)

    def run(self, x: Tensor) -> Recorded:
        """Run x [T, N, *shape] from the initial state."""
        steps = list(self.reference.run(self._as_written(x)))
        spikes = {
            name: torch.stack([step[name] for step in steps]).reshape(*x.shape[:2], *shape)
            for name, shape in self.model.shapes.items()
        }
        logits = torch.stack([step[only(self.graph, nir.Output)] for step in steps])
        return Recorded(spikes=spikes, calls=dict.fromkeys(spikes, len(steps)), logits=[logits.flatten(2)])

    def currents_into(self, path: str, x: Tensor) -> Tensor:
        """What the neurons of node `path` receive when x [T, N, *shape] is run: [T, N, *shape of the neurons]."""
        sums = [self.reference.summed(path, step) for step in self.reference.run(self._as_written(x))]
        return torch.stack(sums).reshape(*x.shape[:2], *self.model.shapes[path])

    def _as_written(self, x: Tensor) -> Tensor:
        """Images of height 1 as the lines [C, L] that a graph of Conv1d takes."""
        node = self.graph.nodes[only(self.graph, nir.Input)]
        return x.reshape(*x.shape[:2], *(int(size) for size in np.ravel(node.input_type["input"])))


@dataclass(frozen=True, kw_only=True, eq=False)
class ExecutedNir:
    """A NIR graph executed on real inputs, step by step, in the place of a PyTorch module.

    graph: in normal form; of a quantised one the inputs are turned into payloads and the logits back into real numbers.
    """

    graph: nir.NIRGraph
    dtype: torch.dtype

    def run(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Run x [T, N, *shape]; yield per step what each node emits, [N, *shape], and "logits" [N, K]."""
        end = only(self.graph, nir.Output)
        scale = torch.ones(())
        replaced: dict[str, Step] = {}
        if is_quantised(self.graph):
            x = self._payloads(x)
            scale = torch.as_tensor(np.asarray(self.graph.nodes[end].metadata[SCALE], np.float64))
            neurons = {name: node for name, node in self.graph.nodes.items() if isinstance(node, Neuron)}
            replaced = {name: self._integer_rule(name, node) for name, node in neurons.items()}
        for step in Reference(self.graph, dtype=self.dtype).run(x, replaced=replaced):
            yield step | {"logits": step[end].double() / scale}

    def _payloads(self, x: Tensor) -> Tensor:
        payloads = payloads_in(self.graph.nodes[only(self.graph, nir.Input)].metadata)
        return torch.from_numpy(payloads.of(x.numpy())).to(self.dtype)

    def _integer_rule(self, name: str, node: Neuron) -> Step:
        """Neurons by the integer rule, whose leak truncates, which NIR's does not."""
        neuron = IntegerNeuron(
            name, integer_rule(name, node), lattice=np.ones(1), multi_step=False, returns_state=False
        )
        return lambda current: neuron(current).to(self.dtype)
