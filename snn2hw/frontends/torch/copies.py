"""A copy of the user's module: what is run, traced or changed here is never the module itself."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from snn2hw.errors import ModelError


def copy_of(module: nn.Module, *, share_parameters: bool = True) -> nn.Module:
    """A copy in eval mode that shares the module's parameters, which may be large; buffers and all else are its own.

    share_parameters: False for a copy that stays as it is when the module is trained further.

    A module that has run holds membranes and other results, which torch does not copy as long as they know how they
    were computed; the copy holds their values.

    Raises ModelError where the module cannot be copied.
    """
    memo: dict[int, Any] = {}
    if share_parameters:
        memo = {id(parameter): parameter for parameter in module.parameters()}
    for part in module.modules():
        for value in tree_leaves(list(vars(part).values())):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    by_hand = [part for part in module.modules() if _copies_itself(part)]
    memo |= {id(part): type(part).__new__(type(part)) for part in by_hand}
    try:
        for part in by_hand:
            vars(memo[id(part)]).update(copy.deepcopy(vars(part), memo))
        return copy.deepcopy(module, memo).eval()
    except Exception as error:  # the user's own classes are copied here
        raise ModelError(
            f"{type(module).__name__}: the model cannot be copied ({type(error).__name__}: {error}), so it can neither "
            "be traced nor run beside the network made from it. Keep no open files, locks or handles as attributes."
        ) from error


def _copies_itself(module: nn.Module) -> bool:
    """Whether a layer of sinabs has a way of its own to be copied, which knows its own attributes alone and fails where
    a layer holds others, as its recurrent ones do.
    """
    kind = type(module)
    return hasattr(kind, "__deepcopy__") and any(base.__module__.startswith("sinabs.") for base in kind.__mro__)
