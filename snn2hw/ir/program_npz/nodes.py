"""Reads the nodes of program.npz and compares each with what it reads. Every error names the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import records
from .fields import Entry
from .records import Array, Node, Pair, ProgramError, Shape

RESETS = ("zero", "subtract", "subtract_late", "none")
BOUND_KINDS = ("proved", "calibrated")
BOUND_LIMIT = 1 << 31  # channels carry int32


def read_node(
    entry: Entry, arrays: Mapping[str, Array], nodes: Mapping[str, Node], timesteps: int, limits: records.Limits
) -> Node:
    """Read one node; `nodes` holds those before it. Raises ProgramError."""
    name, kind = entry.text("name"), entry.text("kind")
    entry.owner = f"node {name} ({kind})"
    shape = entry.integers("shape", low=1)
    if len(shape) not in (1, 3):
        raise ProgramError(f"{entry.owner}: shape is {list(shape)}, expected [C, H, W] or [K]")
    inputs = []
    for item in entry.items("inputs"):
        item.owner = entry.owner
        source = item.text("source")
        if source not in nodes or isinstance(nodes[source], records.Readout):
            raise ProgramError(f"{entry.owner} reads {source!r}, which is no node before it")
        inputs.append(records.Edge(source, item.integer("delay", low=0)))
    base: dict[str, Any] = {
        "name": name,
        "shape": shape,
        "latency": entry.integer("latency", low=0),
        "inputs": tuple(inputs),
        "bound": _read_bound(entry),
    }
    if bool(inputs) == (kind == "input"):
        raise ProgramError(f"{entry.owner} has {len(inputs)} inputs")

    def array(parameter: str, low: int, high: int) -> Array:
        value = arrays.get(f"{name}:{parameter}")
        if value is None or value.dtype.kind != "i":
            problem = "missing" if value is None else f"of type {value.dtype}"
            raise ProgramError(f"{entry.owner}: the integer array '{name}:{parameter}' is {problem}")
        if value.size and not (low <= int(value.min()) and int(value.max()) <= high):
            span = f"{int(value.min())} to {int(value.max())}"
            raise ProgramError(f"{entry.owner}: {parameter} spans {span}, legal is {low} to {high}")
        return value

    def per_neuron(parameter: str, low: int, high: int) -> Array:
        value = array(parameter, low, high)
        try:
            np.broadcast_to(value, shape)
        except ValueError as error:
            raise ProgramError(f"{entry.owner}: {parameter} {value.shape} does not broadcast to {shape}") from error
        return value

    def bound() -> int:
        return entry.integer("accumulator_bound", low=0, high=BOUND_LIMIT - 1)

    big, no_memory, threshold = BOUND_LIMIT - 1, 1 << limits.decay_bits, limits.threshold_limit - 1
    node: records.Synapse
    if kind == "input":
        low, high = entry.integer("low", low=-big, high=0), entry.integer("high", low=0, high=big)
        return records.Input(**base, scale=entry.number("scale"), low=low, high=high)
    if kind == "conv":
        node = records.Conv(
            **base,
            accumulator_bound=bound(),
            weight=array("weight", -big, big),
            stride=entry.pair("stride", low=1),
            padding=entry.pair("padding", low=0),
            dilation=entry.pair("dilation", low=1),
            groups=entry.integer("groups", low=1),
        )
    elif kind == "linear":
        node = records.Linear(**base, accumulator_bound=bound(), weight=array("weight", -big, big))
    elif kind == "scale":
        factor = entry.integer("factor", low=-big, high=big)
        node = records.Scale(**base, accumulator_bound=bound(), factor=factor)
    elif kind in ("sum_pool", "max_pool"):
        node = (records.SumPool if kind == "sum_pool" else records.MaxPool)(
            **base,
            accumulator_bound=bound(),
            kernel=entry.pair("kernel", low=1),
            stride=entry.pair("stride", low=1),
            padding=entry.pair("padding", low=0),
        )
    elif kind == "neuron":
        return _check_inputs(
            records.Neuron(
                **base,
                scale=_read_scales(entry, shape),
                reset=entry.choice("reset", RESETS),
                reset_offset=entry.integer("reset_offset", low=0, high=timesteps - 1),
                threshold=per_neuron("threshold", 0, threshold),
                decay=per_neuron("decay", 0, no_memory - 1),
                current_decay=per_neuron("current_decay", 1, no_memory),
                bias_mantissa=per_neuron("bias_mantissa", -limits.bias_mantissa_max, limits.bias_mantissa_max),
                bias_exponent=per_neuron("bias_exponent", 0, limits.bias_exponent_max),
                reset_amount=per_neuron("reset_amount", 0, threshold),
            ),
            nodes,
        )
    elif kind == "threshold":
        level = entry.integer("threshold", low=-threshold, high=threshold)
        return _check_inputs(records.Threshold(**base, threshold=level), nodes)
    elif kind == "merge":
        return _check_inputs(records.Merge(**base), nodes)
    elif kind == "relay":
        return _check_inputs(
            records.Relay(
                **base,
                shift=entry.integer("shift", low=0, high=30),
                low=entry.integer("low", low=-big, high=0),
                high=entry.integer("high", low=0, high=big),
                scale=entry.number("scale"),
                bias=per_neuron("bias", -big, big),
            ),
            nodes,
        )
    elif kind == "readout":
        offset = entry.integer("reset_offset", low=0, high=timesteps - 1)
        bias = per_neuron("bias", -(1 << 62), 1 << 62)
        scale, heads = entry.number("scale"), _read_heads(entry, shape)
        return _check_inputs(records.Readout(**base, scale=scale, reset_offset=offset, bias=bias, heads=heads), nodes)
    else:
        raise ProgramError(f"node {name} has kind {kind!r}, which this code does not know")
    return _check_synapse(node, nodes)


def _read_bound(entry: Entry) -> records.Bound:
    bound = entry.entry("bound")
    observed = bound.get("observed")
    return records.Bound(
        kind=bound.choice("kind", BOUND_KINDS),
        accumulator=bound.integer("accumulator", low=0),
        membrane=bound.integer("membrane", low=0),
        payload=bound.integer("payload", low=0),
        signed=bound.truth("signed"),
        observed=None if observed is None else bound.number("observed", least=0),
    )


def _read_scales(entry: Entry, shape: Shape) -> float | tuple[float, ...]:
    """The scale of a neuron: one number, or one a channel."""
    if not isinstance(entry.get("scale"), list):
        return entry.number("scale")
    return entry.numbers("scale", length=shape[0])


def _read_heads(entry: Entry, shape: Shape) -> tuple[records.Head, ...]:
    """The heads of a read-out; none where the model returns one output."""
    heads: list[records.Head] = []
    for item in entry.items("heads") if "heads" in entry.value else ():
        start, stop = item.integer("start", low=0), item.integer("stop", low=1, high=shape[0])
        if start >= stop:
            raise ProgramError(f"{entry.owner}: a head goes from {start} to {stop}")
        heads.append(records.Head(name=item.text("name"), start=start, stop=stop, scale=item.number("scale")))
    return tuple(heads)


def _check_inputs(
    node: records.Neuron | records.Threshold | records.Merge | records.Relay | records.Readout,
    nodes: Mapping[str, Node],
) -> Node:
    for edge in node.inputs:
        if nodes[edge.source].shape != node.shape:
            raise ProgramError(
                f"node {node.name} has shape {node.shape}, but its input {edge.source} has {nodes[edge.source].shape}"
            )
    return node


def _check_synapse(node: records.Synapse, nodes: Mapping[str, Node]) -> Node:
    """Compare a synapse's shape with the one that its parameters and its input give."""
    shapes = {nodes[edge.source].shape for edge in node.inputs}
    if len(shapes) != 1:
        raise ProgramError(f"node {node.name} sums inputs of different shapes: {sorted(shapes)}")
    shape = shapes.pop()
    expected: Shape
    if isinstance(node, records.Linear):
        if node.weight.ndim != 2 or node.weight.shape[1] != np.prod(shape):
            raise ProgramError(f"node {node.name}: weight {node.weight.shape} does not fit the input {shape}")
        expected = (node.weight.shape[0],)
    elif isinstance(node, records.Scale):
        expected = shape
    elif len(shape) != 3:
        raise ProgramError(f"node {node.name} needs an input [C, H, W], got {shape}")
    elif isinstance(node, (records.SumPool, records.MaxPool)):
        expected = (shape[0], *_spatial(shape, node.kernel, node.stride, node.padding, (1, 1)))
    else:
        weight, groups = node.weight, node.groups
        if weight.ndim != 4 or weight.shape[1] * groups != shape[0] or weight.shape[0] % groups:
            raise ProgramError(
                f"node {node.name}: weight {weight.shape} with {groups} groups does not fit the input {shape}"
            )
        kernel = (weight.shape[2], weight.shape[3])
        expected = (weight.shape[0], *_spatial(shape, kernel, node.stride, node.padding, node.dilation))
    if expected != node.shape:
        raise ProgramError(f"node {node.name} says shape {node.shape}, its parameters give {expected}")
    return node


def _spatial(shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    height, width = (
        (shape[axis + 1] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    )
    return height, width
