"""Streams: the relays of a network whose currents are added up as they are, in one unit, such as a stage of a residual
net with membrane shortcuts.

A stream's scale is how many integers one unit of its current is. All weights that flow into it are rounded at it, and
the neurons that read it take it over, so it is chosen once, before anything of the stream is quantised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import nir
import numpy as np

from snn2hw.network.layout import Layout, emits_integers, pair, takes_largest
from snn2hw.network.neuron_rule import Float, Neuron, rule_of
from snn2hw.network.relays import LAYERS, relays_of
from snn2hw.passes.scales import MARGIN
from snn2hw.passes.settings import Settings, largest_weight
from snn2hw.passes.thresholds import at_rest_0
from snn2hw.passes.weight_scales import WHOLE_LAYER, on_lattice


@dataclass
class _Stream:
    """relays: its relays. readers: the neurons and read-outs that read one, each with how many of a relay's values the
    pool between them adds up.
    """

    relays: list[str] = field(default_factory=list)
    readers: dict[str, float] = field(default_factory=dict)


def stream_scales(
    network: nir.NIRGraph, layout: Layout, settings: Settings, units: Mapping[str, float]
) -> dict[str, float]:
    """The scale of each relay of a network, by name. units: the real value of one unit of the input, by its name."""
    return _Streams(network, layout, settings, units).scales()


class _Streams:
    def __init__(self, network: nir.NIRGraph, layout: Layout, settings: Settings, units: Mapping[str, float]) -> None:
        self.network, self.layout, self.settings, self.units = network, layout, settings, units
        self.relays = set(relays_of(network, layout))

    def scales(self) -> dict[str, float]:
        return {name: scale for stream in self._streams() for scale in [self._scale(stream)] for name in stream.relays}

    def _streams(self) -> list[_Stream]:
        """Relays that a relay, a neuron or a read-out adds up are of one stream."""
        found: dict[str, _Stream] = {}
        for name in self.layout.order:
            node = self.network.nodes[name]
            if name not in self.relays and not isinstance(node, Neuron | nir.Output):
                continue
            read = {relay: window for source in self.layout.sources[name] for relay, window in self._relay(source)}
            streams = {id(found[relay]): found[relay] for relay in read}
            whole = _Stream()
            for stream in streams.values():
                whole.relays += stream.relays
                whole.readers |= stream.readers
            if name in self.relays:
                whole.relays.append(name)
            elif read:
                whole.readers[name] = max(read.values())
            found |= dict.fromkeys(whole.relays, whole)
        return list({id(stream): stream for stream in found.values()}.values())

    def _relay(self, source: str) -> Iterator[tuple[str, float]]:
        """The relay that `source` is or pools, and how many of its values the pools add up."""
        node, window = self.network.nodes[source], 1.0
        while isinstance(node, nir.SumPool2d | nir.AvgPool2d | nir.Flatten) and len(self.layout.sources[source]) == 1:
            adds = not isinstance(node, nir.Flatten) and not takes_largest(node)
            window *= float(np.prod(pair(node.kernel_size))) if adds else 1.0
            source = self.layout.sources[source][0]
            node = self.network.nodes[source]
        if source in self.relays:
            yield source, window

    def _scale(self, stream: _Stream) -> float:
        settings, numerics = self.settings, self.settings.numerics
        weights, steps = self._weights(stream)
        method, most = WHOLE_LAYER[settings.method], largest_weight(settings.weight_bits)
        limits = [float(method(layers, largest)) for largest, layers in weights.items()]
        limit = min([np.inf, *limits, *(most / step for step in steps)])
        for name, window in stream.readers.items():
            node = self.network.nodes[name]
            if not isinstance(node, Neuron):
                continue
            rule = rule_of(name, node)
            threshold, drive = at_rest_0(name, rule)
            gain = float(rule.gain.min()) / window
            seen = settings.calibration.current.get(name, 0.0)
            reach = max(float(threshold.max()), float(rule.reset_amount.max())) + float(np.abs(drive).max())
            limit = min(limit, gain * (numerics.input_limit - 1) / max(reach + MARGIN * seen, 1e-300))
            if held := settings.calibration.membrane.get(name, 0.0):
                rest = float(np.abs(rule.reset_value).max())
                limit = min(limit, gain * (numerics.input_limit - 1) / (MARGIN * held + rest))
            steps = steps or [float(threshold.min()) / gain]
        if not np.isfinite(limit):
            return 1.0
        return float(on_lattice(np.asarray(limit), steps[0] if steps else 0.0))

    def _weights(self, stream: _Stream) -> tuple[dict[int, list[Float]], list[float]]:
        """The real weights of the layers that flow into a stream, for one unit of what they read, by the largest
        integer that their bits hold, without layers of zeros; of spikes that do so without a layer what one of them is.

        Layers that read payloads of currents are left out: they take up what scale there is (currents.py).
        """
        weights: dict[int, list[Float]] = {}
        steps: list[float] = []
        for member in (*stream.relays, *stream.readers):
            for source in self.layout.sources[member]:
                if any(self._relay(source)):
                    continue
                node, window = self.network.nodes[source], 1.0
                while isinstance(node, nir.SumPool2d | nir.AvgPool2d | nir.Flatten) and self._unit(source) is None:
                    window *= float(np.prod(pair(node.kernel_size))) if isinstance(node, nir.AvgPool2d) else 1.0
                    source = self.layout.sources[source][0]
                    node = self.network.nodes[source]
                if (unit := self._unit(source)) is not None:
                    steps.append(unit)
                    continue
                unit = self._unit(self.layout.sources[source][0]) if isinstance(node, LAYERS) else None
                if unit is not None and np.any(node.weight):
                    real = np.asarray(node.weight, np.float64) * unit / window
                    weights.setdefault(self.settings.largest(source), []).append(real)
        return weights, steps

    def _unit(self, name: str) -> float | None:
        """The real value of one integer that a node emits; None for currents."""
        node = self.network.nodes[name]
        if name in self.relays:
            return None
        match node:
            case nir.Input():
                return self.units[name]
            case nir.IF() | nir.LIF() | nir.CubaLIF() | nir.Threshold():
                return 1.0
            case nir.Conv2d() | nir.Affine() | nir.Linear():
                counts = emits_integers(self.network, name) and self._unit(self.layout.sources[name][0]) == 1.0
                return 1.0 if counts else None
            case nir.AvgPool2d():
                unit = self._unit(self.layout.sources[name][0])
                return None if unit is None else unit / float(np.prod(pair(node.kernel_size)))
            case _:
                return self._unit(self.layout.sources[name][0])
