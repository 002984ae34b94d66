"""Writing an ONNX graph: its nodes and constants, each under a name of its own, and the tensors between layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from snn2hw.data.aliases import Shape

Type = type[np.signedinteger] | type[np.unsignedinteger]


def holds(dtype: Type, low: int, high: int) -> bool:
    """Whether an integer type has all numbers from `low` to `high`."""
    return np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max


def narrowest(low: int, high: int) -> Type:
    """The narrowest type that tensors between layers have for numbers from `low` to `high`."""
    return next(dtype for dtype in (np.int8, np.uint8, np.int32, np.int64) if holds(dtype, low, high))


def widest_sum(low: int, high: int) -> Type:
    """int32 where it has all numbers from `low` to `high`, else int64."""
    return np.int32 if holds(np.int32, low, high) else np.int64


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor [samples * steps, *shape], the steps of each sample in a row, whose numbers lie from `low` to `high`.

    per_step: it has T steps a sample. Otherwise it has as many as the input, which may show one frame in every step.
    """

    tensor: str
    dtype: Type
    low: int
    high: int
    shape: Shape
    per_step: bool

    @property
    def largest(self) -> int:
        """The largest size of its numbers."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A number of a layer that no proof keeps below `limit`, what it is, and the tensor int64 [samples, T, 1] of its
    largest size in each step.
    """

    layer: str
    what: str
    limit: int
    tensor: str


def unused(wanted: str, taken: set[str]) -> str:
    """A name that is not taken, and now is: the wanted one, with a number if it must be."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


class Writer:
    """Collects the nodes and constants of a graph for samples of `timesteps` steps.

    layer: whose nodes are written now; it begins their names. taken: names that stand for something else.
    watches: what must be watched at run time. samples, samples_and_steps: the names of the sizes of the input, which
    `read_sizes` writes.
    """

    def __init__(self, timesteps: int, taken: Iterable[str]) -> None:
        self.timesteps = timesteps
        self.layer = "input"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.watches: list[Watch] = []
        self._taken = set(taken)
        self._known: dict[tuple[str, Shape, bytes], str] = {}
        self.samples, self.samples_and_steps = self.name("samples"), self.name("samples and steps")

    def name(self, what: str) -> str:
        """A name that nothing has yet: the layer's and `what`, with a number where that is taken."""
        return unused(f"{self.layer}/{what}", self._taken)

    def constant(self, values: NDArray[Any], what: str = "constant") -> str:
        """The name of a tensor with these values [*any shape]; equal ones are written once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._known:
            self._known[key] = self.name(what)
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), self._known[key]))
        return self._known[key]

    def apply(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Write a node with one output; return the name of that."""
        (output,) = self.apply_several(operator, inputs, 1, **attributes)
        return output

    def apply_several(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Write a node with several outputs; return their names."""
        name = self.name(operator)
        names = [name] if outputs == 1 else [self.name(f"{operator}.{number}") for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=name, **attributes))
        return names

    @contextmanager
    def nodes_apart(self) -> Iterator[list[onnx.NodeProto]]:
        """Nodes that are written meanwhile stand in a list of their own: the body of a loop."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def read_sizes(self, given: str) -> None:
        """Write the sizes of the input [samples, steps, *shape]."""
        for name, end in ((self.samples, 1), (self.samples_and_steps, 2)):
            self.nodes.append(helper.make_node("Shape", [given], [name], name=name, start=0, end=end))

    def numbers(self, values: Any, dtype: Type, what: str) -> str:
        """The name of a constant [*any shape] of this type, without the axes along which all values are the same."""
        array = np.asarray(values)
        for axis in range(array.ndim):
            first = array.take([0], axis)
            if (array == first).all():
                array = first
        if array.size == 1:
            array = array.reshape(())
        return self.constant(array.astype(dtype), what)

    def shape(self, *sizes: int) -> str:
        """The name of a constant shape."""
        return self.constant(np.array(sizes, np.int64), "shape")

    def reshape(self, tensor: str, *sizes: int) -> str:
        """A tensor in another shape."""
        return self.apply("Reshape", tensor, self.shape(*sizes))

    def cast(self, tensor: str, dtype: Any) -> str:
        """A tensor in another type."""
        return self.apply("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def as_type(self, value: Value, dtype: Type) -> Value:
        """A value in another type, which must hold it."""
        if value.dtype is dtype:
            return value
        return replace(value, tensor=self.cast(value.tensor, dtype), dtype=dtype)

    def at_every_step(self, value: Value) -> Value:
        """A value with T steps a sample: one that the input has in one step only is repeated."""
        if value.per_step:
            return value
        steps, ones = self.timesteps, (1,) * len(value.shape)
        given = self.apply("Concat", self.samples_and_steps, self.shape(*value.shape), axis=0)
        wanted = self.apply("Concat", self.samples, self.shape(steps, *value.shape), axis=0)
        by_sample = self.apply("Reshape", value.tensor, given)
        repeated = self.apply("Expand", by_sample, self.shape(1, steps, *ones))
        checked = self.apply("Reshape", repeated, wanted)  # fails for an input of neither 1 nor T steps
        return replace(value, tensor=self.reshape(checked, -1, *value.shape), per_step=True)

    def by_sample(self, value: Value) -> str:
        """The tensor [samples, T, *shape] of a value."""
        value = self.at_every_step(value)
        return self.reshape(value.tensor, -1, self.timesteps, *value.shape)

    def watch(self, what: str, limit: int, tensor: str, dtype: Type) -> None:
        """Watch the numbers [samples, T, *shape] of the layer that is written now.

        Of int64 the largest is the first of all: onnxruntime's ReduceMax of those goes wrong beyond 32 bits.
        """
        size = self.reshape(self.apply("Abs", tensor), 0, 0, -1)
        if dtype is np.int32:
            peak = self.cast(self.apply("ReduceMax", size, self.shape(2), keepdims=1), np.int64)
        else:
            peak, _ = self.apply_several("TopK", [size, self.shape(1)], 2, axis=2)
        self.watches.append(Watch(layer=self.layer, what=what, limit=limit, tensor=peak))

    def saturate(self, tensor: str, low: int, high: int, dtype: Type) -> str:
        """A tensor of int32 or int64 with `low` for what is below it, and `high` for what is above.

        Of int64 by comparisons: onnxruntime's Clip, Min and Max of those go wrong beyond 32 bits.
        """
        least, most = self.numbers(low, dtype, "low"), self.numbers(high, dtype, "high")
        if dtype is np.int32:
            return self.apply("Clip", tensor, least, most)
        raised = self.apply("Where", self.apply("Less", tensor, least), least, tensor)
        return self.apply("Where", self.apply("Greater", raised, most), most, raised)

    def total(self, values: Sequence[Value]) -> Value:
        """The sum of values of one shape."""
        if len(values) == 1:
            return values[0]
        if any(value.per_step for value in values):
            values = [self.at_every_step(value) for value in values]
        low, high = sum(min(value.low, 0) for value in values), sum(max(value.high, 0) for value in values)
        dtype = narrowest(low, high)
        first, *others = (self.as_type(value, dtype).tensor for value in values)
        for other in others:
            first = self.apply("Add", first, other)
        return replace(values[0], tensor=first, dtype=dtype, low=low, high=high)

    def flat(self, value: Value) -> Value:
        """A value with one axis behind that of samples and steps, in C order."""
        size = math.prod(value.shape)
        if len(value.shape) == 1:
            return value
        return replace(value, tensor=self.reshape(value.tensor, -1, size), shape=(size,))
