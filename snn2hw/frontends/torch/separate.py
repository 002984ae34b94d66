"""Before lowering: what nobody reads is left out, and a layer that several neurons read is computed for each of them.

On a chip every synapse feeds one neuron, in units of that neuron.
"""

from __future__ import annotations

from torch import fx

from snn2hw.frontends.torch.call import name_of
from snn2hw.frontends.torch.rules import FACTORS, LINEAR, WEIGHTED
from snn2hw.frontends.torch.streams import GOES_ON, mark_streams

_ENDS = ("placeholder", "output")


def drop_unused(graph: fx.Graph) -> None:
    """Remove the calls whose result nobody reads, such as a head for the training alone."""
    for node in reversed(graph.nodes):
        if node.op not in _ENDS and not node.users:
            graph.erase_node(node)


def separate_readers(graph: fx.Graph, given: str) -> None:
    """Call layers once for each reader of what they compute, up to the next neuron, and so what multiplies spikes by
    constants. given: the placeholder of the model's input. What goes on as a current (streams.py) is computed once.
    """
    mark_streams(graph, given, linear=LINEAR, weighted=WEIGHTED)
    nodes = list(graph.nodes)
    currents: set[fx.Node] = set()
    computed: set[fx.Node] = set()
    for node in nodes:
        name = name_of(node) if node.op == "call_function" else ""
        of_input = computed.intersection(node.all_input_nodes)
        if node.name == given or of_input:
            computed.add(node)
        linear = name in LINEAR and currents.intersection(node.all_input_nodes)
        if name in WEIGHTED or linear or (name in FACTORS and len(of_input) == 1):
            currents.add(node)
    for node in reversed(nodes):
        for reader in list(node.users)[1:] if node in currents and GOES_ON not in node.meta else ():
            with graph.inserting_after(node):
                twin = graph.node_copy(node)
            twin.meta = dict(node.meta)
            reader.replace_input_with(node, twin)
