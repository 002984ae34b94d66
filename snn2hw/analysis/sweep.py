"""Accuracy against bits: one network, quantised with every method and every number of weight bits that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.aliases import NamedProgress
from snn2hw.data.samples import Samples, check_labels, right_answers
from snn2hw.engines import fast
from snn2hw.engines.torch_model import spikes_of
from snn2hw.errors import DataError, FixedPointOverflow, OptionError, QuantisationError
from snn2hw.frontends.nir_model import ExecutedNir
from snn2hw.frontends.source import LoadedModel
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.adopt import is_quantised
from snn2hw.passes.calibrate import Calibration
from snn2hw.passes.weight_scales import METHODS
from snn2hw.pipeline import Options, compile_calibrated

SCHEMA = "snn2hw.sweep/1"
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Point:
    """One program: samples that it classifies right, or why there is no such program."""

    method: str
    weight_bits: int
    correct: int | None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All programs of one network, and the float model beside them. head: of several heads the one that is judged."""

    model: str
    data: str
    samples: int
    timesteps: int
    input_bits: int
    head: str | None
    float_correct: int
    points: tuple[Point, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.method for point in self.points))

    @property
    def bits(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(point.weight_bits for point in self.points))

    def accuracy(self, correct: int) -> float:
        """The share of the samples, 0 to 1."""
        return correct / self.samples

    def lost(self, correct: int) -> float:
        """Percentage points below the float model; negative where quantisation happened to help."""
        return 100 * (self.float_correct - correct) / self.samples

    def to_json(self) -> dict[str, Any]:
        """The document of schema snn2hw.sweep/1."""
        points = [
            asdict(point)
            | {
                "accuracy": None if point.correct is None else self.accuracy(point.correct),
                "points_lost": None if point.correct is None else self.lost(point.correct),
            }
            for point in self.points
        ]
        settings = {key: value for key, value in vars(self).items() if key != "points"}
        return {"schema": SCHEMA, **settings, "float_accuracy": self.accuracy(self.float_correct), "points": points}


def sweep(
    loaded: LoadedModel,
    calibration: Calibration,
    samples: Samples,
    *,
    bits: Sequence[int],
    methods: Sequence[str],
    input_bits: int = 8,
    device: str = "cpu",
    progress: NamedProgress | None = None,
    on_first: Callable[[ir.Program], None] | None = None,
) -> Sweep:
    """Quantise `loaded` in every way, and count what each program classifies right.

    A program that cannot be, or that stops because a range overflows, is a point with the reason. `on_first` is handed
    the first program before it runs; all have the same input.

    Raises:
        OptionError: bits or methods that there are not, or a network that is quantised already.
        DataError: samples without labels, or with labels that are no class.
        QuantisationError, FixedPointOverflow: not one program ran; the last one's reason.
    """
    check(bits, methods)
    labels = labelled(loaded, samples)
    tell = progress or (lambda label, done, total: None)
    points: list[Point] = []
    readout: ir.Readout | None = None
    failed: QuantisationError | FixedPointOverflow | None = None
    for method in methods:
        for count in bits:
            options = Options(timesteps=loaded.timesteps, weight_bits=count, input_bits=input_bits, method=method)
            try:
                program = compile_calibrated(loaded.network, calibration, options)
                if readout is None:
                    readout = program.graph.readout
                    check_labels(samples, readout.first.stop, readout.shape)
                    if on_first:
                        on_first(program)
                logits = fast.simulate(program, samples, record=(), device=device)["logits"]
            except (QuantisationError, FixedPointOverflow) as error:
                failed = error
                points.append(Point(method=method, weight_bits=count, correct=None, refused=str(error)))
            else:
                points.append(Point(method=method, weight_bits=count, correct=count_right(logits, labels, readout)))
            tell("programs", len(points), len(methods) * len(bits))
    if readout is None or not any(point.correct is not None for point in points):
        raise failed or OptionError("no bits and no methods were asked for.")
    return Sweep(
        model=loaded.source.model,
        data=samples.name,
        samples=len(samples),
        timesteps=loaded.timesteps,
        input_bits=input_bits,
        head=readout.heads[0].name if readout.heads else None,
        float_correct=count_right(float_logits(loaded, samples), labels, readout),
        points=tuple(points),
    )


def check(bits: Sequence[int], methods: Sequence[str]) -> None:
    """Raise OptionError for bits or methods that there are not."""
    choices = load_numerics().weight_choices
    for count in bits:
        if count not in choices:
            raise OptionError(f"--bits {count}: weights have {choices.start} to {choices.stop - 1} bits.")
    for method in methods:
        if method not in METHODS:
            raise OptionError(f"--calibration {method}: choose {', '.join(METHODS)}.")


def float_logits(loaded: LoadedModel, samples: Samples) -> NDArray[Any]:
    """The summed logits [N, K] of the model itself, or of a .nir file's graph."""
    model = ExecutedNir(graph=loaded.network, dtype=torch.float32) if loaded.traced is None else loaded.traced
    batches = (torch.from_numpy(part.steps(loaded.timesteps)) for part in samples.batches(BATCH))
    return np.concatenate([spikes_of(model, x.to(model.dtype), ())["logits"] for x in batches])


def labelled(loaded: LoadedModel, samples: Samples) -> NDArray[np.int64]:
    """The labels [N]. Raises OptionError for a network that is quantised already, DataError where there are none."""
    if is_quantised(loaded.network):
        raise OptionError(f"{loaded.source.model} holds whole numbers already. Name the float network.")
    if samples.y is None:
        raise DataError(f"{samples.name}: accuracy needs labels. Add `y` [N] to the file.")
    return samples.y


def count_right(logits: NDArray[Any], y: NDArray[np.int64], readout: ir.Readout) -> int:
    """How many answers, logits [N, K], are the labels y [N]; of several heads the first is asked."""
    return int(right_answers(logits[:, readout.first], y).sum())
