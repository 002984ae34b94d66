"""What NIR has no word for: found before a file is written, told in the words of whoever will read it."""

from __future__ import annotations

from dataclasses import dataclass

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import Blocker
from snn2hw.ir.fixed_point import MEMBRANE_SHIFT, Reset
from snn2hw.network.layout import takes_largest
from snn2hw.network.metadata import DECAY, RESET, SHIFT
from snn2hw.network.neuron_rule import Neuron

FLOAT32_WHOLE = 1 << 24  # below this every whole number is a float32
PATCH = (
    "snn2hw.interop.load_in(client, file) puts it back in SpikingJelly, norse and snnTorch; a client that opens the "
    "file by itself does not"
)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One layer that another tool computes otherwise: the layer, and what differs. patched: interop puts it back."""

    layer: str
    differs: str
    patched: bool = True

    def as_blocker(self) -> Blocker:
        return Blocker(
            layer=self.layer, problem=self.differs, advice="To write it into the metadata instead: --allow-lossy"
        )

    def __str__(self) -> str:
        return f"{self.layer}: {self.differs}. {PATCH}." if self.patched else f"{self.layer}: {self.differs}."


RESETS = {
    Reset.SUBTRACT.value: "a spike subtracts an amount from the membrane; NIR resets it to v_reset",
    Reset.SUBTRACT_LATE.value: "a spike subtracts an amount in the next step; NIR resets to v_reset at once",
    Reset.NONE.value: "a spike leaves the membrane as it is; NIR resets it to v_reset",
}


def find_losses(graph: nir.NIRGraph) -> list[Loss]:
    """Every neuron layer, relay and max pool of a graph whose metadata says more than its standard parameters do."""
    losses = []
    for name, node in graph.nodes.items():
        if takes_largest(node):
            what = "it takes the largest value of each window; NIR's pool adds them up"
            losses.append(Loss(layer=name, differs=what, patched=False))
            continue
        if node.metadata.get(SHIFT, 0):
            what = "its payload is rounded to a whole number; NIR's Scale rounds nothing"
            losses.append(Loss(layer=name, differs=what, patched=False))
            continue
        if not isinstance(node, Neuron):
            continue
        differs = [RESETS[reset]] if (reset := node.metadata.get(RESET)) in RESETS else []
        if DECAY in node.metadata:
            differs.append("its integer leak truncates towards zero; NIR's does not")
        if differs:
            losses.append(Loss(layer=name, differs="; ".join(differs)))
    return losses


def float32_note(program: ir.Program) -> str:
    """Whether clients that compute in float32 give the integers exactly, for all inputs or within which limit."""
    biased = _biased(program.graph)
    synapses = [node for node in program.graph if ir.is_synapse(node)]
    open_ones = [
        node.name
        for node in synapses
        if (program.bounds[node.name].accumulator << (MEMBRANE_SHIFT if node.name in biased else 0)) >= FLOAT32_WHOLE
    ]
    if not open_ones:
        return f"float32: exact for every input in all {len(synapses)} weighted layers and pools."
    return (
        f"float32: exact for every input in {len(synapses) - len(open_ones)} of {len(synapses)} weighted layers and "
        f"pools; in the others as long as partial sums stay below {FLOAT32_WHOLE >> MEMBRANE_SHIFT:,}: "
        f"{', '.join(open_ones)}."
    )


def _biased(graph: ir.Graph) -> set[str]:
    """Layers whose sums are counted in 1/64, since the bias of the neuron behind them stands on them."""
    names: set[str] = set()
    for node in graph:
        if isinstance(node, ir.Neuron) and np.any(node.bias_mantissa):
            names |= set(node.inputs)
    return names
