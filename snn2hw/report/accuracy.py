"""How right the network is: float, requantised and as a program, step by step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import ir
from snn2hw.data.samples import Samples, right_answers
from snn2hw.engines.torch_model import run_torch
from snn2hw.frontends.torch.trace import Traced
from snn2hw.report.answers import AnswerCounter
from snn2hw.report.parting import PartingCounter
from snn2hw.report.shares import Accuracy, rated
from snn2hw.report.values import Values


class AccuracyCounter:
    """Counts right answers of the program, and of the float and requantised models where there are any."""

    def __init__(self, program: ir.Program, traced: Traced | None, integers: Traced | None) -> None:
        self.program, self.traced, self.integers = program, traced, integers
        self.n = 0
        self.correct = {"float": 0, "requantised": 0, "program": 0}
        self.by_step = np.zeros(program.schedule.timesteps, np.int64)
        self.answers = AnswerCounter()
        self.parting = PartingCounter(program)

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
            self.parting.add(floats, values)
        sums = values.received(node).astype(np.int64) + node.bias
        totals = sums.cumsum(axis=1)[:, :, node.first]
        self.answers.add(totals, logits["float"][:, node.first] if "float" in logits else None, samples.y)
        if samples.y is None:
            return
        self.n += len(samples)
        for name, answers in logits.items():
            self.correct[name] += int(right_answers(answers[:, node.first], samples.y).sum())
        self.by_step += [int(right_answers(total, samples.y).sum()) for total in np.moveaxis(totals, 1, 0)]

    def waterfall(self) -> tuple[Accuracy, ...]:
        """Float, requantised and program; only the program without a model; nothing without labels."""
        names = ("program",) if self.traced is None else ("float", "requantised", "program")
        return tuple(rated(name, self.correct[name], self.n) for name in names if self.n)

    def over_time(self) -> tuple[Accuracy, ...]:
        """The program's accuracy if it stopped after each step."""
        return tuple(rated(f"step {step + 1}", int(count), self.n) for step, count in enumerate(self.by_step) if self.n)


def _quiet(engine: str, done: int, total: int) -> None:
    """The report tells its progress batch by batch."""
