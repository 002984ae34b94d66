"""What NIR has no word for, put back: a neuron whose metadata says more than its parameters follows snn2hw's rule."""

from __future__ import annotations

from collections.abc import Callable

import nir
import numpy as np
import torch
from torch import Tensor

from snn2hw.ir.fixed_point import MEMBRANE_SHIFT, Reset, round_to_int
from snn2hw.network.integer_neuron import IntegerStep, integer_rule
from snn2hw.network.metadata import DECAY, RESET
from snn2hw.network.neuron_rule import Neuron
from snn2hw.network.reference import Reference


class PatchedNeuron:
    """Stands in for a client's neuron: one step a call, [N, *shape] in and out. `reset_state` starts a run."""

    def __init__(self, name: str, node: Neuron) -> None:
        self.name, self.node = name, node
        self.reset_state()

    def reset_state(self) -> None:
        """Back to the initial state."""
        integer = DECAY in self.node.metadata
        self.step = _integer_step(self.name, self.node) if integer else _float_step(self.name, self.node)

    def __call__(self, current: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        return self.step(current), None


def needs_patch(node: nir.NIRNode) -> bool:
    """Whether a node's metadata says more than NIR's parameters."""
    more = DECAY in node.metadata or node.metadata.get(RESET, Reset.ZERO.value) != Reset.ZERO.value
    return isinstance(node, Neuron) and more


def _integer_step(name: str, node: Neuron) -> Callable[[Tensor], Tensor]:
    """The integer rule: both decays truncate (docs/program.md). Currents are whole numbers of 1/64."""
    neurons = IntegerStep(integer_rule(name, node))

    def step(current: Tensor) -> Tensor:
        drawn = round_to_int(current.detach().double().numpy() * (1 << MEMBRANE_SHIFT))
        return torch.from_numpy(neurons.step(drawn).astype(np.float32))

    return step


def _float_step(name: str, node: Neuron) -> Callable[[Tensor], Tensor]:
    """The node as snn2hw's reference executor steps it, with the reset that its metadata names."""
    shape = np.array(np.shape(node.v_threshold))
    ends = {"input": nir.Input(input_type={"input": shape}), "output": nir.Output(output_type={"output": shape})}
    edges = [("input", name), (name, "output")]
    alone = Reference(nir.NIRGraph(nodes=ends | {name: node}, edges=edges, type_check=False))
    return alone.operation(name)
