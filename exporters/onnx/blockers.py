"""What keeps a program from becoming an .onnx file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snn2hw import ir
from snn2hw.errors import Blocker
from snn2hw.exporters.onnx.packages import ADVICE, problem_with

LARGEST_SUM = 1 << 53  # onnxruntime adds up int64 by way of float64; in units of a membrane it is still below 64 bits
LARGEST_FILE = (1 << 31) - (1 << 24)  # bytes of weights: a file of protobuf ends at 2 GiB
WEIGHT_BYTES = 8  # of a weight that 8-bit products do not hold


def find_blockers(program: ir.Program) -> list[Blocker]:
    """Everything that keeps a program from being written."""
    if problem := problem_with("onnx"):
        return [Blocker(layer="--target onnx", problem=problem, advice=f"Install what is needed: {ADVICE}")]
    from snn2hw.exporters.onnx.graph import reserved_names

    reserved = reserved_names(program)
    blockers = [*_unbalanced(program)]
    for node in program.graph:
        if ir.is_spiking(node) and (node.name in reserved or not node.name):
            problem = "an input or output of the file has its name" if node.name else "it has no name"
            blockers.append(Blocker(layer=node.name, problem=problem, advice="Rename the layer"))
        if (largest := program.bounds[node.name].accumulator) >= LARGEST_SUM:
            problem = f"its sums may reach {largest}, and onnxruntime adds exactly below {LARGEST_SUM}"
            blockers.append(Blocker(layer=node.name, problem=problem, advice="Use fewer weight bits or input bits"))
    layers = [node for node in program.graph if isinstance(node, ir.Conv | ir.Linear)]
    sizes = {node.name: node.weight.size * (1 if node.weight.dtype == np.int8 else WEIGHT_BYTES) for node in layers}
    if sum(sizes.values()) > LARGEST_FILE:
        largest_layer = max(sizes, key=lambda name: sizes[name])
        problem = f"it has the most of {sum(sizes.values()):,} bytes of weights, and an .onnx file ends at 2 GiB"
        blockers.append(Blocker(layer=largest_layer, problem=problem, advice="Use another target, or a smaller net"))
    return blockers


def _unbalanced(program: ir.Program) -> Iterator[Blocker]:
    """Nodes whose branches do not meet, or whose state is not cleared with its sample's first step."""
    schedule = program.schedule
    for node in program.graph:
        arrivals = {
            schedule.latency[source] + delay
            for source, delay in zip(node.inputs, schedule.delays[node.name], strict=True)
        }
        answers = {arrival + ir.is_synapse(node) for arrival in arrivals} or {0}
        offset = schedule.reset_offset.get(node.name)
        expected = (schedule.latency[node.name] + 1) % schedule.timesteps
        if answers != {schedule.latency[node.name]} or offset not in (None, expected):
            yield Blocker(
                layer=node.name,
                problem="its delays, latency or reset offset let steps of different samples meet",
                advice="Export the model again; only the cycle engine runs such a program",
            )
