"""One Lava Process per region of the program. Each has a fused model, and one structural model serves them all."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from engine import Job
from program import Region


class AbstractRegion(AbstractProcess):
    """A region: ports in Lava's order [W, H, C], int32; one cycle of the program per time step."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        self.s_in = InPort(shape=job.program.nodes[region.entry].shape[::-1])


class SendingRegion(AbstractRegion):
    """A region that others read."""

    def __init__(self, *, name: str, job: Job, region: Region) -> None:
        super().__init__(name=name, job=job, region=region)
        self.s_out = OutPort(shape=job.program.nodes[region.exit].shape[::-1])


class ResidualBlock(SendingRegion):
    """Two branches from one entry, balanced by delays, and the gate or neuron in which they meet."""


class Layer(SendingRegion):
    """Synapses and the neuron that they feed."""


class Pool(SendingRegion):
    """A pool: sums of windows, with or without a threshold."""


class Chain(SendingRegion):
    """Several regions, each fed by the one before it."""


class Readout(AbstractRegion):
    """Whatever ends in the accumulator of the logits: the last synapses, and regions before them. It sends nothing."""


REGION_PROCESSES: dict[str, type[AbstractRegion]] = {
    "residual_block": ResidualBlock,
    "layer": Layer,
    "pool": Pool,
    "chain": Chain,
    "readout": Readout,
}
