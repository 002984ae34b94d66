"""A model as a graph of ATen operators, by torch.export: the forward itself runs, each spiking neuron is one operator.

Branches on sizes, loops over time, einops and classes that nobody knows are therefore no obstacle; what depends on the
values of the data is, and torch says where.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import OutputKind
from torch.library import custom_op
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import TreeSpec, tree_leaves, tree_map, tree_unflatten

from snn2hw.errors import Blocker, Snn2hwError, UnsupportedError
from snn2hw.frontends.neurons import is_spiking_neuron, reader_of, reset_state, returns_state, unwrapped
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.explain import explained

Place = tuple[int | str, ...]


@custom_op("snn2hw::neuron", mutates_args=())
def neuron(x: Tensor, given: list[Tensor], path: str, call: int) -> Tensor:
    """The spikes [*shape] of the neurons at `path`, called for the `call`-th time with currents x [*shape] and the
    states `given`.
    """
    return torch.empty_like(x)


@custom_op("snn2hw::state", mutates_args=())
def state(spikes: Tensor, like: Tensor, path: str, call: int, number: int) -> Tensor:
    """What the neurons at `path` return beside their spikes [*shape]: the `number`-th tensor, shaped as `like`."""
    return torch.empty_like(like)


@neuron.register_fake
def _(x: Tensor, given: list[Tensor], path: str, call: int) -> Tensor:
    return torch.empty_like(x)


@state.register_fake
def _(spikes: Tensor, like: Tensor, path: str, call: int, number: int) -> Tensor:
    return torch.empty_like(like)


NEURON = torch.ops.snn2hw.neuron.default
STATE = torch.ops.snn2hw.state.default


@dataclass(frozen=True, kw_only=True, eq=False)
class Captured:
    """A model's forward for one input of a given shape.

    graph: ATen operators, none of which changes its input in place. tensors: placeholder -> name of the parameter or
    buffer it stands for. constants: placeholder -> a tensor that the forward makes. returned: the graph's results in
    the structure that the model returns. calls: neuron's path -> how often it is called.
    """

    graph: fx.Graph
    tensors: Mapping[str, str]
    constants: Mapping[str, Tensor]
    returned: Any
    calls: Mapping[str, int]
    input: str


def capture(module: nn.Module, example: Tensor, *, leading: int) -> Captured:
    """The forward of a module, which must be a copy of the user's, for an input of the example's shape, of which the
    first `leading` dimensions hold steps and samples: [*leading, *input shape].

    Raises ModelError where the forward fails or depends on the data, DataError where it does not take such an input.
    """
    calls: Counter[str] = Counter()
    with_state: dict[str, str] = {}
    with _neurons_as_operators(module, calls, with_state), _quiet(), torch.no_grad(), _ConstantsAreKnown():
        try:
            program = torch.export.export(module, (example,), strict=False)
            if any(_changes_its_input(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
        except Snn2hwError:
            raise
        except (Exception, SystemExit) as error:  # the user's own forward runs here: anything may be raised
            raise explained(error, module, tuple(example.shape[leading:]), with_state) from error
        finally:
            reset_state(module)
    signature = program.graph_signature
    changed = {**signature.buffers_to_mutate, **signature.parameters_to_mutate}
    for path in changed.values():
        owner, _, name = path.rpartition(".")
        if getattr(module.get_submodule(owner), name).is_floating_point():
            problem = f"its forward changes the tensor {path} in every call: a state that no neuron keeps"
            advice = "Keep states in spiking neurons"
            raise UnsupportedError([Blocker(layer=owner or "model", problem=problem, advice=advice)])
    output = program.graph.output_node()
    spec: TreeSpec = program.module_call_graph[0].signature.out_spec
    results = [
        result
        for result, kind in zip(output.args[0], signature.output_specs, strict=True)
        if kind.kind is OutputKind.USER_OUTPUT
    ]
    constants = {
        name: program.constants[target] for name, target in signature.inputs_to_lifted_tensor_constants.items()
    }
    inputs = signature.user_inputs
    return Captured(
        graph=program.graph,
        tensors={**signature.inputs_to_parameters, **signature.inputs_to_buffers},
        constants=constants,
        returned=tree_unflatten(results, spec),
        calls=dict(calls),
        input=str(inputs[0]),
    )


class _ConstantsAreKnown(TorchFunctionMode):
    """Within it what a forward computes of tensors that are plain attributes has its values, so that it may branch on
    them; torch.export follows parameters, buffers and the input alone.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        if any(isinstance(value, Tensor) and type(value) is not Tensor for value in args):
            return func(*args, **keywords)  # the usual case, told without a look into lists
        tensors = [value for value in tree_leaves((args, keywords)) if isinstance(value, Tensor)]
        if tensors and all(type(tensor) is Tensor for tensor in tensors):
            with _disable_current_modes():
                return func(*args, **keywords)
        return func(*args, **keywords)


def _changes_its_input(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


@contextmanager
def _neurons_as_operators(module: nn.Module, calls: Counter[str], with_state: dict[str, str]) -> Iterator[None]:
    """The neurons of a module answer with an operator of their own, for a while.

    with_state: path -> class of those that returned more than spikes, the last one at the end.
    """
    replaced = []
    inside: list[str] = []
    for path, part in module.named_modules():
        if is_spiking_neuron(part) and not any(path.startswith(f"{outer}.") for outer in inside):
            inside.append(path)
            replaced.append((part, _operator(path, copy_of(part), calls, with_state)))
    for part, operator in replaced:
        part.forward = operator  # shadows the class's method
    try:
        yield
    finally:
        for part, _ in replaced:
            vars(part).pop("forward", None)


def _operator(path: str, twin: nn.Module, calls: Counter[str], with_state: dict[str, str]) -> Callable[..., Any]:
    """A neuron's forward that calls the operator, and returns what its twin does, the states in their places.

    The twin, a copy of the neuron, answers zeros: its parameters are numbers while those of the model stand for any.
    """

    reader = reader_of(twin)
    plain = reader is not None and not reader.refused and not returns_state(twin)  # one tensor of its input's shape

    def run(x: Tensor, *states: Any, **named: Any) -> Any:
        call = calls[path]
        calls[path] += 1
        given = [value for value in tree_leaves((states, named)) if isinstance(value, Tensor)]
        spikes = neuron(x, given, path, call)
        if plain:
            return spikes
        with _disable_current_modes():
            zeros = tree_map(_zeros, (x, states, named))
            reset_state(twin)
            try:
                returned = twin.forward(zeros[0], *zeros[1], **zeros[2])
            except Exception:  # whatever a framework raises
                if reader is None or not reader.refused:
                    raise
                return spikes  # it is refused with its reason, whether it can be called or not
        if isinstance(returned, tuple):
            with_state.pop(path, None)
            with_state[path] = type(unwrapped(twin)).__name__
        numbers = count()

        def answer(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            number = next(numbers)
            if not number and value.shape == x.shape:
                return spikes
            like = x if value.shape == x.shape else x.new_zeros(value.shape)
            return state(spikes, like, path, call, number)

        return tree_map(answer, returned)

    return run


def _zeros(value: Any) -> Any:
    return torch.zeros(tuple(value.shape), dtype=value.dtype) if isinstance(value, Tensor) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch logs and prints of its work: what is wrong is told in our words."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
