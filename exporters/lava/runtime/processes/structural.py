"""The structural model: a region as a network of Lava's processes, one per node of the program (wiring.py)."""

from __future__ import annotations

from lava.magma.core.decorator import implements
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.regions import AbstractRegion, Readout
from wiring import Wiring, connect


@implements(protocol=LoihiProtocol)
class StructuralRegionModel(AbstractSubProcessModel):
    """Builds the processes of any region's nodes and connects them as the program says."""

    def __init__(self, proc: AbstractRegion) -> None:
        job, region = proc.proc_params["job"], proc.proc_params["region"]
        wiring = Wiring(job, {region.entry: proc.s_in})
        for name in region.nodes:
            wiring.add(name)
        for number, process in enumerate(wiring.processes):
            setattr(self, f"part_{number}", process)  # Lava finds parts among the attributes
        if not isinstance(proc, Readout):
            connect(wiring.outputs[region.exit], proc.s_out)
