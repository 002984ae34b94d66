"""Operations in place: the value before the change must not be read behind it, under any name."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import fx, nn

from snn2hw.frontends.torch.call import Call
from snn2hw.frontends.torch.values import Value

_RELU = ("relu_", F.relu_, torch.relu_, F.relu)
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, "add_", "sub_", "mul_", "relu_", F.relu_, torch.relu_)
_VIEWS = (torch.flatten, torch.reshape, torch.squeeze, "flatten", "reshape", "view", "squeeze", "contiguous", "detach")
_VIEW_LAYERS = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)


def refuse_read_after_change(call: Call) -> None:
    """Refuse a change in place of a value that is still read behind it."""
    changed = call.node.args[0] if call.node.args else None
    if not isinstance(changed, fx.Node) or not changes(call.state.module, call.node) or _changes_nothing(call):
        return
    order = {node: place for place, node in enumerate(call.state.module.graph.nodes)}
    here = order[call.node]
    pending, names = [changed], {changed}
    while pending:
        node = pending.pop()
        near = [user for user in node.users if order[user] < here and _shares(call, user) and user.args[0] is node]
        if _shares(call, node) and isinstance(node.args[0], fx.Node):
            near.append(node.args[0])
        pending += [other for other in near if other not in names]
        names.update(near)
    for node in sorted(names, key=order.__getitem__):
        if any(order[user] > here for user in node.users):
            raise call.refuse(f"{node.name} is read after it was changed in place", "Write a + b or a * b")


def changes(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node changes its first argument in place."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        return isinstance(layer, nn.ReLU) and layer.inplace
    return node.target in _IN_PLACE or bool(node.kwargs.get("inplace"))


def _changes_nothing(call: Call) -> bool:
    """A ReLU over spikes."""
    value = call.arguments[0]
    rectifies = call.node.op == "call_module" or call.node.target in _RELU
    return rectifies and isinstance(value, Value) and value.low is not None and value.low >= 0


def _shares(call: Call, node: fx.Node) -> bool:
    """Whether a node returns the memory of its first argument."""
    if changes(call.state.module, node):
        return True
    if node.op == "call_module":
        return isinstance(call.state.module.get_submodule(str(node.target)), _VIEW_LAYERS)
    return node.op in ("call_function", "call_method") and node.target in _VIEWS
