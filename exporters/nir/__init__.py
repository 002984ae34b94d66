"""NIR files: the float graph or the integer graph of a compiled model, in the form that other tools can run."""

from __future__ import annotations

from pathlib import Path

from snn2hw.deployment import Deployment
from snn2hw.errors import UnsupportedError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.exporters.nir.losses import find_losses, float32_note
from snn2hw.exporters.nir.profiles import PROFILES, find_profile
from snn2hw.network.write_integers import integer_graph

__all__ = ["PROFILES", "export", "integer_graph", "write_graph"]


def export(
    deployment: Deployment,
    output: Path,
    *,
    profile: str = "plain",
    quantised: bool = False,
    allow_lossy: bool = False,
) -> list[str]:
    """Write a .nir file: complete, or not at all. Returns what people should know about it, line by line.

    Args:
        profile: plain (the natural nodes), portable (the same file runs in SpikingJelly, norse and snnTorch) or legacy
            (nir 1.0.4 reads it: sinabs, rockpool). docs/nir.md has the rules of each.
        quantised: the integer network, as it is deployed, instead of the float one.
        allow_lossy: write also what NIR has no word for, in the metadata; the lines say what will differ.
    Raises:
        OptionError: there is no such profile.
        UnsupportedError: every node that the profile cannot carry, with what to do.
    """
    encode = find_profile(profile)
    program = deployment.program
    graph = integer_graph(program.graph) if quantised else deployment.network
    losses = find_losses(graph)
    if losses and not allow_lossy:
        raise UnsupportedError([loss.as_blocker() for loss in losses])
    encoded = encode(graph, whole=quantised)
    write_graph(encoded, output, legacy=profile == "legacy")
    lines = [str(loss) for loss in losses]
    return [*lines, float32_note(program)] if quantised else lines
