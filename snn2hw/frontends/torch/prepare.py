"""What is done to a traced model before it runs: its neurons keep their state, and spikes alone pass between layers.

Only the traced copy changes; the user's modules stay as they are.
"""

from __future__ import annotations

import inspect
import operator
from typing import Any

from torch import Tensor, fx, nn

from snn2hw.errors import Blocker, UnsupportedError
from snn2hw.frontends.neurons import reader_of, returns_state
from snn2hw.frontends.neurons.reader import Wrapper

Place = tuple[int | str, ...]

_SHARED = 2  # calls: more than this many are a loop over time steps, not a neuron that two layers share


class Unmapped(Wrapper):
    """Stands for a neuron that is refused, so that what follows it can still be looked at: passes its input on."""

    def __init__(self, inner: nn.Module, *, states: bool) -> None:
        super().__init__(inner)
        self.states = states

    def forward(self, x: Tensor, *state: object) -> Any:
        """x [N, *shape] in place of the spikes, and nothing in place of up to two states."""
        return (x, None, None) if self.states else x


def optional_arguments(model: nn.Module) -> dict[str, Any]:
    """The arguments of a model's forward behind its input that have a default, as norse's state=None, and those."""
    others = list(inspect.signature(model.forward).parameters.values())[1:]
    return {p.name: p.default for p in others if isinstance(p.default, bool | int | float | str | None)}


def neurons_without_state(model: nn.Module) -> list[str]:
    """Paths of the neurons whose state a model's own forward must keep."""
    return [
        path
        for path, module in model.named_modules()
        if (reader := reader_of(module)) and reader.returns_state(module) and not getattr(module, "init_hidden", False)
    ]


def prepare(module: fx.GraphModule) -> tuple[Place, ...]:
    """Make a traced model one that runs step by step and returns its logits alone.

    Returns where in what the model itself returns the logits of each head lie, as the keys that lead there.

    Raises UnsupportedError where the caller keeps a neuron's state, as in a forward that loops over time steps.
    """
    graph = module.graph
    _drop_optional_arguments(graph)
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and reader_of(module.get_submodule(str(node.target))):
            calls.setdefault(str(node.target), []).append(node)
            if all(state is None for state in (*node.args[1:], *node.kwargs.values())):
                node.args, node.kwargs = node.args[:1], {}
    _refuse_callers_state(module, calls)
    returning: set[fx.Node] = set()
    for path, nodes in calls.items():
        if _returns_states(module.get_submodule(path), nodes):
            returning.update(nodes)
        _replace(module, path, nodes, states=nodes[0] in returning)
    heads = _return_first(graph, returning)
    for part in [part for node in returning for part in _parts(node) if part.args[1] != 0 and not part.users]:
        graph.erase_node(part)
    module.recompile()
    return heads


def _drop_optional_arguments(graph: fx.Graph) -> None:
    """Remove the inputs that were given their default, with the checks of it: nothing else reads them."""
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        if node.args and all(_is_check(user) for user in node.users):
            for user in list(node.users):
                for check in list(user.users):
                    graph.erase_node(check)
                graph.erase_node(user)
            graph.erase_node(node)


def _is_check(node: fx.Node) -> bool:
    """Whether fx wrote this to make sure that an argument has the value with which the model was traced."""
    name = getattr(node.target, "__name__", "")
    if name == "eq" and node.users:
        return all(_is_check(user) for user in node.users)
    return name in ("_assert", "_assert_is_none") and "has been specialized" in str(node.args[1])


def _refuse_callers_state(module: fx.GraphModule, calls: dict[str, list[fx.Node]]) -> None:
    blockers = []
    for path, nodes in calls.items():
        reader = reader_of(module.get_submodule(path))
        given = any(len(node.args) + len(node.kwargs) > 1 for node in nodes)
        if reader and (given or len(nodes) > _SHARED):
            times = "once" if len(nodes) == 1 else f"{len(nodes)} times"
            state = ", with its state as an argument" if given else ""
            blockers.append(
                Blocker(
                    layer=path,
                    problem=f"the neuron is called {times} in one forward{state}",
                    advice=f"{reader.keeping_state}, write forward for one time step, and leave the loop over time "
                    "steps to the caller",
                )
            )
    if blockers:
        raise UnsupportedError(blockers)


def _returns_states(neuron: nn.Module, nodes: list[fx.Node]) -> bool:
    """Whether a neuron returns more than its spikes; of one that is refused it is enough that its caller thinks so."""
    reader = reader_of(neuron)
    return any(_parts(node) for node in nodes) if reader and reader.refused else returns_state(neuron)


def _replace(module: fx.GraphModule, path: str, nodes: list[fx.Node], *, states: bool) -> None:
    neuron = module.get_submodule(path)
    reader = reader_of(neuron)
    parent, _, leaf = path.rpartition(".")
    readers = {user for node in nodes for user in node.users} - {part for node in nodes for part in _parts(node)}
    passed_on = states and any(user.op != "output" for user in readers)  # the next layer takes a tuple for spikes
    if reader and (reader.refused or passed_on):
        setattr(module.get_submodule(parent), leaf, Unmapped(neuron, states=states and not passed_on))
    elif reader and reader.wrap:
        setattr(module.get_submodule(parent), leaf, reader.wrap(neuron))


def _return_first(graph: fx.Graph, returning: set[fx.Node]) -> tuple[Place, ...]:
    """Let a model that returns logits and states return its logits alone; returns where they lay."""
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    places: list[Place] = []

    def logits(result: Any, place: Place) -> Any:
        if isinstance(result, tuple | list) and result:
            parts = [(n, part) for n, part in enumerate(result) if n == 0 or not _is_state(part, returning)]
            heads = [logits(part, (*place, n)) for n, part in parts]
            return heads[0] if len(heads) == 1 < len(result) else heads
        if isinstance(result, dict):
            return {key: logits(part, (*place, key)) for key, part in result.items()}
        if isinstance(result, fx.Node) and result in returning:
            places.append((*place, 0))
            with graph.inserting_before(output):
                return graph.call_function(operator.getitem, (result, 0))
        places.append(place)
        return result

    output.args = (logits(output.args[0], ()),)
    return tuple(places)


def _is_state(part: Any, returning: set[fx.Node]) -> bool:
    if isinstance(part, tuple | list):
        return all(_is_state(value, returning) for value in part)
    if not isinstance(part, fx.Node):
        return part is None
    return part.target is operator.getitem and part.args[0] in returning and bool(part.args[1] != 0)


def _parts(node: fx.Node) -> list[fx.Node]:
    """The nodes that take one of the values which a neuron returns."""
    return [user for user in node.users if user.target is operator.getitem]
