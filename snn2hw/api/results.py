"""What the Python interface gives back: it prints well, and shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.deployment import Convention
from snn2hw.errors import Blocker, missing_package
from snn2hw.files import check_folder, write_npz, write_text
from snn2hw.report.document import Report
from snn2hw.shown.tables import Part, Table, as_html, as_text


class Shown:
    """A result that is made of tables and lines."""

    def _shown(self) -> list[Part]:
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self._shown())

    def _repr_html_(self) -> str:
        return as_html(self._shown())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Check(Shown):
    """Everything that keeps a model from being deployed; it is true if nothing does.

    conventions: of each neuron layer how it fires and resets.
    """

    model: str
    target: str
    blockers: tuple[Blocker, ...]
    conventions: Mapping[str, Convention]

    def __bool__(self) -> bool:
        return not self.blockers

    def _shown(self) -> list[Part]:
        if not self.blockers:
            return [f"{self.model}: nothing stops a deployment to {self.target}."]
        rows = tuple(
            (each.layer, each.line, each.problem, each.advice)
            if self._has_lines
            else (each.layer, each.problem, each.advice)
            for each in self.blockers
        )
        columns = ("layer", *(("line",) if self._has_lines else ()), "problem", "what to do")
        number = "1 blocker" if len(rows) == 1 else f"{len(rows)} blockers"
        return [Table(title=f"{self.model}: {number}", columns=columns, rows=rows)]

    @property
    def _has_lines(self) -> bool:
        return any(each.line for each in self.blockers)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run(Shown):
    """What an engine computed: logits int64 [N, K]; spikes of each layer [N, T, *shape], aligned to the input's steps.

    classes: the logits that classes are told by, those of the first head. labels: [N], or None.
    """

    engine: str
    logits: NDArray[np.int64]
    spikes: dict[str, NDArray[Any]]
    classes: slice
    labels: NDArray[np.int64] | None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class with the largest logit of each sample, [N]; of equal ones the first."""
        scores = self.logits[:, self.classes].reshape(len(self.logits), -1)
        return np.asarray(scores.argmax(axis=1), np.int64)

    @property
    def accuracy(self) -> float | None:
        """The share of samples whose label is predicted; None without labels."""
        return None if self.labels is None else float((self.predicted == self.labels).mean())

    def save(self, path: str | Path) -> None:
        """Write spikes.npz: `logits` and each layer's spikes by name."""
        write_npz(Path(path), {"logits": self.logits, **self.spikes})

    def _shown(self) -> list[Part]:
        right = "" if self.accuracy is None else f", {100 * self.accuracy:.2f} % right"
        numbers = ("spikes", "per neuron and step")
        rows = tuple(
            (name, "x".join(map(str, values.shape[2:])), f"{values.sum(dtype=np.int64):,}", f"{values.mean():.4f}")
            for name, values in self.spikes.items()
        )
        title = f"{self.engine}: {len(self.logits)} samples{right}"
        return [Table(title=title, columns=("layer", "shape", *numbers), numbers=numbers, rows=rows)]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReportPage(Shown):
    """A report: every number in `document`, and the page for people, which a notebook shows."""

    document: Report

    @cached_property
    def html(self) -> str:
        """The whole page, which needs no other file and no network. Raises MissingPackage without plotly."""
        try:
            from snn2hw.report.page.render import render  # plotly is slow to import, and an extra
        except ModuleNotFoundError as error:
            raise missing_package(error) or error from None
        return render(self.document)

    def save(self, folder: str | Path) -> Path:
        """Write report.html and report.json into a folder, which is made. Returns the page's path."""
        place = Path(folder)
        check_folder(place)
        page = self.html
        place.mkdir(exist_ok=True)
        write_text(place / "report.json", self.document.to_json())
        write_text(place / "report.html", page)
        return place / "report.html"

    def _shown(self) -> list[Part]:
        of, numbers = self.document, ("accuracy", "correct")
        rows = tuple((row.name, f"{100 * row.accuracy:.2f} %", str(row.correct)) for row in of.waterfall)
        energy = tuple((each.profile, "unknown" if each.total is None else f"{each.total:.3g} J") for each in of.energy)
        verdict = "not verified" if of.verification is None else of.verification.statement or of.verification.verdict
        parts: list[Part] = [f"{of.samples} samples, T={of.timesteps}: {verdict}."]
        if rows:
            parts.append(Table(title="Accuracy", columns=("engine", *numbers), numbers=numbers, rows=rows))
        title = "Energy a sample, by price profile"
        return [*parts, Table(title=title, columns=("profile", "energy"), numbers=("energy",), rows=energy)]

    def _repr_html_(self) -> str:
        style = "width:100%;height:40em;border:1px solid #ccc"
        return f'<iframe srcdoc="{escape(self.html, quote=True)}" style="{style}"></iframe>'
