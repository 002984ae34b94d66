"""Currents that no neuron takes at once: residual streams of membrane shortcuts, and layers behind layers.

A current stays open until a neuron takes it, with the layers that it comes from (values.py): one that several neurons
read becomes a layer for each. Where it is added up again and again, as in a membrane shortcut, these copies would grow
with the square of the number of blocks; and a layer cannot read an open current at all. Both get a node of their own, a
Scale of 1, of which the compiler makes a relay.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import fx

from snn2hw.frontends.torch.builder import Builder
from snn2hw.frontends.torch.call import Call, name_of
from snn2hw.frontends.torch.capture import NEURON
from snn2hw.frontends.torch.forms import Average, Flat, Largest
from snn2hw.frontends.torch.values import Layer, Value

SUMS = frozenset({"add", "sub", "subtract", "rsub"})
GOES_ON = "goes_on_as_a_current"  # in the meta of a call


def mark_streams(graph: fx.Graph, given: str, *, linear: Collection[str], weighted: Collection[str]) -> None:
    """Mark the calls whose current is read by several, of which one is a layer, or adds it up again where it is a sum.

    given: the placeholder of the model's input. linear: operators that pass currents on; weighted: those of layers.
    """
    computed: set[fx.Node] = set()
    currents: set[fx.Node] = set()
    sums: set[fx.Node] = set()
    for node in graph.nodes:
        of_input = computed.intersection(node.all_input_nodes)
        if node.name != given and not of_input:
            continue
        computed.add(node)
        name = name_of(node) if node.op == "call_function" else ""
        if name in weighted or (name in linear and currents & of_input):
            currents.add(node)
        if name in linear and (sums & of_input or (name in SUMS and len(of_input) > 1)):
            sums.add(node)
    for node in currents:
        readers = {kind for user in node.users for kind in _readers(user, computed, linear, weighted)}
        if len(node.users) > 1 and ("layer" in readers or ("sum" in readers and node in sums)):
            node.meta[GOES_ON] = True


def _readers(
    user: fx.Node, computed: Collection[fx.Node], linear: Collection[str], weighted: Collection[str]
) -> set[str]:
    """What reads a value in the end, past what only passes it on: "layer", "sum", or anything else."""
    name = name_of(user) if user.op == "call_function" else ""
    if user.target is NEURON or not name:
        return {"neuron"}
    if name in weighted:
        return {"layer"}
    if name in SUMS and sum(source in computed for source in user.all_input_nodes) > 1:
        return {"sum"}
    if name in linear:
        return {kind for further in user.users for kind in _readers(further, computed, linear, weighted)}
    return {"other"}


def closed(call: Call, value: Value) -> Value:
    """What a call computes; with a node of its own if it goes on as a current."""
    if not call.node.meta.get(GOES_ON) or value.over_time is not None or value.is_mean or not is_open(value):
        return value
    return readable(call.builder, call.path, value)


def readable(builder: Builder, path: str, value: Value) -> Value:
    """The value as a layer can read it: an open current gets a node of its own, named after `path`.

    Before a flatten, since a relay is made of the layers that feed it, and these are flattened behind it.
    """
    if not is_open(value):
        return value
    source, factor = value.terms[0]
    if len(value.terms) == factor == 1 and isinstance(source, Layer) and isinstance(source.form, Flat):
        return replace(value, terms=((replace(source, fed=readable(builder, path, source.fed)), 1),))
    return builder.merge(f"{path}.current", value)


def is_open(value: Value) -> bool:
    """Whether a value is a current that is made of layers, averages taken aside, which no node holds yet."""
    if value.is_integer:
        return False
    layers = [source for source, _ in value.terms if isinstance(source, Layer)]
    return any(not isinstance(layer.form, Average | Largest | Flat) or is_open(layer.fed) for layer in layers)
