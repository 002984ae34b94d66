"""sinabs: patches for neurons that spike several times a step, subtract and clip; and norse's, for the order."""

from __future__ import annotations

import warnings
from typing import Any

import nir
import torch
from sinabs.activation import MembraneReset, SingleSpike
from sinabs.layers import IAFSqueeze
from sinabs.nir import from_nir
from torch import Tensor, nn

from snn2hw.errors import Blocker, UnsupportedError
from snn2hw.interop.client import batch_first, execute_in_order

package = "sinabs"
KNOWN = (nir.Input, nir.Output, nir.Conv2d, nir.Affine, nir.SumPool2d, nir.Flatten, nir.IF)


def build(graph: nir.NIRGraph) -> nn.Module:
    """sinabs' importer, then SingleSpike, MembraneReset and no lower bound of the membrane.

    Raises UnsupportedError for nodes that sinabs leaves out without a word.
    """
    if strangers := [name for name, node in graph.nodes.items() if not isinstance(node, KNOWN)]:
        raise UnsupportedError(
            [
                Blocker(
                    layer=name,
                    problem=f"sinabs has no node for {type(graph.nodes[name]).__name__}",
                    advice="Export with --profile legacy",
                )
                for name in strangers
            ]
        )
    with warnings.catch_warnings(action="ignore"):
        module: Any = from_nir(graph, batch_size=1)
    for neuron in module.modules():
        if isinstance(neuron, IAFSqueeze):
            neuron.spike_fn, neuron.reset_fn, neuron.min_v_mem = SingleSpike, MembraneReset(), None
            threshold = torch.as_tensor(neuron.spike_threshold, dtype=torch.float32)
            neuron.spike_threshold = nn.Parameter(threshold, requires_grad=False)
    execute_in_order(module, graph)
    return module.eval()  # type: ignore[no-any-return]


def run(module: nn.Module, x: Tensor) -> Tensor:
    """All steps at once: sinabs takes [N * T, ...], sample after sample."""
    steps, count = x.shape[:2]
    for neuron in module.modules():
        if isinstance(neuron, IAFSqueeze):
            neuron.batch_size, neuron.num_timesteps = count, steps
            neuron.reset_states()
    out, _ = module(x.transpose(0, 1).flatten(0, 1))
    return batch_first(out, steps)
