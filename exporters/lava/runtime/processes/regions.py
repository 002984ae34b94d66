"""One Lava Process per region of the program. Each has two models, chosen by tag: fused and structural."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from engine import Job
from program import Region


class AbstractRegion(AbstractProcess):
    """A region: ports in Lava's order [W, H, C], int32; one cycle of the program per time step."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        nodes = job.program.nodes
        self.s_in = InPort(shape=nodes[region.entry].shape[::-1])


class ResidualBlock(AbstractRegion):
    """Two branches from one entry, balanced by delays, and the gate or neuron in which they meet."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        self.s_out = OutPort(shape=job.program.nodes[region.exit].shape[::-1])


class Layer(AbstractRegion):
    """Synapses and the neuron that they feed."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        self.s_out = OutPort(shape=job.program.nodes[region.exit].shape[::-1])


class Pool(AbstractRegion):
    """A pool: sums of windows, with or without a threshold."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        self.s_out = OutPort(shape=job.program.nodes[region.exit].shape[::-1])


class Chain(AbstractRegion):
    """Several regions, each fed by the one before it."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        self.s_out = OutPort(shape=job.program.nodes[region.exit].shape[::-1])


class Readout(AbstractRegion):
    """Whatever ends in the accumulator of the logits: the last synapses, and regions before them. It sends nothing."""


REGION_PROCESSES: dict[str, type[AbstractRegion]] = {
    "residual_block": ResidualBlock,
    "layer": Layer,
    "pool": Pool,
    "chain": Chain,
    "readout": Readout,
}
