"""How right the network is: float, requantised and as a program, step by step, and where float and integers part."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.samples import Samples, right_answers
from snn2hw.engines.torch_model import run_torch
from snn2hw.frontends.torch.trace import Traced
from snn2hw.report.values import Values

Z = 1.959963984540054  # of a two-sided 95 % interval


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of right answers with its 95 % Wilson interval [low, high]."""

    name: str
    correct: int
    n: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class LayerMismatch:
    """Where the program's spikes differ from the float model's: over compared values, how many; sqnr_db: the float
    model's spikes squared over the differences squared, in decibels; None without a difference or without spikes.
    """

    name: str
    compared: int
    different: int
    sqnr_db: float | None


def wilson(name: str, correct: int, n: int) -> Accuracy:
    """An accuracy with its interval (Wilson, JASA 22, 1927)."""
    share, shift = correct / n, Z * Z / n
    middle = (share + shift / 2) / (1 + shift)
    half = Z * math.sqrt(share * (1 - share) / n + shift / (4 * n)) / (1 + shift)
    return Accuracy(
        name=name,
        correct=correct,
        n=n,
        accuracy=share,
        interval=(max(0.0, middle - half), min(1.0, middle + half)),
    )


class AccuracyCounter:
    """Counts right answers of the program, and of the float and requantised models where there are any."""

    def __init__(self, program: ir.Program, traced: Traced | None, integers: Traced | None) -> None:
        self.program, self.traced, self.integers = program, traced, integers
        self.n = 0
        self.correct = {"float": 0, "requantised": 0, "program": 0}
        self.by_step = np.zeros(program.schedule.timesteps, np.int64)
        self.layers: dict[str, list[float]] = {}  # compared, different, signal, noise

    def add(self, samples: Samples, values: Values) -> None:
        """Count a batch."""
        node, graph = self.program.graph.readout, self.program.graph
        logits: dict[str, NDArray[np.generic]] = {"program": values.spikes["logits"]}
        if self.traced is not None and self.integers is not None:
            payloads = np.moveaxis(values.emitted(graph.input.name), 1, 0).astype(np.float64) * graph.input.scale
            exact = run_torch(self.integers, torch.from_numpy(payloads), self.program, "requantised", _quiet)
            steps = torch.from_numpy(samples.steps(self.program.schedule.timesteps))
            floats = run_torch(self.traced, steps, self.program, "float", _quiet)
            logits |= {"requantised": exact["logits"], "float": floats.pop("logits")}
            self._compare(floats, values)
        if samples.y is None:
            return
        self.n += len(samples)
        for name, answers in logits.items():
            self.correct[name] += int(right_answers(answers[:, node.first], samples.y).sum())
        sums = values.received(node).astype(np.int64) + node.bias
        totals = sums.cumsum(axis=1)[:, :, node.first]
        self.by_step += [int(right_answers(total, samples.y).sum()) for total in np.moveaxis(totals, 1, 0)]

    def waterfall(self) -> tuple[Accuracy, ...]:
        """Float, requantised and program; only the program without a model; nothing without labels."""
        names = ("program",) if self.traced is None else ("float", "requantised", "program")
        return tuple(wilson(name, self.correct[name], self.n) for name in names if self.n)

    def over_time(self) -> tuple[Accuracy, ...]:
        """The program's accuracy if it stopped after each step."""
        return tuple(
            wilson(f"step {step + 1}", int(count), self.n) for step, count in enumerate(self.by_step) if self.n
        )

    def mismatches(self) -> tuple[LayerMismatch, ...]:
        """Each layer's spikes beside the float model's."""
        return tuple(
            LayerMismatch(
                name=name,
                compared=int(compared),
                different=int(different),
                sqnr_db=10 * math.log10(signal / noise) if signal and noise else None,
            )
            for name, (compared, different, signal, noise) in self.layers.items()
        )

    def _compare(self, floats: dict[str, NDArray[np.generic]], values: Values) -> None:
        for name in (node.name for node in self.program.graph.recorded):
            if name not in floats:
                continue
            expected, actual = floats[name].astype(np.float64), values.spikes[name].astype(np.float64)
            noise = expected - actual
            counts = self.layers.setdefault(name, [0, 0, 0, 0])
            batch_sums = (expected.size, np.count_nonzero(noise), (expected**2).sum(), (noise**2).sum())
            self.layers[name] = [one + float(more) for one, more in zip(counts, batch_sums, strict=True)]


def _quiet(engine: str, done: int, total: int) -> None:
    """The report tells its progress batch by batch."""
