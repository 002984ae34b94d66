""".nir files, read strictly: every fault is told with the node it lies in, before nir builds anything from it."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import nir
import numpy as np

from snn2hw.errors import Blocker, ModelError, UnsupportedError
from snn2hw.files import check_readable
from snn2hw.network.flatten import flatten
from snn2hw.network.hdf5_reader import read_tree
from snn2hw.network.layout import lay_out, only
from snn2hw.network.metadata import HEADS, HIGH, LOW, NAMES, NUMBERS, RESET_AMOUNT, SCALE

NIR_NODES = (
    nir.Input,
    nir.Conv2d,
    nir.Affine,
    nir.Linear,
    nir.AvgPool2d,
    nir.SumPool2d,
    nir.Flatten,
    nir.Scale,
    nir.Threshold,
    nir.IF,
    nir.LIF,
    nir.CubaLIF,
    nir.Conv1d,
    nir.Delay,
    nir.Output,
)
KINDS = {kind.__name__: kind for kind in (*NIR_NODES, nir.I, nir.LI, nir.CubaLI, nir.NIRGraph)}
SIZES = ("stride", "dilation", "groups", "input_shape", "kernel_size", "padding", "start_dim", "end_dim", "input_type")
NO_SPIKES = (
    "It passes a membrane on instead of spikes. Only an I node right before the Output, of its shape, can be "
    "deployed, as a read-out that sums; use that, or a spiking neuron"
)


def read_nir(path: Path) -> nir.NIRGraph:
    """Read a .nir file, take graphs in the graph apart, and check the structure.

    Raises UnsupportedError that lists every node of a kind that cannot be deployed, ModelError if it is no NIR graph or
    malformed.
    """
    check_readable(path)
    content = read_tree(path)
    if content is None:
        raise ModelError(f"{path}: this is not a readable NIR file (it holds no network). Export it with nir.write.")
    try:
        graph = _build("", content)
        if not isinstance(graph, nir.NIRGraph):
            raise ModelError(f"the file holds a single {type(graph).__name__} node, not a graph.")
        graph = flatten(metadata_of_nodes(graph))
        if blockers := _unsupported(graph):
            raise UnsupportedError(blockers)
        lay_out(graph)
    except UnsupportedError:
        raise
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # parameters of a type or rank that no check above foresees
        raise ModelError(f"{path}: the graph is malformed ({type(error).__name__}: {error}).") from None
    return graph


def metadata_of_nodes(graph: nir.NIRGraph) -> nir.NIRGraph:
    """What a legacy file keeps of its nodes' metadata in the graph's, under `node:key`, where it belongs."""
    rest = {}
    for key, value in graph.metadata.items():
        name, _, entry = key.rpartition(":")
        if name in graph.nodes:
            graph.nodes[name].metadata[entry] = value
        else:
            rest[key] = value
    for name in {key.rpartition(":")[0] for key in graph.metadata.keys() - rest.keys()}:
        _check_metadata(f"{name}: ", graph.nodes[name].metadata)
    graph.metadata = rest
    return graph


def same_network(a: nir.NIRGraph, b: nir.NIRGraph) -> bool:
    """Whether two graphs have the same nodes with the same parameters, and the same edges."""
    if set(a.nodes) != set(b.nodes) or set(a.edges) != set(b.edges):
        return False
    return all(type(node) is type(b.nodes[name]) and _same_node(node, b.nodes[name]) for name, node in a.nodes.items())


def check_finite(network: nir.NIRGraph, model: str) -> None:
    """Raise ModelError if a parameter of a node is NaN or infinite somewhere."""
    for name, node in network.nodes.items():
        for parameter, value in vars(node).items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                bad = int((~np.isfinite(value)).sum())
                advice = (
                    "A neuron without a leak is an IF node."
                    if parameter.startswith("tau") and not np.isnan(value).any()
                    else "The training diverged; use an earlier checkpoint."
                )
                raise ModelError(
                    f"{model}: {name}: {bad} of {value.size} values of {parameter} are NaN or infinite. {advice}"
                )


def check_neurons(network: nir.NIRGraph, model: str) -> None:
    """Raise ModelError for time constants that are none and for thresholds that silence passes.

    What counts is the way from the reset value to the threshold, not their signs: 0 is allowed, where any positive
    current fires; below 0 a neuron fires for ever, without input.
    """
    for name, node in network.nodes.items():
        for label in ("tau", "tau_mem", "tau_syn"):
            tau = getattr(node, label, None)
            if tau is not None and np.min(tau) <= 0:
                raise ModelError(f"{model}: {name}: {label} holds {np.min(tau):g} s; a time constant is more than 0.")
        if isinstance(node, nir.Threshold) and np.min(node.threshold) < 0:
            raise ModelError(
                f"{model}: {name}: the threshold {np.min(node.threshold):g} is below 0, so that silence passes it. "
                "Use 0 or more."
            )
        if isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
            lowest = float(np.min(np.asarray(node.v_threshold) - node.v_reset))
            if lowest < 0:
                raise ModelError(
                    f"{model}: {name}: the threshold lies {-lowest:g} below the reset value, so the neuron fires "
                    "without input. Raise v_threshold or lower v_reset."
                )


def what_changed(written: nir.NIRGraph, network: nir.NIRGraph) -> tuple[str, ...]:
    """What was taken for granted on the way from a file's graph to its normal form, for people to read."""
    kinds = {type(node) for node in written.nodes.values()}
    notes = []
    if nir.Conv1d in kinds:
        channels, _, length = (int(n) for n in network.nodes[only(network, nir.Input)].input_type["input"])
        notes.append(f"1-D signals [{channels}, {length}] are taken as images of height 1, [{channels}, 1, {length}]")
    if nir.I in kinds:
        notes.append("the class scores are what the integrator holds after the last step")
    gone = {name for name, node in written.nodes.items() if not isinstance(node, nir.Delay | nir.Scale | nir.I)}
    if renamed := sorted(gone - network.nodes.keys()):
        notes.append(f"renamed, as files and results cannot hold these names: {', '.join(map(repr, renamed[:10]))}")
    return tuple(notes)


def _build(name: str, content: dict[str, Any]) -> nir.NIRNode:
    """A node from what a file says of it."""
    where = f"{name}: " if name else ""
    written = content.get("type")
    if not isinstance(written, str) or written not in KINDS:
        raise UnsupportedError([_blocker(name or "the graph", str(written))])
    kind = KINDS[written]
    _check_metadata(where, content.get("metadata", {}))
    given = {key: value for key, value in content.items() if key != "type"}
    if kind is nir.NIRGraph:
        return _build_graph(name, given)
    if kind in (nir.Input, nir.Output):
        given = {"shape": given.pop("shape", None), **given}
        shape = np.ravel(np.asarray(given.pop("shape")))
        if shape.dtype.kind not in "iu" or given.keys() - {"metadata"}:
            raise ModelError(f"{where}this {written} node needs a shape of whole numbers and nothing else.")
        ends = {"input_type": {"input": shape}} if kind is nir.Input else {"output_type": {"output": shape}}
        return kind(**ends, **given)
    if kind is nir.Flatten:
        given.setdefault("input_type", None)
    if kind in (nir.Conv1d, nir.Conv2d):
        given.setdefault("input_shape", None)
    known = {field.name: field for field in fields(kind) if field.init}
    if unknown := sorted(given.keys() - known.keys()):
        raise ModelError(f"{where}{written} nodes have no {', '.join(unknown)}. Export the network again.")
    needed = [key for key, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    if missing := sorted(key for key in needed if key not in given):
        raise ModelError(f"{where}this {written} node lacks {', '.join(missing)}. Export the network again.")
    for key, value in given.items():
        if key != "metadata" and not (key == "padding" and isinstance(value, str)):
            numbers = not isinstance(value, dict) and np.asarray(value).dtype.kind in "iufb"
            if not numbers and value is not None:
                raise ModelError(f"{where}{key} holds no numbers. Export the network again.")
            given[key] = value if key in SIZES else np.asarray(value)
    if "v_threshold" in given or kind in (nir.I, nir.LI, nir.CubaLI):
        given = _one_shape(where, given)
    size = given.get("input_shape")
    try:
        node = kind(**given | ({"input_shape": None} if size is not None else {}))  # or nir divides by the stride
    except Exception as error:  # nir asserts while it builds a node
        raise ModelError(f"{where}this {written} node is malformed ({type(error).__name__}: {error}).") from None
    if size is not None:
        node.input_shape = size
    return node


def _check_metadata(where: str, metadata: Any) -> None:
    """Raise ModelError where the metadata that snn2hw itself gives a meaning is of another kind."""
    if not isinstance(metadata, dict):
        raise ModelError(f"{where}metadata is no group of entries. Export the network again.")
    for key in NAMES:
        if not isinstance(metadata.get(key, ""), str):
            raise ModelError(f"{where}the metadata's {key} is no name. Export the network again.")
    for key in metadata.keys() & NUMBERS:
        values = metadata[key]
        numbers = not isinstance(values, dict | str) and np.asarray(values).dtype.kind in "iuf"
        if not numbers or not np.size(values) or not np.all(np.isfinite(values)):
            raise ModelError(f"{where}the metadata's {key} holds no finite numbers. Export the network again.")
        whole = key in (SCALE, RESET_AMOUNT) or np.array_equal(values, np.rint(values))
        # An Output with several heads has a scale for each logit, a neuron may have one for each channel.
        several = key == SCALE and (HEADS in metadata or RESET_AMOUNT in metadata)
        if not whole or (key in (SCALE, LOW, HIGH) and np.size(values) != 1 and not several):
            raise ModelError(f"{where}the metadata's {key} is {np.ravel(values)[:3].tolist()}: no whole number.")


def _build_graph(name: str, given: dict[str, Any]) -> nir.NIRGraph:
    prefix = f"{name}." if name else ""
    if not isinstance(given.get("nodes"), dict):
        raise ModelError(f"{name or 'the graph'}: it has no nodes.")
    nodes: dict[str, nir.NIRNode] = {}
    blockers: list[Blocker] = []
    for key, content in _entries("", given["nodes"]):
        try:
            nodes[key] = _build(prefix + key, content)
        except UnsupportedError as error:
            blockers += error.blockers
    if blockers:
        raise UnsupportedError(blockers)
    edges = np.asarray(given.get("edges", []))
    if edges.size and (edges.ndim != 2 or edges.shape[1] != 2):
        raise ModelError(f"{name or 'the graph'}: its edges have shape {list(edges.shape)}, but are pairs of names.")
    pairs = [
        tuple(end.decode("utf8") if isinstance(end, bytes) else str(end) for end in edge) for edge in edges.tolist()
    ]
    metadata = given.get("metadata", {})
    return nir.NIRGraph(nodes=nodes, edges=pairs, metadata=metadata, type_check=False)


def _entries(prefix: str, nodes: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Nodes by name. HDF5 makes groups of a name with slashes; they are put together again."""
    entries: list[tuple[str, dict[str, Any]]] = []
    for key, content in nodes.items():
        if not isinstance(content, dict):
            raise ModelError(f"{prefix}{key}: this is no node, it has no type.")
        if "type" in content or not content:
            entries.append((prefix + key, content))
        else:
            entries += _entries(f"{prefix}{key}/", content)
    return entries


def _one_shape(where: str, given: dict[str, Any]) -> dict[str, Any]:
    """A neuron's parameters in one shape: one number may stand for all of them."""
    arrays = {key: np.asarray(value) for key, value in given.items() if key != "metadata"}
    shapes = {values.shape for values in arrays.values() if values.size != 1}
    if len(shapes) > 1:
        listed = ", ".join(f"{key} {list(values.shape)}" for key, values in arrays.items())
        raise ModelError(f"{where}its parameters have different shapes: {listed}.")
    shape = shapes.pop() if shapes else max((values.shape for values in arrays.values()), key=len)
    return given | {
        key: np.broadcast_to(values.reshape(()), shape) if values.size == 1 else values
        for key, values in arrays.items()
    }


def _unsupported(graph: nir.NIRGraph) -> list[Blocker]:
    """Every node of a kind that cannot be deployed where it stands."""
    outputs = {name: node for name, node in graph.nodes.items() if isinstance(node, nir.Output)}
    targets: dict[str, set[str]] = {name: set() for name in graph.nodes}
    for source, target in graph.edges:
        targets.get(source, set()).add(target)

    def is_readout(name: str, node: nir.NIRNode) -> bool:
        shapes = [tuple(np.ravel(outputs[end].output_type["output"])) for end in targets[name] if end in outputs]
        fits = isinstance(node, nir.I) and (node.r.size == 1 or shapes == [node.r.shape])
        return fits and len(shapes) == len(targets[name]) == 1

    return [
        _blocker(name, type(node).__name__)
        for name, node in graph.nodes.items()
        if not isinstance(node, NIR_NODES) and not is_readout(name, node)
    ]


def _blocker(name: str, kind: str) -> Blocker:
    supported = ", ".join(known.__name__ for known in NIR_NODES)
    why = f"{NO_SPIKES}. " if kind in ("I", "LI", "CubaLI") else ""
    return Blocker(
        layer=name, problem=f"NIR nodes of type {kind} are not supported", advice=f"{why}Supported are {supported}"
    )


def _parameters(node: nir.NIRNode) -> dict[str, np.ndarray]:
    """All that a node says of itself; shapes that follow from the graph are left out."""
    parameters = {key: value for key, value in vars(node).items() if not isinstance(value, dict)}
    parameters |= {f"metadata.{key}": value for key, value in node.metadata.items()}
    if isinstance(node, nir.Input):
        parameters |= node.input_type
    return {key: np.asarray(value) for key, value in parameters.items()}


def _same_node(a: nir.NIRNode, b: nir.NIRNode) -> bool:
    left, right = _parameters(a), _parameters(b)
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)
