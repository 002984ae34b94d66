"""Read-outs: the integer form of what a network ends in, with one scale for all logits, or one for each head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snn2hw import ir
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import round_to_int
from snn2hw.ir.nodes import Head
from snn2hw.passes.currents import Emitted, Flow
from snn2hw.passes.grids import grid_scale
from snn2hw.passes.integer_nodes import IntegerNodes
from snn2hw.passes.scales import keeps_shortcuts, weight_scale
from snn2hw.passes.settings import Settings

READOUT_LIMIT = 1 << 53  # of a read-out's bias: so far a float64 counts


def quantise_readout(
    name: str, shape: ir.Shape, incoming: Sequence[Flow], settings: Settings, made: IntegerNodes
) -> None:
    """Add a read-out whose logits, [K] = `shape`, share one scale, and the synapses that feed it."""
    currents = [flow.as_current(f"{name}.sum") for flow in incoming]
    gain = np.ones(shape)
    steps = [step for current in currents if (step := current.identity_step(gain)) is not None]
    relayed = any(current.relayed for current in currents)
    scale = None if relayed else grid_scale(currents, gain, settings, whole_layer=True)
    on_grid = scale is not None and keeps_shortcuts(scale, steps, settings)
    if scale is None or not on_grid:
        scale = weight_scale(name, currents, gain, settings, whole_layer=True)
        if steps:
            scale = np.floor(scale * steps[0]) / steps[0]
    sources = made.add_synapses(currents, scale, gain, np.array(on_grid), settings)
    real = scale * np.broadcast_to(sum(current.bias for current in currents), shape)
    if not np.abs(real).max() < READOUT_LIMIT:
        raise QuantisationError.at(
            name,
            f"the bias of the read-out is {np.abs(real).max():.3g} times its smallest weight step",
            "Scale the last layer's bias down",
        )
    bias = round_to_int(real)
    made.add(ir.Readout(name=name, inputs=sources, shape=shape, bias=bias, scale=float(scale)))


def quantise_heads(
    name: str,
    shape: ir.Shape,
    incoming: Sequence[Flow],
    sources: Sequence[str],
    heads: Sequence[Head],
    settings: Settings,
    made: IntegerNodes,
) -> None:
    """Add a read-out of several heads. Each has its scale: nothing is added up or compared across heads.

    sources: the network's nodes that `incoming` comes from.
    """
    currents = []
    for source, flow in zip(sources, incoming, strict=True):
        if isinstance(flow, Emitted) and not flow.flat:
            raise QuantisationError.at(
                name,
                f"{source} goes right into an output with several heads",
                "Put a layer in between, which can take up their scales",
            )
        currents.append(flow.as_current(f"{name}.sum"))
    scaled, on_grid = [], np.zeros(shape[0], np.bool_)
    for head in heads:
        rows = slice(head.start, head.stop)
        parts = [replace(each, weight=each.weight[rows], written=each.written[rows]) for each in currents]
        weights = [part.weight for part in parts]
        if not any(np.any(part) for part in weights):
            raise QuantisationError.at(name, f"all weights of head {head.name} are 0", "Remove the head or retrain it")
        grid = grid_scale(parts, np.ones(len(weights[0])), settings, whole_layer=True)
        on_grid[rows] = grid is not None
        scale = (
            weight_scale(name, parts, np.ones(len(weights[0])), settings, whole_layer=True) if grid is None else grid
        )
        scaled.append(replace(head, scale=float(scale)))
    readout = ir.Readout(
        name=name, inputs=(), shape=shape, bias=np.array(0), scale=scaled[0].scale, heads=tuple(scaled)
    )
    ends = made.add_synapses(currents, np.ones(()), readout.scales, on_grid, settings)
    bias = round_to_int(readout.scales * np.broadcast_to(sum(current.bias for current in currents), shape))
    made.add(replace(readout, inputs=ends, bias=bias))
