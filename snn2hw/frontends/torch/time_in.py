"""How a net takes time."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

TimeIn: TypeAlias = Literal["step", "first", "second", "inside"]
"""One step a call; all steps in the first dimension of its input, or in the second; or one input that it shows to its
neurons in every step of a loop of its own.
"""

WAYS: tuple[TimeIn, ...] = get_args(TimeIn)

SAYINGS: dict[TimeIn, str] = {
    "first": "The model takes all steps in one call, [T, N, ...].",
    "second": "The model takes all steps in one call, [N, T, ...].",
    "inside": "The model shows one input to its neurons in every step of a loop of its own.",
}
