"""The structural models: a region as a network of Lava's own processes, one per node of the program (wiring.py)."""

from __future__ import annotations

from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.regions import AbstractRegion, Layer, Pool, Readout, ResidualBlock
from wiring import Wiring, connect


class StructuralRegionModel(AbstractSubProcessModel):
    """Builds the processes of a region's nodes and connects them as the program says."""

    def __init__(self, proc: AbstractRegion) -> None:
        job, region = proc.proc_params["job"], proc.proc_params["region"]
        wiring = Wiring(job, {region.entry: proc.s_in})
        for name in region.nodes:
            wiring.add(name)
        for number, process in enumerate(wiring.processes):
            setattr(self, f"part_{number}", process)  # Lava finds parts among the attributes
        if not isinstance(proc, Readout):
            connect(wiring.outputs[region.exit], proc.s_out)


@implements(proc=ResidualBlock, protocol=LoihiProtocol)
@tag("structural")
class StructuralResidualBlockModel(StructuralRegionModel):
    """A residual block out of stock processes."""


@implements(proc=Layer, protocol=LoihiProtocol)
@tag("structural")
class StructuralLayerModel(StructuralRegionModel):
    """A layer out of stock processes."""


@implements(proc=Pool, protocol=LoihiProtocol)
@tag("structural")
class StructuralPoolModel(StructuralRegionModel):
    """A pool out of stock processes."""


@implements(proc=Readout, protocol=LoihiProtocol)
@tag("structural")
class StructuralReadoutModel(StructuralRegionModel):
    """The read-out out of stock processes."""
