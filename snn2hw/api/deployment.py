"""A deployment in Python: run it, verify it, report on it, export it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np

from snn2hw import deployment, ir
from snn2hw.api.advice import advised_in_python
from snn2hw.api.reading import SamplesLike, take_samples
from snn2hw.api.results import ReportPage, Run
from snn2hw.api.talk import InPython
from snn2hw.data.aliases import Shape
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.errors import OptionError, did_you_mean
from snn2hw.exporters import Runnable, runnable_backends
from snn2hw.exporters.bundle import Bundle, read_bundle, write_bundle
from snn2hw.exporters.export import check_place, choose, export
from snn2hw.frontends.source import LoadedModel
from snn2hw.network.write_integers import integer_graph
from snn2hw.report.document import make_report
from snn2hw.report.prices import load_profiles
from snn2hw.report.subject import Subject, of_bundle, of_deployment
from snn2hw.report.verification import stated
from snn2hw.scratch import scratch_folder
from snn2hw.shown.tables import Part, Table, as_html, as_text
from snn2hw.verification.verdict import Verification
from snn2hw.verification.verify import Verifiable, prepare_backends, verify


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemory:
    """What was compiled, as `verify` takes it, without a bundle. runnable: the targets that could run it."""

    program: ir.Program
    network: nir.NIRGraph
    integers: nir.NIRGraph
    runnable: Mapping[str, Path]
    bits: deployment.WeightBits | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Deployment:
    """A network as integers, with everything that it was made of. `snn2hw.compile` and `snn2hw.load` give one.

    compiled: the program, the float network, their source. loaded: the model it came from; None if it cannot be had,
    for the reason `missing`. bundle: where it was loaded from. targets: the back ends that it is for.
    """

    compiled: deployment.Deployment
    loaded: LoadedModel | None
    targets: tuple[str, ...]
    missing: str = ""
    bundle: Bundle | None = None

    @property
    def program(self) -> ir.Program:
        """The integer program."""
        return self.compiled.program

    @property
    def timesteps(self) -> int:
        """Time steps a sample."""
        return self.program.schedule.timesteps

    @property
    def input_shape(self) -> Shape:
        """The shape of one step of one sample."""
        return self.program.graph.input.shape

    @advised_in_python
    def run(
        self,
        samples: SamplesLike,
        *,
        engine: str = "fast",
        count: int | None = None,
        saturate: bool = False,
        device: str = "cpu",
        jobs: int = 1,
        progress: bool | None = None,
        **options: Any,
    ) -> Run:
        """Run samples: logits [N, K] and the spikes of every layer [N, T, *shape].

        Args:
            samples: x [N, *shape], shown at every step, or [N, T, *shape], as a tensor or array; (x, y); a Dataset or
                DataLoader; the name of a file or set.
            engine: "fast"; "cycle", the definition, slow; or a back end, such as "lava".
            count: take the first samples only.
            saturate: clip values outside the range seen in calibration, as a chip does, instead of raising DataError.
            device, jobs: of the fast engine: "cpu" or "cuda"; processes that share the samples.
            progress: whether bars are shown; None: on a terminal and in a notebook.
            options: how a back end runs, such as `processes="stock"` of Lava.
        """
        talk = InPython(progress)
        backends = runnable_backends()
        if engine not in ("fast", "cycle", *backends):
            engines = ("fast", "cycle", *backends)
            raise OptionError(f"engine={engine!r}: choose {', '.join(engines)}.{did_you_mean(engine, engines)}")
        taken = take_samples(samples, self.program, count, talk, saturate=saturate)
        if engine in backends:
            backends[engine].prepare(talk.note)
        with talk.bars() as bars:
            if engine == "fast":
                tell = lambda done, total: bars("samples", done, total)  # noqa: E731
                made = fast.simulate(self.program, taken, device=device, jobs=jobs, progress=tell, note=talk.note)
            elif engine == "cycle":
                made = cycle.simulate(self.program, taken, progress=lambda done, total: bars("cycles", done, total))
            else:
                made = self._run_backend(backends[engine], taken, _run_options(backends[engine], options), bars)
        readout = self.program.graph.readout
        heads = {f"logits.{head.name}" for head in readout.heads}
        spikes = {name: values for name, values in made.items() if name != "logits" and name not in heads}
        return Run(
            engine=engine,
            logits=made["logits"].astype(np.int64, copy=False),
            spikes=spikes,
            classes=readout.first,
            labels=taken.y,
        )

    @advised_in_python
    def verify(
        self,
        samples: SamplesLike,
        *,
        count: int | None = None,
        without: str | Collection[str] = (),
        saturate: bool = False,
        progress: bool | None = None,
    ) -> Verification:
        """Compare, spike for spike: your module == float network == integers == program == every back end.

        Args:
            samples: as `run` takes them.
            count: take the first samples only.
            without: back ends to leave out, such as "lava"; the verdict says so.
            saturate: clip values outside the range seen in calibration instead of raising DataError.
            progress: whether bars are shown; None: on a terminal and in a notebook.
        """
        talk = InPython(progress)
        left_out = (without,) if isinstance(without, str) else tuple(without)
        taken = take_samples(samples, self.program, count, talk, saturate=saturate)
        of = self._verifiable()
        unable = prepare_backends(of, left_out, talk.note)
        runs = [name for name in of.runnable if name not in left_out and name not in unable]
        with self._written(runs) as written, talk.bars() as bars:
            return verify(
                written,
                taken,
                self.loaded,
                without=left_out,
                unable=unable,
                missing_model=self.missing,
                progress=bars,
            )

    @advised_in_python
    def report(
        self,
        samples: SamplesLike,
        *,
        count: int | None = None,
        verification: Verification | None = None,
        profiles: Sequence[str] = (),
        saturate: bool = False,
        progress: bool | None = None,
    ) -> ReportPage:
        """Count spikes and operations, price them, and make the page; a notebook shows it, `.save(DIR)` writes it.

        Args:
            samples: as `run` takes them.
            count: take the first samples only.
            verification: what `verify` returned for these samples, for the report to state.
            profiles: names of price profiles; all of them unless named.
            saturate: clip values outside the range seen in calibration instead of raising DataError.
            progress: whether bars are shown; None: on a terminal and in a notebook.
        """
        talk = InPython(progress)
        prices = load_profiles(profiles)
        taken = take_samples(samples, self.program, count, talk, saturate=saturate)
        with talk.bars() as bars:
            document = make_report(
                self._subject(),
                taken,
                None if self.loaded is None else self.loaded.traced,
                profiles=prices,
                missing_model=self.missing or "it is no PyTorch model",
                verification=None if verification is None else stated(verification),
                command="snn2hw.Deployment.report",
                progress=bars,
            )
        return ReportPage(document=document)

    @advised_in_python
    def export(
        self, place: str | Path, *, target: str | Sequence[str] | None = None, force: bool = False, **options: Any
    ) -> Path:
        """Write it for one back end, or one bundle for several: complete or not at all.

        Args:
            place: the folder or file.
            target: "lava", "nir", ... or several; those that it was compiled for unless given.
            force: replace a file that is there, instead of raising OptionError. An older bundle always is.
            options: of the back ends, such as `profile="portable"` of nir.
        """
        names = self.targets if target is None else (target,) if isinstance(target, str) else tuple(target)
        choices = [choose(name, **options) for name in names]
        check_place(Path(place), choices, force=force)
        for line in export(self.compiled, Path(place), choices):
            InPython().note(line)
        return Path(place)

    def _verifiable(self) -> Verifiable:
        if self.bundle is not None:
            return self.bundle
        able = runnable_backends()
        return InMemory(
            program=self.program,
            network=self.compiled.network,
            integers=integer_graph(self.program.graph),
            runnable={name: Path() for name in self.targets if name in able},
            bits=self.compiled.bits,
        )

    @contextmanager
    def _written(self, backends: Collection[str]) -> Iterator[Verifiable]:
        """What back ends run: the bundle it came from, or one that is gone afterwards; none is written for nobody."""
        of = self._verifiable()
        if not backends or (all(name in of.runnable for name in backends) and self.bundle is not None):
            yield of
            return
        with scratch_folder() as folder:
            place = folder / "bundle"
            write_bundle(self.compiled, place, [choose(name) for name in backends])
            written = read_bundle(place)
            runnable = {**of.runnable, **written.runnable}  # those that do not run stay named
            yield InMemory(
                program=written.program,
                network=written.network,
                integers=written.integers,
                runnable=runnable,
                bits=written.bits,
            )

    def _run_backend(self, backend: Runnable, samples: Samples, options: Any, bars: Any) -> ir.Spikes:
        with self._written([backend.name]) as written:
            artefact = written.runnable[backend.name]
            return backend.run(artefact, samples, options, lambda done, total: bars(backend.name, done, total))

    def _subject(self) -> Subject:
        return of_deployment(self.compiled) if self.bundle is None else of_bundle(self.bundle)

    def __str__(self) -> str:
        return as_text(self._shown())

    def __repr__(self) -> str:
        return (
            f"<Deployment of {self.compiled.source.model}: {len(self.program.graph.nodes)} nodes, T={self.timesteps}>"
        )

    def _repr_html_(self) -> str:
        return as_html(self._shown())

    def _shown(self) -> list[Part]:
        program, numbers = self.program, ("latency",)
        rows = tuple(
            (node.name, "x".join(map(str, node.shape)), program.bounds[node.name].kind,
             str(program.schedule.latency[node.name]))
            for node in program.graph.recorded
        )  # fmt: skip
        of = self.compiled
        title = (
            f"{of.source.model}: T={self.timesteps}, calibrated on {of.calibration_samples} samples of "
            f"{of.calibrated_on}, for {', '.join(self.targets)}"
        )
        return [Table(title=title, columns=("layer", "shape", "range", *numbers), numbers=numbers, rows=rows)]


def _run_options(backend: Runnable, options: Mapping[str, Any]) -> Any:
    known = backend.run_options.__dataclass_fields__
    if unknown := [name for name in options if name not in known]:
        raise OptionError(f"{unknown[0]}: {backend.name} runs with {', '.join(known) or 'no options'}.")
    return backend.run_options(**options)
