"""Running a user's module and leaving it as it was: its attributes stand aside while copies of them are used."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_AS_THEY_ARE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type)


@contextmanager
def borrowed(module: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Within it a module holds copies of its tensors and states, on the CPU, in eval mode; behind it, what it had.

    It stays the same object: a copy would be another one than a hook, a bound method or a function around its
    forward refers to, and some classes lose what was set on the instance as they are copied. Hooks themselves are
    called, not copied: what they write elsewhere stays written. There are no gradients, and torch's random numbers go
    on as if nothing had been drawn.

    dtype: that of all its floating tensors, in attributes too; None leaves them as they are.
    """
    parts = list(module.modules())
    memo: dict[int, Any] = {id(part): part for part in parts}
    originals: list[tuple[nn.Module, dict[str, Any]]] = []
    copies = []
    for part in parts:  # grows by modules that others hold in a list or dict
        originals.append((part, part.__dict__))
        copies.append({name: _attribute(name, value, memo, parts, dtype) for name, value in vars(part).items()})
    try:
        for (part, _), attributes in zip(originals, copies, strict=True):
            object.__setattr__(part, "__dict__", attributes)
        module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for part, attributes in originals:
            object.__setattr__(part, "__dict__", attributes)


def _attribute(name: str, value: Any, memo: dict[int, Any], parts: list[nn.Module], dtype: torch.dtype | None) -> Any:
    return copy.copy(value) if name.endswith("_hooks") else _copied(value, memo, parts, dtype)


def _copied(value: Any, memo: dict[int, Any], parts: list[nn.Module], dtype: torch.dtype | None) -> Any:
    """A copy that shares no tensor, list or dict with the original; modules stay themselves, and are borrowed too."""
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, nn.Module):
        parts.append(value)
        memo[id(value)] = value
    elif isinstance(value, Tensor):
        kind = dtype if dtype and value.is_floating_point() else value.dtype
        tensor = value.detach().to("cpu", kind, copy=True)
        memo[id(value)] = nn.Parameter(tensor, requires_grad=False) if isinstance(value, nn.Parameter) else tensor
    elif isinstance(value, dict):
        memo[id(value)] = mapping = copy.copy(value)
        for key, item in value.items():
            mapping[key] = _copied(item, memo, parts, dtype)
    elif isinstance(value, list):
        memo[id(value)] = items = copy.copy(value)
        items[:] = [_copied(item, memo, parts, dtype) for item in value]
    elif isinstance(value, tuple):
        members = [_copied(item, memo, parts, dtype) for item in value]
        memo[id(value)] = type(value)(*members) if hasattr(value, "_fields") else tuple(members)
    elif not isinstance(value, _AS_THEY_ARE):
        try:
            memo[id(value)] = copy.deepcopy(value, memo)
        except Exception:  # a class of the user's that cannot be copied is called as it is
            memo[id(value)] = value
    return memo.get(id(value), value)
