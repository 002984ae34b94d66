"""Chains: the synapses and pools of a program between what emits integers and the neuron that reads their sum.

The one notion is a lattice: how many integer units one real unit is. A spike has a lattice of 1, an input payload
1 / scale, the sum over a window of k values, which the network averages, k times that of the values. A layer from
lattice a to lattice b holds the network's weights times b / a.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeAlias

import nir
import numpy as np

from snn2hw import ir
from snn2hw.deployment import WeightBits
from snn2hw.ir.fixed_point import Int
from snn2hw.network.heads import placed_rows
from snn2hw.network.layout import Layout, conv_padding, lay_out, pair
from snn2hw.network.neuron_rule import Float
from snn2hw.verification.emitters import Emission, find_pool, judge_window, window_size
from snn2hw.verification.findings import Findings
from snn2hw.verification.roundings import FLOAT64, TIE, nearest
from snn2hw.verification.weights import Weights, identity, taken, ungrouped

ROUNDED = 0.5
LARGEST_PAYLOAD = (1 << 31) - 1
LARGEST_SHIFT = 30  # of a relay
EXACT = 0.0
Layer: TypeAlias = nir.Conv2d | nir.Affine | nir.Linear
NOTHING = np.zeros(1)


class Chains:
    """Looks at the nodes of a program that stand for layers, pools and shortcuts of the network.

    emissions: what the program emits for each node of the network, None for weighted sums, which wait for the lattice
    of the neuron that reads them. Whoever goes through the network fills it in, in order. moved: of each layer whether
    its weights were moved, by more than float32's rounding, to become integers.
    """

    def __init__(self, network: nir.NIRGraph, findings: Findings, bits: WeightBits | None = None) -> None:
        self.network, self.findings = network, findings
        self.layout: Layout = lay_out(network)
        self.weights = Weights(findings, bits)
        self.emissions: dict[str, Emission | None] = {}
        self.moved: dict[str, bool] = {}
        self._read = {source for node in findings.graph for source in node.inputs}

    def joined(self, name: str, reported: str) -> Emission:
        """The sum of the integers that node `name` of the network reads; `reported` is told if they do not add up."""
        emitted = [emission for source in self.layout.sources[name] if (emission := self.emissions[source]) is not None]
        first = emitted[0]
        if any(
            not abs(one.lattice - first.lattice) <= TIE * first.lattice or one.flat != first.flat for one in emitted
        ):
            self.findings.differs(reported, "it adds up integers of different units")
        return replace(first, nodes=tuple(node for one in emitted for node in one.nodes))

    def currents(self, reader: ir.Neuron | ir.Relay | ir.Readout, lattice: Float, shortcut: str) -> tuple[Float, Float]:
        """Judge all chains that feed a neuron or read-out, which reads integers of `lattice`, [1] or [C].

        Returns the constant part of the real currents, which no chain carries, and how large the numbers are that were
        added up to it; both broadcast to the neurons' shape. `shortcut`: the name of a chain that is no layer.
        """
        free = list(reader.inputs)
        offset, size = NOTHING, NOTHING
        for source in self.layout.sources[reader.name]:
            end = self._find(source, free, shortcut)
            if end is not None:
                free.remove(end)
                self.findings.agrees(reader.name)
            else:
                end = self._end(source, shortcut)
                self.findings.differs(reader.name, f"inputs: {end} is missing among them")
                if end in self._read or end not in self.findings.nodes:
                    continue
            constant = self._chain(end, source, lattice, None)
            offset, size = offset + constant, size + np.abs(constant)
        for end in free:
            self.findings.differs(reader.name, f"inputs: {end} is none of them in the network")
        return offset, size

    def layer(
        self, name: str, stood_for: str, node: Layer, lattice: Float, places: Int | None, *, slack: float
    ) -> Float:
        """Judge the layer `name` of the program, which stands for `stood_for` of the network; returns its real bias.

        places: [O], for each row of the program's layer the row in the network, -1 for one of zeros; None for the same.
        """
        before, shape = self._payloads(name, self.joined(stood_for, name)), self._shape(stood_for, places)
        layer: ir.Conv | ir.Linear | None
        kernel, groups, actual_groups = np.asarray(node.weight), 1, 1
        if isinstance(node, nir.Conv2d):
            layer = self.findings.node(name, ir.Conv, shape)
            if layer is not None:
                groups, actual_groups = int(node.groups), layer.groups
                for what, expected in (
                    ("stride", pair(node.stride)),
                    ("padding", conv_padding(stood_for, node)),
                    ("dilation", pair(node.dilation)),
                ):
                    self.findings.same(name, what, expected=expected, actual=getattr(layer, what))
        else:
            layer = self.findings.node(name, ir.Linear, shape)
        bias = np.zeros(len(kernel)) if isinstance(node, nir.Linear) else np.asarray(node.bias, np.float64)
        if layer is not None:
            self.findings.inputs(name, expected=before.nodes, actual=layer.inputs)
            channels = kernel.shape[1] * groups
            fits = actual_groups >= 1 and channels % actual_groups == 0 and shape[0] % actual_groups == 0
            expected = (shape[0], channels // actual_groups, *kernel.shape[2:]) if fits else ()
            self.findings.same(name, "shape of weight", expected=expected, actual=layer.weight.shape)
            if layer.weight.shape == expected:
                alike = groups == actual_groups and places is None
                rows = ungrouped(kernel, 1 if alike else groups)
                moved = self.weights.judge(
                    name,
                    layer.weight,
                    rows if places is None else taken(rows, places),
                    factor=lattice / before.lattice,
                    groups=1 if alike else actual_groups,
                    slack=slack,
                )
                if slack == ROUNDED:
                    self.moved[name] = moved
        if places is not None:
            bias = np.where(places >= 0, bias[places], 0.0)
        return bias.reshape(-1, *[1] * (len(shape) - 1))

    def _shape(self, name: str, places: Int | None) -> ir.Shape:
        shape = self.layout.shapes[name]
        return shape if places is None else (len(places), *shape[1:])

    def _chain(self, name: str, stood_for: str, lattice: Float, places: Int | None) -> Float:
        """Judge the chain that ends in node `name` of the program: it emits `lattice` times what `stood_for` emits.

        Returns the constant part of the real value, which the program leaves to the neuron.
        """
        node, emission = self.network.nodes[stood_for], self.emissions[stood_for]
        shape = self._shape(stood_for, places)
        if emission is None and isinstance(self.findings.nodes.get(name), ir.Relay):
            return self._finer(name, stood_for, lattice, places)
        if emission is not None:
            return self._shortcut(name, emission, lattice, shape)
        source = self.layout.sources[stood_for][0]
        waits = [self.emissions[each] is None for each in self.layout.sources[stood_for]]
        if any(waits) and len(waits) > 1:
            self.findings.differs(name, "weighted sums are added up with no neuron behind")
            return NOTHING
        match node:
            case nir.SumPool2d() | nir.AvgPool2d():
                values = window_size(node)
                averages = isinstance(node, nir.AvgPool2d)
                pool = find_pool(self.findings, name, node, shape)
                if pool is None:
                    return NOTHING
                judge_window(self.findings, pool, node)
                if isinstance(pool, ir.MaxPool):
                    return self._behind(pool, source, lattice, places)
                constant = self._behind(pool, source, lattice / values if averages else lattice, places)
                if pair(node.padding) != (0, 0) and np.any(constant):
                    self.findings.differs(
                        name, "it pads a layer that has a bias, so that no neuron can take the bias up"
                    )
                return constant if averages else constant * values
            case nir.Flatten():
                if self.layout.shapes[source] == self.layout.shapes[stood_for]:
                    return self._chain(name, source, lattice, places)
                flat = self.findings.node(name, ir.Linear, shape)
                if flat is None:
                    return NOTHING
                if self.layout.shapes[source][1:] not in ((), (1, 1)):
                    self.findings.differs(name, "it flattens weighted sums of several places in an image")
                    return NOTHING
                self._identity(flat, np.ones(1), EXACT)
                return self._behind(flat, source, lattice, places).reshape(-1)
            case nir.Conv2d() | nir.Affine() | nir.Linear() if any(waits):
                rows = placed_rows(node)
                if rows is None:
                    self.findings.differs(
                        name, f"{stood_for} reads weighted sums, of which only neurons can make integers"
                    )
                    return NOTHING
                placed = np.full(shape[0] if places is None else len(node.weight), -1)
                placed[rows] = np.arange(len(rows))
                return self._chain(
                    name, source, lattice, placed if places is None else np.where(places >= 0, placed[places], -1)
                )
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                return self.layer(name, stood_for, node, lattice, places, slack=ROUNDED)
            case _:
                self.findings.differs(name, f"{type(node).__name__} {stood_for} passes on no weighted sums")
                return NOTHING

    def _payloads(self, name: str, before: Emission) -> Emission:
        """What layer `name` of the program reads of the currents that relays hand on: they themselves, if they give
        payloads of few bits, or a relay more, which only divides them.
        """
        layer = self.findings.nodes.get(name)
        if not before.current or layer is None or sorted(layer.inputs) == sorted(before.nodes) or not layer.inputs:
            return before
        relay = self.findings.node(layer.inputs[0], ir.Relay, self.findings.graph.input_shape(layer))
        if relay is None or not 0 <= relay.shift <= LARGEST_SHIFT or not relay.scale > 0:
            return before
        between = relay.inputs[0]
        synapse = self.findings.node(between, ir.Scale, relay.shape)
        self.findings.inputs(relay.name, expected=(between,), actual=relay.inputs)
        if synapse is not None:
            self.findings.inputs(between, expected=before.nodes, actual=synapse.inputs)
            self.findings.same(between, "factor", expected=1, actual=synapse.factor)
        unit = relay.scale * (1 << relay.shift) / before.lattice
        self.findings.same(relay.name, "scale", expected=True, actual=bool(abs(unit - 1) <= TIE))
        self.findings.same(relay.name, "low <= 0 <= high", expected=True, actual=relay.low <= 0 <= relay.high)
        self.findings.numbers(
            relay.name, "bias", actual=relay.bias, expected=np.zeros_like(relay.bias), wrong=relay.bias != 0
        )
        return Emission(nodes=(relay.name,), lattice=relay.scale)

    def _finer(self, name: str, stood_for: str, lattice: Float, places: Int | None) -> Float:
        """Judge a relay behind a layer whose weights are finer than its reader's lattice; it takes up the bias."""
        relay = self.findings.node(name, ir.Relay, self._shape(stood_for, places))
        if relay is None or len(relay.inputs) != 1 or not 0 <= relay.shift <= LARGEST_SHIFT or np.size(lattice) != 1:
            self.findings.differs(name, "no relay of one layer, with a legal shift and one scale")
            return NOTHING
        unit = relay.scale / lattice
        self.findings.same(name, "scale", expected=True, actual=bool(np.all(np.abs(unit - 1) <= TIE)))
        for what, most in (("low", -LARGEST_PAYLOAD), ("high", LARGEST_PAYLOAD)):
            self.findings.same(name, what, expected=most, actual=getattr(relay, what))
        fine = lattice * (1 << relay.shift)
        self.findings.agrees(name)
        constant = self._chain(relay.inputs[0], stood_for, fine, places)
        expected, wrong = nearest(relay.bias, fine * constant, noise=FLOAT64 * fine * np.abs(constant))
        self.findings.numbers(name, "bias", actual=relay.bias, expected=expected, wrong=wrong)
        return NOTHING

    def _behind(
        self, reader: ir.SumPool | ir.MaxPool | ir.Linear, source: str, lattice: Float, places: Int | None
    ) -> Float:
        """Judge the chain behind a pool or a flatten, which must be one, that of `source`."""
        end = self._find(source, list(reader.inputs), "")
        if end is None or len(reader.inputs) != 1:
            self.findings.inputs(reader.name, expected=(self._end(source, ""),), actual=reader.inputs)
            return NOTHING
        self.findings.agrees(reader.name)
        return self._chain(end, source, lattice, places)

    def _shortcut(self, name: str, emission: Emission, lattice: Float, shape: ir.Shape) -> Float:
        """Judge a synapse that hands integers of one lattice on in another, each to its neuron."""
        factor = lattice / emission.lattice
        if emission.current and not np.all(np.abs(factor - 1) <= TIE):
            self.findings.differs(name, "it hands a current on in another unit")
        shortcut: ir.Scale | ir.Linear | None
        if emission.flat:
            shortcut = self.findings.node(name, ir.Linear, shape)
            if shortcut is not None:
                self._identity(shortcut, factor, ROUNDED)
        else:
            shortcut = self.findings.node(name, ir.Scale, shape)
            if shortcut is not None:
                for real in np.unique(factor):
                    right = abs(shortcut.factor - real) <= ROUNDED + TIE
                    expected = shortcut.factor if right else int(np.rint(real)) if np.isfinite(real) else 0
                    self.findings.same(name, "factor", expected=expected, actual=shortcut.factor)
        if shortcut is not None:
            self.findings.inputs(name, expected=emission.nodes, actual=shortcut.inputs)
        return NOTHING

    def _identity(self, layer: ir.Linear, factor: Float, slack: float) -> None:
        size = layer.shape[0]
        self.findings.same(layer.name, "shape of weight", expected=(size, size), actual=layer.weight.shape)
        if layer.weight.shape == (size, size):
            self.weights.judge(layer.name, layer.weight, identity(size), factor=factor, slack=slack)

    def _end(self, source: str, shortcut: str) -> str:
        """The name of the last node of a chain that stands for what `source` emits."""
        node = self.network.nodes[source]
        if self.emissions[source] is not None:
            return shortcut
        before = self.layout.sources[source]
        flat = isinstance(node, nir.Flatten) and self.layout.shapes[before[0]] == self.layout.shapes[source]
        if flat or (self.emissions[before[0]] is None and placed_rows(node) is not None):
            return self._end(before[0], shortcut)  # no node of the program: values stay, or their rows alone change
        return source

    def _find(self, source: str, among: list[str], shortcut: str) -> str | None:
        """The node that may stand for the chain of `source`: of its name, or a twin of it, `name@2`."""
        end, emission = self._end(source, shortcut), self.emissions[source]
        ends = (end, f"{end}.relay")  # the latter behind a layer with finer weights
        called = [name for name in among if name in ends or re.sub(r"@\d+$", "", name) in ends]

        def unlike(name: str) -> tuple[bool, bool]:
            node = self.findings.nodes[name]
            return emission is not None and sorted(node.inputs) != sorted(emission.nodes), name != end

        return min(called, key=unlike, default=None)
