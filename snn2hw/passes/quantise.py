"""Quantise: from a float NIR graph to integers. Here the floats end.

Every integer stands for a real number by a unit: a spike has unit 1, an average pool over k values emits integers of
unit 1/k, an input payload has the input's scale. All that flows into one neuron must share one unit, 1/scale: a weight
w behind a source of unit u becomes round(scale * gain * u * w), where gain is the neuron's (neuron_rule.py).

This file walks through the network; each kind of node has its file: integer_flows.py for what needs no neuron,
neurons.py, readouts.py; scales.py chooses the scales, currents.py holds what waits for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import Blocker, OptionError, QuantisationError
from snn2hw.ir.numerics import Numerics
from snn2hw.network.heads import heads_of, placed_rows
from snn2hw.network.layout import Layout, emits_integers, lay_out, only
from snn2hw.network.neuron_rule import rule_of
from snn2hw.network.relays import LAYERS, is_one
from snn2hw.passes.calibrate import Calibration
from snn2hw.passes.currents import Current, Emitted, Flow, align
from snn2hw.passes.integer_flows import input_unit, quantise_factor, quantise_input, quantise_pool, quantise_threshold
from snn2hw.passes.integer_nodes import IntegerNodes
from snn2hw.passes.neurons import quantise_neuron
from snn2hw.passes.readouts import quantise_heads, quantise_readout
from snn2hw.passes.relays import as_payloads, quantise_relay
from snn2hw.passes.settings import Settings
from snn2hw.passes.streams import stream_scales
from snn2hw.passes.thresholds import at_rest_0
from snn2hw.passes.weight_scales import METHODS

INPUT_BITS = range(2, 9)
LISTED = 5  # layers that an error names


def quantise(
    network: nir.NIRGraph,
    calibration: Calibration,
    numerics: Numerics,
    *,
    weight_bits: int = 8,
    layer_bits: Mapping[str, int] | None = None,
    input_bits: int = 8,
    method: str = "max",
) -> ir.Graph:
    """The integer graph of `network` for a chip: signed weights of `weight_bits`, a signed graded input of
    `input_bits`.

    layer_bits: the bits of single layers, by name, where they have others. method: how the weights' scales are chosen,
    one of weight_scales.METHODS, where the weights lie on no grid that they keep.

    Raises:
        OptionError: bits out of range or of a layer that there is not, or an unknown method.
        QuantisationError: with every layer that has no integer form, by name, the numbers and what to change.
        ModelError: the graph is malformed.
    """
    for label, bits, allowed in (
        ("weight", weight_bits, numerics.weight_choices),
        ("input", input_bits, INPUT_BITS),
    ):
        if bits not in allowed:
            raise OptionError(f"{bits} {label} bits: choose {allowed.start} to {allowed.stop - 1}.")
    if method not in METHODS:
        raise OptionError(f"calibration {method!r}: choose {', '.join(METHODS)}.")
    settings = Settings(
        calibration=calibration,
        numerics=numerics,
        weight_bits=weight_bits,
        layer_bits=_checked(layer_bits or {}, network, numerics),
        payload_max=(1 << (input_bits - 1)) - 1,
        method=method,
    )
    return _Walk(network, settings).run()


def _checked(layer_bits: Mapping[str, int], network: nir.NIRGraph, numerics: Numerics) -> Mapping[str, int]:
    """The bits of single layers. Raises OptionError for one that has no weights, or bits that there are not."""
    weighted = [name for name, node in network.nodes.items() if isinstance(node, nir.Conv2d | nir.Affine | nir.Linear)]
    for name, bits in layer_bits.items():
        if name not in weighted:
            raise OptionError(f"weight bits of {name}: the net has no such layer with weights. {_listed(weighted)}")
        if bits not in numerics.weight_choices:
            allowed = numerics.weight_choices
            raise OptionError(f"weight bits of {name}: {bits}; choose {allowed.start} to {allowed.stop - 1}.")
    return layer_bits


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return f"It has {shown}{' and others' if len(names) > LISTED else ''}; inspect lists all."


class _Walk:
    """Goes through a float network in order and lets every node be made of integers, or notes what keeps it from it."""

    def __init__(self, network: nir.NIRGraph, settings: Settings) -> None:
        self.network, self.settings = network, settings
        self.layout: Layout = lay_out(network)
        self.flows: dict[str, Flow | None] = {}  # None behind a blocker
        self.made = IntegerNodes(network.nodes.keys())
        self.input = only(network, nir.Input)
        self.streams: dict[str, float] = {}
        self.blockers: list[Blocker] = []

    def run(self) -> ir.Graph:
        for name in self.layout.order:
            node, flow = self.network.nodes[name], None
            try:
                flow = self._node(name, node, [self.flows[source] for source in self.layout.sources[name]])
            except QuantisationError as error:
                self.blockers += error.blockers
            if flow is None and isinstance(node, nir.Threshold | nir.IF | nir.LIF | nir.CubaLIF):
                flow = Emitted(sources=(name,), shape=self.layout.shapes[name], unit=1.0)  # spikes, whatever comes in
            self.flows[name] = flow
        if self.blockers:
            raise QuantisationError(self.blockers)
        graph = ir.Graph(tuple(self.made.nodes))
        reserved = {"logits", *(f"logits.{head.name}" for head in graph.readout.heads)}
        if taken := [node.name for node in graph.recorded if node.name in reserved]:
            raise QuantisationError.at(taken[0], "results keep this name for the class scores", "Rename the layer")
        return graph

    def _node(self, name: str, node: nir.NIRNode, sources: list[Flow | None]) -> Flow | None:
        shape, settings, made = self.layout.shapes[name], self.settings, self.made
        incoming = [flow for flow in sources if flow is not None]
        if len(incoming) < len(sources):  # all that can be looked at behind a blocker
            if isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
                at_rest_0(name, rule_of(name, node))
            return None
        match node:
            case nir.Input():
                return quantise_input(name, shape, settings, made)
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                return self._weighted(name, node, incoming)
            case nir.SumPool2d() | nir.AvgPool2d():
                return quantise_pool(name, node, shape, incoming, made)
            case nir.Flatten():
                return align(name, incoming).flattened(name, shape)
            case nir.Scale() if is_one(node) and any(_is_current(flow) for flow in incoming):
                return self._relay(name, incoming)
            case nir.Scale():
                return quantise_factor(name, node, incoming, settings, made)
            case nir.Threshold():
                return quantise_threshold(name, node, incoming, made)
            case nir.IF() | nir.LIF() | nir.CubaLIF():
                return quantise_neuron(name, rule_of(name, node), shape, incoming, settings, made)
            case nir.Output():
                if heads := heads_of(name, node):
                    quantise_heads(name, shape, incoming, self.layout.sources[name], heads, settings, made)
                else:
                    quantise_readout(name, shape, incoming, settings, made)
                return None
            case _:
                kind = type(node).__name__
                raise QuantisationError.at(name, f"{kind} nodes have no integer form here", "Leave it out")

    def _relay(self, name: str, incoming: list[Flow]) -> Emitted:
        """A relay; its stream's scale is chosen with that of all streams, when the first is met."""
        if not self.streams:
            units = {self.input: input_unit(self.settings)}
            self.streams = stream_scales(self.network, self.layout, self.settings, units)
        readers = [self.network.nodes[target] for source, target in self.network.edges if source == name]
        return quantise_relay(
            name,
            self.layout.shapes[name],
            incoming,
            self.settings,
            self.made,
            scale=self.streams[name],
            for_layers=all(isinstance(reader, LAYERS) and placed_rows(reader) is None for reader in readers),
        )

    def _weighted(self, name: str, node: nir.Conv2d | nir.Affine | nir.Linear, incoming: list[Flow]) -> Flow:
        """A layer's current, which waits for a scale; integers if its weights are whole and no neuron reads it."""
        flow = align(name, incoming)
        if isinstance(flow, Emitted) and flow.holds == "current":
            flow = as_payloads(flow, self.settings, self.made)
        current = flow.through_weights(name, node, self.layout.shapes[name])
        counts = (
            isinstance(flow, Emitted)
            and flow.holds == "spikes"
            and flow.unit == 1.0
            and np.abs(node.weight).max() <= self.settings.largest(name)
        )
        if counts and emits_integers(self.network, name):
            return self.made.add(current.as_integers())
        return current


def _is_current(flow: Flow) -> bool:
    return isinstance(flow, Current) or flow.holds != "spikes"
