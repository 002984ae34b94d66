"""The structural models: a region as a network of Lava's own processes, one per node of the program.

| node             | Process                                                                                      |
|------------------|----------------------------------------------------------------------------------------------|
| conv             | Conv; kernels flipped, because Conv convolves and the program correlates                     |
| scale, sum_pool  | Conv with one group per channel                                                              |
| linear           | Dense; weights doubled and shifted back by weight_exp -1, which keeps odd ones of mixed sign |
| neuron           | LIFReset, or CheckedLIFReset where that cannot do it                                         |
| threshold        | LIFReset that resets in every cycle: it has no memory                                        |
| merge            | GradedVec with vth 0                                                                         |
| readout          | Accumulator                                                                                  |
| delay of an edge | Delay                                                                                        |

Sums of inputs are made by the receiving port. Every recorded node has a Recorder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import AbstractPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.dense.process import Dense
from lava.proc.graded.process import GradedVec
from lava.proc.lif.process import LIFReset
from lava.utils.weightutils import SignMode

from engine import Job
from processes.neurons import make_neuron
from processes.parts import Accumulator, Delay, Recorder
from processes.regions import AbstractRegion, Layer, Pool, Readout, ResidualBlock
from program import (
    INPUT_LIMIT,
    Array,
    Conv,
    Linear,
    Merge,
    Neuron,
    Node,
    Pair,
    ProgramError,
    Scale,
    Shape,
    SumPool,
    Threshold,
)
from synapses import linear_weight

CONV_LIMIT = 1 << 23  # Conv wraps at 24 bits
DENSE_WEIGHTS = (-128, 127)
GRADED = 24  # any number of message bits above 0 lets a payload pass as it is


class StructuralRegionModel(AbstractSubProcessModel):
    """Builds the processes of a region's nodes and connects them as the program says."""

    def __init__(self, proc: AbstractRegion) -> None:
        job, region = proc.proc_params["job"], proc.proc_params["region"]
        nodes = job.program.nodes
        shapes = {name: nodes[name].shape for name in (region.entry, *region.nodes)}
        self._children: list[AbstractProcess] = []
        outputs: dict[str, AbstractPort] = {region.entry: proc.s_in}
        delayed: dict[tuple[str, int], AbstractPort] = {}
        for name in region.nodes:
            node = nodes[name]
            process, s_in, s_out = _make_process(node, job, shapes[node.inputs[0].source])
            self._adopt(process)
            for position, edge in enumerate(node.inputs):
                source = outputs[edge.source]
                if edge.delay:
                    key = (edge.source, edge.delay)
                    if key not in delayed:
                        label = f"{edge.source} (delayed by {edge.delay})"
                        delay = Delay(name=label, shape=shapes[edge.source][::-1], cycles=edge.delay)
                        self._adopt(delay)
                        _connect(source, delay.s_in)
                        delayed[key] = delay.s_out
                    source = delayed[key]
                if edge in node.inputs[:position]:  # a port cannot connect to another twice
                    copy = _make_merge(f"{edge.source} (again)", shapes[edge.source])
                    self._adopt(copy)
                    _connect(source, copy.a_in)
                    source = copy.s_out
                _connect(source, s_in)
            if s_out is not None:
                outputs[name] = s_out
            if name in job.program.recorded:
                recorder = Recorder(name=f"{name} (recorder)", shape=node.shape[::-1], job=job, node=name)
                self._adopt(recorder)
                _connect(outputs[name], recorder.s_in)
        if not isinstance(proc, Readout):
            _connect(outputs[region.exit], proc.s_out)

    def _adopt(self, process: AbstractProcess) -> None:
        """Make a Process a part of this model; Lava finds parts among the attributes."""
        setattr(self, f"part_{len(self._children)}", process)
        self._children.append(process)


def _connect(source: AbstractPort, target: AbstractPort) -> None:
    if tuple(source.shape) != tuple(target.shape):
        source = source.reshape(tuple(target.shape))
    source.connect(target)


def _make_process(node: Node, job: Job, input_shape: Shape) -> tuple[AbstractProcess, AbstractPort, Any]:
    """A node's Process, its input port, and its output port if it has one. `input_shape` is the program's."""
    if isinstance(node, (Conv, Scale, SumPool)):
        if node.accumulator_bound >= CONV_LIMIT:
            raise ProgramError(
                f"layer {node.name} may sum up to {node.accumulator_bound}, and Lava's Conv wraps at {CONV_LIMIT}. "
                "Run it with --processes fused."
            )
        conv = _make_conv(node, input_shape)
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
        if input_bound >= INPUT_LIMIT:
            raise ProgramError(
                f"layer {node.name} may receive up to {input_bound}, and Lava's LIF wraps at {INPUT_LIMIT}. "
                "Run it with --processes fused."
            )
        unit = LIFReset(shape=node.shape[::-1], du=4095, vth=node.threshold, reset_interval=1, name=node.name)
        return unit, unit.a_in, unit.s_out
    if isinstance(node, Merge):
        merge = _make_merge(node.name, node.shape)
        return merge, merge.a_in, merge.s_out
    accumulator = Accumulator(name=node.name, shape=node.shape[::-1], job=job)
    return accumulator, accumulator.a_in, None


def _make_merge(name: str, shape: Shape) -> GradedVec:
    merge = GradedVec(shape=shape[::-1], vth=0)
    merge.name = name  # its constructor takes none
    return merge


def _make_conv(node: Conv | Scale | SumPool, input_shape: Shape) -> LavaConv:
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
