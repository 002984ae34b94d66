"""Several processes that train one model, as torchrun starts them; or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """The processes of a training: how many, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of each of the values; the same shape, on the CPU."""
        if self.size > 1:
            if torch.distributed.get_backend() == "nccl":
                values = values.cuda()
            torch.distributed.all_reduce(values)
        return values.cpu()


@contextmanager
def process_group(device: str) -> Iterator[tuple[Group, str]]:
    """The group that torchrun's variables name, and the device of this process; one process alone without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(), device
        return
    device_of_process = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    if device == "cuda":
        torch.cuda.set_device(device_of_process)
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Group(int(os.environ["RANK"]), size), device_of_process
    finally:
        torch.distributed.destroy_process_group()
