"""What a captured model computes that does not depend on its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from snn2hw.frontends.torch.call import Call, Given, number_of

FILLS = (
    "zeros_like",
    "ones_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "empty_like",
    "new_empty",
    "fill",
    "zero",
)
"""Operators that fill a tensor with one number."""


def filled(name: str, call: Call) -> Tensor:
    """A constant tensor [*shape] as large as another."""
    kind = name.removesuffix("_like").removeprefix("new_")
    number = {"zeros": 0.0, "zero": 0.0, "ones": 1.0, "empty": 0.0}.get(kind)
    if number is None:
        number = number_of(call.arguments[-1])
    if number is None:
        raise call.refuse("fills a tensor with what the model computes", "Use constants")
    return torch.full((), number).expand(call.shape)


def computed(node: fx.Node, arguments: Any, named: Any) -> Any:
    """What does not depend on the input is computed now."""

    def plain(value: Any) -> Any:
        return value.values.detach() if isinstance(value, Given) else value

    target: Any = node.target
    with torch.no_grad():
        result = target(*_mapped(plain, arguments), **_mapped(plain, named))
    return _mapped(lambda value: Given(values=value) if isinstance(value, Tensor) else value, result)


def _mapped(function: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(function, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return (
            tuple(_mapped(function, part) for part in value)
            if isinstance(value, tuple)
            else [_mapped(function, part) for part in value]
        )
    return function(value)
