"""Quantise: from a float NIR graph to integers. Here the floats end.

Every integer stands for a real number by a unit: a spike has unit 1, an average pool over k values emits integers of
unit 1/k, an input payload has the input's scale. All that flows into one neuron must share one unit, 1/scale: a weight
w behind a source of unit u becomes round(scale * gain * u * w), where gain is the neuron's own (neuron_rule.py). The
scale is what the calibration method asks for (weight_scales.py), and at most what keeps biases, thresholds and
calibrated currents within their formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import Blocker, OptionError, QuantisationError
from snn2hw.ir.fixed_point import (
    BIAS_MAX,
    DECAY_MAX,
    DECAY_SHIFT,
    INPUT_LIMIT,
    MEMBRANE_SHIFT,
    NO_MEMORY,
    floor_to_int,
    round_to_int,
    split_bias,
)
from snn2hw.ir.nodes import Head
from snn2hw.network.heads import heads_of
from snn2hw.network.layout import Layout, emits_integers, lay_out
from snn2hw.network.neuron_rule import Float, NeuronRule, compact, rule_of
from snn2hw.passes.calibrate import Calibration
from snn2hw.passes.currents import Current, Emitted, Flow, align
from snn2hw.passes.thresholds import at_rest_0, integer_threshold
from snn2hw.passes.weight_scales import METHODS, WHOLE_LAYER, on_lattice

MARGIN = 2.0  # how many times the currents and membranes seen in calibration must fit
TINY = 1e-6  # steps of the weights: a threshold above 0 has more
READOUT_LIMIT = 1 << 53  # of a read-out's bias: so far a float64 counts
WEIGHT_BITS = range(2, 9)
INPUT_BITS = range(2, 9)


def quantise(
    network: nir.NIRGraph,
    calibration: Calibration,
    *,
    weight_bits: int = 8,
    input_bits: int = 8,
    method: str = "max",
) -> ir.Graph:
    """The integer graph of `network`: signed weights of `weight_bits`, a signed graded input of `input_bits`.

    method: how the weights' scales are chosen, one of weight_scales.METHODS.

    Raises:
        OptionError: bits out of range, or an unknown method.
        QuantisationError: with every layer that has no integer form, by name, the numbers and what to change.
        ModelError: the graph is malformed.
    """
    for label, bits, allowed in (("weight", weight_bits, WEIGHT_BITS), ("input", input_bits, INPUT_BITS)):
        if bits not in allowed:
            raise OptionError(f"{bits} {label} bits: choose {allowed.start} to {allowed.stop - 1}.")
    if method not in METHODS:
        raise OptionError(f"calibration {method!r}: choose {', '.join(METHODS)}.")
    return _Quantiser(network, calibration, weight_bits, input_bits, method).run()


class _Quantiser:
    def __init__(
        self, network: nir.NIRGraph, calibration: Calibration, weight_bits: int, input_bits: int, method: str
    ) -> None:
        self.network, self.calibration, self.method = network, calibration, method
        self.weight_max = (1 << (weight_bits - 1)) - 1
        self.payload_max = (1 << (input_bits - 1)) - 1
        self.layout: Layout = lay_out(network)
        self.flows: dict[str, Flow | None] = {}  # None behind a blocker
        self.nodes: list[ir.Node] = []
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
        graph = ir.Graph(tuple(self.nodes))
        kept = {"logits", *(f"logits.{head.name}" for head in graph.readout.heads)}
        if taken := [node.name for node in graph.recorded if node.name in kept]:
            raise QuantisationError.at(taken[0], "results keep this name for the class scores", "Rename the layer")
        return graph

    def _node(self, name: str, node: nir.NIRNode, sources: list[Flow | None]) -> Flow | None:
        shape = self.layout.shapes[name]
        incoming = [flow for flow in sources if flow is not None]
        if len(incoming) < len(sources):  # all that can be looked at behind a blocker
            if isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
                at_rest_0(name, rule_of(name, node))
            return None
        match node:
            case nir.Input():
                return self._emit(self._input(name, shape), unit=self._input_unit())
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                return self._weighted(name, node, incoming)
            case nir.SumPool2d() | nir.AvgPool2d():
                return self._pool(name, node, incoming)
            case nir.Flatten():
                return align(name, incoming).flattened(name, shape)
            case nir.Scale():
                return self._scaled(name, node, incoming)
            case nir.Threshold():
                return self._threshold(name, node, incoming)
            case nir.IF() | nir.LIF() | nir.CubaLIF():
                return self._neuron(name, rule_of(name, node), incoming)
            case nir.Output():
                self._readout(name, shape, incoming, heads_of(name, node))
                return None
            case _:
                kind = type(node).__name__
                raise QuantisationError.at(name, f"{kind} nodes have no integer form here", "Leave it out")

    def _emit(self, node: ir.Node, *, unit: float = 1.0) -> Emitted:
        self.nodes.append(node)
        return Emitted(sources=(node.name,), shape=node.shape, unit=unit)

    def _input_unit(self) -> float:
        lattice = self.calibration.lattice
        peak = max(map(abs, self.calibration.input_range))
        if lattice is not None and peak * lattice <= self.payload_max:
            return 1.0 / lattice  # whole multiples of 1/lattice: the payloads are exact
        return peak / self.payload_max

    def _input(self, name: str, shape: ir.Shape) -> ir.Input:
        """The input saturates at the range that calibration saw: bounds proved for it then hold for any input."""
        unit = self._input_unit()
        low, high = (int(round_to_int(end / unit)) for end in self.calibration.input_range)
        return ir.Input(name=name, shape=shape, scale=unit, low=low, high=high)

    def _weighted(self, name: str, node: nir.Conv2d | nir.Affine | nir.Linear, incoming: list[Flow]) -> Flow:
        flow = align(name, incoming)
        current = flow.through_weights(name, node, self.layout.shapes[name])
        counts = isinstance(flow, Emitted) and flow.unit == 1.0 and np.abs(node.weight).max() <= self.weight_max
        if counts and emits_integers(self.network, name):
            return self._emit(current.as_integers())
        return current

    def _pool(self, name: str, node: nir.SumPool2d | nir.AvgPool2d, incoming: list[Flow]) -> Flow:
        flow = align(name, incoming)
        pooled = flow.pooled(name, node, self.layout.shapes[name])
        if isinstance(pooled, Current):
            return pooled
        self.nodes.append(pooled.node(flow.sources))
        return Emitted(sources=(name,), shape=self.layout.shapes[name], unit=pooled.unit)

    def _scaled(self, name: str, node: nir.Scale, incoming: list[Flow]) -> Flow:
        flow = align(name, incoming)
        _refuse_flat(name, flow)
        factors = np.unique(np.asarray(node.scale, np.float64))
        if isinstance(flow, Current) or factors.size > 1 or factors[0] != np.rint(factors[0]) or factors[0] == 0:
            raise QuantisationError.at(
                name,
                f"a Scale by {factors.min():g} to {factors.max():g}",
                "Only one whole factor over spikes has an integer form; fold others into the weights before or behind",
            )
        factor = int(factors[0])
        if abs(factor) > self.weight_max:
            raise QuantisationError.at(
                name,
                f"the factor {factor} exceeds the largest weight {self.weight_max}",
                "Fold it into the weights behind, or use more weight bits",
            )
        if factor == 1:
            return self._emit(ir.Merge(name=name, inputs=flow.sources, shape=flow.shape), unit=flow.unit)
        return self._emit(ir.Scale(name=name, inputs=flow.sources, shape=flow.shape, factor=factor), unit=flow.unit)

    def _threshold(self, name: str, node: nir.Threshold, incoming: list[Flow]) -> Flow:
        flow = align(name, incoming)
        _refuse_flat(name, flow)
        levels = np.unique(np.asarray(node.threshold, np.float64))
        if isinstance(flow, Current):
            raise QuantisationError.at(name, "a Threshold over weighted sums", "Use an IF or LIF neuron")
        if levels.size > 1 or levels[0] < 0:
            raise QuantisationError.at(
                name,
                f"thresholds from {levels.min():g} to {levels.max():g}",
                "One value of at least 0 is supported",
            )
        threshold = int(floor_to_int(levels[0] / flow.unit))
        return self._emit(ir.Threshold(name=name, inputs=flow.sources, shape=flow.shape, threshold=threshold))

    def _neuron(self, name: str, rule: NeuronRule, incoming: list[Flow]) -> Flow:
        threshold, drive = at_rest_0(name, rule)
        currents = [flow.as_current(f"{name}.shortcut") for flow in incoming]
        bias = drive + sum(rule.gain * current.bias for current in currents)
        scale = self._neuron_scale(name, currents, rule, threshold, bias)
        each = scale.reshape(-1, *[1] * (len(self.layout.shapes[name]) - 1)) if scale.size > 1 else scale
        _refuse_tiny(name, threshold, each)
        sources = self._synapses(name, currents, each, rule.gain)
        amount = np.broadcast_to(rule.reset_amount, self.layout.shapes[name])  # a file may hold one number for all
        mantissa, exponent = split_bias(compact(each * bias) * (1 << MEMBRANE_SHIFT))
        decay = np.clip(round_to_int((1 - compact(rule.keep)) * (1 << DECAY_SHIFT)), 0, DECAY_MAX)
        return self._emit(
            ir.Neuron(
                name=name,
                inputs=sources,
                shape=self.layout.shapes[name],
                threshold=integer_threshold(rule, each),
                decay=decay,
                current_decay=np.clip(round_to_int((1 - compact(rule.current_keep)) * NO_MEMORY), 1, NO_MEMORY),
                bias_mantissa=mantissa,
                bias_exponent=exponent,
                reset=rule.reset,
                reset_amount=round_to_int(each * compact(amount)),
                scale=float(scale) if scale.size == 1 else tuple(scale.tolist()),
            )
        )

    def _neuron_scale(
        self, name: str, currents: Sequence[Current], rule: NeuronRule, threshold: Float, bias: Float
    ) -> Float:
        """Input units per unit of the float membrane: one number, or one a channel."""
        bias_peak = float(np.abs(bias).max())
        highest = max(float(threshold.max()), float(rule.reset_amount.max()))
        reach = highest + MARGIN * self.calibration.current.get(name, 0.0) + bias_peak
        weights = self._weight_scale(name, currents, rule.gain)
        limits = {"weights": float(weights.min())}
        if reach > 0:
            limits["threshold"] = (INPUT_LIMIT - 1) / reach
        if seen := self.calibration.membrane.get(name, 0.0):
            limits["membrane"] = (INPUT_LIMIT - 1) / (MARGIN * seen + float(np.abs(rule.reset_value).max()))
        if bias_peak > 0:
            limits["bias"] = (BIAS_MAX >> MEMBRANE_SHIFT) / bias_peak
        limited_by = min(limits, key=lambda key: limits[key])
        limit = np.minimum(weights, min((value for key, value in limits.items() if key != "weights"), default=np.inf))
        lowest = float(threshold.min())
        if np.all(np.isinf(weights)):
            return _scale_of_bias(limit, lowest)
        steps = [abs(step) for current in currents if (step := current.identity_step(rule.gain)) is not None]
        if steps and limit * steps[0] < 1:
            raise QuantisationError.at(
                name,
                f"the shortcut's spikes need a weight of at least 1, but the {limited_by} of its other inputs allow "
                f"{float(limit) * steps[0]:.3g}",
                "Scale the layer's weights down",
            )
        return on_lattice(limit, steps[0] if steps else lowest)

    def _weight_scale(self, name: str, currents: Sequence[Current], gain: Float, *, whole_layer: bool = False) -> Float:
        """The scale that the calibration method asks for, of the weights that meet in one layer; a shortcut's fits.

        Infinite for a neuron whose layers hold nothing but zeros, such as BatchNorm's at the start of a training: its
        bias may fire it all the same.
        """
        layers = [current.gained(gain) for current in currents if current.layer is not None]
        layers = [weights for weights in layers if np.any(weights)]
        steps = [abs(step) for current in currents if (step := current.identity_step(gain))]
        if not layers and not steps:
            if not whole_layer and all(current.layer is not None for current in currents):
                return np.asarray(np.inf)
            raise QuantisationError.at(
                name, "all weights that feed it are 0", "The layer is dead; remove or retrain it"
            )
        method = (WHOLE_LAYER if steps or whole_layer else METHODS)[self.method]
        asked = [method(layers, self.weight_max)] if layers else []
        scale: Float = np.minimum.reduce([*asked, *(np.asarray(self.weight_max / step) for step in steps)])
        return scale

    def _synapses(self, name: str, currents: Sequence[Current], scale: Float, gain: Float) -> tuple[str, ...]:
        """The layers that feed a neuron, at its scale. One that another neuron reads too is made again for this one."""
        ends = []
        for current in currents:
            chain = current.nodes(scale, gain, self.weight_max)
            names = {node.name: self._free(node.name) for node in chain}
            for node in chain:
                inputs = tuple(names.get(source, source) for source in node.inputs)
                self.nodes.append(replace(node, name=names[node.name], inputs=inputs))
            ends.append(self.nodes[-1].name)
        return tuple(ends)

    def _free(self, name: str) -> str:
        taken = {node.name for node in self.nodes}
        candidate, count = name, 1
        while candidate in taken or (candidate != name and candidate in self.network.nodes):
            count += 1
            candidate = f"{name}@{count}"
        return candidate

    def _readout(self, name: str, shape: ir.Shape, incoming: list[Flow], heads: Sequence[Head]) -> None:
        if heads:
            self._readout_of_heads(name, shape, incoming, heads)
            return
        currents = [flow.as_current(f"{name}.sum") for flow in incoming]
        gain = np.ones(shape)
        scale = self._weight_scale(name, currents, gain, whole_layer=True)
        if steps := [step for current in currents if (step := current.identity_step(gain)) is not None]:
            scale = np.floor(scale * steps[0]) / steps[0]
        sources = self._synapses(name, currents, scale, gain)
        real = scale * np.broadcast_to(sum(current.bias for current in currents), shape)
        if not np.abs(real).max() < READOUT_LIMIT:
            raise QuantisationError.at(
                name,
                f"the bias of the read-out is {np.abs(real).max():.3g} times its smallest weight step",
                "Scale the last layer's bias down",
            )
        bias = round_to_int(real)
        self.nodes.append(ir.Readout(name=name, inputs=sources, shape=shape, bias=bias, scale=float(scale)))

    def _readout_of_heads(self, name: str, shape: ir.Shape, incoming: list[Flow], heads: Sequence[Head]) -> None:
        """Every head has a scale of its own: nothing is added up or compared across heads."""
        currents = []
        for source, flow in zip(self.layout.sources[name], incoming, strict=True):
            if isinstance(flow, Emitted) and not flow.flat:
                raise QuantisationError.at(
                    name,
                    f"{source} goes right into an output with several heads",
                    "Put a layer in between, which can take up their scales",
                )
            currents.append(flow.as_current(f"{name}.sum"))
        scaled = []
        for head in heads:
            rows = [current.weight[head.start : head.stop] for current in currents]
            if not any(np.any(own) for own in rows):
                raise QuantisationError.at(
                    name, f"all weights of head {head.name} are 0", "Remove the head or retrain it"
                )
            scaled.append(replace(head, scale=float(WHOLE_LAYER[self.method](rows, self.weight_max))))
        readout = ir.Readout(
            name=name, inputs=(), shape=shape, bias=np.array(0), scale=scaled[0].scale, heads=tuple(scaled)
        )
        sources = self._synapses(name, currents, np.ones(()), readout.scales)
        bias = round_to_int(readout.scales * np.broadcast_to(sum(current.bias for current in currents), shape))
        self.nodes.append(replace(readout, inputs=sources, bias=bias))


def _scale_of_bias(limit: Float, threshold: float) -> Float:
    """The largest scale up to `limit` at which `threshold` is a power of two: the binary parts of it, as which biases
    meet it, then are whole numbers of few bits. 1 where nothing limits it: such neurons do nothing.
    """
    if np.all(np.isinf(limit)):
        return np.ones(())
    step = threshold or 1.0
    return np.asarray(2.0 ** np.floor(np.log2(limit * step)) / step)


def _refuse_tiny(name: str, threshold: Float, scale: Float) -> None:
    """Raise QuantisationError for a threshold above 0 that is next to nothing beside the step of the weights."""
    above, scale = np.broadcast_arrays(threshold, scale)
    steps = np.where(above > 0, above * scale, np.inf)
    at = np.unravel_index(np.argmin(steps), steps.shape)
    if steps[at] < TINY:
        raise QuantisationError.at(
            name,
            f"its threshold of {above[at]:.3g} is {steps[at]:.2g} of the smallest step of its weights, "
            f"{1 / scale[at]:.3g}, so no integer tells it from 0",
            "Scale the weights of the layers before it down, or its threshold up",
        )


def _refuse_flat(name: str, flow: Flow) -> None:
    if isinstance(flow, Emitted) and flow.flat:
        raise QuantisationError.at(name, "it joins flattened spikes", "Join them first and flatten behind")
