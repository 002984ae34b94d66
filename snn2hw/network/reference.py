"""The float executor of a NIR graph in torch: what a NIR graph means, step by step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import nir
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snn2hw.errors import ModelError
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.layout import as_conv2d, conv_padding, lay_out, pair, takes_largest
from snn2hw.network.metadata import HIGH, LOW, SHIFT
from snn2hw.network.neuron_rule import DT, NeuronRule, rule_of

Step = Callable[[Tensor], Tensor]
OnState = Callable[[str, Tensor, Tensor], None]
Decide = Callable[[str, Tensor, Tensor], Tensor]


class Reference:
    """Executes a NIR graph. `dtype` is the arithmetic: float32 as most models compute, or float64.

    dt: the neurons' time step, in seconds.
    """

    def __init__(self, graph: nir.NIRGraph, *, dtype: torch.dtype = torch.float32, dt: float = DT) -> None:
        self.graph, self.dt = graph, dt
        self.layout = lay_out(graph)
        self.dtype = dtype

    def run(
        self,
        x: Tensor,
        *,
        on_state: OnState | None = None,
        decide: Decide | None = None,
        replaced: Mapping[str, Step] | None = None,
        wanted: Collection[str] | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Yield what every node emits, one dict of [N, *shape] tensors a step, for x [T, N, *input shape].

        `on_state(name, u, v)` is told every neuron layer's current and membrane of the step, before its reset.
        `decide(name, v, spikes)` returns the spikes [N, *shape] with which the run goes on, after seeing those of the
        rule. `replaced`: nodes, by name, in whose place another step stands. `wanted`: the only nodes whose values are
        yielded; all others are forgotten once the last node that reads them has done so, which saves memory.
        """
        step = {name: self._operation(name, node, on_state, decide) for name, node in self.graph.nodes.items()}
        step |= replaced or {}
        forgotten = {} if wanted is None else self._read_last_by(set(wanted))
        for frame in x:
            values: dict[str, Tensor] = {}
            for name in self.layout.order:
                sources = self.layout.sources[name]
                values[name] = step[name](frame.to(self.dtype) if not sources else self.summed(name, values))
                for source in forgotten.get(name, ()):
                    del values[source]
            yield values

    def _read_last_by(self, wanted: set[str]) -> dict[str, list[str]]:
        """For each node, the nodes whose values nobody needs once it has run; those in `wanted` are always needed."""
        last = {name: name for name in self.layout.order}
        for name in self.layout.order:
            last |= dict.fromkeys(self.layout.sources[name], name)
        forgotten: dict[str, list[str]] = {}
        for name in self.layout.order:
            if name not in wanted:
                forgotten.setdefault(last[name], []).append(name)
        return forgotten

    def summed(self, name: str, values: dict[str, Tensor]) -> Tensor:
        """The sum [N, *shape] of what a node's sources emit in a step."""
        first, *others = self.layout.sources[name]
        total = values[first]
        for source in others:
            total = total + values[source]
        return total

    def operation(self, name: str, *, on_state: OnState | None = None) -> Step:
        """One node by itself, in its initial state: what it emits for a step's summed input."""
        return self._operation(name, self.graph.nodes[name], on_state, None)

    def _operation(self, name: str, node: nir.NIRNode, on_state: OnState | None, decide: Decide | None) -> Step:
        match node:
            case nir.Input() | nir.Output():
                return lambda x: x
            case nir.Conv2d():
                weight, bias = self._tensor(node.weight), self._tensor(node.bias)
                stride, dilation, padding = pair(node.stride), pair(node.dilation), conv_padding(name, node)
                groups = int(node.groups)
                return lambda x: F.conv2d(x, weight, bias, stride, padding, dilation, groups)
            case nir.Conv1d():
                flat = self._operation(name, as_conv2d(node, self.layout.input_shape(name)[1]), on_state, decide)
                return lambda x: flat(x.unsqueeze(2)).squeeze(2)
            case nir.Affine():
                weight, bias = self._tensor(node.weight), self._tensor(node.bias)
                return lambda x: F.linear(x, weight, bias)
            case nir.Linear():
                weight = self._tensor(node.weight)
                return lambda x: F.linear(x, weight)
            case nir.SumPool2d() | nir.AvgPool2d():
                kernel, stride, padding = pair(node.kernel_size), pair(node.stride), pair(node.padding)
                if takes_largest(node):
                    return lambda x: F.max_pool2d(x, kernel, stride, padding)
                divisor = 1 if isinstance(node, nir.SumPool2d) else kernel[0] * kernel[1]
                return lambda x: F.avg_pool2d(x, kernel, stride, padding, divisor_override=divisor)
            case nir.Flatten():
                return lambda x: x.flatten(1)
            case nir.Scale() if SHIFT in node.metadata:
                return _relay(node)
            case nir.Scale():
                scale = self._tensor(node.scale)
                return lambda x: x * scale
            case nir.Threshold():
                threshold = self._tensor(node.threshold)
                return lambda x: (x > threshold).to(self.dtype)
            case nir.IF() | nir.LIF() | nir.CubaLIF():
                return self._neuron(name, rule_of(name, node, dt=self.dt), on_state, decide)
            case nir.I():
                return self._integrator(node)
            case nir.Delay():
                if np.any(node.delay):
                    raise ModelError(f"{name}: delays are not supported. Remove it.")
                return lambda x: x
            case _:
                raise ModelError(f"{name}: NIR nodes of type {type(node).__name__} are not supported.")

    def _neuron(self, name: str, rule: NeuronRule, on_state: OnState | None, decide: Decide | None) -> Step:
        keep, gain, drive = self._tensor(rule.keep), self._tensor(rule.gain), self._tensor(rule.drive)
        current_keep = self._tensor(rule.current_keep)
        remembers = bool(current_keep.any())
        threshold, amount = self._tensor(rule.threshold), self._tensor(rule.reset_amount)
        fires = torch.ge if rule.at_least else torch.gt
        start = self._tensor(rule.reset_value)
        v = start
        u: Tensor | float = 0.0
        late: Tensor | None = None

        def step(current: Tensor) -> Tensor:
            nonlocal u, v, late
            u = current_keep * u + gain * current if remembers else gain * current
            v = keep * v + (drive + u)
            if late is not None:
                v = v - late
            if on_state:
                on_state(name, u, v)
            spike = fires(v, threshold).to(self.dtype)
            if decide:
                spike = decide(name, v, spike)
            if rule.reset is Reset.ZERO:
                v = torch.where(spike > 0, start, v)
            elif rule.reset is Reset.SUBTRACT:
                v = v - spike * amount
            elif rule.reset is Reset.SUBTRACT_LATE:
                late = spike * amount
            return spike

        return step

    def _integrator(self, node: nir.I) -> Step:
        gain = self._tensor(self.dt * np.asarray(node.r, np.float64))
        total: Tensor | float = 0.0

        def step(current: Tensor) -> Tensor:
            nonlocal total
            total = total + gain * current
            return total

        return step

    def _tensor(self, values: np.ndarray) -> Tensor:
        """Parameters in the arithmetic of the run; those that are already are not copied."""
        shareable = values.flags.writeable and values.flags.c_contiguous
        return torch.from_numpy(values if shareable else np.array(values)).to(self.dtype)


def _relay(node: nir.Scale) -> Step:
    """An integer relay: what it receives, divided by a power of two, rounded with halves up, and saturated."""
    shift, low, high = (int(np.asarray(node.metadata[key]).item()) for key in (SHIFT, LOW, HIGH))
    return lambda x: torch.floor(x / (1 << shift) + 0.5).clamp(low, high)
