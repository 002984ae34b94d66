"""A program as an ONNX model: every layer computes all samples and steps at once, neurons one step after the other.

What it computes is that of docs/program.md without its cycles: step k of every layer answers step k of the input.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, assert_never

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from snn2hw import ir
from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.exporters.onnx.neurons import write_neuron, write_relay
from snn2hw.exporters.onnx.synapses import write_synapse
from snn2hw.exporters.onnx.writer import Value, Watch, Writer, narrowest, unused
from snn2hw.files import VERSION
from snn2hw.ir.file import write_program

OPSET, IR_VERSION = 18, 8
SCHEMA = "snn2hw.onnx/1"
PREFIX = "snn2hw."
INPUT, LOGITS, PEAKS = "x", "logits", "peaks"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer whose spikes can be had: where in the graph they are, and how spikes.npz holds them.

    tensor: its name; it is [samples * T, *shape]. dtype: of spikes.npz.
    """

    name: str
    tensor: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A number of a layer that may reach its limit, the smallest size that is too large; `peaks` shows its sizes."""

    layer: str
    what: str
    limit: int
    latency: int


def build_model(
    program: ir.Program, *, payloads: bool, spikes: bool, conventions: Mapping[str, Convention]
) -> onnx.ModelProto:
    """The model of a program.

    payloads: it takes the integers of the input, not real values. spikes: those of every layer are outputs too.
    """
    graph, timesteps = program.graph, program.schedule.timesteps
    writer = Writer(timesteps, [*reserved_names(program), *(node.name for node in graph.recorded)])
    values: dict[str, Value] = {}
    for node in graph:
        writer.layer = node.name
        x = [values[source] for source in node.inputs]
        emits = _write(writer, node, x, program, payloads)
        values[node.name] = writer.at_every_step(emits) if ir.is_spiking(node) else emits  # as spikes are recorded
    outputs = [helper.make_tensor_value_info(LOGITS, TensorProto.INT64, _sizes(*graph.readout.shape))]
    for head in graph.readout.heads:
        sizes = _sizes(head.stop - head.start, *graph.readout.shape[1:])
        outputs.append(helper.make_tensor_value_info(f"{LOGITS}.{head.name}", TensorProto.INT64, sizes))
    if writer.watches:
        each = [watch.tensor for watch in writer.watches]
        writer.nodes.append(helper.make_node("Concat", each, [PEAKS], name=PEAKS, axis=2))
        sizes = _sizes(timesteps, len(each))
        outputs.append(helper.make_tensor_value_info(PEAKS, TensorProto.INT64, sizes))
    kind = TensorProto.INT32 if payloads else TensorProto.FLOAT
    given = helper.make_tensor_value_info(INPUT, kind, _sizes("steps", *graph.input.shape))
    made = helper.make_graph(writer.nodes, "snn2hw", [given], outputs, writer.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name, model.producer_version = "snn2hw", VERSION
    layers = [
        Layer(
            name=node.name,
            tensor=values[node.name].tensor,
            shape=node.shape,
            dtype=np.dtype(ir.record_dtype(program.bounds[node.name])).name,
        )
        for node in graph.recorded
    ]
    about = _metadata(program, payloads, layers, writer.watches) | {
        "conventions": {name: vars(convention) for name, convention in conventions.items()}
    }
    texts = {
        PREFIX + key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in about.items()
    }
    helper.set_model_props(model, texts)
    if spikes:
        add_spikes(model, layers, timesteps)
    return model


def add_spikes(model: onnx.ModelProto, layers: Sequence[Layer], timesteps: int) -> None:
    """Make the spikes of layers outputs of a model, each [samples, T, *shape] under its layer's name."""
    taken = {name for node in model.graph.node for name in node.output} | {layer.name for layer in layers}
    taken |= {constant.name for constant in model.graph.initializer}
    for layer in layers:
        whole, sizes = unused(f"{layer.name}/spikes", taken), unused(f"{layer.name}/shape", taken)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype))
        shape = np.array([-1, timesteps, *layer.shape], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(shape, sizes))
        model.graph.node.append(helper.make_node("Reshape", [layer.tensor, sizes], [whole], name=whole))
        model.graph.node.append(helper.make_node("Cast", [whole], [layer.name], name=f"{whole}/Cast", to=kind))
        model.graph.output.append(helper.make_tensor_value_info(layer.name, kind, _sizes(timesteps, *layer.shape)))


def _sizes(*others: int | str) -> list[int | str | None]:
    """The sizes of an input or output of any number of samples."""
    return ["samples", *others]


def reserved_names(program: ir.Program) -> set[str]:
    """The names of inputs and outputs, which no layer can have."""
    heads = {f"{LOGITS}.{head.name}" for head in program.graph.readout.heads}
    return {INPUT, LOGITS, PEAKS} | heads


def digest(program: ir.Program) -> str:
    """The sha256 of the program's file."""
    content = io.BytesIO()
    write_program(program, content)
    return hashlib.sha256(content.getvalue()).hexdigest()


def _metadata(program: ir.Program, payloads: bool, layers: list[Layer], watches: Sequence[Watch]) -> dict[str, Any]:
    """What the file says of itself, by key."""
    node, numerics, readout = program.graph.input, program.numerics, program.graph.readout
    latency = program.schedule.latency
    watched = [
        Watched(layer=watch.layer, what=watch.what, limit=watch.limit, latency=latency[watch.layer])
        for watch in watches
    ]
    return {
        "schema": SCHEMA,
        "program_sha256": digest(program),
        "timesteps": program.schedule.timesteps,
        "input": {
            "kind": "payloads" if payloads else "real values",
            "shape": node.shape,
            "scale": node.scale,
            "low": node.low,
            "high": node.high,
        },
        "logits_scale": readout.scale * program.schedule.timesteps,
        "heads": [vars(head) for head in readout.heads],
        "layers": [asdict(layer) for layer in layers],
        "watched": [asdict(watch) for watch in watched],
        "numerics": numerics.as_dict(),
    }


def _write(writer: Writer, node: ir.Node, x: list[Value], program: ir.Program, payloads: bool) -> Value:
    """Write a node that reads x; what it emits."""
    bound = program.bounds[node.name]
    match node:
        case ir.Input():
            return _write_input(writer, node, payloads)
        case ir.Conv() | ir.Linear() | ir.Scale() | ir.SumPool() | ir.MaxPool():
            return write_synapse(writer, node, writer.total(x), bound)
        case ir.Neuron():
            return write_neuron(writer, node, writer.total(x), bound, program.numerics)
        case ir.Relay():
            return write_relay(writer, node, writer.total(x), bound, program.numerics)
        case ir.Threshold():
            return _write_threshold(writer, node, writer.total(x))
        case ir.Merge():
            return writer.total(x)
        case ir.Readout():
            return _write_readout(writer, node, writer.total(x))
        case _:
            assert_never(node)


def _write_input(writer: Writer, node: ir.Input, payloads: bool) -> Value:
    """The payloads [samples * steps, *shape] of the input, which has one step or all of them."""
    writer.read_sizes(INPUT)
    tensor = writer.reshape(INPUT, -1, *node.shape)
    wide: Any = np.int32 if payloads else np.float64
    if not payloads:
        real = writer.cast(tensor, np.float64)
        tensor = writer.apply("Round", writer.apply("Div", real, writer.constant(np.array(node.scale, np.float64))))
    ends = (writer.constant(np.array(end, wide)) for end in (node.low, node.high))
    dtype = narrowest(node.low, node.high)
    clipped = writer.apply("Clip", tensor, *ends)
    return Value(
        tensor=writer.cast(clipped, dtype), dtype=dtype, low=node.low, high=node.high, shape=node.shape, per_step=False
    )


def _write_threshold(writer: Writer, node: ir.Threshold, x: Value) -> Value:
    x = writer.as_type(x, narrowest(min(x.low, node.threshold), max(x.high, node.threshold)))
    above = writer.apply("Greater", x.tensor, writer.numbers(node.threshold, x.dtype, "threshold"))
    return replace(x, tensor=writer.cast(above, np.int8), dtype=np.int8, low=0, high=1)


def _write_readout(writer: Writer, node: ir.Readout, x: Value) -> Value:
    """The logits, and those of each head: sums in 64 bits."""
    total = writer.apply("ReduceSum", writer.cast(writer.by_sample(x), np.int64), writer.shape(1), keepdims=0)
    bias = writer.constant(node.bias.astype(np.int64) * writer.timesteps, "bias")
    writer.nodes.append(helper.make_node("Add", [total, bias], [LOGITS], name=LOGITS))
    for head in node.heads:
        ends = [writer.shape(end) for end in (head.start, head.stop, 1)]
        name = f"{LOGITS}.{head.name}"
        writer.nodes.append(helper.make_node("Slice", [LOGITS, *ends], [name], name=name))
    return replace(x, tensor=LOGITS, dtype=np.int64)
