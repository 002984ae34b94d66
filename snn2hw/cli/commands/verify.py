"""snn2hw verify: PyTorch, the program and the bundle's back ends side by side."""

from __future__ import annotations

from snn2hw.cli import console
from snn2hw.cli.asked import Verify
from snn2hw.cli.commands.arguments import take_samples, tell_notes
from snn2hw.exporters import runnable_backends
from snn2hw.exporters.bundle import read_bundle
from snn2hw.verification.provenance import model_of
from snn2hw.verification.verify import prepare_backends
from snn2hw.verification.verify import verify as verify_bundle

EXIT_CODES = {"exact": 0, "diverged": 1, "incomplete": 3}
"""By the verdict."""


def verify(asked: Verify) -> int:
    """Verify a bundle; print and write the result; return the exit code."""
    asked.run_options.check()
    console.check_json(asked.json_file)
    bundle = read_bundle(asked.bundle)
    asked.run_options.refuse_unused(bundle.runnable)
    backends = {name: backend for name, backend in runnable_backends().items() if name in bundle.runnable}
    samples = take_samples(
        asked.data, bundle.program, asked.samples, saturate=asked.saturate, skip_corrupt=asked.skip_corrupt
    )
    loaded, missing = model_of(bundle, asked.model, asked.weights, asked.trust_pickle)
    tell_notes(loaded)
    without = asked.without or []
    unable = prepare_backends(bundle, without, console.note)
    with console.bars() as bars:
        result = verify_bundle(
            bundle,
            samples,
            loaded,
            without=without,
            unable=unable,
            run_options={name: asked.run_options.of(backend) for name, backend in backends.items()},
            missing_model=missing,
            progress=bars,
        )
    conventions = bundle.manifest["conventions"]
    console.show_verification(result)
    console.show_manifest_conventions(conventions)
    console.show_verdict(result)
    if asked.json_file is not None:
        of = {"program_sha256": bundle.manifest["sha256"]["program.npz"], "data_sha256": samples.sha256}
        console.write_json(asked.json_file, result.to_json() | of | {"conventions": conventions})
    return EXIT_CODES[result.verdict]
