"""The verdict of a verification: what was compared, what it means, who agreed, and how people read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from snn2hw.files import VERIFY_SCHEMA
from snn2hw.shown.tables import Part, Table, as_html, as_text
from snn2hw.verification.comparison import Comparison, joined, name_of

Verdict = Literal["exact", "diverged", "incomplete"]
PYTORCH, NIR_FILE = "PyTorch", "NIR file"
PROGRAM = "program"
OF_THE_INTEGERS = (PROGRAM, "requantised-torch")
OF_THE_FLOATS = (PROGRAM, "float-torch")
REQUANTISED, FLOAT = name_of(OF_THE_INTEGERS), name_of(OF_THE_FLOATS)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict and all that it rests on.

    required: the names of the comparisons that must run and find nothing. correct: of each engine how many samples it
    gives the right answer for; None for unlabelled samples. head: of several heads the one that the labels and the
    answers speak of, the first. spikes: what each layer emitted over all samples and steps, graded ones by value.
    left_out: back ends of the bundle that the user does without. model: what runs with the integers put back: PyTorch,
    or a .nir file.
    """

    samples: int
    timesteps: int
    comparisons: tuple[Comparison, ...]
    skipped: dict[str, str]
    required: tuple[str, ...]
    correct: dict[str, int] | None
    head: str | None = None
    spikes: dict[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    model: str = PYTORCH

    @property
    def verdict(self) -> Verdict:
        """ "diverged" if a required comparison differs, "incomplete" if one did not run or compared nothing, "exact"
        if all of them ran and none differs.
        """
        if any(comparison.mismatches for comparison in self.comparisons if comparison.exact_required):
            return "diverged"
        return "incomplete" if self.not_compared else "exact"

    @property
    def not_compared(self) -> tuple[str, ...]:
        """The required comparisons that did not run or compared nothing."""
        ran = {comparison.name for comparison in self.comparisons if comparison.compared}
        return tuple(name for name in self.required if name not in ran or name in self.skipped)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Who ran the integers and had every spike as the program has it; the program is one of them."""
        agreed = [
            comparison.sides for comparison in self.comparisons if comparison.compared and not comparison.mismatches
        ]
        model = (self.model,) if OF_THE_INTEGERS in agreed else ()
        return (*model, PROGRAM, *(side for side, other in agreed if other == PROGRAM))

    @property
    def missing(self) -> tuple[str, ...]:
        """Who else might have run the integers: what could not run, and the back ends that were left out."""
        model = (self.model,) if REQUANTISED in self.not_compared else ()
        against = f"-vs-{PROGRAM}"
        unable = (name.removesuffix(against) for name in self.not_compared if name.endswith(against))
        return (*model, *unable, *self.left_out)

    @property
    def statement(self) -> str:
        """Who is integer-exact, and who did not run; "" where a required comparison found a difference."""
        if self.verdict == "diverged":
            return ""
        without = f" (without {', '.join(self.missing)})" if self.missing else ""
        return f"integer-exact: {', '.join(self.witnesses)}{without}"

    def __repr__(self) -> str:
        return f"<Verification: {self.verdict} for {self.samples} samples>"

    def __str__(self) -> str:
        return as_text(self._shown())

    def _repr_html_(self) -> str:
        return as_html(self._shown())

    def _shown(self) -> list[Part]:
        return [*parts_of(self), *verdict_of(self)]

    def to_json(self) -> dict[str, Any]:
        """The document of schema snn2hw.verify/1."""
        return {
            "schema": VERIFY_SCHEMA,
            "verdict": self.verdict,
            "statement": self.statement,
            "witnesses": list(self.witnesses),
            "without": list(self.missing),
            "samples": self.samples,
            "timesteps": self.timesteps,
            "comparisons": [
                {
                    "name": comparison.name,
                    "exact_required": comparison.exact_required,
                    "compared": comparison.compared,
                    "mismatches": comparison.mismatches,
                    "ties": comparison.ties,
                    "note": comparison.note,
                    "layers": [asdict(layer) for layer in comparison.layers],
                }
                for comparison in self.comparisons
            ],
            "skipped": self.skipped,
            "accuracy": None
            if self.correct is None
            else {engine: count / self.samples for engine, count in self.correct.items()} | {"n": self.samples},
            "head": self.head,
            "spikes": self.spikes,
        }


def merged(one: Verification, more: Verification) -> Verification:
    """Two verifications of different samples of one bundle as one."""
    correct = None
    if one.correct is not None and more.correct is not None:
        correct = {engine: count + more.correct[engine] for engine, count in one.correct.items()}
    return Verification(
        samples=one.samples + more.samples,
        timesteps=one.timesteps,
        comparisons=tuple(joined(a, b) for a, b in zip(one.comparisons, more.comparisons, strict=True)),
        skipped=one.skipped,
        required=one.required,
        correct=correct,
        head=one.head,
        left_out=one.left_out,
        model=one.model,
        spikes={name: count + more.spikes[name] for name, count in one.spikes.items()},
    )


def parts_of(result: Verification) -> list[Part]:
    """Everything there is to say but the verdict itself."""
    return [_accuracy(result), *_spikes(result), *_comparisons(result)]


def verdict_of(result: Verification) -> list[str]:
    """The first difference of each comparison that must be exact, and the verdict."""
    differences = (each for each in result.comparisons if each.exact_required and each.mismatches)
    lines = [line for comparison in differences if (line := _first(comparison))]
    stated = f" I{result.statement[1:]}." if result.statement else ""
    lines.append(f"Verdict: {result.verdict} for these {result.samples} samples.{stated}")
    if result.verdict == "incomplete":
        lines.append(f"What must be equal could not all be compared: {', '.join(result.not_compared)}.")
    return lines


def _accuracy(result: Verification) -> Part:
    if result.correct is None:
        return "The samples have no labels: no accuracy."
    of = "" if result.head is None else f" of head {result.head}"
    return Table(
        title=f"Accuracy{of} on {result.samples} samples, T={result.timesteps}",
        columns=("engine", "accuracy", "correct"),
        numbers=("accuracy", "correct"),
        rows=tuple(
            (engine, f"{100 * count / result.samples:.2f} %", str(count)) for engine, count in result.correct.items()
        ),
    )


def _spikes(result: Verification) -> list[Part]:
    sizes = {
        layer.name: layer.compared for comparison in result.comparisons for layer in comparison.layers
    }  # values compared: samples x steps x neurons
    numbers = ("spikes", "per neuron and step")
    rows = tuple(
        (name, f"{count:,}", f"{count / sizes[name]:.4f}" if sizes.get(name) else "")
        for name, count in result.spikes.items()
    )
    table = Table(title="Spikes", columns=("layer", *numbers), numbers=numbers, rows=rows)
    silent = [name for name, count in result.spikes.items() if count == 0]
    return [table, *([f"Silent layers: {', '.join(silent)} emitted no spike at all."] if silent else [])]


def _comparisons(result: Verification) -> list[Part]:
    rows, notes = [], []
    for comparison in result.comparisons:
        required = "exact" if comparison.exact_required else "for information"
        notes += [f"{comparison.name}: {comparison.note}."] if comparison.note else []
        if comparison.ties:
            notes.append(
                f"{comparison.name}: {comparison.ties:,} values differ by ties alone, membranes that lie on their "
                "threshold up to rounding."
            )
        rows.append((comparison.name, required, f"{comparison.compared:,}", f"{comparison.mismatches:,}"))
    rows += [(name, f"skipped: {reason}", "", "") for name, reason in result.skipped.items()]
    numbers = ("compared", "different")
    columns = ("comparison", "required", *numbers)
    return [Table(title="Spike for spike", columns=columns, numbers=numbers, rows=tuple(rows)), *notes]


def _first(comparison: Comparison) -> str:
    difference = comparison.first()
    if difference is None:
        return ""
    layer, first = difference
    actual, expected = comparison.sides
    times = (("sample", first.sample), ("step", first.step), ("cycle", first.cycle))
    where = "".join(f"{label} {time}, " for label, time in times if time is not None)
    about = f" ({first.detail})" if first.detail else ""
    return (
        f"First difference of {comparison.name}: layer {layer}, {where}index {list(first.index)}: {expected} gives "
        f"{first.expected}, {actual} gives {first.actual}{about}."
    )
