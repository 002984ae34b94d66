"""The Lava bundle: a directory that runs in Lava without snn2hw, and says what it holds and where it came from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nir
import numpy as np

from snn2hw import __version__, ir
from snn2hw.deployment import Deployment
from snn2hw.errors import BundleError, OptionError
from snn2hw.exporters.nir import integer_graph
from snn2hw.ir.file import kind_name, read_program, write_program
from snn2hw.ir.gates import joins
from snn2hw.network.nir_file import read_nir

SCHEMA = "snn2hw.bundle/1"
RUNTIME = Path(__file__).parent / "runtime"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.ini", "*.toml", ".*")
VERSIONS_OF = ("torch", "nir", "numpy")


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


def export(deployment: Deployment, output: Path) -> None:
    """Write a bundle to the directory `output`: complete, or not at all. An older bundle there is replaced.

    Raises OptionError if `output` exists and is not a bundle.
    """
    check_output(output)
    integers = integer_graph(deployment.program.graph)
    with directory_in_place(output) as beside:
        write_program(deployment.program, beside / "program.npz")
        for name, graph in (("network.nir", deployment.network), ("quantised.nir", integers)):
            nir.write(beside / name, graph, compression="lzf")  # half of gzip's time for a tenth more bytes
        shutil.copytree(RUNTIME, beside / "lava", ignore=LEFT_OUT)
        (beside / "README.md").write_text(_readme(deployment.program))
        write_manifest(beside, _manifest(deployment, output))


def check_output(output: Path) -> None:
    """Raise OptionError if something stands at `output` that a bundle must not replace."""
    if os.path.lexists(output) and not _is_bundle(output):
        raise OptionError(f"{output} exists and is not a bundle. Choose another -o, or remove it.")


def write_manifest(bundle: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json with the sha256 of every other file of the bundle, and of the manifest itself."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "manifest.json")
    sealed = {key: value for key, value in manifest.items() if key not in ("sha256", "manifest_sha256")}
    sealed["sha256"] = {path.relative_to(bundle).as_posix(): _sha256(path.read_bytes()) for path in files}
    sealed["manifest_sha256"] = _seal(sealed)
    (bundle / "manifest.json").write_bytes(_manifest_bytes(sealed))


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file's sha256.

    Raises BundleError if it is no bundle, of another version, or a file is missing, changed, or new code.
    """
    manifest = _read_manifest(path)
    for name, digest in manifest["sha256"].items():
        file = path / name
        if not file.is_file():
            raise BundleError(f"{path}: {name} is missing. Export the bundle again.")
        if _sha256(file.read_bytes()) != digest:
            raise BundleError(f"{path}: {name} was changed after the export (its sha256 differs). Export it again.")
    for file in sorted((path / "lava").rglob("*.py")):  # Python would import it instead of a module of the same name
        if file.relative_to(path).as_posix() not in manifest["sha256"]:
            raise BundleError(f"{file}: this file was added after the export. Remove it, or export the bundle again.")
    program = read_program(path / "program.npz")
    return Bundle(
        path=path,
        manifest=manifest,
        program=program,
        network=read_nir(path / "network.nir"),
        integers=read_nir(path / "quantised.nir"),
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        raise BundleError(
            f"{path}: no manifest.json, so this is not a bundle. Make one with snn2hw export --target lava."
        )
    content = file.read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(content)
        intact = content == _manifest_bytes(manifest)
        seal = manifest.pop("manifest_sha256")
        schema, files = manifest["schema"], manifest["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: damaged ({type(error).__name__}: {error}). Export the bundle again.") from None
    if schema != SCHEMA:
        raise BundleError(f"{file}: schema {schema!r}; this version of snn2hw reads {SCHEMA!r}. Export it again.")
    if not intact or seal != _seal(manifest) or "program.npz" not in files:
        raise BundleError(f"{file}: it was changed after the export (its sha256 differs). Export the bundle again.")
    return manifest


@contextmanager
def directory_in_place(output: Path) -> Iterator[Path]:
    """A directory beside `output` that takes its place when all went well, and is gone otherwise."""
    output = output.resolve()  # a link stays, and what it leads to is replaced
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield beside
        beside.chmod(0o755)
        if output.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
            os.replace(output, old)  # a directory may replace an empty one
            os.replace(beside, output)
            shutil.rmtree(old)
        else:
            os.replace(beside, output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _manifest(deployment: Deployment, output: Path) -> dict[str, Any]:
    program, source = deployment.program, deployment.source
    graph, node = program.graph, program.graph.input
    file = None if source.file is None else os.path.relpath(Path(source.file).resolve(), output.resolve())
    return {
        "schema": SCHEMA,
        "versions": {"snn2hw": __version__, "python": platform.python_version()}
        | {name: version(name) for name in VERSIONS_OF},
        "source": {"model": source.model, "file": file, "sha256": source.sha256, "options": source.options},
        "calibration": {"data": deployment.calibrated_on, "samples": deployment.calibration_samples},
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
        "conventions": {name: vars(found) for name, found in deployment.conventions.items()},
    }


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
    own = ("program.npz", "lava/run.py")  # a manifest.json stands in many folders
    return (path / "manifest.json").is_file() and any((path / name).is_file() for name in own)


def _manifest_bytes(manifest: dict[str, Any]) -> bytes:
    return f"{json.dumps(manifest, indent=1)}\n".encode()


def _seal(manifest: dict[str, Any]) -> str:
    return _sha256(json.dumps(manifest, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _readme(program: ir.Program) -> str:
    node = program.graph.input
    shape = ", ".join(map(str, node.shape))
    levels = float(np.float64(node.scale))
    return f"""# A spiking network for Lava

Made by snn2hw {__version__}. It runs in any Python 3.10 with lava-nc 0.10.0 and numpy below 2; snn2hw is not needed:

    python lava/run.py --input x.npz --output spikes.npz

- x.npz holds `x`: real values [N, {shape}], shown at each of {program.schedule.timesteps} steps, or
  [N, {program.schedule.timesteps}, {shape}], one frame a step. Each becomes the payload clip(rint(x / {levels:.9g}),
  {node.low}, {node.high}); values outside that range are refused, or clipped with `--saturate`.
- spikes.npz gets `logits` [N, {program.graph.readout.shape[0]}] as integers and the spikes of every layer [N, T, ...],
  aligned to the input steps; of a model with several heads also each head's own logits as `logits.<head>`.
- `--processes structural` runs the same network, slowly, with one process for each node, Lava's own where they are
  exact; `--stock-only` with Lava's own alone; `--help` lists the rest.
- `--models FILE.py` puts process models of your own, such as ones for hardware, in the place of those in
  lava/processes/fused.py. The file lists them as MODELS; each implements a Process of lava/processes/regions.py.
  docs/lava.md of snn2hw says what a model must do, and has an example.
- If a run fails, exit code 2 and stderr say so, and nothing is left of it.

manifest.json describes the layers, their latency in cycles, their reset offsets and the bounds of their accumulators.
program.npz holds the integers, quantised.nir the same network for other NIR tools, network.nir the float network.
"""
