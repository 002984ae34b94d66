"""Reading the structure of a NIR graph: order, sources, shapes. Checks what nir itself asserts or leaves open."""

from __future__ import annotations

from dataclasses import dataclass

import nir
import numpy as np

from snn2hw.data.aliases import Shape
from snn2hw.errors import ModelError
from snn2hw.network.heads import heads_of
from snn2hw.network.metadata import POOL

Pair = tuple[int, int]
LARGEST = "max"


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
    does not fit the node, a window that no convolution or pool has, or several inputs or outputs.
    """
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    known: set[tuple[str, str]] = set()
    for source, target in graph.edges:
        for end in (source, target):
            if end not in graph.nodes:
                raise ModelError(f"edge {source} -> {target}: there is no node {end}. Remove the edge or add the node.")
        if (source, target) in known:
            raise ModelError(f"edge {source} -> {target} stands twice. Write a Scale of 2 if the sum is meant.")
        if isinstance(graph.nodes[source], nir.Output):
            raise ModelError(f"{source}: {target} reads this Output node. Let it read what the output reads.")
        if isinstance(graph.nodes[target], nir.Input):
            raise ModelError(f"{target}: {source} feeds this Input node. Remove the edge.")
        known.add((source, target))
        sources[target].append(source)
    order = _topological(sources)
    shapes: dict[str, Shape] = {}
    for name in order:
        node = graph.nodes[name]
        if isinstance(node, nir.Input):
            shapes[name] = _ints(node.input_type["input"])
            _expect(
                name, min(shapes[name], default=0) > 0, f"the input has no values: its shape is {list(shapes[name])}"
            )
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
    return Layout(tuple(order), {name: tuple(read) for name, read in sources.items()}, shapes)


def _topological(sources: dict[str, list[str]]) -> list[str]:
    """Names level by level, each level in the order of `sources`."""
    position = {name: at for at, name in enumerate(sources)}
    open_sources = {name: len(read) for name, read in sources.items()}
    targets: dict[str, list[str]] = {name: [] for name in sources}
    for name, read in sources.items():
        for source in read:
            targets[source].append(name)
    order: list[str] = []
    ready = [name for name, count in open_sources.items() if not count]
    while ready:
        order += ready
        following: list[str] = []
        for target in (target for name in ready for target in targets[name]):
            open_sources[target] -= 1
            if not open_sources[target]:
                following.append(target)
        ready = sorted(following, key=position.__getitem__)
    if len(order) < len(sources):
        cycle = _cycle(sources, {name for name, count in open_sources.items() if count})
        raise ModelError(f"the graph has a cycle through {', '.join(cycle[:5])}. Recurrent networks are not supported.")
    return order


def _cycle(sources: dict[str, list[str]], blocked: set[str]) -> list[str]:
    """The nodes of one cycle, by name. Every blocked node has a blocked source, so going backwards leads into one."""
    name = min(blocked)
    path: dict[str, None] = {}
    while name not in path:
        path[name] = None
        name = next(source for source in sources[name] if source in blocked)
    names = list(path)
    return sorted(names[names.index(name) :])


def _output_shape(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    match node:
        case nir.Conv2d():
            return _conv_shape(name, node, shape)
        case nir.Conv1d():
            _expect(name, np.ndim(node.weight) == 3, f"has weights of shape {_sizes(node.weight)}, but needs 3 axes")
            _expect(name, len(shape) == 2, f"takes [C, L], but its input has shape {list(shape)}")
            channels, _, length = _conv_shape(name, as_conv2d(node, shape[1]), (shape[0], 1, shape[1]))
            return channels, length
        case nir.SumPool2d() | nir.AvgPool2d():
            _expect(name, len(shape) == 3, f"pools {list(shape)}, but needs [C, H, W]")
            kernel, stride = (_sized(name, node, label, 1) for label in ("kernel_size", "stride"))
            padding = _sized(name, node, "padding", 0)
            if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
                raise ModelError(f"{name}: its padding {list(padding)} is more than half its window {list(kernel)}.")
            return shape[0], *_window(name, shape[1:], kernel, stride, padding, (1, 1))
        case nir.Affine() | nir.Linear():
            _expect(name, np.ndim(node.weight) == 2, f"has weights of shape {_sizes(node.weight)}, but needs 2 axes")
            rows, columns = node.weight.shape
            _expect(name, shape == (columns,), f"takes {columns} values, but its input has shape {list(shape)}")
            if isinstance(node, nir.Affine):
                _expect(name, node.bias.shape == (rows,), f"has {rows} rows, but a bias of shape {node.bias.shape}")
            return (rows,)
        case nir.Flatten():
            return _flat_shape(name, node, shape)
        case nir.IF() | nir.LIF() | nir.CubaLIF() | nir.I():
            for parameter, values in vars(node).items():
                neurons = tuple(np.shape(values)) if isinstance(values, np.ndarray) else ()
                what = f"holds neurons of shape {list(neurons)}" + (f" ({parameter})" if parameter == "w_in" else "")
                _expect(name, _broadcasts(neurons, shape), f"{what}, but its input has shape {list(shape)}")
            return shape
        case nir.Threshold() | nir.Scale() | nir.Delay():
            size = next(values.shape for values in vars(node).values() if isinstance(values, np.ndarray))
            _expect(name, _broadcasts(size, shape), f"has shape {list(size)}, but its input has shape {list(shape)}")
            return shape
        case nir.Output():
            size = _ints(node.output_type["output"])
            _expect(name, size == shape, f"has shape {list(size)}, but its input has shape {list(shape)}")
            heads_of(name, node)
            return shape
        case _:
            raise ModelError(f"{name}: NIR nodes of type {type(node).__name__} are not supported.")


def _broadcasts(part: Shape, whole: Shape) -> bool:
    """One value for all, or an axis of 1 for what is the same along it."""
    return int(np.prod(part)) == 1 or (
        len(part) == len(whole) and all(size in (1, full) for size, full in zip(part, whole, strict=True))
    )


def _flat_shape(name: str, node: nir.Flatten, shape: Shape) -> Shape:
    """NIR counts dimensions without a batch: a start_dim of 0 flattens everything."""
    start, end = (int(dim) + (len(shape) if dim < 0 else 0) for dim in (node.start_dim, node.end_dim))
    if any(size > 1 for size in (*shape[:start], *shape[end + 1 :])) or not 0 <= start <= end < len(shape):
        raise ModelError(
            f"{name}: it flattens dimensions {int(node.start_dim)} to {int(node.end_dim)} of {list(shape)}, which "
            "leaves no vector. NIR counts without a batch dimension: flatten 0 to -1."
        )
    return (int(np.prod(shape)),)


def as_conv2d(node: nir.Conv1d, length: int) -> nir.Conv2d:
    """The same convolution over images of height 1."""
    stride, dilation = (_ints(value)[0] for value in (node.stride, node.dilation))
    return nir.Conv2d(
        input_shape=(1, length),
        weight=node.weight[:, :, None, :],
        stride=(1, stride),
        padding=node.padding if isinstance(node.padding, str) else (0, _ints(node.padding)[0]),
        dilation=(1, dilation),
        groups=node.groups,
        bias=node.bias,
        metadata=node.metadata,
    )


def _conv_shape(name: str, node: nir.Conv2d, shape: Shape) -> Shape:
    _expect(name, np.ndim(node.weight) == 4, f"has weights of shape {_sizes(node.weight)}, but needs 4 axes")
    outputs, channels, *kernel = node.weight.shape
    groups = int(node.groups)
    _expect(name, groups >= 1 and outputs % groups == 0, f"has {outputs} kernels in {groups} groups")
    _expect(
        name,
        len(shape) == 3 and shape[0] == channels * groups,
        f"takes {channels * groups} channels, but its input has shape {list(shape)}",
    )
    _expect(name, node.bias.shape == (outputs,), f"has {outputs} kernels, but a bias of shape {node.bias.shape}")
    stride, dilation = (_sized(name, node, label, 1) for label in ("stride", "dilation"))
    if not isinstance(node.padding, str):
        _sized(name, node, "padding", 0)
    return outputs, *_window(name, shape[1:], (kernel[0], kernel[1]), stride, conv_padding(name, node), dilation)


def _sized(name: str, node: nir.NIRNode, label: str, least: int) -> Pair:
    """A kernel, stride, padding or dilation, checked: one or two whole numbers of at least `least`."""
    values = np.ravel(np.asarray(getattr(node, label)))
    whole = values.size in (1, 2) and values.dtype.kind in "iuf" and bool(np.all(values == np.rint(values)))
    if not whole or values.min() < least:
        raise ModelError(f"{name}: its {label} is {values.tolist()}; one or two whole numbers from {least} are needed.")
    return pair(values)


def _window(name: str, size: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    _expect(name, min(out) > 0, f"its window {list(kernel)} is larger than its padded input {list(size)}")
    return out[0], out[1]


def conv_padding(name: str, node: nir.Conv2d) -> Pair:
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


def takes_largest(node: nir.NIRNode) -> bool:
    """Whether a pool takes the largest value of each window: a sum pool whose metadata say so."""
    return isinstance(node, nir.SumPool2d) and node.metadata.get(POOL) == LARGEST


def pair(value: object) -> Pair:
    """Height and width of a kernel, stride, padding or dilation, which NIR also writes as one number."""
    numbers = _ints(value)
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _ints(value: object) -> Shape:
    return tuple(int(x) for x in np.ravel(np.asarray(value)))


def _sizes(values: object) -> list[int]:
    return list(np.shape(np.asarray(values)))


def _expect(name: str, holds: bool, problem: str) -> None:
    if not holds:
        raise ModelError(f"{name}: {problem}.")


def only(graph: nir.NIRGraph, kind: type[nir.NIRNode]) -> str:
    """The name of the one node of this type. Raises ModelError if there are none or several."""
    names: list[str] = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(names) != 1:
        raise ModelError(f"the graph has {len(names)} {kind.__name__} nodes; exactly one is supported.")
    return names[0]


def emits_integers(network: nir.NIRGraph, name: str) -> bool:
    """Whether a layer over spikes counts them: its weights are whole, it has no bias, and no neuron is behind it.

    Such are the layers that put spikes in their place in a concatenation, or count them in a window. Between layers,
    sums of spikes and thresholds nothing else has an integer form.
    """
    node = network.nodes[name]
    if not isinstance(node, nir.Conv2d | nir.Affine | nir.Linear):
        return False
    readers = [network.nodes[target] for source, target in network.edges if source == name]
    if not any(isinstance(reader, WHOLE_READERS) for reader in readers):
        return False
    weight = np.asarray(node.weight)
    unbiased = isinstance(node, nir.Linear) or not np.any(node.bias)
    return unbiased and bool(np.all(weight == np.rint(weight)))


WHOLE_READERS = (nir.Conv2d, nir.Affine, nir.Linear, nir.Scale, nir.Threshold)
