"""Reading the structure of a NIR graph: order, sources, shapes. Checks what nir itself asserts or leaves open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import nir
import numpy as np

from snn2hw.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """A NIR graph in an order in which it can be executed.

    order: node names, each after its sources; sources: the nodes whose outputs are summed into each; shapes: what each
    node emits, without a batch dimension.
    """

    order: tuple[str, ...]
    sources: dict[str, tuple[str, ...]]
    shapes: dict[str, Shape]

    def input_shape(self, name: str) -> Shape:
        return self.shapes[self.sources[name][0]]


def lay_out(graph: nir.NIRGraph) -> Layout:
    """Order a graph and infer its shapes.

    Raises ModelError for a dangling edge, a cycle, a node without a source, sources of different shapes, a shape that
    does not fit the node, or several inputs or outputs.
    """
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        for end in (source, target):
            if end not in graph.nodes:
                raise ModelError(f"edge {source} -> {target}: there is no node {end}. Remove the edge or add the node.")
        if source in sources[target]:
            raise ModelError(f"edge {source} -> {target} stands twice. Write a Scale of 2 if the sum is meant.")
        if isinstance(graph.nodes[source], nir.Output):
            raise ModelError(f"{source}: {target} reads this Output node. Let it read what the output reads.")
        sources[target].append(source)
    order = _topological(sources)
    shapes: dict[str, Shape] = {}
    for name in order:
        node = graph.nodes[name]
        if isinstance(node, nir.Input):
            shapes[name] = _ints(node.input_type["input"])
            continue
        if not sources[name]:
            raise ModelError(f"{name}: nothing feeds this {type(node).__name__} node. Connect it or remove it.")
        incoming = {shapes[source] for source in sources[name]}
        if len(incoming) > 1:
            listed = ", ".join(f"{source} {list(shapes[source])}" for source in sources[name])
            raise ModelError(f"{name}: its sources have different shapes: {listed}.")
        shapes[name] = _output_shape(name, node, incoming.pop())
    for kind in (nir.Input, nir.Output):
        only(graph, kind)
    return Layout(tuple(order), {name: tuple(found) for name, found in sources.items()}, shapes)


def _topological(sources: dict[str, list[str]]) -> list[str]:
    remaining = {name: set(found) for name, found in sources.items()}
    order: list[str] = []
    while remaining:
        ready = [name for name, found in remaining.items() if not found]
        if not ready:
            cycle = ", ".join(sorted(remaining)[:5])
            raise ModelError(f"the graph has a cycle through {cycle}. Recurrent networks are not supported.")
        for name in ready:
            del remaining[name]
        order += ready
        for found in remaining.values():
            found.difference_update(ready)
    return order


def _output_shape(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    match node:
        case nir.Conv2d():
            return _conv_shape(name, node, shape)
        case nir.SumPool2d() | nir.AvgPool2d():
            _expect(name, len(shape) == 3, f"pools {list(shape)}, but needs [C, H, W]")
            kernel, stride, padding = (pair(x) for x in (node.kernel_size, node.stride, node.padding))
            return shape[0], *_window(name, shape[1:], kernel, stride, padding, (1, 1))
        case nir.Affine() | nir.Linear():
            rows, columns = node.weight.shape
            _expect(name, shape == (columns,), f"takes {columns} values, but its input has shape {list(shape)}")
            if isinstance(node, nir.Affine):
                _expect(name, node.bias.shape == (rows,), f"has {rows} rows, but a bias of shape {node.bias.shape}")
            return (rows,)
        case nir.Flatten():
            return (int(np.prod(shape)),)
        case nir.IF() | nir.LIF() | nir.CubaLIF():
            own = tuple(node.v_threshold.shape)
            _expect(name, own == shape, f"holds neurons of shape {list(own)}, but its input has shape {list(shape)}")
            return shape
        case nir.Threshold() | nir.Scale():
            own = tuple((node.threshold if isinstance(node, nir.Threshold) else node.scale).shape)
            _expect(name, own == shape, f"has shape {list(own)}, but its input has shape {list(shape)}")
            return shape
        case nir.Output():
            own = _ints(node.output_type["output"])
            _expect(name, own == shape, f"has shape {list(own)}, but its input has shape {list(shape)}")
            return shape
        case _:
            raise ModelError(f"{name}: NIR nodes of type {type(node).__name__} are not supported.")


def _conv_shape(name: str, node: nir.Conv2d, shape: Shape) -> Shape:
    outputs, channels, *kernel = node.weight.shape
    _expect(
        name,
        len(shape) == 3 and shape[0] == channels * node.groups,
        f"takes {channels * node.groups} channels, but its input has shape {list(shape)}",
    )
    _expect(name, node.bias.shape == (outputs,), f"has {outputs} kernels, but a bias of shape {node.bias.shape}")
    return outputs, *_window(
        name, shape[1:], (kernel[0], kernel[1]), pair(node.stride), conv_padding(name, node), pair(node.dilation)
    )


def _window(
    name: str,
    size: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    _expect(name, min(out) > 0, f"its window {list(kernel)} is larger than its padded input {list(size)}")
    return out[0], out[1]


def conv_padding(name: str, node: nir.Conv2d) -> tuple[int, int]:
    """Padding of a convolution as numbers. Raises ModelError for "same" where it would be uneven."""
    if isinstance(node.padding, str):
        if node.padding == "valid":
            return 0, 0
        spans = [d * (k - 1) for d, k in zip(pair(node.dilation), node.weight.shape[2:], strict=True)]
        if any(span % 2 for span in spans) or pair(node.stride) != (1, 1):
            raise ModelError(
                f"{name}: padding 'same' is uneven for this kernel or stride. Write the padding as numbers."
            )
        return spans[0] // 2, spans[1] // 2
    return pair(node.padding)


def pair(value: object) -> tuple[int, int]:
    """Height and width of a kernel, stride, padding or dilation, which NIR also writes as one number."""
    numbers = _ints(value)
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _ints(value: object) -> Shape:
    return tuple(int(x) for x in np.ravel(np.asarray(value)))


def _expect(name: str, holds: bool, problem: str) -> None:
    if not holds:
        raise ModelError(f"{name}: {problem}.")


def only(graph: nir.NIRGraph, kind: type[nir.NIRNode]) -> str:
    """The name of the one node of this type. Raises ModelError if there are none or several."""
    found: Iterable[str] = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    names = list(found)
    if len(names) != 1:
        raise ModelError(f"the graph has {len(names)} {kind.__name__} nodes; exactly one is supported.")
    return names[0]
