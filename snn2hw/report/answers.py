"""What every sample was answered: what is confused, the float model beside the program, when an answer is final."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw.data.intervals import paired
from snn2hw.report.shares import Accuracy, rated


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One entry a sample, in the order of the data; `labels`, `float_model` and the margins are empty where absent.

    labels, program, float_model: classes. settled: after which step, from 1, the program's answer stays what it is.
    margins: the logit of the float model's answer less the largest of the others, of the program's logits and of the
    float model's, both in the program's units; below 0 the answer is another.
    """

    labels: tuple[int, ...]
    program: tuple[int, ...]
    float_model: tuple[int, ...]
    settled: tuple[int, ...]
    program_margins: tuple[int, ...]
    float_margins: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The program beside the float model on the same samples. changed: samples whose answers differ; gained and lost:
    those that only the program, and only the float model, answers right; difference: program less float, a share, and
    its 95 % interval (Agresti and Min 2005). None of these without labels.
    """

    n: int
    changed: int
    gained: int | None
    lost: int | None
    difference: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Confused:
    """How many samples of a class got an answer."""

    label: int
    answer: int
    samples: int


class AnswerCounter:
    """Keeps the answers of every batch: a few numbers a sample."""

    def __init__(self) -> None:
        self.parts: list[tuple[NDArray[np.generic], ...]] = []
        self.labelled = self.with_model = True

    def add(
        self, totals: NDArray[np.int64], floats: NDArray[np.generic] | None, labels: NDArray[np.int64] | None
    ) -> None:
        """Take in the program's logits [N, T, K] summed up to each step, and the float model's [N, K]."""
        count, steps = totals.shape[:2]
        totals = totals.reshape(count, steps, -1)
        by_step = totals.argmax(axis=2)
        other = by_step != by_step[:, -1:]
        settled = np.where(other.any(axis=1), steps - other[:, ::-1].argmax(axis=1), 0) + 1
        self.labelled, self.with_model = labels is not None, floats is not None
        known = np.zeros(count, np.int64) if labels is None else labels
        floats = totals[:, -1] if floats is None else floats.reshape(count, -1)
        expected = floats.argmax(axis=1)
        margins = _margins(totals[:, -1], expected), _margins(floats, expected)
        self.parts.append((known, by_step[:, -1], expected, settled, *margins))

    def answers(self) -> Answers:
        """All of them."""
        labels, program, expected, settled, mine, theirs = (
            tuple(np.concatenate(column).tolist()) for column in zip(*self.parts, strict=True)
        )
        return Answers(
            labels=labels if self.labelled else (),
            program=program,
            float_model=expected if self.with_model else (),
            settled=settled,
            program_margins=mine if self.with_model else (),
            float_margins=theirs if self.with_model else (),
        )


def compare_answers(answers: Answers) -> Paired | None:
    """The program beside the float model; None without one."""
    if not answers.float_model:
        return None
    program, expected = np.array(answers.program), np.array(answers.float_model)
    n, changed = len(program), int((program != expected).sum())
    if not answers.labels:
        return Paired(n=n, changed=changed, gained=None, lost=None, difference=None, interval=None)
    labels = np.array(answers.labels)
    gained = int(((program == labels) & (expected != labels)).sum())
    lost = int(((program != labels) & (expected == labels)).sum())
    interval = paired(gained, lost, n)
    return Paired(n=n, changed=changed, gained=gained, lost=lost, difference=(gained - lost) / n, interval=interval)


def confusion(answers: Answers) -> tuple[Confused, ...]:
    """How often each class got each answer of the program; pairs that never happened are left out."""
    pairs = Counter(zip(answers.labels, answers.program, strict=True)) if answers.labels else Counter()
    return tuple(Confused(label=label, answer=answer, samples=n) for (label, answer), n in sorted(pairs.items()))


def by_class(confused: tuple[Confused, ...]) -> tuple[Accuracy, ...]:
    """The program's accuracy on the samples of each class."""
    classes: dict[int, list[int]] = {}
    for pair in confused:
        counts = classes.setdefault(pair.label, [0, 0])
        counts[0] += pair.samples if pair.label == pair.answer else 0
        counts[1] += pair.samples
    return tuple(rated(str(label), right, n) for label, (right, n) in classes.items())


def _margins(logits: NDArray[np.generic], answers: NDArray[np.int64]) -> NDArray[np.generic]:
    """Of logits [N, K] that of each sample's answer less the largest other, [N]; of a single class the logit."""
    chosen = np.take_along_axis(logits, answers[:, None], axis=1)[:, 0]
    if logits.shape[1] == 1:
        return chosen
    others = logits.astype(np.float64)
    np.put_along_axis(others, answers[:, None], -np.inf, axis=1)
    margins: NDArray[np.generic] = (chosen - others.max(axis=1)).astype(logits.dtype)
    return margins
