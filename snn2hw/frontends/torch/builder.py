"""The NIR graph of a model while it is built: nodes under unique names, edges, and the layers that a neuron takes.

What is built of the values is in gates.py (sums and products of spikes), pools.py and joins.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker
from snn2hw.frontends.torch.arrange import Arrangement
from snn2hw.frontends.torch.forms import Average, Diagonal, Flat, Held, Largest
from snn2hw.frontends.torch.values import Fold, Layer, Value, as_integer, times_constant
from snn2hw.frontends.torch.weighted import Convolution, Matrix


class Refused(Exception):
    """An operation that cannot be expressed; carries its blocker."""

    def __init__(self, layer: str, problem: str, advice: str) -> None:
        self.blocker = Blocker(layer=layer, problem=problem, advice=advice)
        super().__init__(str(self.blocker))


@dataclass(kw_only=True, eq=False)
class Holder:
    """The NIR node of a layer with weights, and where the captured model computes it.

    calls: in each step one. folds: what is folded into it. folded: the calls that compute that, in every step. factor:
    the whole number by which its current is multiplied.
    """

    form: Held
    calls: list[str]
    folds: tuple[Fold, ...]
    folded: set[str]
    factor: int


class Builder:
    """Collects NIR nodes and edges under unique names; the names in `reserved` are left to layers.

    limit: the largest weight that the model's own numbers hold.
    """

    def __init__(
        self, reserved: frozenset[str] = frozenset(), *, limit: float = float(np.finfo(np.float32).max)
    ) -> None:
        self.reserved, self.limit = reserved, limit
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []
        self.holders: dict[str, Holder] = {}
        self._once: dict[Hashable, str] = {}
        self._name_of: dict[int, str] = {}
        self._written: list[Layer] = []  # their ids stay theirs

    def graph(self) -> nir.NIRGraph:
        """The nodes and edges collected so far."""
        return nir.NIRGraph(nodes=self.nodes, edges=self.edges, type_check=False)

    def add(self, name: str, node: nir.NIRNode, value: Value, at: Arrangement, detail: Hashable = None) -> Value:
        """Add a node fed by `value`, once for all steps; what it emits, arranged `at`, is a current.

        detail: what tells the node from others of its kind and name.
        """
        key = (name, type(node), detail, value.key)
        if key not in self._once:
            self._once[key] = self._place(self._unique(name), node, value)
        return Value(terms=((self._once[key], 1),), at=at, over_time=value.over_time, is_mean=value.is_mean)

    def add_spiking(self, name: str, node: nir.NIRNode, value: Value, detail: Hashable = None) -> Value:
        """Add a threshold unit: what it emits is 0 or 1, arranged as its input."""
        return as_integer(self.add(name, node, value, value.at, detail), 0, 1)

    def add_input(self, shape: Shape) -> str:
        """Add the Input node; returns its name."""
        return self._place(self._unique("input"), nir.Input(input_type={"input": np.array(shape)}), None)

    def add_neuron(self, path: str, node: nir.NIRNode, value: Value | None) -> None:
        """Add a neuron under its path; its input is None behind what is in the way."""
        self._place(path, node, value)

    def merge(self, name: str, value: Value) -> Value:
        """Give a sum a node of its own: a Scale of 1, for a NIR node adds up what feeds it."""
        low, high = value.low, value.high
        merged = self.add(name, nir.Scale(scale=everywhere(1, value.shape)), value, value.at)
        return merged if low is None or high is None else as_integer(merged, low, high)

    def output(self, name: str, value: Value, metadata: dict[str, str] | None = None) -> None:
        """The Output node, which adds up what feeds it."""
        node = nir.Output(output_type={"output": np.array(value.shape)}, metadata=metadata or {})
        self._place(self._unique(name), node, value)

    def same_again(self, first: Value, now: Value) -> bool:
        """Whether `now` is computed from the same as `first` was, in another step; its calls are noted if so."""
        if first.key != now.key:
            return False
        for (before, _), (source, _) in zip(first.terms, now.terms, strict=True):
            if isinstance(before, Layer) and isinstance(source, Layer):
                if (holder := self.holders.get(self._name_of.get(id(before), ""))) is not None:
                    holder.calls.append(source.call)
                    holder.folded |= _calls(source)
                self.same_again(before.fed, source.fed)
        return True

    def _place(self, name: str, node: nir.NIRNode, value: Value | None) -> str:
        sources = [] if value is None else self._sources(name, value)
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def _sources(self, name: str, value: Value) -> Sequence[str]:
        """The nodes whose plain sum is `value`: layers are written now, a node with another factor gets a Scale."""
        if value.constant:
            raise Refused(name, f"the constant {value.constant} is added to spikes", "Move it into a bias")
        sources = []
        for source, factor in value.terms:
            if isinstance(source, Layer):
                sources.append(self._layer(source, factor))
            else:
                sources.append(source if factor == 1 else self._scaled(source, factor, value.shape))
        for other in value.repeats:
            self.same_again(value, other)
        return sources

    def _layer(self, layer: Layer, factor: int) -> str:
        if factor < 0 and isinstance(layer.form, Largest):
            raise Refused(layer.path, "a negated maximum of currents", "Put a neuron or a layer behind the pool")
        if factor != 1 and isinstance(
            layer.form, Average | Largest | Flat
        ):  # it has no weights: what feeds it takes the factor
            layer, factor = replace(layer, fed=times_constant(layer.fed, factor)), 1
        folds = [(fold.mean, fold.gain, fold.offset) for fold in layer.folds]
        if factor != 1:
            folds.append((np.zeros(()), np.array(float(factor)), np.zeros(())))
        node = layer.form.node(folds)
        if folds:
            self._check_size(layer, node)
        sources = self._sources(layer.path, layer.fed)
        name = self._free(layer.path)  # what feeds it may be of the same module
        self.edges += [(source, name) for source in sources]
        self.nodes[name] = node
        self._name_of[id(layer)] = name
        self._written.append(layer)
        if isinstance(layer.form, Convolution | Matrix | Diagonal):
            self.holders[name] = Holder(
                form=layer.form,
                calls=[layer.call],
                folds=layer.folds,
                folded=_calls(layer),
                factor=factor,
            )
        return name

    def _check_size(self, layer: Layer, node: nir.NIRNode) -> None:
        if not isinstance(node, nir.Conv2d | nir.Affine):
            return
        largest = float(np.fmax.reduce(np.abs(np.concatenate([node.weight.ravel(), node.bias]))))
        if self.limit < largest < np.inf:  # what is NaN is told with its layer later
            at = layer.folds[-1].path if layer.folds else layer.path
            raise Refused(
                at,
                f"folding it gives weights or biases of {largest:.3g}, more than the model's numbers hold "
                f"({self.limit:.3g})",
                "Look at its running_var and weight: no training ends there",
            )

    def _scaled(self, source: str, factor: int, shape: Shape) -> str:
        name = f"{source}.negated" if factor == -1 else f"{source}.times{factor}"
        if name not in self.nodes:
            self.nodes[name] = nir.Scale(scale=everywhere(factor, shape))
            self.edges.append((source, name))
        return name

    def _unique(self, name: str) -> str:
        name = name.replace("/", "_")
        return self._free(name, self.reserved)

    def _free(self, name: str, reserved: frozenset[str] = frozenset()) -> str:
        candidate, count = name, 1
        while candidate in self.nodes or candidate in reserved:
            count += 1
            candidate = f"{name}@{count}"
        return candidate


def _calls(layer: Layer) -> set[str]:
    """The calls that compute what is folded into a layer, behind it and before it."""
    before = layer.form.folded if isinstance(layer.form, Convolution | Matrix) else frozenset()
    return {fold.call for fold in layer.folds if fold.call} | before


def everywhere(value: float, shape: Shape) -> np.ndarray:
    """One number as an array [*shape] that stores it once: NIR wants full shapes, and deep nets have many neurons."""
    return np.broadcast_to(np.float32(value), shape)
