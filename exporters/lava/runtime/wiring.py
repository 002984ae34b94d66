"""Builds the Lava processes of a program's nodes and connects them.

| node             | Process                                                                                      |
|------------------|----------------------------------------------------------------------------------------------|
| conv             | Conv; kernels flipped, because Conv convolves and the program correlates                     |
| scale, sum_pool  | Conv with one group per channel                                                              |
| max_pool         | Largest, of this project: no process of Lava takes a maximum                                 |
| linear           | Dense; weights doubled and shifted back by weight_exp -1, which keeps odd ones of mixed sign |
| neuron           | LIFReset, or CheckedLIFReset where that cannot do it                                         |
| threshold        | LIFReset that resets in every cycle: it has no memory                                        |
| merge            | GradedVec with vth 0                                                                         |
| relay            | Payload, of this project: no process of Lava adds a bias to a sum and shifts it              |
| readout          | Accumulator                                                                                  |
| delay of an edge | Delay                                                                                        |

Sums of inputs are made by the receiving port. Every recorded node has a Recorder. stock.py builds the same without the
processes that Lava does not have.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import AbstractPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.dense.process import Dense
from lava.proc.graded.process import GradedVec
from lava.proc.lif.process import LIFReset
from lava.utils.weightutils import SignMode

from engine import Job
from processes.neurons import LAVA_INPUT_LIMIT, make_neuron
from processes.parts import Accumulator, Delay, Largest, Payload, Recorder
from program import (
    Array,
    Conv,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pair,
    ProgramError,
    Readout,
    Relay,
    Scale,
    Shape,
    SumPool,
    Threshold,
)
from synapses import linear_weight

CONV_LIMIT = 1 << 23  # Conv wraps at 24 bits
DENSE_WEIGHTS = (-128, 127)
GRADED = 24  # any number of message bits above 0 lets a payload pass as it is


class Wiring:
    """Processes of nodes, connected as the program says. `add` takes the nodes in topological order."""

    def __init__(self, job: Job, outputs: dict[str, AbstractPort]) -> None:
        self.job, self.nodes = job, job.program.nodes
        self.outputs = outputs  # the port that emits what a node emits
        self.processes: list[AbstractProcess] = []
        self.delayed: dict[tuple[str, int], AbstractPort] = {}

    def add(self, name: str) -> None:
        """Make a node's process and connect it to those it reads."""
        node = self.nodes[name]
        s_in = self.make(node)
        for position, edge in enumerate(node.inputs):
            source = self._delayed(edge.source, edge.delay)
            if edge in node.inputs[:position]:  # a port cannot connect to another twice
                copy = self.keep(make_merge(f"{edge.source} (again)", self.nodes[edge.source].shape))
                connect(source, copy.a_in)
                source = copy.s_out
            connect(source, s_in)
        if name in self.job.program.recorded:
            self.record(name)

    def keep(self, process: AbstractProcess) -> AbstractProcess:
        """Note a process as one of the network's."""
        self.processes.append(process)
        return process

    def make(self, node: Node) -> AbstractPort:
        """Make a node's process, note its output, return its input."""
        if isinstance(node, Readout):
            return self.keep(Accumulator(name=node.name, shape=node.shape[::-1], job=self.job)).a_in
        process, s_in, s_out = make_process(node, self.job, self.nodes[node.inputs[0].source].shape)
        self.keep(process)
        self.outputs[node.name] = s_out
        return s_in

    def delay(self, source: str, cycles: int) -> AbstractPort:
        """The output of a node, `cycles` cycles late."""
        name, shape = f"{source} (delayed by {cycles})", self.nodes[source].shape[::-1]
        process = self.keep(Delay(name=name, shape=shape, cycles=cycles))
        connect(self.outputs[source], process.s_in)
        return process.s_out

    def record(self, name: str) -> None:
        """Record what a node emits."""
        shape = self.nodes[name].shape[::-1]
        recorder = self.keep(Recorder(name=f"{name} (recorder)", shape=shape, job=self.job, node=name))
        connect(self.outputs[name], recorder.a_in)

    def _delayed(self, source: str, cycles: int) -> AbstractPort:
        if cycles == 0:
            return self.outputs[source]
        if (source, cycles) not in self.delayed:
            self.delayed[source, cycles] = self.delay(source, cycles)
        return self.delayed[source, cycles]


def connect(source: AbstractPort, target: AbstractPort) -> None:
    """Connect two ports of the same size."""
    if tuple(source.shape) != tuple(target.shape):
        source = source.reshape(tuple(target.shape))
    source.connect(target)


def make_process(node: Node, job: Job, input_shape: Shape) -> tuple[AbstractProcess, AbstractPort, AbstractPort]:
    """The Process of any node but the read-out, its input and output port. `input_shape` is the program's."""
    if isinstance(node, (Conv, Scale, SumPool)):
        if node.accumulator_bound >= CONV_LIMIT:
            raise ProgramError(
                f"layer {node.name} may sum up to {node.accumulator_bound}, and Lava's Conv wraps at {CONV_LIMIT}. "
                "Run it with --processes fused."
            )
        conv = make_conv(node, input_shape)
        return conv, conv.s_in, conv.a_out
    if isinstance(node, Linear):
        low, high = int(node.weight.min()), int(node.weight.max())
        if low < DENSE_WEIGHTS[0] or high > DENSE_WEIGHTS[1]:
            raise ProgramError(
                f"layer {node.name} has weights from {low} to {high}, Lava's Dense holds {DENSE_WEIGHTS[0]} to "
                f"{DENSE_WEIGHTS[1]}. Run it with --processes fused."
            )
        weights = 2 * linear_weight(node, input_shape).astype(np.int32)
        dense = Dense(weights=weights, weight_exp=-1, sign_mode=SignMode.MIXED, num_message_bits=GRADED, name=node.name)
        return dense, dense.s_in, dense.a_out
    if isinstance(node, Neuron):
        neuron = make_neuron(node.name, job, node)
        return neuron, neuron.a_in, neuron.s_out
    if isinstance(node, Threshold):
        input_bound = job.program.input_bound(node.name, job.program.payload_bounds())
        if input_bound >= LAVA_INPUT_LIMIT:
            raise ProgramError(
                f"layer {node.name} may receive up to {input_bound}, and Lava's LIF wraps at {LAVA_INPUT_LIMIT}. "
                "Run it with --processes fused."
            )
        unit = LIFReset(shape=node.shape[::-1], du=4095, vth=node.threshold, reset_interval=1, name=node.name)
        return unit, unit.a_in, unit.s_out
    if isinstance(node, MaxPool):
        largest = Largest(name=node.name, node=node, input_shape=input_shape)
        return largest, largest.a_in, largest.s_out
    if isinstance(node, Relay):
        relay = Payload(name=node.name, job=job, node=node)
        return relay, relay.a_in, relay.s_out
    merge = make_merge(node.name, node.shape)
    return merge, merge.a_in, merge.s_out


def make_merge(name: str, shape: Shape) -> GradedVec:
    """The Process that passes a sum on. `shape` is the program's."""
    merge = GradedVec(shape=shape[::-1], vth=0)
    merge.name = name  # its constructor takes none
    return merge


def make_conv(node: Conv | Scale | SumPool, input_shape: Shape) -> LavaConv:
    """The Conv of a node. `input_shape` is the program's."""
    channels = input_shape[0]
    padding: Pair = (0, 0)
    stride, dilation, groups = (1, 1), (1, 1), channels
    shape = input_shape[::-1]
    if isinstance(node, Conv):
        weight = node.weight
        padding, stride, dilation, groups = node.padding, node.stride, node.dilation, node.groups
    elif isinstance(node, SumPool):
        weight = np.ones((channels, 1, *node.kernel), np.int32)
        padding, stride = node.padding, node.stride
    else:
        weight = np.full((channels, 1, 1, 1), node.factor, np.int32)
        if len(shape) == 1:
            shape = (1, 1, channels)
    return LavaConv(
        weight=_flipped(weight),
        input_shape=shape,
        padding=padding[::-1],
        stride=stride[::-1],
        dilation=dilation[::-1],
        groups=groups,
        num_message_bits=GRADED,
        name=node.name,
    )


def _flipped(weight: Array) -> Array:
    """[O, I, kh, kw] of a correlation to Lava's [O, kw, kh, I] of a convolution."""
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))
