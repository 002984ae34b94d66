"""snn2hw verify: PyTorch, the program and Lava side by side."""

from __future__ import annotations

import json
from pathlib import Path

from snn2hw.cli import console
from snn2hw.cli.commands.arguments import check_deadline, check_models, process_kind, take_samples, tell_notes
from snn2hw.exporters.lava import read_bundle
from snn2hw.exporters.lava.environment import ensure_environment
from snn2hw.files import check_file, write_text
from snn2hw.verification.provenance import model_of
from snn2hw.verification.verify import verify as verify_bundle


def verify(
    bundle_path: Path,
    data: str,
    json_file: Path | None,
    *,
    samples: int | None,
    model: str | None,
    weights: str | None,
    trust_pickle: bool,
    saturate: bool,
    skip_corrupt: bool,
    processes: str,
    lava_processes: int | None,
    models: Path | None,
    deadline: float | None,
) -> str:
    """Verify a bundle; print and write the result; return the verdict."""
    kind = process_kind(processes, lava_processes)
    check_models(models, kind)
    check_deadline(deadline)
    check_file(json_file)
    bundle = read_bundle(bundle_path)
    chosen = take_samples(data, bundle.program, samples, saturate=saturate, skip_corrupt=skip_corrupt)
    loaded, missing = model_of(bundle, model, weights, trust_pickle)
    tell_notes(loaded)
    ensure_environment(console.note)
    with console.bars() as bars:
        result = verify_bundle(
            bundle,
            chosen,
            loaded,
            processes=kind,
            lava_processes=lava_processes,
            models=models,
            missing_model=missing,
            deadline=deadline,
            progress=bars,
        )
    conventions = bundle.manifest["conventions"]
    console.show_verification(result)
    console.show_manifest_conventions(conventions)
    console.show_verdict(result)
    if json_file is not None:
        of = {"program_sha256": bundle.manifest["sha256"]["program.npz"], "data_sha256": chosen.sha256}
        write_text(json_file, json.dumps(result.to_json() | of | {"conventions": conventions}, indent=1) + "\n")
    return result.verdict
