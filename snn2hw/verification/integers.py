"""integers-vs-network: the program's integers against the float network it was compiled from, number by number.

Nothing runs here. Every node of the program stands for something in the network, and every number of it must be the
stated rounding of what it stands for, at the scales that the program states. Nothing of the passes that make the
integers is used: what they get wrong shows here, even where all files say the same.
"""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np

from snn2hw import ir
from snn2hw.deployment import WeightBits
from snn2hw.errors import ModelError
from snn2hw.network.adopt import is_quantised
from snn2hw.network.heads import heads_of
from snn2hw.network.neuron_rule import Neuron, rule_of
from snn2hw.network.relays import is_one
from snn2hw.verification.chains import EXACT, LARGEST_SHIFT, Chains, Layer
from snn2hw.verification.comparison import Comparison, name_of
from snn2hw.verification.emitters import Emission, judge_factor, judge_gate, judge_pool, window_size
from snn2hw.verification.findings import Findings, merged
from snn2hw.verification.program_file_vs_nir import compare_with_file
from snn2hw.verification.roundings import FLOAT64, judge_neuron, nearest

SIDES = ("integers", "network")
NAME = name_of(SIDES)
QUANTISED = "quantised.nir"
INTEGERS_ARE_READ = ir.Conv | ir.Linear | ir.Scale | ir.Merge | ir.Threshold


def compare_integers(
    program: ir.Program, network: nir.NIRGraph, integers: nir.NIRGraph, bits: WeightBits | None = None
) -> Comparison:
    """Compare every integer of a program with the network it was compiled from, and with its NIR form.

    Every node of the program is a layer of the comparison; each of its numbers is counted once for each side. What
    cannot be read or explained is a mismatch, never an error.

    Args:
        program: what program.npz holds. Its schedule and its bounds are not looked at.
        network: network.nir, what was compiled. If it holds whole numbers already, the program's must be these.
        integers: quantised.nir. A difference between the two files names it in `detail`.
        bits: what the weights are stated to have; None where nothing says it, and all must agree.
    """
    judged = Findings(program.graph, program.numerics)
    written = Findings(program.graph, program.numerics, file=QUANTISED)
    moved: dict[str, bool] = {}
    try:
        if is_quantised(network):
            compare_with_file(network, judged)
        else:
            moved = _Walk(network, judged, bits).run()
    except ModelError as error:
        judged.stop(str(error))
    try:
        compare_with_file(integers, written)
    except ModelError as error:
        written.stop(str(error))
    layers = merged(judged.layers(), written.layers())
    return Comparison(sides=SIDES, exact_required=True, layers=layers, note=_note(moved))


def moved_weights(program: ir.Program, network: nir.NIRGraph) -> dict[str, bool]:
    """Of each layer of a program with weights, by name, whether they were moved: whether its integers, at the scales
    that the program states, are more than float32's rounding away from the weights of the network it was compiled from.

    Empty for a network of whole numbers, as `export --quantised` writes it, which is not compiled.
    """
    return {} if is_quantised(network) else _Walk(network, Findings(program.graph, program.numerics), None).run()


def _note(moved: dict[str, bool]) -> str:
    at_rest = sum(not each for each in moved.values())
    return f"the weights of {at_rest} of {len(moved)} layers lie on a grid and were not moved" if at_rest else ""


class _Walk:
    """Goes through a float network and looks at the nodes of the program that stand for each of its nodes."""

    def __init__(self, network: nir.NIRGraph, findings: Findings, bits: WeightBits | None) -> None:
        self.network, self.findings = network, findings
        self.chains = Chains(network, findings, bits)
        self.layout = self.chains.layout
        self.readers: dict[str, list[str]] = {name: [] for name in network.nodes}
        for source, target in network.edges:
            self.readers[source].append(target)

    def run(self) -> dict[str, bool]:
        """Look at everything; returns of each layer with weights whether they were moved."""
        for name in self.layout.order:
            self.chains.emissions[name] = self._emission(name, self.network.nodes[name])
        self.chains.weights.finish()
        return self.chains.moved

    def _emission(self, name: str, node: nir.NIRNode) -> Emission | None:
        """Look at what stands for a node and say what it emits."""
        spikes, shape = Emission(nodes=(name,), lattice=1.0), self.layout.shapes[name]
        match node:
            case nir.Input():
                return self._input(name)
            case nir.IF() | nir.LIF() | nir.CubaLIF():
                self._neuron(name, node)
                return spikes
            case nir.Output():
                self._readout(name, node)
                return None
        read = [self.chains.emissions[source] for source in self.layout.sources[name]]
        if isinstance(node, nir.Scale) and is_one(node) and any(one is None or one.current for one in read):
            return self._relay(name)
        if any(one is None for one in read):
            if not isinstance(node, Layer | nir.SumPool2d | nir.AvgPool2d | nir.Flatten):
                self.findings.differs(name, "it reads weighted sums, of which only neurons can make integers")
                return spikes
            return None
        before = self.chains.joined(name, name)
        match node:
            case nir.Flatten():
                return replace(before, flat=True)
            case nir.SumPool2d() | nir.AvgPool2d():
                judge_pool(self.findings, name, node, shape, before)
                lattice = before.lattice * (window_size(node) if isinstance(node, nir.AvgPool2d) else 1)
                return replace(spikes, lattice=lattice, current=before.current)
            case nir.Scale() | nir.Threshold() if before.current:
                self.findings.differs(name, "it reads weighted sums, of which only neurons can make integers")
                return spikes
            case nir.Scale():
                judge_factor(self.findings, name, node, shape, before)
                return replace(spikes, lattice=before.lattice)
            case nir.Threshold():
                judge_gate(self.findings, name, node, shape, before)
                return spikes
            case nir.Conv2d() | nir.Affine() | nir.Linear() if self._counts(name):
                if np.any(self.chains.layer(name, name, node, np.ones(1), None, slack=EXACT)):
                    self.findings.differs(name, "bias: it emits integers, and no neuron takes its bias up")
                return spikes
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                return None
            case _:
                self.findings.differs(name, f"{type(node).__name__} nodes have no integer form")
                return spikes

    def _counts(self, name: str) -> bool:
        """Whether the program reads the sums of a layer as integers: without a neuron between, and no flatten."""
        nodes = ((reader, self.findings.nodes.get(reader)) for reader in self.readers[name])
        return any(
            isinstance(node, INTEGERS_ARE_READ)
            and name in node.inputs
            and not isinstance(self.network.nodes[reader], nir.Flatten)
            for reader, node in nodes
        )

    def _input(self, name: str) -> Emission:
        input_node = self.findings.node(name, ir.Input, self.layout.shapes[name])
        lattice = 1.0
        if input_node is not None:
            legal = bool(np.isfinite(input_node.scale)) and input_node.scale > 0
            self.findings.same(name, "scale is a unit", expected=True, actual=legal)
            self.findings.same(name, "low <= high", expected=True, actual=input_node.low <= input_node.high)
            lattice = 1 / input_node.scale if legal else 1.0
        return Emission(nodes=(name,), lattice=lattice)

    def _neuron(self, name: str, node: Neuron) -> None:
        shape = self.layout.shapes[name]
        neuron = self.findings.node(name, ir.Neuron, shape)
        if neuron is None:
            return
        try:
            rule = rule_of(name, node)
        except ModelError as error:
            self.findings.differs(name, str(error))
            return
        scale = np.atleast_1d(np.asarray(neuron.scale, np.float64))
        if scale.shape not in ((1,), shape[:1]) or not np.all(np.isfinite(scale) & (scale > 0)):
            self.findings.differs(name, f"scale: {len(scale)} for {shape[0]} channels, or not all above 0")
            return
        if rule.gain.size not in (1, rule.gain.shape[0]):
            self.findings.differs(name, "time constants or resistances differ within a channel")
            return
        offset, size = self.chains.currents(neuron, scale * rule.gain.reshape(-1), f"{name}.shortcut")
        judge_neuron(self.findings, neuron, rule, scale.reshape(-1, *[1] * (len(shape) - 1)), offset, size)

    def _relay(self, name: str) -> Emission:
        """Look at a relay. Where more than layers read it, it must hand on its currents as they are."""
        relay = self.findings.node(name, ir.Relay, self.layout.shapes[name])
        if relay is None or not np.isfinite(relay.scale) or relay.scale <= 0 or not 0 <= relay.shift <= LARGEST_SHIFT:
            self.findings.differs(name, "no relay with a scale above 0 and a legal shift")
            return Emission(nodes=(name,), lattice=1.0, current=True)
        for_layers = all(isinstance(self.network.nodes[reader], Layer) for reader in self.readers[name])
        if not for_layers:
            most = self.findings.numerics.largest_current
            for what, number in (("shift", 0), ("low", -most), ("high", most)):
                self.findings.same(name, what, expected=number, actual=getattr(relay, what))
        self.findings.same(name, "low <= 0 <= high", expected=True, actual=relay.low <= 0 <= relay.high)
        lattice = np.array([relay.scale * (1 << relay.shift)])
        offset, size = self.chains.currents(relay, lattice, f"{name}.shortcut")
        expected, wrong = nearest(relay.bias, lattice * offset, noise=FLOAT64 * lattice * size)
        self.findings.numbers(name, "bias", actual=relay.bias, expected=expected, wrong=wrong)
        return Emission(nodes=(name,), lattice=relay.scale, current=True)

    def _readout(self, name: str, node: nir.Output) -> None:
        readout = self.findings.node(name, ir.Readout, self.layout.shapes[name])
        if readout is None:
            return
        heads = tuple((head.name, head.start, head.stop) for head in heads_of(name, node))
        self.findings.same(
            name, "heads", expected=heads, actual=tuple((head.name, head.start, head.stop) for head in readout.heads)
        )
        scales = np.atleast_1d(readout.scales)
        if scales.shape not in ((1,), readout.shape) or not np.all(np.isfinite(scales) & (scales > 0)):
            self.findings.differs(name, "scale: not one for each logit, or not all above 0")
            return
        if readout.heads:
            self.findings.same(name, "scale", expected=readout.heads[0].scale, actual=readout.scale)
        offset, size = self.chains.currents(readout, scales, f"{name}.sum")
        expected, wrong = nearest(readout.bias, scales * offset, noise=FLOAT64 * scales * size)
        self.findings.numbers(name, "bias", actual=readout.bias, expected=expected, wrong=wrong)
