"""The fused models: a whole region in one numpy model, one operating-system process."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from engine import RegionEngine
from processes.regions import Chain, Layer, Pool, Readout, ResidualBlock


@implements(protocol=LoihiProtocol)
@requires(CPU)
class FusedModel(PyLoihiProcessModel):
    """Runs the region's engine. A region whose exit lags behind its entry sends before it receives."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.engine = RegionEngine(proc_params["job"], proc_params["region"])

    def run_spk(self) -> None:
        """Run one cycle."""
        self.engine.begin()
        if self.engine.sends_first:
            self.send()
        self.engine.finish(self.s_in.recv())
        if not self.engine.sends_first:
            self.send()

    def send(self) -> None:
        """Send what the exit emits, if anyone reads it."""


class FusedSendingModel(FusedModel):
    """A model with an output."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def send(self) -> None:
        """Send what the exit emits."""
        self.s_out.send(self.engine.output)


@implements(proc=ResidualBlock)
class FusedResidualBlockModel(FusedSendingModel):
    """A residual block in one model."""


@implements(proc=Layer)
class FusedLayerModel(FusedSendingModel):
    """A layer in one model."""


@implements(proc=Pool)
class FusedPoolModel(FusedSendingModel):
    """A pool in one model."""


@implements(proc=Chain)
class FusedChainModel(FusedSendingModel):
    """A chain of regions in one model."""


@implements(proc=Readout)
class FusedReadoutModel(FusedModel):
    """The read-out in one model; it has nowhere to send to."""
