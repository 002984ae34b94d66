"""C: the program as freestanding C99 sources, for microcontrollers and wherever a C compiler is; they also run here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snn2hw.data.aliases import Note, Progress
from snn2hw.errors import Blocker, OptionError
from snn2hw.exporters import Part, option
from snn2hw.exporters.trust import TRUST

if TYPE_CHECKING:
    from snn2hw import ir
    from snn2hw.data.samples import Samples
    from snn2hw.deployment import Deployment

KERNELS = ("auto", "dense", "events")
OPTIMISE = {"native": ("-O3", "-march=native"), "generic": ("-O3",), "small": ("-Os",)}
"""Flags of the compiler by the name of what it is asked for."""


@dataclass(frozen=True, kw_only=True)
class COptions:
    """How the sources are written; docs/backends.md says what each choice is for."""

    prefix: str = option("snn", "For c and wasm: what every name in the C sources begins with.")
    kernels: str = option("auto", "For c and wasm: auto (as the layers fire), dense (products) or events (per spike).")
    flash: str | None = option(None, "For c: bytes of flash that there are, such as 512k.", metavar="SIZE")
    ram: str | None = option(None, "For c: bytes of RAM that there are, such as 96k.", metavar="SIZE")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,15}", self.prefix):
            raise OptionError(f"--prefix {self.prefix}: up to 16 letters, digits and _ are possible, a letter first.")
        if self.kernels not in KERNELS:
            raise OptionError(f"--kernels {self.kernels}: choose {', '.join(KERNELS)}.")
        for name in ("flash", "ram"):
            self.bytes_of(name)

    def bytes_of(self, name: str) -> int | None:
        """A size in bytes; None if it was not given. Raises OptionError if it is none."""
        text: str | None = getattr(self, name)
        if text is None:
            return None
        size = re.fullmatch(r"(\d+)([kKmM]?)", text)
        if size is None:
            raise OptionError(f"--{name} {text}: give bytes, or kibibytes or mebibytes as in 512k or 2M.")
        return int(size[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[size[2].lower()]


@dataclass(frozen=True, kw_only=True)
class CRun:
    """How the sources are compiled to be run here."""

    compiler: str | None = option(None, "The C compiler. Default: cc, gcc or clang of the PATH, or ziglang's.")
    trust_bundle: bool = TRUST
    optimise: str = option("native", f"For c: {', '.join(OPTIMISE)}: what the compiler optimises for.")

    def __post_init__(self) -> None:
        if self.optimise not in OPTIMISE:
            raise OptionError(f"--optimise {self.optimise}: choose {', '.join(OPTIMISE)}.")


class CBackend:
    """Writes a folder of C sources with a self-test, compiles them and runs them."""

    name = "c"
    suffix = ".bundle"
    bundled = True
    options = COptions
    run_options = CRun

    def blockers(self, deployment: Deployment, options: COptions) -> list[Blocker]:
        """Sums beyond 64 bits, and what does not fit the memory that the options name."""
        from snn2hw.exporters.c.write import find_blockers

        flash, ram = options.bytes_of("flash"), options.bytes_of("ram")
        return find_blockers(deployment, flash=flash, ram=ram, kernels=options.kernels)

    def check_place(self, place: Path) -> None:
        """A bundle may be replaced, nothing else."""
        from snn2hw.exporters.bundle import check_output

        check_output(place)

    def write(self, deployment: Deployment, place: Path, options: COptions) -> Sequence[str]:
        """Write the sources. The lines say how much memory they take."""
        from snn2hw.exporters.c.write import lines_of, write_folder

        return lines_of(write_folder(deployment, place, prefix=options.prefix, kernels=options.kernels))

    def readme(self, deployment: Deployment, place: Path) -> str:
        """How to build and call the sources."""
        return f"""# The network in C

{place} holds freestanding C99: no heap, no floating point, no library but memcpy and memset. `make -C {place} check`
compiles it with its self-test, which compares every layer and step with the program and prints `ok` or the first
difference. {place}/network.h says what to call, how inputs become payloads, and how much memory it takes; copy
network.c, network.h, kernels.c, kernels.h, parameters.c and parameters.h into a project of your own.
"""

    def parts(self) -> Sequence[Part]:
        """A C compiler."""
        from snn2hw.errors import BackendError
        from snn2hw.exporters.c.build import ADVICE, find_compiler

        try:
            return (Part(name="C compiler", present=" ".join(find_compiler())),)
        except BackendError:
            return (Part(name="C compiler", present="none", advice=ADVICE),)

    def prepare(self, tell: Note) -> None:
        """Raise BackendError where there is no C compiler."""
        from snn2hw.exporters.c.build import find_compiler

        find_compiler()

    def run(self, artefact: Path, samples: Samples, options: CRun, progress: Progress) -> ir.Spikes:
        """Compile the sources and run them: logits [N, K], spikes [N, T, *shape] by layer."""
        from snn2hw.exporters.c.code import check_sources
        from snn2hw.exporters.c.run import run_compiled

        check_sources(artefact, trusted=options.trust_bundle)
        flags = OPTIMISE[options.optimise]
        return run_compiled(artefact, samples, compiler=options.compiler, optimise=flags, progress=progress)


BACKEND = CBackend()
