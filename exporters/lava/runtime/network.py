"""Connects the regions of a program to a Lava network."""

from __future__ import annotations

from typing import Any

from lava.magma.core.run_configs import Loihi2SimCfg

from engine import Job
from own_models import Models, model_of
from processes.parts import Source
from processes.regions import REGION_PROCESSES, AbstractRegion
from processes.structural import StructuralRegionModel
from program import Array


class RunConfig(Loihi2SimCfg):
    """Chooses models: the user's, or those of the wanted kind, for regions; fixed point for stock Processes."""

    def __init__(self, kind: str, models: Models = ()) -> None:
        super().__init__(select_tag="fixed_pt")
        self.kind, self.models = kind, models

    def select(self, process: Any, proc_models: list[Any]) -> Any:
        """The model of a Process."""
        if isinstance(process, AbstractRegion):
            if user_model := model_of(process.proc_params["region"], self.models):
                return user_model
            return StructuralRegionModel if self.kind == "structural" else proc_models[0]
        return super().select(process, proc_models)


def build_network(job: Job, payloads: Array) -> Source:
    """Make one Process per region, connect each to its entry, and return the source that feeds them all."""
    program = job.program
    source = Source(name=program.input.name, payloads=payloads, timesteps=program.timesteps)
    exits = {program.input.name: source.s_out}
    processes = {}
    for region in program.regions:
        processes[region] = REGION_PROCESSES[region.kind](name=region.name, job=job, region=region)
        if region.kind != "readout":
            exits[region.exit] = processes[region].s_out
    for region, process in processes.items():
        exits[region.entry].connect(process.s_in)
    return source


def channel_bytes(executable: Any, depth: int) -> int:
    """Shared memory that the network's channels take, `depth` messages each."""
    page = 4096
    total = 0
    for builder in executable.channel_builders:
        port = builder.src_port_initializer
        size = 1
        for extent in port.shape:
            size *= int(extent)
        total += -(-size * 4 * depth // page) * page
    return total
