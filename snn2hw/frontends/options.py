"""What a user adds where a model's file does not say it."""

from __future__ import annotations

from dataclasses import dataclass

from snn2hw.frontends.torch.time_in import TimeIn


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What a user adds where a model's file does not say it, and whether its file may run code: the options' names."""

    weights: str | None = None
    input_shape: tuple[int, ...] | None = None
    timesteps: int | None = None
    arch: str | None = None
    connect: str | None = None
    iand_order: str | None = None
    neuron: str | None = None
    trust_pickle: bool = False
    dt: float | None = None
    time: TimeIn | None = None
