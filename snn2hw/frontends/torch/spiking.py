"""Spiking neurons: each call is one step, or all of them; the calls of a layer are one NIR neuron over time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from snn2hw.data.aliases import Shape
from snn2hw.frontends import neurons
from snn2hw.frontends.neurons.parameters import number_or_range
from snn2hw.frontends.torch.arrange import Batch, Inner
from snn2hw.frontends.torch.call import Call, Given, NeuronCalls, name_of
from snn2hw.frontends.torch.membranes import Membrane, integrated, is_read_alone, keep_of
from snn2hw.frontends.torch.parts import MIXED, channels_of, flattened, refuse_margin
from snn2hw.frontends.torch.picks import in_order
from snn2hw.frontends.torch.values import State, Unknown, Value, as_integer
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Float, Neuron, rule_of

_WHOLE = "Take the mean over time behind the last neuron"


def neuron(call: Call) -> Value | Membrane:
    """The spikes of a layer of neurons in one of its calls, or its membrane if nobody reads them."""
    value, given, path, number = call.arguments
    module = call.model.module.get_submodule(path)
    if isinstance(value, Unknown):
        return _behind_blocker(call, module, value.shape, number)
    if not isinstance(value, Value):
        raise call.refuse("its input is not a tensor of the model", "Feed it a layer's output")
    refuse_margin(call, value)
    if value.is_mean or value.over_time is not None:
        raise call.refuse("a neuron behind the mean over time", _WHOLE)
    if is_read_alone(call.node) and call.model.steps > 1 and not is_multi_step(module):
        keep = keep_of(path, read_neuron(call, module, value.shape))
        if keep is not None:
            membrane = integrated(call, path, keep, call.model.membranes.get(path), value, given)
            call.model.membranes[path] = membrane
            return membrane
    start = _check_states(call, path, number, given)
    lead = 2 if is_multi_step(module) else 1
    parts = value.at.split(lead) if value.at.rank >= lead else None
    if parts is None:
        raise call.refuse(*(_single_step(call, module) or MIXED))
    batch, inner = parts
    steps = _steps(call, module, batch, number)
    value, inner = _taken_whole(call, value, inner, lead)
    if path not in call.model.neurons:
        node = _read_arranged(call, module, value.shape, inner)
        call.builder.add_neuron(path, node, value)
        start = None if start is None else _start_of(call, node, start, inner)
        call.model.neurons[path] = NeuronCalls(first=value, steps=list(steps), start=start)
    else:
        _again(call, path, value, steps)
    count = call.model.numbering.samples
    numbers = np.concatenate([np.arange(step * count, (step + 1) * count) for step in steps])
    places = None if inner.is_identity and inner.tensor_shape == value.shape else inner
    lead_shape: Shape = (len(steps), count) if lead == 2 else (count,)
    at = call.model.numbering.like(numbers, lead_shape, value.shape, places, call.model.steps)
    return as_integer(Value(terms=((path, 1),), at=at), 0, 1)


def _behind_blocker(call: Call, module: nn.Module, shape: Shape, number: int) -> Value:
    """The spikes of neurons whose input cannot be followed, so that what is in the way behind them is found too."""
    lead, model = 2 if is_multi_step(module) else 1, call.model
    node, inner = read_neuron(call, module, shape[lead:]), shape[lead:]
    steps, count = model.steps, model.numbering.samples
    leads = shape[:lead] == ((steps, count) if lead == 2 else (count,))
    if not leads or len(inner) not in (1, 3) or number >= steps or not _comes_of_layers(call.node.args[0]):
        raise call.refuse("", "")
    if call.path not in call.builder.nodes:
        call.builder.add_neuron(call.path, node, None)
    numbers = np.arange(steps * count) if lead == 2 else np.arange(number * count, (number + 1) * count)
    at = model.numbering.like(numbers, shape[:lead], inner, None, steps)
    return as_integer(Value(terms=((call.path, 1),), at=at), 0, 1)


def _comes_of_layers(node: Any) -> bool:
    """Whether layers of images or vectors computed a value, so that its dimensions are theirs."""
    while name_of(node) in _RESHAPES:
        node = node.args[0]
    return name_of(node) in _LAYERS


_RESHAPES = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "contiguous", "select", "squeeze", "unsqueeze")
_LAYERS = ("conv2d", "linear", "batch_norm", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "add")


def _taken_whole(call: Call, value: Value, inner: Inner, lead: int) -> tuple[Value, Inner]:
    """A value of which a neuron takes everything, and how that lies in the tensor."""
    flat_currents = len(value.shape) > 1 and math.prod(value.shape[1:]) > 1 and not _is_spikes(value)
    if inner.is_identity and len(inner.tensor_shape) == 1 < len(value.shape) and not flat_currents:
        flat = replace(flattened(call, value), repeats=())
        return flat, Inner(given=None, tensor_shape=flat.shape, shape=flat.shape)
    if inner.is_permutation and (inner.is_identity or channels_of(inner) is None):
        return value, inner
    picked = in_order(call, value)
    parts = None if picked is None else picked.at.split(lead)
    return (value, inner) if picked is None or parts is None else (picked, parts[1])


def _is_spikes(value: Value) -> bool:
    return all(isinstance(source, str) for source, _ in value.terms)


def state(call: Call) -> State | Value:
    """What a neuron returns to its caller beside its spikes."""
    spikes, _, path, number, which = call.arguments
    if isinstance(spikes, Membrane):
        return spikes.value
    return State(path=path, call=number, number=which)


def read_neuron(call: Call, module: nn.Module, shape: Shape) -> Neuron:
    """The NIR neuron of a framework's module for neurons of a shape."""
    try:
        return neurons.to_nir(module, shape, call.model.dtype)
    except neurons.NeuronProblem as problem:
        raise call.refuse(problem.problem, problem.advice) from None


def is_multi_step(module: nn.Module) -> bool:
    """Whether a neuron takes all steps in one call."""
    return getattr(module, "step_mode", "s") == "m"


def _read_arranged(call: Call, module: nn.Module, shape: Shape, inner: Inner) -> Neuron:
    if inner.is_identity and inner.tensor_shape == shape:
        return read_neuron(call, module, shape)
    if not inner.is_permutation:
        raise call.refuse(
            f"a neuron over {len(inner.places)} of {inner.shape} values of a layer", "Compute each part by a layer"
        )
    read_neuron(call, module, inner.tensor_shape)
    node = read_neuron(call, module, shape)
    parameters = [np.asarray(values) for values in vars(node).values() if isinstance(values, np.ndarray)]
    if any(values.size and (values != values.flat[0]).any() for values in parameters):
        raise call.refuse(
            "a neuron with parameters for each channel, over channels in another order", "Move them later"
        )
    return node


def _single_step(call: Call, module: nn.Module) -> tuple[str, str] | None:
    if call.model.multi_step and not is_multi_step(module):
        return "a neuron in single step among layers in multi step", 'Set its step_mode to "m"'
    return None


def _steps(call: Call, module: nn.Module, batch: Batch, number: int) -> list[int]:
    """The steps that a call is; refuses one that is not the next, or holds parts of steps."""
    steps = call.model.steps
    if is_multi_step(module):
        if batch.order(steps) != "tn":
            raise call.refuse(
                "a neuron in multi step over anything but all steps, [T, N, ...]", "Give it all steps in their order"
            )
        taken = list(range(steps))
        expected = 0
    else:
        static = batch.is_static and steps > 1
        step = number if static else batch.step()
        if static and not np.array_equal(batch.numbers, np.arange(batch.samples)):
            step = None
        if step is None:
            raise call.refuse(*(_single_step(call, module) or MIXED))
        taken, expected = [step], number
    if taken[0] > expected:
        raise call.refuse(
            f"this neuron runs in step {taken[0]}, but not in step {expected}", "Call it in every step, in their order"
        )
    if taken[0] != expected or taken[-1] >= steps:
        raise call.refuse(
            "this neuron is used twice in one step, and its second use would start from the membrane of the first",
            "Give each use a neuron of its own",
        )
    return taken


def _again(call: Call, path: str, value: Value, steps: list[int]) -> None:
    known = call.model.neurons[path]
    if steps[0] != known.steps[-1] + 1:
        raise call.refuse(
            "this neuron is used twice in one step, and its second use would start from the membrane of the first",
            "Give each use a neuron of its own",
        )
    known.steps.extend(steps)
    if not call.builder.same_again(known.first, value):
        if known.differs:  # told already
            raise call.refuse("", "")
        known.differs = True
        raise call.refuse(
            f"what feeds this neuron in step {steps[0]} is computed in another way than in step 0",
            "Compute every step by the same layers, with the same weights",
        )


def _start_of(call: Call, node: Neuron, start: Float, inner: Inner) -> Float:
    """The membranes [*shape] that neurons start from. Raises Refused where no NIR neuron starts so."""
    shape = np.shape(node.v_threshold)
    if start.shape != shape or not inner.is_identity:
        raise call.refuse(
            f"the neuron starts from a state of shape {list(start.shape)}, its layer has {list(shape)}",
            "Start all neurons of the layer in their order",
        )
    rule = rule_of(call.path, node)
    if rule.reset is Reset.ZERO:
        raise call.refuse(
            f"the neuron starts from {number_or_range(start)}, but a spike resets it to "
            f"{number_or_range(rule.reset_value)}: a hard reset leads back to the start in NIR and on the chip",
            "Reset by subtraction, or start where the reset leads to",
        )
    return start


def _check_states(call: Call, path: str, number: int, given: list[Any]) -> Float | None:
    """The states that the caller passes must be those that the call before returned. Before the first all must be 0 but
    the membrane, the last of them; it is returned, [*shape], if it is not 0 either.
    """
    start = None
    module = call.model.module.get_submodule(path)
    leaves_state = neurons.reader_of(module) is not None and neurons.leaves_state(module)
    if leaves_state and call.model.steps == 1:
        kind = type(module).__name__
        raise call.refuse(f"{kind} leaves its state to its caller (init_hidden=False)", neurons.OWN_STATE)
    for place, passed in enumerate(given):
        if isinstance(passed, Unknown):
            continue
        if isinstance(passed, Given) and not bool(passed.values.any()):
            if number:
                raise call.refuse(f"the neuron starts anew in step {number}", "Pass the state of the step before")
        elif isinstance(passed, Given) and leaves_state and not number and place == len(given) - 1:
            membrane = passed.values.detach().cpu().numpy()
            if not membrane.ndim or np.any(membrane != membrane[:1]):
                raise call.refuse("the samples of a batch start from other states", "Start every sample alike")
            start = membrane[0]
        elif isinstance(passed, State):
            if (passed.path, passed.call) != (path, number - 1):
                raise call.refuse(
                    f"in call {number} the neuron takes the state of {passed.path} after its call {passed.call}",
                    "Pass the state that the neuron itself returned in the step before",
                )
            if passed.number != place + 1:
                raise call.refuse("the neuron's states are passed in another order", "Pass them as they came")
        else:
            raise call.refuse(
                "the neuron starts from a state that is not 0",
                "Start from zeros; a membrane of snnTorch's (init_hidden=False) may start from parameters",
            )
    if number and not given and leaves_state:
        raise call.refuse(f"the neuron starts anew in step {number}", "Pass the state of the step before")
    return start
