"""Before lowering: what nobody reads is left out, and a layer that several neurons read is computed for each of them.

On a chip every synapse feeds one neuron, in units of that neuron.
"""

from __future__ import annotations

from torch import fx, nn

from snn2hw.frontends import neurons
from snn2hw.frontends.in_place import changes
from snn2hw.frontends.layers import NAMED

_SINKS = ("placeholder", "output")


def drop_unused(module: fx.GraphModule) -> None:
    """Remove the calls whose result nobody reads, such as a head for the training alone."""
    for node in reversed(module.graph.nodes):
        if node.op not in _SINKS and not node.users and not changes(module, node):
            module.graph.erase_node(node)


def separate_readers(module: fx.GraphModule) -> None:
    """Call layers once for each reader of what they compute, up to the next neuron.

    Where the result is changed in place the other readers see that, and nothing is done.
    """
    currents = _currents(module)
    changed: set[fx.Node] = set()
    for node in reversed(module.graph.nodes):
        near = [user for user in node.users if user in currents]
        if changes(module, node) or changed.intersection(near):
            changed.add(node)
    for node in reversed([node for node in module.graph.nodes if node in currents]):
        for reader in [user for user in node.users if not _reads_a_shape(user)][1:]:
            if node in changed:
                break
            with module.graph.inserting_after(node):
                twin = module.graph.node_copy(node)
            twin.meta = dict(node.meta)
            reader.replace_input_with(node, twin)


def _reads_a_shape(node: fx.Node) -> bool:
    return node.target in ("size", "dim", getattr)


def _currents(module: fx.GraphModule) -> set[fx.Node]:
    """What weighted layers compute, and what is made of it before a neuron."""
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op in _SINKS or _reads_a_shape(node):
            continue
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if layer is not None and neurons.is_spiking_neuron(layer):
            continue
        if isinstance(layer, (*NAMED, nn.BatchNorm2d)) or found.intersection(node.all_input_nodes):
            found.add(node)
    return found
