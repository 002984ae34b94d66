"""A bundle: a directory with a program, the network it was made of, and what its back ends wrote to run it.

It says what it holds and where it came from, and whoever reads it checks every byte.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import nir

from snn2hw import ir
from snn2hw.deployment import Deployment, WeightBits
from snn2hw.errors import BundleError, OptionError
from snn2hw.exporters import Backend, is_runnable
from snn2hw.exporters.manifest import SCHEMA, read_manifest, sha256, write_manifest
from snn2hw.files import VERSION, telling_what_is_needed
from snn2hw.ir.file import kind_name, read_program, write_program
from snn2hw.ir.gates import joins
from snn2hw.network.nir_file import read_nir
from snn2hw.network.write_integers import integer_graph
from snn2hw.scratch import replace_folder, scratch_folder

VERSIONS_OF = ("torch", "nir", "numpy")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A back end that is to write, and the options that it writes with."""

    backend: Backend
    options: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A bundle whose files are all as they were written."""

    path: Path
    manifest: dict[str, Any]
    program: ir.Program
    network: nir.NIRGraph
    integers: nir.NIRGraph

    @property
    def source_file(self) -> Path | None:
        """The model's file as the bundle remembers it: relative to the bundle, so both can move together."""
        file = self.manifest["source"]["file"]
        return None if file is None else (self.path / file).resolve()

    @property
    def bits(self) -> WeightBits | None:
        """The bits of the weights; None if it is from before they were written down."""
        written = self.manifest.get("weight_bits")
        return None if written is None else WeightBits(**written)

    @property
    def backends(self) -> dict[str, Entry]:
        """The back ends in it, by name."""
        return {name: Entry(**entry) for name, entry in self.manifest["backends"].items()}

    @property
    def runnable(self) -> dict[str, Path]:
        """What each runnable back end in it wrote, by name."""
        return {name: self.path / entry.artefact for name, entry in self.backends.items() if entry.runnable}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the manifest says of a back end: the file or folder that it wrote, relative to the bundle, and whether it
    runs, so that `verify` requires it.
    """

    artefact: str
    runnable: bool


def write_bundle(deployment: Deployment, output: Path, choices: Sequence[Choice]) -> list[str]:
    """Write a bundle to the directory `output`: complete, or not at all. An older bundle there is replaced.

    Returns what the back ends tell people. Raises OptionError if `output` exists and is not a bundle.
    """
    check_output(output)
    integers = integer_graph(deployment.program.graph)
    lines: list[str] = []
    with directory_in_place(output) as beside:
        write_program(deployment.program, beside / "program.npz")
        for name, graph in (("network.nir", deployment.network), ("quantised.nir", integers)):
            nir.write(beside / name, graph, compression="lzf")  # half of gzip's time for a tenth more bytes
        for choice in choices:
            place = beside / _artefact(choice.backend)
            place.parent.mkdir(exist_ok=True)
            lines += choice.backend.write(deployment, place, choice.options)
        (beside / "README.md").write_text(_readme(deployment, choices))
        write_manifest(beside, _manifest(deployment, output, choices))
    return lines


def check_output(output: Path) -> None:
    """Raise OptionError if something stands at `output` that a bundle must not replace."""
    if os.path.lexists(output) and not _is_bundle(output):
        raise OptionError(f"{output} exists and is not a bundle. Choose another -o, or remove it.")


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file's sha256.

    Raises BundleError if it is no bundle, of another version, or a file is missing, changed, or new code.
    """
    manifest = read_manifest(path)
    for name, digest in manifest["sha256"].items():
        file = path / name
        if not file.is_file():
            raise BundleError(f"{path}: {name} is missing. Export the bundle again.")
        if sha256(file.read_bytes()) != digest:
            raise BundleError(f"{path}: {name} was changed after the export (its sha256 differs). Export it again.")
    for name in manifest["backends"]:
        for file in sorted((path / name).rglob("*.py")):  # Python would import it instead of a module of the same name
            if file.relative_to(path).as_posix() not in manifest["sha256"]:
                raise BundleError(
                    f"{file}: this file was added after the export. Remove it, or export the bundle again."
                )
    program = read_program(path / "program.npz")
    _check_agreement(path, manifest, program)
    return Bundle(
        path=path,
        manifest=manifest,
        program=program,
        network=read_nir(path / "network.nir"),
        integers=read_nir(path / "quantised.nir"),
    )


def _check_agreement(path: Path, manifest: dict[str, Any], program: ir.Program) -> None:
    """Raise BundleError where the manifest says anything else of the program than the program itself."""
    options = manifest["source"]["options"]
    said = (manifest["timesteps"], options["timesteps"], tuple(options["input_shape"]))
    timesteps, shape = program.schedule.timesteps, program.graph.input.shape
    if said != (timesteps, timesteps, shape):
        raise BundleError(
            f"{path}: manifest.json speaks of {said[0]} and {said[1]} time steps and an input {list(said[2])}, the "
            f"program has {timesteps} and {list(shape)}. Export the bundle again."
        )


@contextmanager
def directory_in_place(output: Path) -> Iterator[Path]:
    """A directory on the disk of `output` that takes its place when all went well, and is gone otherwise.

    Raises CannotWrite where the disk does not take it.
    """
    output = output.resolve()  # a link stays, and what it leads to is replaced
    output.parent.mkdir(parents=True, exist_ok=True)
    with telling_what_is_needed(output), scratch_folder(output.parent) as folder:
        new = folder / output.name
        new.mkdir()
        yield new
        replace_folder(new, output)


def _artefact(backend: Backend) -> PurePosixPath:
    """Where in a bundle a back end writes: a folder of its name, or a file in that."""
    folder = PurePosixPath(backend.name)
    return folder if backend.bundled else folder / f"network{backend.suffix}"


def _manifest(deployment: Deployment, output: Path, choices: Sequence[Choice]) -> dict[str, Any]:
    program = deployment.program
    graph, node = program.graph, program.graph.input
    return {
        "schema": SCHEMA,
        "versions": versions(),
        "source": source_of(deployment, output),
        "backends": {
            choice.backend.name: {
                "artefact": str(_artefact(choice.backend)),
                "runnable": is_runnable(choice.backend),
            }
            for choice in choices
        },
        "calibration": calibration_of(deployment),
        "weight_bits": None if deployment.bits is None else asdict(deployment.bits),
        "network_vs_torch": vars(deployment.network_check),
        "timesteps": program.schedule.timesteps,
        "depth": program.schedule.depth,
        "input": {
            "shape": list(node.shape),
            "scale": node.scale,
            "dtype": "int8",
            "low": node.low,
            "high": node.high,
        },
        "logits_scale": graph.readout.scale * program.schedule.timesteps,
        "heads": [
            {
                "name": head.name,
                "start": head.start,
                "stop": head.stop,
                "logits_scale": head.scale * program.schedule.timesteps,
            }
            for head in graph.readout.heads
        ],
        "layers": [_layer(program, entry) for entry in graph if not isinstance(entry, ir.Input)],
        "joins": joins(program),
        "conventions": {name: vars(conventions) for name, conventions in deployment.conventions.items()},
    }


def versions() -> dict[str, str]:
    """The versions of what a program is made with."""
    here = {"snn2hw": VERSION, "python": platform.python_version()}
    return here | {name: version(name) for name in VERSIONS_OF}


def source_of(deployment: Deployment, bundle: Path | None) -> dict[str, Any]:
    """Where a deployment's model came from; its file relative to the bundle, if there is one."""
    source = deployment.source
    file = source.file
    if file is not None and bundle is not None:
        file = os.path.relpath(Path(file).resolve(), bundle.resolve())
    return {"model": source.model, "file": file, "sha256": source.sha256, "options": source.options}


def calibration_of(deployment: Deployment) -> dict[str, Any]:
    """What set a deployment's ranges."""
    return {"data": deployment.calibrated_on, "samples": deployment.calibration_samples}


def _layer(program: ir.Program, node: ir.Node) -> dict[str, Any]:
    bound = program.bounds[node.name]
    return {
        "name": node.name,
        "kind": kind_name(node),
        "shape": list(node.shape),
        "latency": program.schedule.latency[node.name],
        "reset_offset": program.schedule.reset_offset.get(node.name),
        "payload_max": bound.payload,
        "accumulator_bound": bound.accumulator,
        "bound": bound.kind,
    }


def _is_bundle(path: Path) -> bool:
    """Whether a bundle, whole or damaged, stands there: nothing else may be replaced."""
    others = ("program.npz", "quantised.nir")  # a manifest.json stands in many folders
    return (path / "manifest.json").is_file() and any((path / name).is_file() for name in others)


def _readme(deployment: Deployment, choices: Sequence[Choice]) -> str:
    parts = [choice.backend.readme(deployment, Path(_artefact(choice.backend))) for choice in choices]
    return (
        "\n".join(parts)
        + """
manifest.json describes the layers, their latency in cycles, their reset offsets and the bounds of their accumulators.
program.npz holds the integers, quantised.nir the same network for other NIR tools, network.nir the float network.
"""
    )
