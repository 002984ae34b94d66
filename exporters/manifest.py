"""manifest.json of a bundle: what it may hold, and the seal that shows a change."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import AfterValidator, PositiveFloat

from snn2hw.documents import read_json
from snn2hw.errors import BundleError

SCHEMA = "snn2hw.bundle/1"
BEFORE_BACKENDS = {"backends": {"lava": {"artefact": "lava", "runnable": True}}}
"""What a bundle holds whose manifest is from before there were other back ends."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name.isprintable() or path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == ".":
        raise ValueError(f"{name!r} is no path inside the bundle")
    return name


def _folder(name: str) -> str:
    if "/" in _inside(name):
        raise ValueError(f"{name!r} is no name of a back end")
    return name


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("it is no sha256")
    return text


Count = Annotated[int, Ge(0)]
Size = Annotated[int, Ge(1)]
Folder = Annotated[str, AfterValidator(_folder)]
Inside = Annotated[str, AfterValidator(_inside)]
Digest = Annotated[str, AfterValidator(_digest)]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that a model was loaded with: those of the command line."""

    input_shape: list[Size]
    timesteps: Size
    weights: str | None = None
    arch: str | None = None
    connect: str | None = None
    iand_order: str | None = None
    neuron: str | None = None
    trust_pickle: bool | None = None
    dt: PositiveFloat | None = None
    time: Literal["step", "first", "second", "inside"] | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model that a bundle was made of; its file relative to the bundle."""

    model: str
    file: str | None
    sha256: Digest | None
    options: Options


@dataclass(frozen=True, kw_only=True)
class BackendEntry:
    """What a back end wrote, and whether it runs."""

    artefact: Inside
    runnable: bool


@dataclass(frozen=True, kw_only=True)
class CalibratedOn:
    """What set the ranges."""

    data: str
    samples: Count


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """How the neurons of a layer behave where frameworks differ."""

    framework: str
    fires: str
    reset: str
    start: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the commands read of a manifest. What people read besides, the program says too."""

    schema: Literal["snn2hw.bundle/1"]
    versions: dict[str, str]
    source: Source
    backends: dict[Folder, BackendEntry] = field(default_factory=dict)
    calibration: CalibratedOn
    timesteps: Size
    conventions: dict[str, Conventions]
    sha256: dict[Inside, Digest]
    manifest_sha256: Digest


def write_manifest(bundle: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json with the sha256 of every other file of the bundle, and of the manifest itself."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "manifest.json")
    sealed = {key: value for key, value in manifest.items() if key not in ("sha256", "manifest_sha256")}
    sealed["sha256"] = {path.relative_to(bundle).as_posix(): sha256(path.read_bytes()) for path in files}
    sealed["manifest_sha256"] = _seal(sealed)
    (bundle / "manifest.json").write_bytes(_manifest_bytes(sealed))


def read_manifest(bundle: Path) -> dict[str, Any]:
    """The manifest of a bundle, of the schema above and as it was written.

    Raises BundleError if there is none, it is of another version, or was changed.
    """
    file = bundle / "manifest.json"
    if not file.is_file():
        raise BundleError(
            f"{bundle}: no manifest.json, so this is not a bundle. Make one with snn2hw export --target lava."
        )
    content = file.read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(content)
        schema = manifest["schema"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{file}: damaged ({type(error).__name__}: {error}). Export the bundle again.") from None
    if schema != SCHEMA:
        raise BundleError(f"{file}: schema {schema!r}; this version of snn2hw reads {SCHEMA!r}. Export it again.")
    seal = manifest.pop("manifest_sha256", None)
    intact = content == _manifest_bytes(manifest | {"manifest_sha256": seal})
    if not intact or seal != _seal(manifest) or "program.npz" not in (manifest.get("sha256") or ()):
        raise BundleError(f"{file}: it was changed after the export (its sha256 differs). Export the bundle again.")
    try:
        read_json(content, Manifest)
    except ValueError as error:
        raise BundleError(f"{file}: {error}. Export the bundle again.") from None
    return BEFORE_BACKENDS | manifest


def sha256(content: bytes) -> str:
    """The sha256 of some bytes, as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


def _manifest_bytes(manifest: dict[str, Any]) -> bytes:
    return f"{json.dumps(manifest, indent=1)}\n".encode()


def _seal(manifest: dict[str, Any]) -> str:
    return sha256(json.dumps(manifest, sort_keys=True).encode())
