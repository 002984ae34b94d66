"""What a report is of: a program and what it was made from, as a bundle holds it or as it was just compiled."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

import nir

from snn2hw import ir
from snn2hw.deployment import Deployment
from snn2hw.exporters.bundle import Bundle, calibration_of, source_of, versions
from snn2hw.ir.file import write_program
from snn2hw.network.write_integers import integer_graph


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A program, the float network and the integer graph, and where they came from.

    name: what people call it. source, calibration, made_with: as the manifest of a bundle has them. program_sha256: of
    program.npz, as it is or would be written. bundle_sha256: of the digests of all files of the bundle; "" without one.
    """

    name: str
    program: ir.Program
    network: nir.NIRGraph
    integers: nir.NIRGraph
    source: dict[str, Any]
    calibration: dict[str, Any]
    made_with: dict[str, str]
    program_sha256: str
    bundle_sha256: str


def of_bundle(bundle: Bundle) -> Subject:
    """What a bundle holds."""
    digests: dict[str, str] = bundle.manifest["sha256"]
    return Subject(
        name=str(bundle.path),
        program=bundle.program,
        network=bundle.network,
        integers=bundle.integers,
        source=bundle.manifest["source"],
        calibration=bundle.manifest["calibration"],
        made_with=bundle.manifest["versions"],
        program_sha256=digests["program.npz"],
        bundle_sha256=hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
    )


def of_deployment(deployment: Deployment) -> Subject:
    """What was compiled in this process, without a bundle."""
    file = io.BytesIO()
    write_program(deployment.program, file)
    return Subject(
        name=deployment.source.model,
        program=deployment.program,
        network=deployment.network,
        integers=integer_graph(deployment.program.graph),
        source=source_of(deployment, None),
        calibration=calibration_of(deployment),
        made_with=versions(),
        program_sha256=hashlib.sha256(file.getvalue()).hexdigest(),
        bundle_sha256="",
    )
