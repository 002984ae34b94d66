"""Whether the sources in a bundle are those that this version writes of its program: they run as the user."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from snn2hw.errors import BundleError
from snn2hw.exporters.c import COptions
from snn2hw.exporters.c.generate import Sources
from snn2hw.exporters.c.memory import measure
from snn2hw.exporters.c.plan import plan
from snn2hw.exporters.trust import check_code, code_in
from snn2hw.ir.file import read_program

COMPILED = ("network.h", "network.c", "kernels.h", "kernels.c", "host.c")
"""Templates that are compiled to run samples; parameters.c and its header come with them."""


def check_sources(folder: Path, *, trusted: bool) -> None:
    """Raise BundleError unless the bundle is trusted or its sources are written anew of its program, byte by byte."""
    if not trusted:
        check_code(folder, code_in(folder) | _written_anew(folder), trusted=False)


def _written_anew(folder: Path) -> dict[str, str]:
    """The sha256 of each file that would be compiled, as this version writes it."""
    program = read_program(folder.parent / "program.npz")
    try:
        written = json.loads((folder / "layers.json").read_text())["written"]
        options = COptions(prefix=written["prefix"], kernels=written["kernels"])
        made = plan(program, {name: float(value) for name, value in written["activity"].items()}, options.kernels)
        title = str(written["title"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{folder / 'layers.json'}: it cannot be read ({type(error).__name__}: {error}). Export the bundle again."
        ) from None
    sources = Sources(plan=made, memory=measure(made), prefix=options.prefix, title=title)
    texts = {name: sources.render(name) for name in COMPILED} | {"parameters.h": sources.parameters_header()}
    texts["parameters.c"] = "".join(sources.parameters())
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
