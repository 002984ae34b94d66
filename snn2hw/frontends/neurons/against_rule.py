"""neuron-vs-rule: each neuron object of a model does what the rule says that was read from its attributes.

The object itself is run, alone, on drawn currents: with its hooks, the methods that a subclass or the instance puts in
place of the framework's, its surrogate function, and whatever was set on it after it was built. Whatever makes it
another neuron than the one that is deployed shows in its spikes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import nir
import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker
from snn2hw.frontends.neurons import framework_class, reader_of, unwrapped
from snn2hw.frontends.neurons.borrow import borrowed
from snn2hw.frontends.neurons.drawn import Bool, Stepping, draw_currents, without_rounding
from snn2hw.frontends.neurons.float64 import InFloat64
from snn2hw.frontends.neurons.reader import Reader, Suspect
from snn2hw.network.neuron_rule import Float, Neuron, NeuronRule, rule_of

_SAME = 1e-9
"""How near to the threshold, relative to it, rounding may decide in float64."""
_SAME_FLOAT32 = 1e-5
_NEAR, _NEAR_FLOAT32 = 1e-6, 1e-4  # how near to the threshold currents are drawn
_WHOLE = 2**17  # neurons of a layer that is run in its full size where something was put into it
_NO_CAUSE = Suspect(what="", advice="Build it by its constructor alone; if it is built so, report this with the model")


def check_neurons_against_rules(modules: Mapping[str, nn.Module], network: nir.NIRGraph) -> list[Blocker]:
    """What stops a model from being deployed: its neurons, by path, that do not do what their NIR nodes say.

    modules: by path; those whose path is no neuron of the network are passed over.
    """
    blockers = []
    for path, module in modules.items():
        node = network.nodes.get(path)
        if isinstance(node, Neuron) and (blocker := check_against_rule(path, module, node)):
            blockers.append(blocker)
    return blockers


def check_against_rule(path: str, module: nn.Module, node: Neuron) -> Blocker | None:
    """Run one neuron object beside the rule of the NIR node that was read from it; None if their spikes are the same.

    Both run from reset, on currents that are the same in every call, and the object a second time behind the reset that
    its users call. It must emit 0 and 1 alone. A difference is excused where the membrane lies within 1e-9 of the
    threshold, relative to it, and rounding could have turned the decision: the rule then goes on with the object's
    choice. The object runs in float64, or, where it cannot, in its dtype, with 1e-5 in place of 1e-9.

    It runs in the smallest size that its parameters allow, two neurons along an axis where all are alike; one that
    something was put into, or that cannot run so, in its full size. It is left as it was (see borrowed).
    """
    neuron, reader = unwrapped(module), reader_of(module)
    if reader is None or reader.refused:
        return None  # told elsewhere
    rule, shape = rule_of(path, node), tuple(int(size) for size in np.shape(node.v_threshold))
    suspects = [*_put_into(neuron), *reader.suspects(neuron)]
    small = shape if suspects and math.prod(shape) <= _WHOLE else _smallest(rule, shape)
    failure: Exception | None = None
    for size, dtype in dict.fromkeys([(small, torch.float64), (shape, torch.float64), (shape, None)]):
        try:
            difference = _difference(neuron, reader, rule, size, dtype, nullcontext())
            if difference and dtype:  # perhaps by what was float32 on the way: watching for that takes long
                difference = _difference(neuron, reader, rule, size, dtype, InFloat64())
        except Exception as error:  # the user's own code runs here
            failure = error
            continue
        return _blocker(path, neuron, difference, suspects) if difference else None
    lines = str(failure).strip().splitlines() or [""]
    reason = f"it cannot be run by itself ({type(failure).__name__}: {lines[0].rstrip('.')})"
    return _blocker(path, neuron, reason, suspects)


def _difference(
    module: nn.Module,
    reader: Reader,
    rule: NeuronRule,
    shape: Shape,
    dtype: torch.dtype | None,
    arithmetic: AbstractContextManager[object],
) -> str | None:
    """Where a layer's module, as one of neurons [*shape], first does not what its rule does; None if nowhere."""
    wide = dtype is None
    currents = draw_currents(rule, shape, nearness=_NEAR_FLOAT32 if wide else _NEAR)
    with borrowed(module, dtype), arithmetic:
        x = torch.from_numpy(currents).to(dtype or _dtype_of(module))
        reader.reset_state(module)
        emitted = _emitted(reader, module, x)
        reader.restart(module)
        again = _emitted(reader, module, x)
    difference = _first_difference(rule, currents, emitted, rounds=reader.rounds or wide, wide=wide)
    return difference or _not_repeated(currents, emitted, again)


def _smallest(rule: NeuronRule, shape: Shape) -> Shape:
    """The shape with two neurons along each axis on which all parameters are alike."""
    arrays = (rule.keep, rule.current_keep, rule.gain, rule.drive, rule.threshold, rule.reset_value, rule.reset_amount)
    spread = np.broadcast_shapes(*(array.shape for array in arrays))
    spread = (1,) * (len(shape) - len(spread)) + spread
    return tuple(min(2, size) if values == 1 else size for size, values in zip(shape, spread, strict=True))


def _emitted(reader: Reader, module: nn.Module, x: Tensor) -> Float:
    spikes = reader.run(module, x.clone())  # a hook may change its input in place
    if spikes.shape != x.shape:
        raise ValueError(f"it returns {list(spikes.shape)} for an input of shape {list(x.shape)}")
    return np.asarray(spikes.double().numpy().copy())


def _dtype_of(module: nn.Module) -> torch.dtype:
    tensors = [*module.parameters(), *module.buffers()]
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def _first_difference(rule: NeuronRule, currents: Float, emitted: Float, *, rounds: bool, wide: bool) -> str | None:
    """Where the module first did what its rule does not, in words; None if nowhere."""
    stepping, largest = Stepping(rule), np.abs(rule.threshold)
    spikes, ties = emitted > 0, np.zeros(currents.shape, bool)
    for step, current in enumerate(currents):
        stepping.charge(current)
        differs = emitted[step] != stepping.fires()
        if wide:
            largest = np.maximum(largest, np.abs(stepping.v))
        near = np.abs(stepping.v - rule.threshold) <= (_SAME_FLOAT32 if wide else _SAME) * largest
        ties[step] = differs & near & ((emitted[step] == 0) | (emitted[step] == 1))
        if np.any(differs & ~ties[step]):
            place = (step, *_first(differs & ~ties[step]))
            break
        stepping.reset(spikes[step])
    else:
        if rounds or not ties.any():
            return None
        ties &= without_rounding(rule, currents, spikes)
        if not ties.any():
            return None
        place = _first(ties)
    return _in_words(rule, currents, emitted, place)


def _first(mask: Bool) -> tuple[int, ...]:
    return tuple(int(at) for at in np.argwhere(mask)[0])


def _in_words(rule: NeuronRule, currents: Float, emitted: Float, place: tuple[int, ...]) -> str:
    """What the rule and the module do at `place`, [t, n, *neuron]."""
    stepping, (step, *where) = Stepping(rule), place
    for before in range(step):
        stepping.charge(currents[before])
        stepping.reset(emitted[before] > 0)
    membrane, threshold = (
        float(value[*where]) for value in np.broadcast_arrays(stepping.charge(currents[step]), rule.threshold)
    )
    fires = bool(stepping.fires()[*where])
    side = "exactly on" if membrane == threshold else "above" if membrane > threshold else "below"
    return (
        f"in step {step + 1} a current of {currents[place]:.9g} brings the membrane of its rule to {membrane:.9g}, "
        f"{side} the threshold {threshold:.9g}, so that it emits {int(fires)}, but the neuron itself emits "
        f"{emitted[place]:.9g}"
    )


def _not_repeated(currents: Float, emitted: Float, again: Float) -> str | None:
    if np.array_equal(emitted, again):
        return None
    place = _first(emitted != again)
    return (
        f"run again behind its reset, it emits {again[place]:.9g} in step {place[0] + 1} for a current of "
        f"{currents[place]:.9g}, where it first emitted {emitted[place]:.9g}: something outlives the reset"
    )


def _put_into(module: nn.Module) -> Iterator[Suspect]:
    """What may change any module: hooks, attributes that hide a method, a subclass's methods."""
    hooks = {"forward pre-hook": module._forward_pre_hooks, "forward hook": module._forward_hooks}
    for place, attached in hooks.items():
        for hook in attached.values():
            called = getattr(hook, "__name__", type(hook).__name__)
            yield Suspect(
                what=f"it has a {place}, {called}", advice="Remove the hook, or write what it does as a layer"
            )
    for name, value in vars(module).items():
        if callable(value) and callable(getattr(type(module), name, None)):
            yield Suspect(what=f"{name} is replaced on the instance", advice=f"Delete the attribute {name}")
    framework, _ = framework_class(type(module))
    for kind in type(module).__mro__:
        if framework is None or kind is framework:
            return
        overridden = [name for name in vars(kind) if hasattr(framework, name) and name not in _HARMLESS]
        if overridden:
            yield Suspect(
                what=f"{kind.__name__} overrides {', '.join(overridden)}",
                advice=f"Use {framework.__name__} itself, or override nothing that changes its spikes",
            )


_HARMLESS = frozenset(
    {"__module__", "__doc__", "__init__", "__annotations__", "__repr__", "extra_repr", "__qualname__"}
)


def _blocker(path: str, module: nn.Module, difference: str, suspects: list[Suspect]) -> Blocker:
    causes = "; ".join(suspect.what for suspect in suspects)
    return Blocker(
        layer=path,
        problem=f"this {type(module).__name__} is not the neuron that its attributes say: {difference}"
        + (f". Likely because {causes}" if causes else ""),
        advice=". ".join(dict.fromkeys(suspect.advice for suspect in suspects or [_NO_CAUSE])),
    )
