"""What the forward of a user's model raised, told to its author: what is wrong, where in their file, what to do."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from torch import nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker, DataError, ModelError, Snn2hwError, UnsupportedError
from snn2hw.frontends.torch.places import is_code_of_a_model, is_users, place_of


def explained(
    error: BaseException, module: nn.Module, input_shape: Shape, with_state: Mapping[str, str]
) -> Snn2hwError:
    """What the forward of a module raised, in words for its author.

    with_state: path -> class of the neurons that returned more than spikes, the last one at the end.
    """
    kind, where = type(module).__name__, _place_in_user_code(error)
    told = str(error)
    lines = told.strip().splitlines()
    first = lines[0].rstrip(".!") if lines else ""
    name = type(error).__name__
    what = f"{name}: {first}" if first else name
    if "DataDependent" in name or "data-dependent" in told:
        return ModelError(
            f"{kind}: its forward decides by the values of the data{where}, which no chip that runs a fixed network "
            "can follow. Let it decide by sizes alone."
        )
    if with_state and isinstance(error, TypeError | AttributeError) and "tuple" in told:
        path, neuron_kind = list(with_state.items())[-1]
        problem = f"this {neuron_kind} returns its state beside its spikes, and the model passes both on as one{where}"
        advice = (
            "Let it return spikes alone (snnTorch: init_hidden=True and output=False; norse: cells in a "
            "SequentialState), or take them out: spikes, state = neuron(x)"
        )
        return UnsupportedError([Blocker(layer=path, problem=problem, advice=advice)])
    for words, problem, advice in _CANNOT_BE_FOLLOWED:
        if any(word in told for word in words):
            reason = f" ({first})" if where else ""
            return ModelError(f"{kind}: its forward {problem}{where}{reason}. {advice}.")
    if isinstance(error, _PERHAPS_ITS_SHAPE) and not isinstance(error, NotImplementedError | RecursionError):
        return DataError(
            f"the model does not accept an input of shape {list(input_shape)}{where}: {first or name}. Give the shape "
            "of one step of one sample with --input-shape C,H,W."
        )
    return ModelError(
        f"{kind}: its forward fails{where} ({what}). Build it so that the model runs by itself, with its input alone."
    )


_PERHAPS_ITS_SHAPE = (RuntimeError, ValueError, IndexError, AssertionError)
"""What torch, and authors who look at shapes themselves, raise for an input that does not fit."""

_CANNOT_BE_FOLLOWED = (
    (
        ("cuda", "CUDA", "on the same device"),
        "asks for another device than the CPU, where it is followed",
        "Move the whole model, and take devices from the input: x.device",
    ),
    ((".numpy() is not supported",), "leaves torch for numpy", "Compute with torch"),
    (
        ("fake tensor in the exported program",),
        "changes its parameters, or keeps what it computed of them",
        "Change parameters before the export, and keep nothing that the forward computes",
    ),
    (
        ("expected scalar type", "must have the same dtype", "should be the same"),
        "mixes types of numbers",
        "Let it compute in the type of its input: x.to(self.layer.weight.dtype)",
    ),
)
"""What torch says, what that means, and what to do."""


def _place_in_user_code(error: BaseException) -> str:
    """Where in the user's files an error came up, as " (FILE:LINE)"; in a framework's where no code of the user's was
    running; nothing where it cannot be told.
    """
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if is_users(frame.filename)]
    frameworks = [frame for frame in frames if is_code_of_a_model(frame.filename)]
    for frame in reversed(users or frameworks):
        return f" ({place_of(frame.filename, frame.lineno)})"
    return ""
