"""Lava: the programs that run a bundle in real Lava, and the environment that Lava runs in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snn2hw.data.aliases import Note, Progress
from snn2hw.errors import Blocker, OptionError
from snn2hw.exporters import NoOptions, Part, option
from snn2hw.exporters.trust import TRUST

if TYPE_CHECKING:
    from snn2hw import ir
    from snn2hw.data.samples import Samples
    from snn2hw.deployment import Deployment

Processes = Literal["fused", "structural", "stock"]
"""Which process models run: whole regions in numpy, one process per node, or Lava's processes alone."""

PROCESSES: tuple[Processes, ...] = ("fused", "structural", "stock")

CHANNEL_LIMIT = 1 << 31  # what flows between processes is int32
MOST_PROCESSES = 300  # each takes file descriptors of all the others


@dataclass(frozen=True, kw_only=True)
class LavaRun:
    """How a bundle is run in Lava; docs/lava.md says what each kind of process is. deadline: in seconds."""

    processes: str = option(
        "fused", "Lava processes: fused; structural (one for each node, slow); stock (Lava's own alone, slower)."
    )
    stock_only: bool = option(False, "The same as --processes stock.")
    lava_processes: int | None = option(
        None,
        f"At most so many fused Lava processes, 2 to {MOST_PROCESSES}. Default: 2 a core, and the source.",
    )
    models: Path | None = option(
        None,
        "Process models of your own in place of snn2hw's: docs/lava.md.",
        metavar="FILE.py",
        refused_unused=True,
    )
    deadline: float | None = option(None, "Seconds that a run in Lava may take.")
    trust_bundle: bool = TRUST

    def __post_init__(self) -> None:
        kind, most = "stock" if self.stock_only else self.processes, self.lava_processes
        if most is not None and not 2 <= most <= MOST_PROCESSES:
            raise OptionError(f"--lava-processes {most}: 2 to {MOST_PROCESSES} are possible.")
        if most is not None and kind != "fused":
            raise OptionError(f"--lava-processes: {kind} processes are one for each node. Leave it out, or take fused.")
        if kind not in PROCESSES:
            raise OptionError(f"--processes {kind}: choose {', '.join(PROCESSES)}.")
        if self.models is not None and not self.models.is_file():
            raise OptionError(f"--models {self.models}: there is no such file.")
        if self.models is not None and kind == "stock":
            raise OptionError(
                "--models: stock processes have no regions whose models could be replaced. Leave one out."
            )
        if self.deadline is not None and not self.deadline > 0:
            raise OptionError(f"--deadline {self.deadline:g}: give more than 0 seconds.")

    @property
    def kind(self) -> Processes:
        """Which process models run."""
        wanted = "stock" if self.stock_only else self.processes
        return next(kind for kind in PROCESSES if kind == wanted)


class LavaBackend:
    """Writes the run time of a bundle, which needs lava-nc and numpy alone, and runs it in Lava's environment."""

    name = "lava"
    suffix = ".lava"
    bundled = True
    options = NoOptions
    run_options = LavaRun

    def blockers(self, deployment: Deployment, options: NoOptions) -> list[Blocker]:
        """Layers whose sums the channels between Lava's processes do not hold."""
        from snn2hw.ir import is_synapse

        program = deployment.program
        return [
            Blocker(
                layer=node.name,
                problem=f"its sums may reach {program.bounds[node.name].accumulator}, and Lava carries 32 bits",
                advice="Use fewer weight bits or input bits",
            )
            for node in program.graph
            if is_synapse(node) and program.bounds[node.name].accumulator >= CHANNEL_LIMIT
        ]

    def check_place(self, place: Path) -> None:
        """A bundle may be replaced, nothing else."""
        from snn2hw.exporters.bundle import check_output

        check_output(place)

    def write(self, deployment: Deployment, place: Path, options: NoOptions) -> Sequence[str]:
        """Copy the run time. It is the same for every program, which it finds in the bundle around it."""
        from snn2hw.exporters.lava.run_time import copy_run_time

        copy_run_time(place)
        return ()

    def readme(self, deployment: Deployment, place: Path) -> str:
        """How to run the bundle by hand."""
        from snn2hw.exporters.lava.readme import readme

        return readme(deployment.program, place)

    def parts(self) -> Sequence[Part]:
        """The environment with Lava, which the first run makes, and the Python that it is made with."""
        from snn2hw.exporters.lava.environment import describe_environment

        status = describe_environment()
        ready = f"lava-nc {status.lava_version} in {status.environment}" if status.ready else "not set up"
        made = "made at the first run in Lava; now: python -m snn2hw.exporters.lava.environment"
        return (
            Part(
                name="Lava",
                present=None if status.problem else ready,
                advice=status.problem or ("" if status.ready else made),
            ),
        )

    def prepare(self, tell: Note) -> None:
        """Make Lava's environment if there is none."""
        from snn2hw.exporters.lava.environment import ensure_environment

        ensure_environment(tell)

    def run(self, artefact: Path, samples: Samples, options: LavaRun, progress: Progress) -> ir.Spikes:
        """Run the bundle around the run time in real Lava: ir.Spikes [N, T, *shape] by layer.

        Raises LavaError, and BundleError for a run time that no known version wrote, unless the options trust it.
        """
        from snn2hw.exporters.lava.run_time import check_run_time
        from snn2hw.exporters.lava.simulate import simulate

        check_run_time(artefact.with_name("lava"), trusted=options.trust_bundle)
        return simulate(
            artefact.parent,
            samples,
            processes=options.kind,
            lava_processes=options.lava_processes,
            models=options.models,
            deadline=options.deadline,
            progress=progress,
        )


BACKEND = LavaBackend()
