"""Before lowering: what nobody reads is left out, and a layer that several neurons read is computed for each of them.

On a chip every synapse feeds one neuron, in units of that neuron.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from snn2hw.frontends.torch import layers, operations
from snn2hw.frontends.torch.in_place import changes

_ENDS = ("placeholder", "output")
_WEIGHTED = (layers.conv, layers.linear)
_LINEAR = (
    *(layers.batch_norm, layers.avg_pool, layers.adaptive_pool, layers.flatten, layers.same),
    *(operations.add, operations.subtract, operations.subtract_from, operations.negate, operations.flatten),
    *(operations.reshape, operations.mean, operations.dropout, operations.same),
)
"""What may stand between a weighted layer and the neuron that takes its current."""


def drop_unused(module: fx.GraphModule) -> None:
    """Remove the calls whose result nobody reads, such as a head for the training alone."""
    for node in reversed(module.graph.nodes):
        if node.op not in _ENDS and not node.users and not changes(module, node):
            module.graph.erase_node(node)


def separate_readers(module: fx.GraphModule) -> None:
    """Call layers once for each reader of what they compute, up to the next neuron.

    Nothing is done where a reader changes the result in place, which the others must see, or will be refused.
    """
    nodes = list(module.graph.nodes)
    currents: set[fx.Node] = set()
    for node in nodes:
        rule = _rule(module, node)
        if rule in _WEIGHTED or (rule in _LINEAR and currents.intersection(node.all_input_nodes)):
            currents.add(node)
    whole: set[fx.Node] = set()  # currents that must stay one
    for node in reversed(nodes):
        readers = _readers(node)
        if node in currents and (changes(module, node) or not all(_may_read(module, user, whole) for user in readers)):
            whole.add(node)
        for reader in readers[1:] if node in currents - whole else ():
            with module.graph.inserting_after(node):
                twin = module.graph.node_copy(node)
            twin.meta = dict(node.meta)
            reader.replace_input_with(node, twin)


def _may_read(module: fx.GraphModule, reader: fx.Node, whole: set[fx.Node]) -> bool:
    rule = _rule(module, reader)
    return reader.op == "output" or rule is layers.neuron or (rule in _LINEAR and reader not in whole)


def _readers(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if user.target not in ("size", "dim", getattr)]


def _rule(module: fx.GraphModule, node: fx.Node) -> Any:
    if node.op == "call_module":
        return layers.rule_for(module.get_submodule(str(node.target)))
    return operations.RULES.get(node.target) if node.op in ("call_function", "call_method") else None
