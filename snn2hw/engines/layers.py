"""A program layer by layer: all steps of a batch through one layer, then through the next.

Values are channels-last: activations [N, T or 1, H, W, C] as 8-bit payloads where they fit, one step standing for all
of a static input; sums are made where they are read, for a few samples at a time, so that they stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.engines import neuron_kernels, torch_kernels
from snn2hw.engines.cycle import check_range
from snn2hw.engines.gates import fuse_gates
from snn2hw.engines.neurons import GateCall, Neurons
from snn2hw.engines.synapse_kernels import FLOAT32_EXACT, Synapse, payload_type

Record = Callable[[str, torch.Tensor], None]
Watch = Callable[[str, int, torch.Tensor], None]
"""Is handed a neuron layer's name, the number of the first sample, and summed inputs [N, T or 1, H, W, C]."""

SUMS_BYTES = 4 << 20  # sums in float32 that are made at once: they stay in the second- or third-level cache


class Layers:
    """A program made ready once for a device, to run any number of batches.

    plain: compute in plain torch, as every device but the CPU does. watch: sees what neurons receive. Raises
    FixedPointOverflow if no kernel computes a layer exactly.
    """

    def __init__(
        self, program: ir.Program, device: str = "cpu", *, plain: bool = False, watch: Watch | None = None
    ) -> None:
        self.watch = watch
        self.program, self.device = program, torch.device(device)
        self.plain = plain or self.device.type != "cpu"
        if not self.plain:
            neuron_kernels.share_threads()
        graph = program.graph
        readers = {node.name: [other for other in graph if node.name in other.inputs] for node in graph}
        self.synapses = {
            node.name: Synapse(
                node, program, self.device, plain=self.plain, checked_later=_checked_later(readers[node.name])
            )
            for node in graph
            if isinstance(node, ir.Conv | ir.Linear)
        }
        self.neurons = {
            node.name: Neurons(node, program, plain=self.plain) for node in graph if isinstance(node, ir.Neuron)
        }
        self.gates = fuse_gates(graph)
        self.fused = {gate.node.name for gate in self.gates.values()}
        self.reads = _reads(graph)
        last = {name: reader for reader, names in self.reads.items() for name in (reader, *names)}
        self.unread_after = {reader: [name for name in last if last[name] == reader] for reader in set(last.values())}
        self.values: dict[str, torch.Tensor] = {}

    def run(
        self, payloads: torch.Tensor, record: Record, *, first_sample: int = 0, everything: bool = True
    ) -> NDArray[np.int64]:
        """The logits int64 [N, K] of payloads [N, T or 1, H, W, C]; each recorded layer's spikes go to `record`.

        everything: also spikes that only a gate reads, which are else not stored. `record` gets them channels-last.
        """
        self.values = {}
        logits = np.zeros(0, np.int64)
        try:
            for node in self.program.graph:
                match node:
                    case ir.Input():
                        self.values[node.name] = payloads
                    case ir.Neuron():
                        self._fire(node, len(payloads), first_sample, everything)
                    case ir.Threshold() | ir.Merge():
                        if node.name not in self.fused:
                            self._combine(node, len(payloads))
                    case ir.Relay():
                        self._relay(node, len(payloads), first_sample)
                    case ir.Readout():
                        logits = self._read_out(node, len(payloads))
                    case ir.Conv() | ir.Linear() | ir.Scale() | ir.SumPool() | ir.MaxPool():
                        pass  # made where it is read
                    case _:
                        assert_never(node)
                if ir.is_spiking(node) and node.name in self.values:
                    record(node.name, self.values[node.name])
                for name in self.unread_after.get(node.name, ()):
                    self.values.pop(name, None)
        finally:
            self.values = {}
        return logits

    def _fire(self, node: ir.Neuron, samples: int, first_sample: int, everything: bool) -> None:
        steps = self.program.schedule.timesteps
        fused = self.gates.get(node.name)
        spikes = self._empty(node, samples, steps) if fused is None or fused.spikes_read or everything else None
        gated = None if fused is None else self._empty(fused.node, samples, steps)
        for part in self._parts(node, samples):
            call = None
            if fused is not None and gated is not None:
                call = GateCall(gate=fused.gate, other=self.values[fused.other][part], out=gated[part])
            fired = None if spikes is None else spikes[part]
            summed = self._input(node, part)
            if self.watch:
                self.watch(node.name, first_sample + part.start, summed)
            self.neurons[node.name](summed, steps, fired, call, first_sample + part.start)
        if spikes is not None:
            self.values[node.name] = spikes
        if fused is not None and gated is not None:
            self.values[fused.node.name] = gated

    def _combine(self, node: ir.Threshold | ir.Merge, samples: int) -> None:
        """A gate or pool by itself."""
        value: torch.Tensor | None = None
        for part in self._parts(node, samples):
            x = self._input(node, part)
            if value is None:
                value = self._empty(node, samples, x.shape[1])
            if isinstance(node, ir.Threshold):
                torch.gt(x, node.threshold, out=value[part].view(torch.bool))
            else:
                value[part] = x
        if value is not None:
            self.values[node.name] = value

    def _relay(self, node: ir.Relay, samples: int, first_sample: int) -> None:
        """Payloads of currents. Raises FixedPointOverflow, with the place, for a sum beyond the chip's limit."""
        bound = self.program.bounds[node.name]
        bias = _channels_last(node.bias, node.shape).to(self.device)
        parts = []
        for part in self._parts(node, samples):
            current = self._input(node, part).to(torch.int32) + bias.to(torch.int32)  # passes/bound.py: 32 bits hold it
            if bound.kind != "proved" and int(current.abs().max()) >= self.program.numerics.membrane_limit:
                self._locate(node, current, first_sample + part.start)
            payload = ((current + ((1 << node.shift) >> 1)) >> node.shift).clamp_(node.low, node.high)
            parts.append(payload.to(payload_type(-bound.payload if bound.signed else 0, bound.payload)))
        self.values[node.name] = torch.cat(parts)

    def _locate(self, node: ir.Relay, current: torch.Tensor, first_sample: int) -> None:
        """Raise FixedPointOverflow for the first step, of the first sample, whose sum is too large."""
        for at, sample in enumerate(current.cpu().numpy()):
            for step, values in enumerate(sample):
                cycle = self.program.schedule.cycle(node.name, first_sample + at, step)
                where = f"{node.name}, sample {first_sample + at}, step {step}, cycle {cycle}"
                check_range(values, self.program.numerics.membrane_limit, "the summed input", where)

    def _read_out(self, node: ir.Readout, samples: int) -> NDArray[np.int64]:
        steps = self.program.schedule.timesteps
        totals = []
        for part in self._parts(node, samples):
            x = self._input(node, part).to(torch.int64)
            total = x.sum(1) if x.shape[1] == steps else x[:, 0] * steps
            totals.append(total.movedim(-1, 1).reshape(-1, *node.shape).cpu().numpy())
        return np.concatenate(totals) + steps * node.bias

    def _input(self, node: ir.Node, part: slice) -> torch.Tensor:
        """The sum of a node's inputs for some samples, whole numbers in whatever type holds them."""
        values = [self._emit(self.program.graph[source], part) for source in node.inputs]
        if len(values) == 1:
            return values[0]
        reach = sum(self.program.bounds[source].payload for source in node.inputs)
        exact = torch.float32 if reach < FLOAT32_EXACT else torch.float64
        total = values[0].to(exact)
        for value in values[1:]:
            total = total + value
        return total

    def _emit(self, node: ir.Node, part: slice) -> torch.Tensor:
        """What a node emits: stored if it spikes, made now if it is a synapse."""
        match node:
            case ir.Conv() | ir.Linear():
                return self.synapses[node.name](self._input(node, part))
            case ir.Scale():
                return self._scaled(node, self._input(node, part))
            case ir.SumPool():
                return self._pooled(node, self._input(node, part))
            case ir.MaxPool():
                return self._largest(node, self._input(node, part))
            case ir.Input() | ir.Neuron() | ir.Threshold() | ir.Merge() | ir.Relay() | ir.Readout():
                return self.values[node.name][part]
            case _:
                assert_never(node)

    def _scaled(self, node: ir.Scale, x: torch.Tensor) -> torch.Tensor:
        if node.factor == 1:
            return x
        reach = self.program.bounds[node.name].accumulator
        return x.to(torch.float32 if reach < FLOAT32_EXACT else torch.float64) * node.factor

    def _pooled(self, node: ir.SumPool, x: torch.Tensor) -> torch.Tensor:
        bound = self.program.bounds[node.name]
        images = x.flatten(0, 1)
        height, width, channels = _dims(node.shape)
        dtype = payload_type(-bound.payload if bound.signed else 0, bound.payload)
        if images.is_floating_point():
            images = images.to(torch.int32)
        sums = torch.empty((len(images), height, width, channels), dtype=dtype, device=self.device)
        if self.plain:
            torch_kernels.sum_windows(images, node.kernel, node.stride, node.padding, sums)
        else:
            neuron_kernels.sum_windows(images.numpy(), node.kernel, node.stride, node.padding, sums.numpy())
        return sums.reshape(*x.shape[:2], *sums.shape[1:])

    def _largest(self, node: ir.MaxPool, x: torch.Tensor) -> torch.Tensor:
        images = x.flatten(0, 1).permute(0, 3, 1, 2)
        exact = torch.float32 if self.program.bounds[node.name].accumulator < FLOAT32_EXACT else torch.float64
        most = F.max_pool2d(images.to(exact), node.kernel, node.stride, node.padding).permute(0, 2, 3, 1)
        return most.contiguous().reshape(*x.shape[:2], *most.shape[1:])

    def _parts(self, node: ir.Node, samples: int) -> Iterator[slice]:
        """As many samples at once as have sums that stay in the cache."""
        sizes = [math.prod(self.program.graph[source].shape) for source in node.inputs]
        steps = max(self.values[name].shape[1] for name in self.reads[node.name])
        count = max(1, SUMS_BYTES // (4 * max(sizes) * steps))
        return (slice(start, min(start + count, samples)) for start in range(0, samples, count))

    def _empty(self, node: ir.Node, samples: int, steps: int) -> torch.Tensor:
        bound = self.program.bounds[node.name]
        dtype = payload_type(-bound.payload if bound.signed else 0, bound.payload)
        return torch.empty((samples, steps, *_dims(node.shape)), dtype=dtype, device=self.device)


def _checked_later(readers: list[ir.Node]) -> bool:
    return all(isinstance(reader, ir.Neuron) and len(reader.inputs) == 1 for reader in readers)


def _reads(graph: ir.Graph) -> dict[str, set[str]]:
    """The activations that each node but a synapse reads. What a synapse reads is read by who reads the synapse."""
    reads: dict[str, set[str]] = {}
    for node in graph:
        reads[node.name] = set()
        for source in node.inputs:
            reads[node.name] |= reads[source] if ir.is_synapse(graph[source]) else {source}
    return {node.name: reads[node.name] for node in graph if not ir.is_synapse(node)}


def _channels_last(array: NDArray[np.int64], shape: ir.Shape) -> torch.Tensor:
    """An array that broadcasts to [C, H, W] or [K], channels last: it broadcasts to [H, W, C]."""
    full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return torch.tensor(np.moveaxis(full.reshape((*full.shape, 1, 1)[:3]), 0, -1))


def _dims(shape: ir.Shape) -> tuple[int, int, int]:
    """[C, H, W] or [K] as height, width, channels."""
    channels, height, width = (*shape, 1, 1)[:3]
    return height, width, channels
