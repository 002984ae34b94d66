"""Small Processes of every network: where samples enter, delays, recorders and the accumulator of the read-out."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from engine import Delays, Job, ReadoutState, Recording, RelayRule
from program import Array, MaxPool, Relay, Shape, lava_order
from synapses import Scratch, make_synapse


@implements(protocol=LoihiProtocol)
@requires(CPU)
class PartModel(PyLoihiProcessModel):
    """A model in numpy."""


class Source(AbstractProcess):
    """Emits the payloads, one step per cycle, and zeros when no sample is left.

    `payloads` [N, T, *shape] as in the program; T may be 1 for a static input, which is then sent `timesteps` times.
    """

    def __init__(self, *, name: str, payloads: Array, timesteps: int) -> None:
        super().__init__(name=name, payloads=payloads, timesteps=timesteps)
        self.s_out = OutPort(shape=payloads.shape[:1:-1])


@implements(proc=Source)
class SourceModel(PartModel):
    """Source in numpy."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.payloads, self.timesteps = proc_params["payloads"], proc_params["timesteps"]

    def run_spk(self) -> None:
        """Send the payload of this cycle."""
        sample, step = divmod(self.time_step - 1, self.timesteps)
        if sample < self.payloads.shape[0]:
            payload = self.payloads[sample, step % self.payloads.shape[1]]
        else:
            payload = np.zeros(self.payloads.shape[2:], np.int32)
        self.s_out.send(lava_order(payload))


class Delay(AbstractProcess):
    """Emits what it received `cycles` cycles ago, cycles >= 1; zeros at first. `shape` is in Lava's order."""

    def __init__(self, *, name: str, shape: tuple[int, ...], cycles: int) -> None:
        super().__init__(name=name, shape=shape, cycles=cycles)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@implements(proc=Delay)
class DelayModel(PartModel):
    """Delay in numpy."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.cycles = proc_params["cycles"]
        self.fifo = Delays(self.cycles, proc_params["shape"])

    def run_spk(self) -> None:
        """Send what is due, then take what came."""
        self.s_out.send(self.fifo.get(self.time_step, self.cycles))
        self.fifo.slot(self.time_step)[...] = self.s_in.recv()


class Payload(AbstractProcess):
    """The relay `node` by itself: sums in, their payloads out, in the same time step."""

    def __init__(self, *, name: str, job: Job, node: Relay) -> None:
        shape = node.shape[::-1]
        super().__init__(name=name, job=job, node=node)
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@implements(proc=Payload)
class PayloadModel(PartModel):
    """Payload in numpy."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rule = RelayRule(proc_params["node"], proc_params["job"])

    def run_spk(self) -> None:
        """Send the payloads of what came in this time step."""
        self.s_out.send(self.rule.payloads(self.time_step, self.a_in.recv()).astype(np.int32))


class Largest(AbstractProcess):
    """The max pool `node` by itself: emits in a time step what it makes of what came in the one before."""

    def __init__(self, *, name: str, node: MaxPool, input_shape: Shape) -> None:
        super().__init__(name=name, node=node, input_shape=input_shape)
        self.a_in = InPort(shape=input_shape[::-1])
        self.s_out = OutPort(shape=node.shape[::-1])


@implements(proc=Largest)
class LargestModel(PartModel):
    """Largest in numpy."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        node = proc_params["node"]
        self.rule = make_synapse(node, proc_params["input_shape"], Scratch())
        self.out = np.zeros(node.shape[::-1], np.int32)

    def run_spk(self) -> None:
        """Send what is due, then take what came."""
        self.rule.answer(self.out)
        self.s_out.send(self.out)
        self.rule.take(self.a_in.recv())


class Receiver(AbstractProcess):
    """Takes what comes and sends nothing. `shape` is in Lava's order."""

    def __init__(self, *, shape: tuple[int, ...], **parameters: Any) -> None:
        super().__init__(**parameters)
        self.a_in = InPort(shape=shape)


class ReceiverModel(PartModel):
    """The models of these, in numpy."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)


class Recorder(Receiver):
    """Writes what `node` emits into its memory map."""

    def __init__(self, *, name: str, shape: tuple[int, ...], job: Job, node: str) -> None:
        super().__init__(name=name, shape=shape, job=job, node=node)


@implements(proc=Recorder)
class RecorderModel(ReceiverModel):
    """Recorder in numpy."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.recording = Recording(proc_params["job"], proc_params["node"])

    def run_spk(self) -> None:
        """Store the spikes of this cycle."""
        self.recording.write(self.time_step, self.a_in.recv())


class Accumulator(Receiver):
    """The read-out node by itself: adds up the logits of each sample."""

    def __init__(self, *, name: str, shape: tuple[int, ...], job: Job) -> None:
        super().__init__(name=name, shape=shape, job=job)


@implements(proc=Accumulator)
class AccumulatorModel(ReceiverModel):
    """Accumulator in numpy."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        job = proc_params["job"]
        self.state = ReadoutState(job.program.readout, job)

    def run_spk(self) -> None:
        """Add the input of this cycle."""
        self.state.step(self.time_step, self.a_in.recv())
