"""Adopt: a NIR graph that holds whole numbers already, as `snn2hw export --quantised` writes it, keeps them.

The opposite of write_integers.py. Nothing is chosen here: every number is in the file; one that is not whole
is refused.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import nir
import numpy as np

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import Int, floor_to_int, quantise_decay, round_to_int, split_bias
from snn2hw.ir.numerics import Numerics
from snn2hw.network.groups import with_groups
from snn2hw.network.heads import heads_of
from snn2hw.network.layout import Layout, conv_padding, lay_out, only, pair, takes_largest
from snn2hw.network.metadata import HIGH, LOW, RESET_AMOUNT, SCALE, SHIFT, has_payloads, payloads_in
from snn2hw.network.neuron_rule import Float, Neuron, compact, rule_of


def is_quantised(graph: nir.NIRGraph) -> bool:
    """Whether the graph says of itself that its input takes integer payloads."""
    return has_payloads(graph.nodes[only(graph, nir.Input)].metadata)


def adopt(network: nir.NIRGraph, numerics: Numerics) -> ir.Graph:
    """The integer graph whose NIR form `network` is, for a chip that can hold its numbers.

    Raises QuantisationError with the layer if a number is not whole or out of range, or a node has no integer form.
    """
    return _Adopter(network, numerics).run()


def payloads_of(network: nir.NIRGraph, samples: Samples) -> Samples:
    """Samples as the integer payloads that a quantised network takes."""
    payloads = payloads_in(network.nodes[only(network, nir.Input)].metadata)
    return replace(samples, x=payloads.of(samples.x).astype(np.float32))


LARGEST_SHIFT = 30
AGAIN = "Export it again with --quantised"


class _Adopter:
    def __init__(self, network: nir.NIRGraph, numerics: Numerics) -> None:
        self.network, self.numerics = network, numerics
        self.layout: Layout = lay_out(network)
        self.nodes: list[ir.Node] = []

    def run(self) -> ir.Graph:
        for name in self.layout.order:
            node = self.network.nodes[name]
            if not isinstance(node, nir.Flatten):
                self.nodes.append(self._node(name, node))
        return ir.Graph(tuple(self.nodes))

    def _node(self, name: str, node: nir.NIRNode) -> ir.Node:
        common: dict[str, Any] = {"name": name, "inputs": self._sources(name), "shape": self.layout.shapes[name]}
        match node:
            case nir.Input():
                return ir.Input(name=name, shape=common["shape"], **asdict(payloads_in(node.metadata)))
            case nir.Conv2d() if self._only_pools(name):
                kernel, stride = pair(node.weight.shape[2:]), pair(node.stride)
                return ir.SumPool(**common, kernel=kernel, stride=stride, padding=conv_padding(name, node))
            case nir.Conv2d():
                weight, groups = _whole(name, "weight", node.weight), int(node.groups)
                if groups == 1:
                    weight, groups = with_groups(weight)
                return ir.Conv(
                    **common,
                    weight=weight,
                    stride=pair(node.stride),
                    padding=conv_padding(name, node),
                    dilation=pair(node.dilation),
                    groups=groups,
                )
            case nir.Affine() | nir.Linear():
                return ir.Linear(**common, weight=_whole(name, "weight", node.weight))
            case nir.SumPool2d():
                kernel, stride, padding = (pair(value) for value in (node.kernel_size, node.stride, node.padding))
                pool = ir.MaxPool if takes_largest(node) else ir.SumPool
                return pool(**common, kernel=kernel, stride=stride, padding=padding)
            case nir.Scale() if SHIFT in node.metadata:
                return self._relay(name, node, common)
            case nir.Scale():
                factor = _one(name, "scale", _whole(name, "scale", compact(node.scale)))
                merges = factor == 1 and not any(map(self._is_relayed, common["inputs"]))
                return ir.Merge(**common) if merges else ir.Scale(**common, factor=factor)
            case nir.Threshold():
                return ir.Threshold(
                    **common, threshold=_one(name, "threshold", floor_to_int(compact(np.asarray(node.threshold))))
                )
            case nir.IF() | nir.LIF() | nir.CubaLIF():
                return self._neuron(name, node, common)
            case nir.Output():
                bias = np.broadcast_to(_whole(name, "bias", self._bias(name, len(common["shape"]))), common["shape"])
                if heads := heads_of(name, node):
                    scales = np.asarray(node.metadata.get(SCALE, ()), np.float64).reshape(-1)
                    if scales.shape != common["shape"]:
                        problem = f"it has {scales.size} scales for {common['shape'][0]} logits of several heads"
                        raise QuantisationError.at(name, problem, AGAIN)
                    heads = tuple(replace(head, scale=float(scales[head.start])) for head in heads)
                    return ir.Readout(**common, bias=bias, scale=heads[0].scale, heads=heads)
                return ir.Readout(**common, bias=bias, scale=_scale(name, node))
            case _:
                raise QuantisationError.at(name, f"{type(node).__name__} nodes have no integer form here", AGAIN)

    def _relay(self, name: str, node: nir.Scale, common: dict[str, Any]) -> ir.Relay:
        shift, low, high = (int(np.asarray(node.metadata.get(key, 0)).item()) for key in (SHIFT, LOW, HIGH))
        if not 0 <= shift <= LARGEST_SHIFT or not low <= 0 <= high or np.any(compact(node.scale) != 2.0**-shift):
            problem = f"a relay with a shift of {shift} and payloads from {low} to {high}"
            raise QuantisationError.at(name, problem, AGAIN)
        bias = _whole(name, "bias", compact(self._bias(name, len(common["shape"]))))
        return ir.Relay(**common, bias=bias, shift=shift, low=low, high=high, scale=_scale(name, node))

    def _neuron(self, name: str, node: Neuron, common: dict[str, Any]) -> ir.Neuron:
        rule, numerics = rule_of(name, node), self.numerics
        if np.any(np.abs(rule.gain - 1) > 1e-6) or np.any(rule.drive) or np.any(rule.reset_value):
            raise QuantisationError.at(name, "a quantised neuron has a gain of 1, and v_leak and v_reset of 0", AGAIN)
        drawn = compact(self._bias(name, len(common["shape"])))
        bias = _whole(name, "bias in 1/64", drawn * (1 << numerics.membrane_shift))
        mantissa, exponent = split_bias(
            bias, mantissa_max=numerics.bias_mantissa_max, exponent_max=numerics.bias_exponent_max
        )
        threshold = floor_to_int(rule.threshold)
        self._check_size(name, "bias in 1/64", bias, numerics.bias_max)
        self._check_size(name, "threshold", threshold, numerics.threshold_limit - 1)
        if not np.array_equal(mantissa << exponent, bias):
            listed = bias.ravel().tolist()[:3]
            raise QuantisationError.at(
                name, f"its bias of {listed}/64 is no mantissa and exponent of {numerics.chip}", AGAIN
            )
        amount = np.broadcast_to(node.metadata.get(RESET_AMOUNT, 0), common["shape"])  # a file may hold one for all
        bits, one = numerics.decay_bits, numerics.no_memory
        return ir.Neuron(
            **common,
            threshold=threshold,
            decay=quantise_decay(rule.keep, bits=bits, least=0, most=one - 1),
            current_decay=quantise_decay(rule.current_keep, bits=bits, least=1, most=one),
            bias_mantissa=mantissa,
            bias_exponent=exponent,
            reset=rule.reset,
            reset_amount=_whole(name, RESET_AMOUNT, compact(amount)),
            scale=_scales(name, node, self.layout.shapes[name][0]),
        )

    def _is_relayed(self, name: str) -> bool:
        """Whether a node emits what a relay hands on, pooled or not: a Scale of 1 behind it is a synapse."""
        node = self.network.nodes[name]
        if isinstance(node, nir.SumPool2d | nir.Flatten):
            return any(map(self._is_relayed, self.layout.sources[name]))
        return SHIFT in node.metadata

    def _check_size(self, name: str, what: str, values: Int, most: int) -> None:
        """Raise QuantisationError for numbers that the chip cannot hold."""
        largest = int(np.abs(values).max())
        if largest > most:
            raise QuantisationError.at(
                name,
                f"its {what} reaches {largest}, and {self.numerics.chip} holds at most {most}",
                "Choose the chip that the file was made for",
            )

    def _sources(self, name: str) -> tuple[str, ...]:
        """The nodes that are read, past a flatten."""
        sources: list[str] = []
        for source in self.layout.sources[name]:
            past = isinstance(self.network.nodes[source], nir.Flatten)
            sources += self.layout.sources[source] if past else (source,)
        return tuple(sources)

    def _bias(self, name: str, axes: int) -> Float:
        """What the weighted layers before a node add to it in every step, in input units; one a channel, or 0."""
        total: Float = np.zeros(1)
        for source in self._sources(name):
            window, padded, node = 1, "", self.network.nodes[source]
            while isinstance(node, nir.SumPool2d) or self._only_flattens(source):
                behind = self._sources(source)
                if len(behind) != 1:
                    break
                if isinstance(node, nir.SumPool2d) and not takes_largest(node):
                    window *= int(np.prod(pair(node.kernel_size)))
                    padded = source if np.any(node.padding) else padded
                source, node = behind[0], self.network.nodes[behind[0]]
            if isinstance(node, nir.Conv2d | nir.Affine):
                if padded and _has_bias(node):
                    raise QuantisationError.at(padded, f"a padded pool behind {source}, which has a bias", AGAIN)
                total = total + window * np.asarray(node.bias, np.float64)
        return total.reshape(-1, *[1] * (axes - 1))

    def _only_flattens(self, name: str) -> bool:
        """True for the identity matrix that stands for a flatten behind a pool."""
        node = self.network.nodes[name]
        if not isinstance(node, nir.Affine | nir.Linear) or not _is_identity(node.weight) or _has_bias(node):
            return False
        return any(
            isinstance(self.network.nodes[source], nir.SumPool2d) or self._only_pools(source)
            for source in self._sources(name)
        )

    def _only_pools(self, name: str) -> bool:
        """True for the convolution that stands for a pool with a bias: it adds up what another layer emits."""
        node = self.network.nodes[name]
        if not isinstance(node, nir.Conv2d) or pair(node.dilation) != (1, 1) or not _has_bias(node):
            return False
        outputs, inputs, height, width = node.weight.shape
        ones = outputs == inputs and np.count_nonzero(node.weight) == outputs * height * width
        sums = ones and bool(np.all(np.einsum("iihw->ihw", node.weight) == 1))
        return sums and all(isinstance(self.network.nodes[source], LAYERS) for source in self._sources(name))


LAYERS = (nir.Conv2d, nir.Affine, nir.Linear, nir.SumPool2d)


def _has_bias(node: nir.Conv2d | nir.Affine | nir.Linear) -> bool:
    return not isinstance(node, nir.Linear) and bool(np.any(node.bias))


def _is_identity(weight: Float) -> bool:
    return weight.shape[0] == weight.shape[1] and np.array_equal(weight, np.eye(len(weight)))


def _scale(name: str, node: nir.NIRNode) -> float:
    return _metadata_scale(name, node).item()


def _scales(name: str, node: nir.NIRNode, channels: int) -> float | tuple[float, ...]:
    """One scale, or one for each channel."""
    values = _metadata_scale(name, node).reshape(-1)
    if values.size == 1:
        return float(values[0])
    if values.size != channels:
        raise QuantisationError.at(name, f"{values.size} scales for {channels} channels", AGAIN)
    return tuple(values.tolist())


def _metadata_scale(name: str, node: nir.NIRNode) -> Float:
    if SCALE not in node.metadata:
        raise QuantisationError.at(name, "a quantised network says the scale of this node in its metadata", AGAIN)
    return np.asarray(node.metadata[SCALE], np.float64)


def _whole(name: str, what: str, values: Float) -> Int:
    whole = round_to_int(values)
    off = ~np.isclose(whole, values, rtol=1e-12, atol=0)  # a bias behind a pool was divided by the window, in float64
    if off.any():
        at = np.ravel(np.asarray(values))[np.flatnonzero(off)[0]]
        raise QuantisationError.at(
            name,
            f"its {what} holds {float(at):g}, but the input says that this is a quantised network of whole numbers",
            AGAIN,
        )
    return whole


def _one(name: str, what: str, values: Int) -> int:
    if values.size != 1:
        raise QuantisationError.at(name, f"its {what} differs between neurons; one number is supported", AGAIN)
    return int(values.item())
