"""Events counted into frames, one a time step."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn2hw.data.events.readers import Events, Integers, Size

By = Literal["count", "time"]
"""How events are shared among the frames."""


def make_frames(events: Events, timesteps: int, size: Size, by: By) -> NDArray[np.float32]:
    """Count the events of every frame, pixel and polarity: float32 [T,2,H,W], first the events that darken.

    by "count": the first T-1 frames get N // T of the N events each, in their order, and the last gets the rest; by
    "time": frame i gets those from i to i+1 times the duration // T after the first event, the last also the rest. Both
    are SpikingJelly's (`integrate_events_by_fixed_frames_number`), which fails where a span of time has no events;
    here that frame is empty.
    """
    frame = _by_count(len(events), timesteps) if by == "count" else _by_time(events.t, timesteps)
    height, width = size
    places = ((frame * 2 + events.p) * height + events.y) * width + events.x
    counts = np.bincount(places, minlength=timesteps * 2 * height * width)
    return counts.reshape(timesteps, 2, height, width).astype(np.float32)


def _by_count(number: int, timesteps: int) -> Integers:
    """The frame of each of `number` events."""
    each = number // timesteps
    return np.minimum(np.arange(number) // each, timesteps - 1) if each else np.full(number, timesteps - 1)


def _by_time(t: Integers, timesteps: int) -> Integers:
    """The frame of events at these times."""
    duration = int(t.max() - t.min()) // timesteps
    return np.minimum((t - t.min()) // duration, timesteps - 1) if duration else np.full(len(t), timesteps - 1)
