"""A program against a NIR graph that holds the same integers, as quantised.nir does: every number must be the file's.

In such a graph one unit is one unit everywhere. Only the biases stand elsewhere than in the program: on the layers,
from where they reach the neurons through whatever lies between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import ModelError
from snn2hw.ir.fixed_point import Int
from snn2hw.network.heads import heads_of
from snn2hw.network.layout import conv_padding, pair, takes_largest
from snn2hw.network.metadata import CURRENT_DECAY, DECAY, HIGH, LOW, RESET_AMOUNT, SCALE, SHIFT
from snn2hw.network.neuron_rule import Float, Neuron, NeuronRule, compact, rule_of
from snn2hw.verification.chains import EXACT, NOTHING, Chains, Layer
from snn2hw.verification.emitters import Emission, judge_factor, judge_gate, judge_pool, window_size
from snn2hw.verification.findings import Findings, fits
from snn2hw.verification.roundings import FLOAT64, TIE, judge_bias, thresholds
from snn2hw.verification.weights import ungrouped

FLOAT32 = 1e-3  # a share of 4096 that was written in float32 is this near to the whole decay that it stands for
GAIN = 1e-6  # and a gain of 1 this near to 1


def compare_with_file(graph: nir.NIRGraph, findings: Findings) -> None:
    """Compare the program of `findings` with a NIR graph of whole numbers, node by node.

    Raises ModelError if the graph is malformed.
    """
    _File(graph, findings).run()


class _File:
    def __init__(self, graph: nir.NIRGraph, findings: Findings) -> None:
        self.graph, self.findings = graph, findings
        self.chains = Chains(graph, findings)
        self.layout = self.chains.layout
        self.constants: dict[str, Float] = {}  # by how much the file's node emits more than the program's

    def run(self) -> None:
        for name in self.layout.order:
            node, spikes = self.graph.nodes[name], Emission(nodes=(name,), lattice=1.0)
            if isinstance(node, nir.Input):
                self._input(name, node)
                self.constants[name], self.chains.emissions[name] = NOTHING, spikes
                continue
            before = self.chains.joined(name, name)
            read = [self.constants[source] for source in self.layout.sources[name]]
            self.constants[name] = self._node(name, node, before, sum(read, NOTHING))
            self.chains.emissions[name] = replace(before, flat=True) if isinstance(node, nir.Flatten) else spikes

    def _node(self, name: str, node: nir.NIRNode, before: Emission, constant: Float) -> Float:
        """Compare one node, which reads `constant` besides the program's integers; returns what it makes of that."""
        findings, shape = self.findings, self.layout.shapes[name]
        match node:
            case nir.IF() | nir.LIF() | nir.CubaLIF():
                self._neuron(name, node, before, constant)
            case nir.Output():
                self._readout(name, node, before, constant)
            case nir.Conv2d() if isinstance(findings.nodes.get(name), ir.SumPool):
                return self._pool_with_bias(name, node, before, constant)
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                bias = self.chains.layer(name, name, node, np.ones(1), None, slack=EXACT)
                return bias + self._through(name, node, constant)
            case nir.Flatten():
                return constant if constant.size == 1 else _flattened(constant, self.layout.input_shape(name))
            case nir.SumPool2d():
                judge_pool(findings, name, node, shape, before)
                if takes_largest(node):
                    return constant
                if pair(node.padding) != (0, 0) and np.any(constant):
                    findings.differs(name, "it pads what has a bias, so that not all neurons get the same")
                return constant * window_size(node)
            case nir.Scale() if SHIFT in node.metadata:
                self._relay(name, node, before, constant)
            case nir.Scale():
                judge_factor(findings, name, node, shape, before)
                return constant * compact(node.scale)
            case nir.Threshold():
                judge_gate(findings, name, node, shape, before)
                if np.any(constant):
                    findings.differs(name, "what it reads has a bias, which only neurons can take up")
            case _:
                findings.differs(name, f"{type(node).__name__} nodes have no integer form")
        return NOTHING

    def _through(self, name: str, node: Layer, constant: Float) -> Float:
        """What the weights of a layer make of a constant that it reads."""
        if not np.any(constant):
            return NOTHING
        weight = np.asarray(node.weight, np.float64)
        if not isinstance(node, nir.Conv2d):
            read: Float = weight @ np.broadcast_to(constant, weight.shape[1:])
            return read
        if conv_padding(name, node) != (0, 0) or constant[..., 0, 0].size != constant.size:
            self.findings.differs(name, "it pads what has a bias, so that not all neurons get the same")
            return NOTHING
        kernel = ungrouped(weight, int(node.groups))(slice(0, len(weight))).sum(axis=(2, 3))
        summed: Float = kernel @ np.broadcast_to(constant.ravel(), kernel.shape[1:])
        return summed.reshape(-1, 1, 1)

    def _pool_with_bias(self, name: str, node: nir.Conv2d, before: Emission, constant: Float) -> Float:
        """NIR's pools have no bias: one that needs it is a convolution that adds up the same windows."""
        pool = self.findings.node(name, ir.SumPool, self.layout.shapes[name])
        if pool is not None:
            self.findings.inputs(name, expected=before.nodes, actual=pool.inputs)
            channels, size = pool.shape[0], tuple(node.weight.shape[2:])
            for what, expected, actual in (
                ("kernel", size, pool.kernel),
                ("stride", pair(node.stride), pool.stride),
                ("padding", conv_padding(name, node), pool.padding),
                ("dilation", pair(node.dilation), (1, 1)),
            ):
                self.findings.same(name, what, expected=expected, actual=actual)
            kernel = ungrouped(node.weight, int(node.groups))(slice(0, channels))
            ones = kernel[np.arange(channels), np.arange(channels)] if kernel.shape[1] == channels else kernel
            sums = bool(np.all(ones == 1)) and np.count_nonzero(kernel) == channels * size[0] * size[1]
            self.findings.same(name, "kernel of a sum", expected=True, actual=sums)
        if np.any(constant):
            self.findings.differs(name, "it adds up what has a bias, with no neuron between")
        return np.asarray(node.bias, np.float64).reshape(-1, 1, 1)

    def _input(self, name: str, node: nir.Input) -> None:
        input_node = self.findings.node(name, ir.Input, self.layout.shapes[name])
        if input_node is not None:
            for what, actual in ((SCALE, input_node.scale), (LOW, input_node.low), (HIGH, input_node.high)):
                self.findings.same(name, what, expected=_number(node.metadata.get(what)), actual=actual)

    def _neuron(self, name: str, node: Neuron, before: Emission, constant: Float) -> None:
        neuron = self.findings.node(name, ir.Neuron, self.layout.shapes[name])
        if neuron is None:
            return
        self.findings.inputs(name, expected=before.nodes, actual=neuron.inputs)
        try:
            rule = rule_of(name, node)
        except ModelError as error:
            self.findings.differs(name, str(error))
            return
        unit = np.all(np.abs(rule.gain - 1) <= GAIN) and not np.any(rule.drive) and not np.any(rule.reset_value)
        self.findings.same(name, "a gain of 1, v_leak and v_reset of 0", expected=True, actual=bool(unit))
        self.findings.same(name, "reset", expected=rule.reset.value, actual=neuron.reset.value)
        self._scale(name, node, np.asarray(neuron.scale))
        self._threshold(neuron, rule)
        amount = compact(node.metadata.get(RESET_AMOUNT, 0))
        self._equal(name, "reset_amount", neuron.reset_amount, amount, 0.0)
        units = self.findings.numerics.no_memory
        for what, actual, keep, least, most in (
            (DECAY, neuron.decay, rule.keep, 0, units - 1),
            (CURRENT_DECAY, neuron.current_decay, rule.current_keep, 1, units),
        ):
            self._equal(name, what, actual, np.clip(float(units) * (1 - keep), least, most), FLOAT32)
            if what in node.metadata:  # once more, as the whole number that a truncating leak needs
                self._equal(name, what, actual, compact(node.metadata[what]), 0.0)
        judge_bias(self.findings, neuron, constant * (1 << self.findings.numerics.membrane_shift), exact=True)

    def _relay(self, name: str, node: nir.Scale, before: Emission, constant: Float) -> None:
        relay = self.findings.node(name, ir.Relay, self.layout.shapes[name])
        if relay is None:
            return
        self.findings.inputs(name, expected=before.nodes, actual=relay.inputs)
        for what, actual in ((SHIFT, relay.shift), (LOW, relay.low), (HIGH, relay.high)):
            self.findings.same(name, what, expected=_number(node.metadata.get(what)), actual=actual)
        for factor in np.unique(compact(node.scale)):
            self.findings.same(name, "factor", expected=float(factor), actual=2.0**-relay.shift)
        self._scale(name, node, np.asarray(relay.scale))
        self._equal(name, "bias", relay.bias, constant, TIE + FLOAT64 * np.abs(constant))

    def _threshold(self, neuron: ir.Neuron, rule: NeuronRule) -> None:
        """A membrane counts in 1/64 where a bias or a decay can leave fractions, else in whole numbers."""
        numerics = self.findings.numerics
        fractions = np.any(neuron.bias_mantissa << neuron.bias_exponent) or np.any(neuron.decay)
        remembers = np.any(neuron.current_decay != numerics.no_memory)
        fine = 1 << numerics.membrane_shift if fractions or remembers else 1
        expected, wrong = thresholds(fine * neuron.threshold, fine * rule.threshold, at_least=rule.at_least)
        self.findings.numbers(neuron.name, "threshold", actual=neuron.threshold, expected=expected / fine, wrong=wrong)

    def _readout(self, name: str, node: nir.Output, before: Emission, constant: Float) -> None:
        readout = self.findings.node(name, ir.Readout, self.layout.shapes[name])
        if readout is None:
            return
        self.findings.inputs(name, expected=before.nodes, actual=readout.inputs)
        heads = tuple((head.name, head.start, head.stop) for head in heads_of(name, node))
        actual = tuple((head.name, head.start, head.stop) for head in readout.heads)
        self.findings.same(name, "heads", expected=heads, actual=actual)
        if heads == actual:
            self._scale(name, node, readout.scales)
        self._equal(name, "bias", readout.bias, constant, TIE + FLOAT64 * np.abs(constant))

    def _scale(self, name: str, node: nir.NIRNode, scale: Float) -> None:
        """The unit of a node, which the file repeats for people and for files that are compiled again."""
        written = np.ravel(np.asarray(node.metadata.get(SCALE, ()), np.float64))
        actual = np.ravel(scale)
        if written.shape != actual.shape:
            self.findings.differs(name, "number of scales", expected=written.size, actual=actual.size)
            return
        off = np.flatnonzero(~(written == actual))
        at = int(off[0]) if off.size else 0
        self.findings.same(name, "scale", expected=float(written[at]), actual=float(actual[at]))

    def _equal(self, name: str, what: str, actual: Int, written: Float, error: Float | float) -> None:
        """Whole numbers of the file, `written` with an error up to this."""
        if not fits(written.shape, self.layout.shapes[name]):
            self.findings.differs(name, f"{what}: {list(written.shape)} numbers for {list(self.layout.shapes[name])}")
            return
        wrong = ~(np.abs(actual - written) <= error)
        self.findings.numbers(name, what, actual=actual, expected=np.rint(written), wrong=wrong)


def _flattened(constant: Float, shape: ir.Shape) -> Float:
    return np.broadcast_to(constant, shape).reshape(-1)


def _number(value: Any) -> int | float:
    """A number of a file, which may stand in an array without axes; what is none is no number."""
    values = np.asarray(value)
    return values.item() if values.size == 1 and values.dtype.kind in "iuf" else float("nan")
