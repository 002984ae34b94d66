"""Judging a float network by what a module did: the network runs beside it, and what differs is counted, ties apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import nir
import torch
from torch import Tensor

from snn2hw.frontends.nir_model import NirModel
from snn2hw.frontends.torch.user_model import Recorded, UserModel
from snn2hw.network.layout import only
from snn2hw.network.neuron_rule import NeuronRule, rule_of
from snn2hw.network.reference import Reference
from snn2hw.verification.comparison import Comparison, Difference, LayerComparison, name_of

SIDES = ("network", "torch")
NAME = name_of(SIDES)
Comparable = UserModel | NirModel
TIE = {torch.float64: 1e-9, torch.float32: 1e-5}  # relative to the threshold; of sums of thousands of terms
LOGITS = {torch.float64: 1e-9, torch.float32: 1e-4}  # relative to the largest logit


def agree(a: Tensor, b: Tensor) -> Tensor:
    """Where logits agree up to rounding: of two tensors [..., K], truth values of the same shape."""
    largest = max(float(a.abs().max()), float(b.abs().max()))
    return (a == b) | ((a - b).abs() <= LOGITS[a.dtype] * largest)


@dataclass(kw_only=True)
class _Counts:
    """One layer: values compared, mismatches, ties, and the first mismatch."""

    compared: int = 0
    mismatches: int = 0
    ties: int = 0
    first: Difference | None = None


class Judge:
    """Runs the float network beside what the module did, and counts."""

    def __init__(self, network: nir.NIRGraph, dtype: torch.dtype) -> None:
        self.reference = Reference(network, dtype=dtype)
        self.dtype, self.end = dtype, only(network, nir.Output)
        self.steps = 0
        self.counts: dict[str, _Counts] = {}
        self.rules: dict[str, NeuronRule] = {}

    def compare(self, run: Recorded, x: Tensor) -> None:
        """Run the network on x [T, N, *shape] with the module's choices at ties, and count what differs."""
        step, self.steps = 0, len(x)

        def decide(name: str, v: Tensor, spikes: Tensor) -> Tensor:
            return self._spikes(name, step, v, spikes, run)

        outputs: list[Tensor] = []
        for values in self.reference.run(x, decide=decide, wanted=(self.end,)):
            outputs.append(values[self.end].flatten(1))
            step += 1  # `decide` is asked while the next step is computed
        self._logits(torch.stack(outputs), run.logits)

    def count_again(self) -> None:
        """The second run did what the first one did."""
        for counts in self.counts.values():
            counts.compared, counts.mismatches = 2 * counts.compared, 2 * counts.mismatches
            counts.ties *= 2

    def comparison(self, model: Comparable, x: Tensor) -> Comparison:
        """What was counted, with both membranes at the first mismatch of all; x [T, N, *shape] is what was run."""
        self._tell_membrane_of_model(model, x)
        layers = tuple(
            LayerComparison(name=name, compared=c.compared, mismatches=c.mismatches, first=c.first)
            for name, c in self.counts.items()
        )
        return Comparison(
            sides=SIDES, exact_required=True, layers=layers, ties=sum(c.ties for c in self.counts.values())
        )

    def _spikes(self, name: str, step: int, v: Tensor, spikes: Tensor, run: Recorded) -> Tensor:
        """The spikes with which the network goes on, [N, *shape]: its own, but for ties those of the module."""
        if name not in run.calls:
            return spikes
        counts = self.counts.setdefault(name, _Counts())
        counts.compared += spikes.numel()
        emitted = run.spikes.get(name)
        if emitted is None or emitted.shape != (self.steps, *spikes.shape):
            counts.mismatches += spikes.numel()
            shape = "nothing" if emitted is None else f"{list(emitted.shape)}"
            detail = f"called {run.calls[name]} times in {self.steps} steps, it emitted values of shape {shape}"
            counts.first = counts.first or _difference(step, (0,) * spikes.dim(), 0, 0, detail)
            return spikes
        theirs = emitted[step].to(self.dtype)
        different = theirs != spikes
        if not bool(different.any()):
            return spikes
        rule = self._rule(name)
        threshold = torch.as_tensor(rule.threshold, dtype=self.dtype)
        size = torch.where(threshold == 0, v.abs().max(), threshold.abs())
        tie = different & ((v - threshold).abs() <= TIE[self.dtype] * size) & ((theirs == 0) | (theirs == 1))
        counts.ties += int(tie.sum())
        wrong = different & ~tie
        counts.mismatches += int(wrong.sum())
        if counts.first is None and bool(wrong.any()):
            at = tuple(int(i) for i in wrong.nonzero()[0])
            counts.first = _difference(
                step, at, _number(theirs[at]), _number(spikes[at]), f"membrane {float(v[at]):.12g} in the network"
            )
        return torch.where(tie, theirs, spikes)

    def _logits(self, ours: Tensor, theirs: list[Tensor]) -> None:
        """Compare logits [T, N, K of all heads] with those of each head."""
        counts = self.counts.setdefault("logits", _Counts())
        first_row = 0
        for head in theirs:
            rows = slice(first_row, first_row + head.shape[-1])
            first_row = rows.stop
            mine = ours[..., rows] if head.dim() == 3 else ours[..., rows].mean(0)
            wrong = ~agree(mine, head.to(self.dtype))
            counts.compared += head.numel()
            counts.mismatches += int(wrong.sum())
            if counts.first is None and bool(wrong.any()):
                at = tuple(int(i) for i in wrong.nonzero()[0])
                step, place = (at[0], at[1:]) if head.dim() == 3 else (len(ours) - 1, at)
                place = (*place[:-1], place[-1] + rows.start)
                counts.first = _difference(step, place, float(head[at]), float(mine[at]), "")

    def _tell_membrane_of_model(self, model: Comparable, x: Tensor) -> None:
        """Add to the mismatch that comes first what the model's currents make of that neuron's membrane."""
        mismatches = [(c.first.step, name) for name, c in self.counts.items() if c.first and name != "logits"]
        if not mismatches:
            return
        _, name = min(mismatches, key=lambda item: item[0] or 0)
        first = self.counts[name].first
        if first is None or not first.detail.startswith("membrane"):
            return
        membranes: list[Tensor] = []
        with model.copied(self.dtype) as running:
            currents = running.currents_into(name, x)
        emitted = self.reference.operation(name, on_state=lambda _, u, v: membranes.append(v))
        for current in currents:
            emitted(current.to(self.dtype))
        theirs = float(membranes[first.step or 0][(first.sample or 0, *first.index)])
        detail = f"{first.detail}, {theirs:.12g} by the currents that the model feeds this neuron"
        self.counts[name].first = replace(first, detail=detail)

    def _rule(self, name: str) -> NeuronRule:
        if name not in self.rules:
            node = self.reference.graph.nodes[name]
            self.rules[name] = rule_of(name, node)
        return self.rules[name]


def _difference(step: int, at: tuple[int, ...], expected: float, actual: float, detail: str) -> Difference:
    """A mismatch at sample and index `at`."""
    return Difference(
        sample=at[0], step=step, cycle=None, index=at[1:], expected=expected, actual=actual, detail=detail
    )


def _number(value: Tensor) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number
