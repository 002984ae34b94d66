"""A compiled model with everything an exporter may want to know about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import nir

from snn2hw import ir
from snn2hw.data.samples import Samples


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a framework's neuron behaves where frameworks differ; every report states it."""

    framework: str
    fires: str
    reset: str
    start: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model came from: its name, its file (None for a factory without weights) and that file's sha256."""

    model: str
    file: str | None
    sha256: str | None
    options: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class NetworkCheck:
    """How the float network was compared with the model that it was made of (network-vs-torch): on how many samples,
    how many values, and how many of them were ties; note: what must be known about the run.
    """

    samples: int
    compared: int
    ties: int
    note: str


@dataclass(frozen=True, kw_only=True)
class WeightBits:
    """The bits that a program's weights are stated to have: of all layers, and of single ones by name."""

    default: int = 8
    layers: Mapping[str, int] = field(default_factory=dict)

    def largest(self, name: str) -> int:
        """The largest weight of a layer of the program, which may be a twin, name@2, of one of the network."""
        bits = self.layers.get(name, self.layers.get(re.sub(r"@\d+$", "", name), self.default))
        return (1 << (bits - 1)) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Deployment:
    """The program, the float network it was compiled from and how that was checked, its source, its calibration data
    and conventions, and the bits of its weights, None where a file does not say them; examples: some of those data, for
    tests that a back end writes, if there are any.
    """

    program: ir.Program
    network: nir.NIRGraph
    network_check: NetworkCheck
    source: Source
    calibrated_on: str
    calibration_samples: int
    conventions: dict[str, Convention]
    bits: WeightBits | None = None
    examples: Samples | None = None
