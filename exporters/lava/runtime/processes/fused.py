"""The fused models: a whole region in one numpy model, one operating-system process."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from engine import RegionEngine
from processes.regions import Chain, Layer, Pool, Readout, ResidualBlock


class FusedRegionModel(PyLoihiProcessModel):
    """Runs the region's engine. A region whose exit lags behind its entry sends before it receives."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.engine = RegionEngine(proc_params["job"], proc_params["region"])

    def run_spk(self) -> None:
        """Run one cycle."""
        self.engine.begin()
        if self.engine.sends_first:
            self.s_out.send(self.engine.output)
        self.engine.finish(self.s_in.recv())
        if not self.engine.sends_first:
            self.s_out.send(self.engine.output)


@implements(proc=ResidualBlock, protocol=LoihiProtocol)
@requires(CPU)
@tag("fused")
class FusedResidualBlockModel(FusedRegionModel):
    """A residual block in one model."""


@implements(proc=Layer, protocol=LoihiProtocol)
@requires(CPU)
@tag("fused")
class FusedLayerModel(FusedRegionModel):
    """A layer in one model."""


@implements(proc=Pool, protocol=LoihiProtocol)
@requires(CPU)
@tag("fused")
class FusedPoolModel(FusedRegionModel):
    """A pool in one model."""


@implements(proc=Chain, protocol=LoihiProtocol)
@requires(CPU)
@tag("fused")
class FusedChainModel(FusedRegionModel):
    """A chain of regions in one model."""


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fused")
class FusedReadoutModel(PyLoihiProcessModel):
    """The read-out in one model; it has nowhere to send to."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.engine = RegionEngine(proc_params["job"], proc_params["region"])

    def run_spk(self) -> None:
        """Run one cycle."""
        self.engine.begin()
        self.engine.finish(self.s_in.recv())
