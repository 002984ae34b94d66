"""Normalise: from any NIR graph that can be deployed to the few kinds of nodes that the compiler takes.

Nothing is approximated. A node that only passes values on is taken out, a 1-D convolution becomes one of height 1,
parameters that stand for many neurons are written out, factors go into the weights beside them, and time constants are
stretched to the time step that all of snn2hw steps with. A graph that is normal already stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeAlias

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.errors import ModelError, OptionError
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.flatten import flatten, rename
from snn2hw.network.layout import Layout, as_conv2d, lay_out, only, pair, takes_largest
from snn2hw.network.metadata import has_payloads
from snn2hw.network.neuron_rule import DT, Float, fires_at_threshold, just_above, just_below, reset_of
from snn2hw.network.relays import needed_relays, with_relays

Layer: TypeAlias = nir.Conv2d | nir.Affine | nir.Linear
NEURONS = (nir.IF, nir.LIF, nir.CubaLIF)
GAINS = ("r", "tau", "tau_mem", "tau_syn", "w_in")
LARGEST_DIAGONAL = 4096  # a factor for each of so many values still is a matrix of reasonable size


def normalise(graph: nir.NIRGraph, *, dt: float = DT) -> nir.NIRGraph:
    """The same network in normal form, for a graph whose neurons were trained with time step `dt` (in seconds).

    Raises ModelError for a malformed graph or a time constant below the step, OptionError for an impossible step.
    """
    if not 0 < dt < np.inf:
        raise OptionError(f"--dt {dt:g}: give the time step in seconds, more than 0, as in --dt 0.001.")
    graph = rename(flatten(graph))
    layout = lay_out(graph)
    relays = needed_relays(graph, layout)
    shapes = {name: _image(shape) if _has_conv1d(graph) else shape for name, shape in layout.shapes.items()}
    nodes = {name: _normal(name, node, shapes, layout, dt) for name, node in graph.nodes.items()}
    work = _Editor(nodes, graph.edges, shapes)
    for name in layout.order:
        if isinstance(work.nodes[name], nir.Delay):
            work.take_out(name)
    for name in layout.order:
        if isinstance(work.nodes.get(name), nir.Scale) and name not in relays:
            work.fold(name)
    for name in layout.order:
        if isinstance(work.nodes.get(name), NEURONS):
            work.weigh_shortcuts(name)
    normal = nir.NIRGraph(nodes=work.nodes, edges=work.edges(), metadata=graph.metadata, type_check=False)
    return normal if has_payloads(graph.nodes[only(graph, nir.Input)].metadata) else with_relays(normal)


def _has_conv1d(graph: nir.NIRGraph) -> bool:
    return any(isinstance(node, nir.Conv1d) for node in graph.nodes.values())


def _image(shape: Shape) -> Shape:
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _normal(name: str, node: nir.NIRNode, shapes: dict[str, Shape], layout: Layout, dt: float) -> nir.NIRNode:
    """One node in normal form, without regard to its neighbours."""
    match node:
        case nir.Input() if tuple(np.ravel(node.input_type["input"])) != shapes[name]:
            return nir.Input(input_type={"input": np.array(shapes[name])}, metadata=node.metadata)
        case nir.Output() if tuple(np.ravel(node.output_type["output"])) != shapes[name]:
            return nir.Output(output_type={"output": np.array(shapes[name])}, metadata=node.metadata)
        case nir.Conv1d():
            return as_conv2d(node, layout.input_shape(name)[1])
        case nir.Conv2d() if node.input_shape is None or pair(node.input_shape) != layout.input_shape(name)[1:]:
            return _with(node, input_shape=layout.input_shape(name)[1:])
        case nir.Flatten():
            before = shapes[layout.sources[name][0]]
            known = node.input_type["input"]
            if known is not None and tuple(np.ravel(known)) == before and int(node.start_dim) == 0:
                return node
            return nir.Flatten(input_type={"input": np.array(before)}, start_dim=0, end_dim=-1, metadata=node.metadata)
        case nir.I():
            return nir.Scale(scale=_spread(dt * np.asarray(node.r, np.float64), shapes[name]))
        case nir.Delay():
            if np.any(node.delay):
                raise ModelError(
                    f"{name}: it delays by up to {float(np.max(node.delay)):g} s, so that spikes of one sample would "
                    "reach the next. Remove it, or train without delays."
                )
            return node
        case nir.IF() | nir.LIF() | nir.CubaLIF() | nir.Threshold() | nir.Scale():
            arrays = {key: value for key, value in vars(node).items() if isinstance(value, np.ndarray)}
            spread = {key: _spread(value, shapes[name]) for key, value in arrays.items() if value.shape != shapes[name]}
            return _at_step(name, _above_rest(name, _with(node, **spread) if spread else node), dt)
        case _:
            return node


def _with(node: nir.NIRNode, **changed: object) -> nir.NIRNode:
    """A copy of the node with other parameters, and without the types that nir derives from them."""
    new = copy.copy(node)
    for key, value in changed.items():
        setattr(new, key, value)
    return new


def _spread(values: Float, shape: Shape) -> Float:
    """Written out for all neurons; an axis that a 1-D graph lacks is put in."""
    if values.size > 1 and values.ndim == 2 and len(shape) == 3:
        values = values[:, None, :]
    return np.broadcast_to(values.reshape(()) if values.size == 1 else values, shape)


def _above_rest(name: str, node: nir.NIRNode) -> nir.NIRNode:
    """A neuron with a negative threshold, in voltages above its reset value: only differences of voltages count."""
    if not isinstance(node, NEURONS) or reset_of(name, node) is not Reset.ZERO or np.all(node.v_threshold >= 0):
        return node
    labels = [label for label in ("v_threshold", "v_leak") if hasattr(node, label)]
    shifted = {label: np.subtract(getattr(node, label), node.v_reset, dtype=np.float64) for label in labels}
    if fires_at_threshold(name, node):
        shifted["v_threshold"] = just_below(just_above(node.v_threshold) - node.v_reset)
    return _with(node, v_reset=np.zeros_like(node.v_reset), **shifted)


def _at_step(name: str, node: nir.NIRNode, dt: float) -> nir.NIRNode:
    """The neuron that does in steps of DT what this one does in steps of `dt`."""
    for label in ("tau", "tau_mem", "tau_syn"):
        tau = getattr(node, label, None)
        if tau is not None and not np.all(tau >= dt * (1 - 1e-6)):
            raise ModelError(
                f"{name}: the time constant {float(np.min(tau)):g} s is shorter than the time step {dt:g} s ({label}). "
                "Give the step that the network was trained with: --dt SECONDS."
            )
    if dt == DT:
        return node
    match node:
        case nir.IF():
            return _with(node, r=np.asarray(node.r, np.float64) * (dt / DT))
        case nir.LIF():
            return _with(node, tau=np.asarray(node.tau, np.float64) * (DT / dt))
        case nir.CubaLIF():
            tau_mem, tau_syn = (np.asarray(tau, np.float64) * (DT / dt) for tau in (node.tau_mem, node.tau_syn))
            return _with(node, tau_mem=tau_mem, tau_syn=tau_syn)
        case _:
            return node


class _Editor:
    """A graph whose nodes are taken out and merged; knows the shape that each of the first nodes emits."""

    def __init__(self, nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], shapes: dict[str, Shape]) -> None:
        self.nodes, self.shapes = nodes, shapes
        self.sources: dict[str, dict[str, None]] = {name: {} for name in nodes}
        self.targets: dict[str, dict[str, None]] = {name: {} for name in nodes}
        for source, target in edges:
            self.connect(source, target)

    def edges(self) -> list[tuple[str, str]]:
        return [(source, name) for name in self.nodes for source in self.sources[name]]

    def connect(self, source: str, target: str) -> None:
        self.sources[target][source] = self.targets[source][target] = None

    def take_out(self, name: str) -> None:
        """Remove a node that passes its sum on; where that would make an edge stand twice, it becomes a factor of 1."""
        pairs = [(source, target) for source in self.sources[name] for target in self.targets[name]]
        if any(target in self.targets[source] for source, target in pairs):
            self.nodes[name] = nir.Scale(scale=np.broadcast_to(np.float32(1), self.shapes[name]))
            return
        self.remove(name)
        for source, target in pairs:
            self.connect(source, target)

    def remove(self, name: str) -> None:
        for source in self.sources.pop(name):
            del self.targets[source][name]
        for target in self.targets.pop(name):
            del self.sources[target][name]
        del self.nodes[name]

    def fold(self, name: str) -> None:
        """Fold a Scale into the layers before or behind it, or make a layer of it; leave a whole number over spikes."""
        factors = np.asarray(self.nodes[name].scale, np.float64)
        uniform = bool(np.all(factors == factors.flat[0]))
        before = list(self._layers(name, factors, backwards=True))
        if before and all(layer is not None for layer in before):
            self._absorb(name, before, backwards=True)
        elif uniform and factors.flat[0] == np.rint(factors.flat[0]):
            return
        elif (behind := list(self._layers(name, factors, backwards=False))) and all(behind):
            self._absorb(name, behind, backwards=False)
        elif (layer := _diagonal(factors)) is not None:
            self.nodes[name] = layer

    def weigh_shortcuts(self, name: str) -> None:
        """Give spikes that go right into neurons of different gain a layer, whose weights can take the gains up."""
        node = self.nodes[name]
        gains = [values for key in GAINS if (values := getattr(node, key, None)) is not None]
        if all(np.all(values == values.flat[0]) for values in gains):
            return
        for number, source in enumerate(list(self.sources[name])):
            layer = _diagonal(np.ones(self.shapes[name]))
            if layer is not None and not self._is_current(source):
                added = f"{name}.weights{number or ''}"
                self.nodes[added], self.sources[added], self.targets[added] = layer, {}, {}
                del self.sources[name][source], self.targets[source][name]
                self.connect(source, added)
                self.connect(added, name)

    def _is_current(self, name: str) -> bool:
        """Whether a node emits weighted sums, and not spikes or sums of spikes."""
        node = self.nodes[name]
        if isinstance(node, nir.SumPool2d | nir.AvgPool2d | nir.Flatten):
            return any(self._is_current(source) for source in self.sources[name])
        return isinstance(node, nir.Conv2d | nir.Affine | nir.Linear)

    def _layers(self, name: str, factors: Float, *, backwards: bool) -> Iterator[tuple[str, Float] | None]:
        """The weighted layers next to `name` with the factors as they arrive there, None where something is between."""
        near, far = (self.sources, self.targets) if backwards else (self.targets, self.sources)
        for neighbour in near[name]:
            node = self.nodes[neighbour]
            if len(far[neighbour]) > 1:
                yield None
            elif isinstance(node, nir.Conv2d) and factors.ndim == 3:
                yield (neighbour, factors[:, 0, 0]) if np.all(factors == factors[:, :1, :1]) else None
            elif isinstance(node, nir.Affine | nir.Linear):
                yield neighbour, factors
            elif isinstance(node, nir.Flatten):
                shape = self.shapes[next(iter(self.sources[neighbour]))] if backwards else self.shapes[neighbour]
                yield from self._layers(neighbour, factors.reshape(shape), backwards=backwards)
            elif takes_largest(node) and not np.all(factors > 0):
                yield None
            elif isinstance(node, nir.SumPool2d | nir.AvgPool2d) and np.all(factors == factors[:, :1, :1]):
                size = self.shapes[next(iter(self.sources[neighbour]))] if backwards else self.shapes[neighbour]
                yield from self._layers(neighbour, np.broadcast_to(factors[:, :1, :1], size), backwards=backwards)
            else:
                yield None

    def _absorb(self, name: str, layers: list[tuple[str, Float] | None], *, backwards: bool) -> None:
        for neighbour in layers:
            if neighbour is not None:
                layer, factors = neighbour
                self.nodes[layer] = (_scaled_rows if backwards else _scaled_columns)(self.nodes[layer], factors)
        self.take_out(name)


def _scaled_rows(node: Layer, factors: Float) -> Layer:
    weight = (node.weight * factors.reshape(-1, *[1] * (node.weight.ndim - 1))).astype(node.weight.dtype)
    if isinstance(node, nir.Linear):
        return nir.Linear(weight=weight, metadata=node.metadata)
    scaled: Layer = _with(node, weight=weight, bias=(node.bias * factors).astype(node.bias.dtype))
    return scaled


def _scaled_columns(node: Layer, factors: Float) -> Layer:
    columns = np.asarray(factors)
    if isinstance(node, nir.Conv2d):
        outputs, inputs = node.weight.shape[:2]
        rows = outputs // int(node.groups)
        columns = np.stack([factors[row // rows * inputs :][:inputs] for row in range(outputs)])[:, :, None, None]
    scaled: Layer = _with(node, weight=(node.weight * columns).astype(node.weight.dtype))
    return scaled


def _diagonal(factors: Float) -> Layer | None:
    """The layer that multiplies each channel, or each value of a vector; None where factors differ within a channel."""
    if factors.ndim == 1 and factors.size <= LARGEST_DIAGONAL:
        return nir.Linear(weight=np.diag(factors))
    if factors.ndim == 3 and np.all(factors == factors[:, :1, :1]):
        channels = len(factors)
        return nir.Conv2d(
            input_shape=factors.shape[1:],
            weight=factors[:, 0, 0].reshape(-1, 1, 1, 1),
            stride=(1, 1),
            padding=(0, 0),
            dilation=(1, 1),
            groups=channels,
            bias=np.zeros(channels),
        )
    return None
