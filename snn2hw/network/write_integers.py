"""The integer graph as standard NIR nodes."""

from __future__ import annotations

from typing import assert_never

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import Blocker, QuantisationError
from snn2hw.ir.fixed_point import DECAY_SHIFT, MEMBRANE_SHIFT, NO_MEMORY, Int, Reset, join_bias
from snn2hw.network.groups import without_groups
from snn2hw.network.heads import heads_metadata
from snn2hw.network.integer_neuron import HALF_MEMBRANE_UNIT
from snn2hw.network.layout import LARGEST
from snn2hw.network.metadata import CURRENT_DECAY, DECAY, HIGH, LOW, POOL, RESET, RESET_AMOUNT, SCALE, SHIFT
from snn2hw.network.neuron_rule import DT, Float, Neuron

NO_DECAY = 1e-6  # a decay of 0 beside others: its time constant is finite, but rounds to 0 again


def integer_graph(graph: ir.Graph) -> nir.NIRGraph:
    """The integer graph as NIR: whole weights, biases in 1/64, thresholds half a membrane unit above the whole number.

    Timing (delays, reset offsets) is not part of it. A neuron's bias stands on the layer that feeds it; its decay is
    the time constant DT * 4096 / decay, and stands as an integer in the metadata too: Loihi's leak truncates, NIR's
    does not. A relay is a Scale of 1 / 2^shift, whose metadata say how it rounds and saturates. The metadata `scale` of
    input, neurons, relays and output turns integers into the model's numbers; nothing needs it to run the graph.

    Raises QuantisationError that lists the neurons with a bias that no weighted layer can carry.
    """
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    biases = _biases(graph)
    for node in graph:
        sources = list(node.inputs)
        if isinstance(node, ir.Linear) and len(graph.input_shape(node)) > 1:
            flat = f"{node.name}.flatten"
            nodes[flat] = nir.Flatten(input_type={"input": np.array(graph.input_shape(node))}, start_dim=0, end_dim=-1)
            edges += [(source, flat) for source in sources]
            sources = [flat]
        nodes[node.name] = _to_nir(graph, node, biases.get(node.name, np.zeros(())))
        edges += [(source, node.name) for source in sources]
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def _to_nir(graph: ir.Graph, node: ir.Node, bias: Float) -> nir.NIRNode:
    match node:
        case ir.Input():
            metadata = {SCALE: node.scale, LOW: node.low, HIGH: node.high}
            return nir.Input(input_type={"input": np.array(node.shape)}, metadata=metadata)
        case ir.Conv():
            height, width = graph.input_shape(node)[1:]
            return nir.Conv2d(
                input_shape=(height, width),
                weight=without_groups(node.weight, node.groups).astype(np.float32),  # nir's type check refuses groups
                stride=node.stride,
                padding=node.padding,
                dilation=node.dilation,
                groups=1,
                bias=np.broadcast_to(bias.reshape(-1), node.shape[:1]).astype(np.float64),
            )
        case ir.Linear():
            spread = np.broadcast_to(bias.reshape(-1), node.shape[:1])
            return nir.Affine(weight=node.weight.astype(np.float32), bias=spread.astype(np.float64))
        case ir.Scale():
            return nir.Scale(scale=_everywhere(node.factor, node))
        case ir.SumPool():
            if np.any(bias):
                return _pool_with_bias(graph, node, bias)
            kernel, stride, padding = (np.array(p) for p in (node.kernel, node.stride, node.padding))
            return nir.SumPool2d(kernel_size=kernel, stride=stride, padding=padding)
        case ir.MaxPool():
            kernel, stride, padding = (np.array(p) for p in (node.kernel, node.stride, node.padding))
            return nir.SumPool2d(kernel_size=kernel, stride=stride, padding=padding, metadata={POOL: LARGEST})
        case ir.Neuron():
            return _neuron(node)
        case ir.Threshold():
            return nir.Threshold(threshold=_everywhere(node.threshold + 0.5, node))
        case ir.Merge():
            return nir.Scale(scale=_everywhere(1, node))
        case ir.Relay():
            metadata = {SHIFT: node.shift, LOW: node.low, HIGH: node.high, SCALE: node.scale}
            return nir.Scale(scale=_everywhere(2.0**-node.shift, node), metadata=metadata)
        case ir.Readout():
            sizes = {head.name: head.stop - head.start for head in node.heads}
            return nir.Output(
                output_type={"output": np.array(node.shape)},
                metadata={SCALE: node.scales, **heads_metadata(sizes)} if sizes else {SCALE: node.scale},
            )
        case _:
            assert_never(node)


def _pool_with_bias(graph: ir.Graph, node: ir.SumPool, bias: Float) -> nir.Conv2d:
    """A pool as the convolution that adds up the same windows: NIR's pools have no bias. passes/adopt.py undoes it."""
    channels = node.shape[0]
    return nir.Conv2d(
        input_shape=graph.input_shape(node)[1:],
        weight=without_groups(np.ones((channels, 1, *node.kernel), np.float32), channels),
        stride=node.stride,
        padding=node.padding,
        dilation=(1, 1),
        groups=1,
        bias=np.broadcast_to(bias.reshape(-1), (channels,)).astype(np.float64),
    )


def _neuron(node: ir.Neuron) -> Neuron:
    threshold = np.broadcast_to(_in_float32(node.threshold + HALF_MEMBRANE_UNIT), node.shape)
    scale = np.array(node.scale) if isinstance(node.scale, tuple) else node.scale
    metadata: dict[str, object] = {SCALE: scale, RESET_AMOUNT: _one_or_each(node.reset_amount, node)}
    if node.decay.any() or np.any(node.current_decay != NO_MEMORY):  # what truncation needs to be put back
        metadata |= {DECAY: np.atleast_1d(node.decay), CURRENT_DECAY: np.atleast_1d(node.current_decay)}
    if node.reset is not Reset.ZERO:
        metadata[RESET] = node.reset.value
    rest = _everywhere(0, node)
    if not node.decay.any() and np.all(node.current_decay == NO_MEMORY):
        return nir.IF(r=_everywhere(1 / DT, node), v_threshold=threshold, v_reset=rest, metadata=metadata)
    decay = np.maximum(node.decay, NO_DECAY).astype(np.float64)
    tau = np.broadcast_to(DT * (1 << DECAY_SHIFT) / decay, node.shape)
    if np.all(node.current_decay == NO_MEMORY):
        return nir.LIF(tau=tau, r=tau / DT, v_leak=rest, v_threshold=threshold, v_reset=rest, metadata=metadata)
    tau_syn = np.broadcast_to(DT * (1 << DECAY_SHIFT) / node.current_decay.astype(np.float64), node.shape)
    return nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau,
        r=tau / DT,
        v_leak=rest,
        v_threshold=threshold,
        v_reset=rest,
        w_in=tau_syn / DT,
        metadata=metadata,
    )


def _in_float32(values: Float) -> Float:
    """The values in float32; as they are where that does not hold them, as it does all thresholds of Loihi."""
    narrow = values.astype(np.float32)
    return narrow if np.array_equal(narrow, values) else values


def _one_or_each(values: Int, node: ir.Node) -> int | Int:
    """One number where all are the same: what files hold as one, and every reader takes for all."""
    return int(values.flat[0]) if np.all(values == values.flat[0]) else np.broadcast_to(values, node.shape).copy()


def _everywhere(value: float, node: ir.Node) -> Float:
    """An array of the node's shape that stores one number: a deep net has tens of millions of neurons."""
    return np.broadcast_to(np.float32(value), node.shape)


def _biases(graph: ir.Graph) -> dict[str, Float]:
    """Where each bias goes: the layer behind the neuron or read-out that can carry it, in input units."""
    biases: dict[str, Float] = {}
    blockers: list[Blocker] = []
    for node in graph:
        match node:
            case ir.Neuron():
                bias = join_bias(node.bias_mantissa, node.bias_exponent) / (1 << MEMBRANE_SHIFT)
            case ir.Relay() | ir.Readout():
                bias = node.bias.astype(np.float64)
            case ir.Conv() | ir.Linear() | ir.Scale() | ir.SumPool() | ir.MaxPool():
                continue
            case ir.Input() | ir.Threshold() | ir.Merge():
                continue
            case _:
                assert_never(node)
        if isinstance(node, ir.Readout) and node.heads:
            biases |= _biases_of_heads(graph, node)
            continue
        carriers = [end for source in node.inputs if (end := _carrier(graph, source))]
        if not carriers:
            if np.any(bias != 0):
                problem = "it has a bias, but no weighted layer feeds it that could carry it"
                advice = "Set v_leak to v_reset, or feed it through a layer"
                blockers.append(Blocker(layer=node.name, problem=problem, advice=advice))
            continue
        if any(size > 1 for size in bias.shape[1:]):
            problem = "its bias differs within a channel, and a layer in NIR has one a channel"
            advice = "Give the neurons of a channel one v_leak"
            blockers.append(Blocker(layer=node.name, problem=problem, advice=advice))
            continue
        weighted = [end for end in carriers if not isinstance(end[0], ir.SumPool)]
        carrier, window = (weighted or carriers)[0]
        biases[carrier.name] = bias / window
    if blockers:
        raise QuantisationError(blockers)
    return biases


def _biases_of_heads(graph: ir.Graph, node: ir.Readout) -> dict[str, Float]:
    """Each head's bias goes to the first layer that has weights in its rows."""
    biases: dict[str, Float] = {}
    for head in node.heads:
        rows = slice(head.start, head.stop)
        if not np.any(node.bias[rows]):
            continue
        layers = [end for source in node.inputs if (end := _carrier(graph, source))]
        layer, window = next(
            (layer, window)
            for layer, window in layers
            if not isinstance(layer, ir.SumPool) and np.any(layer.weight[rows])
        )
        biases.setdefault(layer.name, np.zeros(node.shape))[rows] = node.bias[rows] / window
    return biases


def _carrier(graph: ir.Graph, name: str) -> tuple[ir.Conv | ir.Linear | ir.SumPool, int] | None:
    """What can carry a bias for the reader of `name`, and how many of its values each pool between them adds up.

    The weighted layer behind pools and flattening matrices; but a pool with padding itself, since windows at the border
    hold zeros that have no bias.
    """
    window = 1
    node = graph[name]
    while (
        (isinstance(node, ir.SumPool) and node.padding == (0, 0))
        or isinstance(node, ir.MaxPool)
        or _only_flattens(graph, node)
    ):
        window *= node.kernel[0] * node.kernel[1] if isinstance(node, ir.SumPool) else 1
        node = graph[node.inputs[0]]
    return (node, window) if isinstance(node, ir.Conv | ir.Linear | ir.SumPool) else None


def _only_flattens(graph: ir.Graph, node: ir.Node) -> bool:
    """True for the identity matrix that stands for a flatten behind a pool."""
    if not isinstance(node, ir.Linear) or not isinstance(graph[node.inputs[0]], ir.SumPool | ir.MaxPool):
        return False
    return np.array_equal(node.weight, np.eye(len(node.weight)))
