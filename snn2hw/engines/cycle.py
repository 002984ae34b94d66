"""The cycle simulator: docs/program.md in code. Clarity first; its results define what every other engine must give."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.errors import FixedPointOverflow
from snn2hw.ir.fixed_point import (
    Int,
    accumulate_current,
    join_bias,
    quantise_payload,
    relay,
    step_neuron,
)


def simulate(program: ir.Program, samples: Samples, *, progress: Progress | None = None) -> ir.Spikes:
    """Run a program on samples, one after the other through the pipeline, cycle by cycle.

    Returns `logits` int64 [N, K] (of several heads also each as `logits.<head>`) and each recorded node's spikes
    [N, T, *shape] under its name, as spikes.npz holds them.

    Raises:
        DataError: the samples do not fit the program's input.
        FixedPointOverflow: an accumulator or membrane left its range.
    """
    schedule, graph = program.schedule, program.graph
    payloads = input_payloads(program, samples)
    count, steps = payloads.shape[:2]
    recorded = {
        node.name: np.zeros((count, steps, *node.shape), ir.record_dtype(program.bounds[node.name]))
        for node in graph.recorded
    }
    logits = np.zeros((count, *graph.readout.shape), np.int64)
    executors = {node.name: _executor(node, program) for node in graph}
    cycles = count * steps + schedule.depth
    for cycle in range(1, cycles + 1):
        emitted: dict[str, Int] = {}
        for node in graph:
            index = cycle - 1 - schedule.latency[node.name]  # the input step that this cycle answers
            valid = 0 <= index < count * steps
            sample, step = divmod(index, steps)
            if isinstance(node, ir.Input):
                emitted[node.name] = payloads[sample, step] if valid else np.zeros(node.shape, np.int64)
                continue
            inputs = [emitted[source] for source in node.inputs]
            where = f"{node.name}, sample {sample}, step {step}, cycle {cycle}" if valid else ""
            emitted[node.name] = executors[node.name].cycle(inputs, cycle, where)
            if valid and node.name in recorded:
                recorded[node.name][sample, step] = emitted[node.name]
            if valid and isinstance(node, ir.Readout) and step == steps - 1:
                logits[sample] = emitted[node.name]
        if progress:
            progress(cycle, cycles)
    return {**recorded, **graph.readout.results(logits)}


def input_payloads(program: ir.Program, samples: Samples) -> Int:
    """The integer payloads [N, T, *shape] of samples."""
    node = program.graph.input
    samples.check_shape(node.shape)
    x = np.moveaxis(samples.steps(program.schedule.timesteps), 0, 1)
    return quantise_payload(x, scale=node.scale, low=node.low, high=node.high)


class _Executor:
    """One node over the cycles: delays its inputs, sums them, and lets the subclass answer."""

    def __init__(self, node: ir.Node, program: ir.Program) -> None:
        self.lines = [
            deque([np.zeros((), np.int64)] * delay) for delay in program.schedule.delays[node.name]
        ]  # what is under way on each input

    def cycle(self, inputs: list[Int], cycle: int, where: str) -> Int:
        """What the node emits in this cycle. `where` names the sample and step it answers, "" if none."""
        total = np.zeros((), np.int64)
        for line, value in zip(self.lines, inputs, strict=True):
            line.append(value)
            total = total + line.popleft()
        return self.answer(total, cycle, where)

    def answer(self, x: Int, cycle: int, where: str) -> Int:
        raise NotImplementedError


class _Synapse(_Executor):
    """Emits the result of the cycle before."""

    def __init__(self, node: ir.Synapse, program: ir.Program) -> None:
        super().__init__(node, program)
        self.rule = synapse_rule(node)
        self.source_shape = program.graph.input_shape(node)
        self.ready = np.zeros(node.shape, np.int64)

    def answer(self, x: Int, cycle: int, where: str) -> Int:
        emitted = self.ready
        self.ready = self.rule(np.broadcast_to(x, self.source_shape)[None])[0]
        return emitted


class _Stateless(_Executor):
    def __init__(self, node: ir.Threshold | ir.Merge, program: ir.Program) -> None:
        super().__init__(node, program)
        self.threshold = node.threshold if isinstance(node, ir.Threshold) else None

    def answer(self, x: Int, cycle: int, where: str) -> Int:
        return x if self.threshold is None else (x > self.threshold).astype(np.int64)


class _Relay(_Executor):
    def __init__(self, node: ir.Relay, program: ir.Program) -> None:
        super().__init__(node, program)
        self.node, self.limit = node, program.numerics.membrane_limit

    def answer(self, x: Int, cycle: int, where: str) -> Int:
        node = self.node
        if where:
            check_range(x + node.bias, self.limit, "the summed input", where)
        y = relay(x, node.bias, shift=node.shift, low=node.low, high=node.high)
        return np.broadcast_to(y, node.shape)


class _Neuron(_Executor):
    def __init__(self, node: ir.Neuron, program: ir.Program) -> None:
        super().__init__(node, program)
        self.node, self.numerics = node, program.numerics
        self.bias = join_bias(node.bias_mantissa, node.bias_exponent)
        self.period, self.offset = program.schedule.timesteps, program.schedule.reset_offset[node.name]
        self.u = self.v = np.zeros(node.shape, np.int64)

    def answer(self, x: Int, cycle: int, where: str) -> Int:
        node, limit, unit = self.node, self.numerics.membrane_limit, 1 << self.numerics.membrane_shift
        if cycle % self.period == self.offset % self.period:
            self.u = self.v = np.zeros(node.shape, np.int64)
        self.u = accumulate_current(self.u, x, current_decay=node.current_decay, bias=self.bias)
        charged, self.v, spike = step_neuron(
            self.v,
            self.u,
            threshold=node.threshold,
            decay=node.decay,
            reset=node.reset,
            amount=node.reset_amount,
        )
        if where:
            check_range(x, self.numerics.input_limit, "the summed input", where)
            check_range(self.u, limit, f"the current (in 1/{unit})", where)
            check_range(charged, limit, f"the membrane (in 1/{unit})", where)
        # Outside the samples nothing is read; the clip keeps what integrates there from growing without end.
        self.u, self.v = (np.clip(state, 1 - limit, limit - 1) for state in (self.u, self.v))
        return spike.astype(np.int64)


class _Readout(_Executor):
    def __init__(self, node: ir.Readout, program: ir.Program) -> None:
        super().__init__(node, program)
        self.bias = node.bias
        self.period, self.offset = program.schedule.timesteps, program.schedule.reset_offset[node.name]
        self.total = np.zeros(node.shape, np.int64)

    def answer(self, x: Int, cycle: int, where: str) -> Int:
        if cycle % self.period == self.offset % self.period:
            self.total = np.zeros_like(self.total)
        self.total = self.total + x + self.bias
        return self.total


def _executor(node: ir.Node, program: ir.Program) -> _Executor:
    match node:
        case ir.Conv() | ir.Linear() | ir.Scale() | ir.SumPool() | ir.MaxPool():
            return _Synapse(node, program)
        case ir.Neuron():
            return _Neuron(node, program)
        case ir.Threshold() | ir.Merge():
            return _Stateless(node, program)
        case ir.Relay():
            return _Relay(node, program)
        case ir.Readout():
            return _Readout(node, program)
        case ir.Input():
            return _Executor(node, program)
        case _:
            assert_never(node)


def synapse_rule(node: ir.Synapse) -> Callable[[Int], Int]:
    """The rule of a synapse over a batch: [N, *input shape] -> [N, *shape], exact below 2^53."""
    match node:
        case ir.Conv():
            weight = torch.tensor(node.weight, dtype=torch.float64)
            stride, padding, dilation, groups = node.stride, node.padding, node.dilation, node.groups
            return lambda x: _exact(F.conv2d(_double(x), weight, None, stride, padding, dilation, groups))
        case ir.Linear():
            matrix = node.weight.T
            return lambda x: x.reshape(len(x), -1) @ matrix
        case ir.Scale():
            factor = node.factor
            return lambda x: factor * x
        case ir.SumPool():
            kernel, stride, padding = node.kernel, node.stride, node.padding
            return lambda x: _exact(F.avg_pool2d(_double(x), kernel, stride, padding, divisor_override=1))
        case ir.MaxPool():
            kernel, stride, padding = node.kernel, node.stride, node.padding
            return lambda x: _exact(F.max_pool2d(_double(x), kernel, stride, padding))
        case _:
            assert_never(node)


def check_range(values: Int, limit: int, what: str, where: str) -> None:
    """Raise FixedPointOverflow if one of the values [*any shape] reaches `limit` in size."""
    largest = int(np.abs(values).max())
    if largest >= limit:
        raise FixedPointOverflow(
            f"{where}: {what} reaches {largest}, the limit is {limit - 1}. Calibrate with samples that cover such "
            "inputs, or use fewer weight bits."
        )


def _double(x: Int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))


def _exact(x: torch.Tensor) -> NDArray[np.int64]:
    return x.numpy().astype(np.int64)
