"""A process model of your own in place of one of snn2hw's, as one for hardware would be: docs/lava.md.

    snn2hw verify iand.lava --data digits --samples 20 --models examples/lava_models.py

EventDrivenLayer computes a layer as a chip does: it sends no image through a convolution but adds, for every event that
arrives, the weights of the neurons that the event reaches. It runs in Lava's environment, with lava-nc, numpy and the
modules of the bundle's folder `lava`, so it imports nothing of snn2hw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from engine import Recording
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from processes.regions import Layer
from program import Conv, Neuron, ProgramError, lava_order


@implements(proc=Layer, protocol=LoihiProtocol)
@requires(CPU)
class EventDrivenLayer(PyLoihiProcessModel):
    """A convolution and integrate-and-fire neurons that are reset to 0, event by event."""

    # regions = ("neuron1",) would leave all other layers to snn2hw's.

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        job, region = proc_params["job"], proc_params["region"]
        nodes = [job.program.nodes[name] for name in region.nodes]
        match nodes:
            case [Conv(groups=1, dilation=(1, 1)) as conv, Neuron(reset="zero") as neuron] if not neuron.decay.any():
                self.conv, self.neuron = conv, neuron
            case _:
                raise ProgramError(f"{type(self).__name__} cannot compute the region {region.name}")
        if (neuron.current_decay != 4096).any():
            raise ProgramError(f"{region.name}: the current of this layer has a memory, which this model has not")
        self.timesteps = job.program.timesteps
        self.recording = Recording(job, neuron.name)  # whoever computes a recorded node records it
        self.current = self.membrane = np.zeros(neuron.shape, np.int64)

    def run_spk(self) -> None:
        """One cycle: neurons answer the events of the last cycle, then the events of this one are taken."""
        neuron = self.neuron
        if self.time_step % self.timesteps == neuron.reset_offset:
            self.membrane = np.zeros(neuron.shape, np.int64)
        self.membrane = self.membrane + (self.current << 6) + neuron.bias
        spikes = self.membrane > neuron.threshold << 6
        self.membrane[spikes] = 0
        answer = lava_order(spikes.astype(np.int32))
        self.s_out.send(answer)  # before it receives: the layers of a chain work at the same time
        self.recording.write(self.time_step, answer)
        self.current = self.integrate(lava_order(self.s_in.recv()))

    def integrate(self, payloads: np.ndarray) -> np.ndarray:
        """What the events [C, H, W] of one cycle bring to each neuron [C', H', W']."""
        (down, across), (pad_down, pad_across) = self.conv.weight.shape[2:], self.conv.padding
        # With a border as wide as the kernel every event finds all the places that it reaches.
        height, width = payloads.shape[1] + 2 * pad_down, payloads.shape[2] + 2 * pad_across
        reached = np.zeros((len(self.conv.weight), height + down - 1, width + across - 1), np.int64)
        for channel, row, column in np.argwhere(payloads):
            rows = slice(row + pad_down, row + pad_down + down)
            columns = slice(column + pad_across, column + pad_across + across)
            weights = self.conv.weight[:, channel, ::-1, ::-1].astype(np.int64)
            reached[:, rows, columns] += weights * payloads[channel, row, column]
        return reached[:, down - 1 : height : self.conv.stride[0], across - 1 : width : self.conv.stride[1]]


MODELS = [EventDrivenLayer]
