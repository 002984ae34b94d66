"""Bits by layer: the fewest that keep the accuracy within a given loss, found by running the program of each choice.

First each layer alone is given fewer bits: what that loses is its sensitivity. Then all those steps are tried in turn,
the least harmful first, on top of those that were kept before; a step is kept if the program still is within the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nir

from snn2hw import ir
from snn2hw.analysis.sweep import check, count_right, float_logits, labelled
from snn2hw.data.aliases import NamedProgress
from snn2hw.data.samples import Samples, check_labels
from snn2hw.engines import fast
from snn2hw.errors import FixedPointOverflow, OptionError, QuantisationError
from snn2hw.frontends.source import LoadedModel
from snn2hw.passes.calibrate import Calibration
from snn2hw.pipeline import Options, compile_calibrated

SCHEMA = "snn2hw.layer_bits/1"


@dataclass(frozen=True, kw_only=True)
class LayerBits:
    """The bits that were found, and what they rest on.

    weight_bits: the most that a layer was given. layers: the bits of each. weights: how many each layer has. alone: how
    many samples are right where one layer alone has fewer bits, by layer and bits; None where there is no such program.
    correct: with the bits found. uniform_correct: with weight_bits everywhere.
    """

    model: str
    data: str
    samples: int
    timesteps: int
    method: str
    loss: float
    weight_bits: int
    layers: Mapping[str, int]
    weights: Mapping[str, int]
    alone: Mapping[str, Mapping[int, int | None]]
    correct: int
    uniform_correct: int
    float_correct: int

    def lost(self, correct: int) -> float:
        """Percentage points below the float model."""
        return 100 * (self.float_correct - correct) / self.samples

    @property
    def bits(self) -> int:
        """What all weights take."""
        return sum(self.weights[name] * bits for name, bits in self.layers.items())

    @property
    def uniform_bits(self) -> int:
        """What all weights take where each has weight_bits."""
        return sum(self.weights.values()) * self.weight_bits

    def to_json(self) -> dict[str, Any]:
        """The document of schema snn2hw.layer_bits/1, which `export --weight-bits` reads."""
        return {
            "schema": SCHEMA,
            **vars(self),
            "bits": self.bits,
            "uniform_bits": self.uniform_bits,
            "accuracy": self.correct / self.samples,
            "float_accuracy": self.float_correct / self.samples,
            "points_lost": self.lost(self.correct),
        }


def find_layer_bits(
    loaded: LoadedModel,
    calibration: Calibration,
    samples: Samples,
    *,
    bits: Sequence[int],
    loss: float,
    method: str = "max",
    input_bits: int = 8,
    device: str = "cpu",
    progress: NamedProgress | None = None,
    on_first: Callable[[ir.Program], None] | None = None,
) -> LayerBits:
    """The cheapest bits for each layer, out of `bits`, at which at most `loss` points of accuracy are lost.

    Raises:
        OptionError: bits, a method or a loss that there are not, one number of bits, or none that keeps to the loss.
        DataError: samples without labels.
        QuantisationError, FixedPointOverflow: the program of the most bits does not run.
    """
    check(bits, (method,))
    choices, most = sorted(set(bits)), max(bits)
    if len(choices) < 2:
        raise OptionError(f"--bits {most}: give several numbers of bits to choose from, as in --bits 3-8.")
    if not 0 <= loss <= 100:
        raise OptionError(f"--loss {loss:g}: give percentage points from 0 to 100.")
    labels = labelled(loaded, samples)
    tell = progress or (lambda label, done, total: None)

    def program_of(layers: Mapping[str, int]) -> ir.Program:
        options = Options(
            timesteps=loaded.timesteps, weight_bits=most, layer_bits=layers, input_bits=input_bits, method=method
        )
        return compile_calibrated(loaded.network, calibration, options)

    def right(program: ir.Program) -> int:
        logits = fast.simulate(program, samples, record=(), device=device)["logits"]
        return count_right(logits, labels, program.graph.readout)

    def right_with(layers: Mapping[str, int]) -> int | None:
        try:
            return right(program_of(layers))
        except (QuantisationError, FixedPointOverflow):
            return None

    first = program_of({})
    check_labels(samples, first.graph.readout.first.stop, first.graph.readout.shape)
    if on_first:
        on_first(first)
    uniform = right(first)
    in_float = count_right(float_logits(loaded, samples), labels, first.graph.readout)
    fewest = in_float - loss * len(samples) / 100
    if uniform < fewest:
        raise OptionError(
            f"{most} bits for every layer lose {100 * (in_float - uniform) / len(samples):.2f} points already, and "
            f"--loss allows {loss:g}. Allow more, or try another --calibration."
        )
    weights = _weights(loaded.network, first)
    alone: dict[str, dict[int, int | None]] = {name: {} for name in weights}
    steps = [(name, count) for name in weights for count in choices[:-1]]
    for done, (name, count) in enumerate(steps, 1):
        alone[name][count] = right_with({name: count})
        tell("sensitivity", done, len(steps))
    layers, correct = dict.fromkeys(weights, most), uniform

    def harm(step: tuple[str, int]) -> tuple[float, float]:
        name, count = step
        saved = weights[name] * (most - count)
        return (uniform - (alone[name][count] or 0)) / saved, -saved

    for done, (name, count) in enumerate(sorted(steps, key=harm), 1):
        known = alone[name][count]
        if count < layers[name] and known is not None and known >= fewest:
            reached = right_with(layers | {name: count})
            if reached is not None and reached >= fewest:
                layers[name], correct = count, reached
        tell("steps", done, len(steps))
    return LayerBits(
        model=loaded.source.model,
        data=samples.name,
        samples=len(samples),
        timesteps=loaded.timesteps,
        method=method,
        loss=loss,
        weight_bits=most,
        layers=layers,
        weights=weights,
        alone=alone,
        correct=correct,
        uniform_correct=uniform,
        float_correct=in_float,
    )


def _weights(network: nir.NIRGraph, program: ir.Program) -> dict[str, int]:
    """How many weights each layer of the network has that is one of the program, by name."""
    layers = (node for node in program.graph if isinstance(node, ir.Conv | ir.Linear))
    return {node.name: node.weight.size for node in layers if node.name in network.nodes}
