"""Programs of hand-made graphs, which come from no network."""

from __future__ import annotations

from snn2hw import ir
from snn2hw.ir.numerics import Numerics
from snn2hw.passes.balance_delays import balance_delays
from snn2hw.passes.bound import bound
from snn2hw.passes.calibrate import UNCALIBRATED, Calibration
from snn2hw.passes.partition import partition


def program_of(
    graph: ir.Graph, numerics: Numerics, *, timesteps: int, calibration: Calibration = UNCALIBRATED
) -> ir.Program:
    """A graph with all that the compiler adds to one."""
    return ir.Program(
        graph=graph,
        numerics=numerics,
        bounds=bound(graph, calibration, numerics, timesteps=timesteps),
        schedule=balance_delays(graph, timesteps=timesteps),
        regions=partition(graph),
    )
