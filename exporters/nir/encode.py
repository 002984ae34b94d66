"""Rewriting a graph with the few nodes that several clients run alike: convolutions, sum pools and one kind of neuron.

What each rule is for is in docs/nir.md; tests/interop measure every one of them in the clients.
"""

from __future__ import annotations

import math

import nir
import numpy as np
from torch import fx, nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker, UnsupportedError
from snn2hw.exporters.nir.neurons import EncodeNeuron
from snn2hw.network.groups import without_groups
from snn2hw.network.layout import conv_padding, lay_out, only, pair, takes_largest
from snn2hw.network.neuron_rule import Float, Neuron, drive_from_rest, rule_of
from snn2hw.network.normalise import normalise

LARGEST_KERNEL = 1 << 24  # numbers: a pool is written as a convolution up to this size
RESERVED = {*dir(nn.ModuleDict), *dir(fx.GraphModule), "stateful_modules", "return_state", "execution_order"}


class Encoder:
    """One graph on its way into a profile. Images keep their three axes up to the output: vectors become [K, 1, 1].

    So no client meets a flatten, which norse and snnTorch would let run over the batch.
    """

    def __init__(self, graph: nir.NIRGraph, *, whole: bool, neuron: EncodeNeuron) -> None:
        self.graph = _sums_for_averages(graph)
        self.layout = lay_out(self.graph)
        self.whole, self.encode_neuron = whole, neuron
        self.image = len(self.layout.shapes[only(graph, nir.Input)]) == 3
        self.shapes: dict[str, Shape] = {}
        self.nodes: dict[str, nir.NIRNode] = {}
        self.drives: dict[str, Float] = {}
        self.blockers: list[Blocker] = []

    def run(self) -> nir.NIRGraph:
        """The encoded graph. Raises UnsupportedError with every node that has no such form."""
        self._find_drives()
        for name in self.layout.order:
            node, sources = self.graph.nodes[name], self.layout.sources[name]
            incoming = {self.shapes[source] for source in sources}
            try:
                if len(incoming) > 1:
                    raise _refused(name, f"sources of the shapes {sorted(incoming)} meet", "Flatten them in one place")
                self._encode(name, node, incoming.pop() if incoming else self.layout.shapes[name])
            except UnsupportedError as error:
                self.blockers += error.blockers
                self.shapes[name] = self.layout.shapes[name]
        if self.blockers:
            raise UnsupportedError(self.blockers)
        return nir.NIRGraph(*self._named(*self._wired()), metadata=dict(self.graph.metadata), type_check=False)

    def _encode(self, name: str, node: nir.NIRNode, shape: Shape) -> None:
        """Put the node's new form into self.nodes, if it has one, and the shape that it emits into self.shapes."""
        out: Shape = shape
        new: nir.NIRNode | None
        match node:
            case nir.Input():
                new = nir.Input(input_type={"input": np.array(shape)}, metadata=node.metadata)
            case nir.Output():
                new = nir.Output(output_type={"output": np.array(shape)}, metadata=node.metadata)
            case nir.Flatten():
                new = None
            case nir.Conv2d():
                out = self.layout.shapes[name]
                weight = without_groups(np.asarray(node.weight), int(node.groups))
                bias = node.bias + self.drives.get(name, 0)
                new = _conv(
                    shape, weight, bias, pair(node.stride), conv_padding(name, node), pair(node.dilation), node.metadata
                )
            case nir.Affine() | nir.Linear():
                bias = np.zeros(len(node.weight)) if isinstance(node, nir.Linear) else np.asarray(node.bias)
                new, out = self._matrix(node.weight, bias + self.drives.get(name, 0), shape)
            case nir.SumPool2d() if takes_largest(node):
                raise _refused(name, "a maximum of currents, which NIR does not have", "Use --profile plain")
            case nir.SumPool2d():
                out = self.layout.shapes[name]
                new = _pool(node, shape)
            case nir.Scale():
                new = self._scale(name, np.asarray(node.scale), shape)
            case nir.IF() | nir.LIF() | nir.CubaLIF() | nir.Threshold():
                new = self.encode_neuron(name, node, shape, self.whole)
            case _:
                raise _refused(name, f"a {type(node).__name__} node", "Use --profile plain")
        self.shapes[name] = out
        if new is not None:
            self.nodes[name] = new

    def _matrix(self, weight: Float, bias: Float, shape: Shape) -> tuple[nir.NIRNode, Shape]:
        """A fully connected layer: over images a convolution whose kernel is the whole image."""
        if not self.image:
            return nir.Affine(weight=np.asarray(weight), bias=np.asarray(bias)), (len(weight),)
        kernel = np.asarray(weight).reshape(len(weight), *shape)
        return _conv(shape, kernel, bias), (len(weight), 1, 1)

    def _scale(self, name: str, factors: Float, shape: Shape) -> nir.NIRNode:
        """Factors as a 1x1 convolution or a matrix; a factor of 1 only merges its sources."""
        factors = np.broadcast_to(factors.reshape(()) if factors.size == 1 else factors, self.layout.shapes[name])
        factors = factors.reshape(shape)
        if self.image and np.all(factors == 1):
            return merge()
        if not self.image:
            return self._matrix(np.diag(factors), np.zeros(len(factors)), shape)[0]
        if np.any(factors != factors[:, :1, :1]):
            raise _refused(name, "factors that differ within a channel", "Use --profile plain")
        return _conv(shape, _diagonal(factors[:, 0, 0], 1, 1), np.zeros(len(factors)))

    def _find_drives(self) -> None:
        """The constant current of v_leak, as a bias of the weighted layers before: clients ask for a v_leak of 0."""
        targets: dict[str, int] = {}
        for source, _ in self.graph.edges:
            targets[source] = targets.get(source, 0) + 1
        for name, node in self.graph.nodes.items():
            if not isinstance(node, Neuron):
                continue
            rule = rule_of(name, node)
            drive = drive_from_rest(rule) / rule.gain
            if not np.any(drive):
                continue
            layer = next((s for s in self.layout.sources[name] if self._takes_bias(s) and targets[s] == 1), None)
            if layer is None or np.any(rule.current_keep) or drive.size > max(1, len(drive)):
                self.blockers.append(
                    Blocker(
                        layer=name,
                        problem="its v_leak differs from v_reset, and no layer of its own can carry it as a bias",
                        advice="Use --profile plain",
                    )
                )
                continue
            self.drives[layer] = np.broadcast_to(drive.reshape(-1), (self.layout.shapes[layer][0],))

    def _takes_bias(self, name: str) -> bool:
        return isinstance(self.graph.nodes[name], nir.Conv2d | nir.Affine | nir.Linear)

    def _wired(self) -> tuple[dict[str, nir.NIRNode], list[tuple[str, str]]]:
        """Nodes in their order and edges past the flattens; where several edges would enter the output, a merge."""
        edges: list[tuple[str, str]] = []
        nodes: dict[str, nir.NIRNode] = {}
        for name in self.layout.order:
            if name not in self.nodes:
                continue
            sources = self._real_sources(name)
            if isinstance(self.nodes[name], nir.Output) and len(sources) > 1:
                added = f"{name}.sum"
                nodes[added] = merge() if self.image else _identity(self.shapes[name][0])
                edges += [(source, added) for source in sources]
                sources = [added]
            nodes[name] = self.nodes[name]
            edges += [(source, name) for source in sources]
        return nodes, edges

    def _real_sources(self, name: str) -> list[str]:
        real: list[str] = []
        for source in self.layout.sources[name]:
            real += [source] if source in self.nodes else self._real_sources(source)
        return real

    def _named(
        self, nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]]
    ) -> tuple[dict[str, nir.NIRNode], list[tuple[str, str]]]:
        """Names that stay apart when clients write _ for a dot, and that no module has for a method."""
        names: dict[str, str] = {}
        taken = set(RESERVED)
        for name in nodes:
            new = name
            while new.replace(".", "_") in taken:
                new += "_"
            taken.add(new.replace(".", "_"))
            names[name] = new
        return {names[name]: node for name, node in nodes.items()}, [(names[a], names[b]) for a, b in edges]


def merge() -> nir.SumPool2d:
    """A node that passes the sum of its sources on."""
    return nir.SumPool2d(kernel_size=np.array([1, 1]), stride=np.array([1, 1]), padding=np.array([0, 0]))


def _identity(size: int) -> nir.Affine:
    return nir.Affine(weight=np.eye(size), bias=np.zeros(size))


def _sums_for_averages(graph: nir.NIRGraph) -> nir.NIRGraph:
    """Average pools as sum pools whose divisor goes into the weights behind: no client needs an average pool then."""
    nodes, edges = dict(graph.nodes), list(graph.edges)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.AvgPool2d):
            kernel, stride, padding = (np.array(pair(v)) for v in (node.kernel_size, node.stride, node.padding))
            nodes[name] = nir.SumPool2d(kernel_size=kernel, stride=stride, padding=padding)
            divided = f"{name}.divided"
            shape = lay_out(graph).shapes[name]
            nodes[divided] = nir.Scale(scale=np.broadcast_to(np.float32(1 / math.prod(kernel.tolist())), shape))
            edges = [(divided if source == name else source, target) for source, target in edges]
            edges.append((name, divided))
    if len(nodes) == len(graph.nodes):
        return graph
    return normalise(nir.NIRGraph(nodes=nodes, edges=edges, metadata=graph.metadata, type_check=False))


def _pool(node: nir.SumPool2d, shape: Shape) -> nir.NIRNode:
    """Clients pool by an average times the window, without padding: exact where the window is a power of two.

    Every other pool is a convolution with ones, as long as that has a reasonable size.
    """
    kernel, stride, padding = (pair(value) for value in (node.kernel_size, node.stride, node.padding))
    window, channels = kernel[0] * kernel[1], shape[0]
    simple = padding == (0, 0)
    if simple and (window & (window - 1) == 0 or channels * channels * window > LARGEST_KERNEL):
        return node
    return _conv(shape, _diagonal(np.ones(channels), *kernel), np.zeros(channels), stride, padding)


def _diagonal(factors: Float, height: int, width: int) -> Float:
    """A kernel that keeps channels apart."""
    kernel = np.zeros((len(factors), len(factors), height, width), np.float32)
    kernel[np.arange(len(factors)), np.arange(len(factors))] = factors[:, None, None]
    return kernel


def _conv(
    shape: Shape,
    weight: Float,
    bias: Float,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    metadata: dict[str, object] | None = None,
) -> nir.Conv2d:
    return nir.Conv2d(
        input_shape=(shape[1], shape[2]),
        weight=np.asarray(weight, np.float32),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=1,
        bias=np.asarray(bias, np.float32),
        metadata=metadata or {},
    )


def _refused(name: str, problem: str, advice: str) -> UnsupportedError:
    return UnsupportedError([Blocker(layer=name, problem=problem, advice=advice)])
