"""Running a module in float64 though its author wrote float32: two modes of torch, used together or alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class Float32IsFloat64(TorchFunctionMode):
    """Within it whoever writes float32 means float64: what is float64 already then stays the same tensor, as in
    float32 `x.float()` is x itself, and a change of one in place is one of the other.
    """

    def __init__(self) -> None:
        TorchFunctionMode.__init__(self)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, keywords = tree_map_only(torch.dtype, _wide, (args, dict(kwargs or {})))
        if getattr(func, "__name__", "").startswith("conv"):  # they compare types before anything is dispatched
            args, keywords = tree_map_only(Tensor, _widened, (args, keywords))
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **keywords)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float32 else dtype


class InFloat64(TorchDispatchMode):
    """Within it every operation that asks for float32, or is given it, computes in float64."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if keywords.get("dtype") is torch.float32:
            keywords["dtype"] = torch.float64
        if not func._schema.is_mutable:  # what is changed in place must stay the tensor that it is
            args, keywords = tree_map_only(Tensor, _widened, (args, keywords))
        return func(*args, **keywords)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
