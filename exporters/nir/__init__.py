"""NIR files: the float graph or the integer graph of a compiled model, in the form that other tools can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snn2hw.errors import Blocker, UnsupportedError
from snn2hw.exporters import option
from snn2hw.files import check_file

if TYPE_CHECKING:
    import nir

    from snn2hw.deployment import Deployment


@dataclass(frozen=True, kw_only=True)
class NirOptions:
    """How a .nir file is written.

    profile: plain (the natural nodes), portable (the same file runs in SpikingJelly, norse and snnTorch) or legacy
    (nir 1.0.4 reads it: sinabs, rockpool); docs/nir.md has the rules of each. quantised: the integer network, as it is
    deployed, instead of the float one. allow_lossy: write also what NIR has no word for, in the metadata.
    """

    profile: str = option(
        "plain",
        "For nir: plain, portable (SpikingJelly, norse, snnTorch) or legacy (nir 1.0.4).",
        show_default=False,
    )
    quantised: bool = option(False, "For nir: the integers that are deployed.")
    allow_lossy: bool = option(False, "For nir: write what NIR has no word for into the metadata.")

    def __post_init__(self) -> None:
        from snn2hw.exporters.nir.profiles import find_profile

        find_profile(self.profile)


class NirBackend:
    """Writes a .nir file; nothing here runs it, but snn2hw.interop knows tools that do."""

    name = "nir"
    suffix = ".nir"
    bundled = False
    options = NirOptions

    def blockers(self, deployment: Deployment, options: NirOptions) -> list[Blocker]:
        """What NIR has no word for, unless it may be lost, and every node that the profile has no form for."""
        from snn2hw.exporters.nir.losses import find_losses
        from snn2hw.exporters.nir.profiles import find_profile

        try:
            graph = _graph(deployment, options)
            if options.profile != "plain":
                find_profile(options.profile)(graph, whole=options.quantised)
        except UnsupportedError as error:
            return error.blockers
        return [] if options.allow_lossy else [loss.as_blocker() for loss in find_losses(graph)]

    def check_place(self, place: Path) -> None:
        """A file may be replaced, a folder may not."""
        check_file(place)

    def write(self, deployment: Deployment, place: Path, options: NirOptions) -> Sequence[str]:
        """Write the file. The lines say what other tools will compute otherwise, and what their float32 holds."""
        from snn2hw.exporters.nir.files import write_graph
        from snn2hw.exporters.nir.losses import find_losses, float32_note
        from snn2hw.exporters.nir.profiles import find_profile

        graph = _graph(deployment, options)
        encoded = find_profile(options.profile)(graph, whole=options.quantised)
        write_graph(encoded, place, legacy=options.profile == "legacy")
        lines = [str(loss) for loss in find_losses(graph)]
        return [*lines, float32_note(deployment.program)] if options.quantised else lines

    def readme(self, deployment: Deployment, place: Path) -> str:
        """What the file is for."""
        return f"""# The network for NIR tools

{place} is the network as a NIR graph: other tools read it with `nir.read`. docs/nir.md of snn2hw says which of them run
which profile, and what they compute otherwise.
"""


def _graph(deployment: Deployment, options: NirOptions) -> nir.NIRGraph:
    """The graph that the options ask for, in normal form."""
    from snn2hw.network.write_integers import integer_graph

    return integer_graph(deployment.program.graph) if options.quantised else deployment.network


BACKEND = NirBackend()
