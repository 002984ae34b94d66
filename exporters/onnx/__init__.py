"""ONNX: the program as one .onnx file of standard operators, and onnxruntime, which runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snn2hw.data.aliases import Note, Progress
from snn2hw.errors import Blocker, BundleError, OptionError
from snn2hw.exporters import Part, option
from snn2hw.files import check_file

if TYPE_CHECKING:
    from snn2hw import ir
    from snn2hw.data.samples import Samples
    from snn2hw.deployment import Deployment


@dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """How an .onnx file is written.

    takes_payloads: its input are the integers of the input node, int32, and not real values, which it would quantise.
    layer_spikes: the spikes of every layer are outputs, under the layer's name, beside the logits.
    """

    takes_payloads: bool = option(False, "For onnx: the file takes the integers of the input, not real values.")
    layer_spikes: bool = option(False, "For onnx: the file gives the spikes of every layer beside the logits.")


@dataclass(frozen=True, kw_only=True)
class OnnxRun:
    """How a file is run. threads: of onnxruntime; None for as many as torch has."""

    threads: int | None = option(None, "Threads of onnxruntime. Default: as many as torch takes.")

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"--threads {self.threads}: at least 1 is needed.")


class OnnxBackend:
    """Writes an .onnx file, which is complete without a bundle, and runs it in onnxruntime."""

    name = "onnx"
    suffix = ".onnx"
    bundled = False
    options = OnnxOptions
    run_options = OnnxRun

    def blockers(self, deployment: Deployment, options: OnnxOptions) -> list[Blocker]:
        """Numbers beyond 64 bits, names that the file needs, and a package that is missing."""
        from snn2hw.exporters.onnx.blockers import find_blockers

        return find_blockers(deployment.program)

    def check_place(self, place: Path) -> None:
        """A file may be replaced, a folder may not."""
        check_file(place)

    def write(self, deployment: Deployment, place: Path, options: OnnxOptions) -> Sequence[str]:
        """Write the file."""
        from snn2hw.exporters.onnx.graph import build_model
        from snn2hw.files import write_bytes

        model = build_model(
            deployment.program,
            payloads=options.takes_payloads,
            spikes=options.layer_spikes,
            conventions=deployment.conventions,
        )
        write_bytes(place, model.SerializeToString(deterministic=True))
        return ()

    def readme(self, deployment: Deployment, place: Path) -> str:
        """How to run the file by hand."""
        from snn2hw.exporters.onnx.readme import readme

        return readme(deployment.program, place)

    def parts(self) -> Sequence[Part]:
        """The packages onnx and onnxruntime."""
        from snn2hw.exporters.onnx.packages import parts

        return parts()

    def prepare(self, tell: Note) -> None:
        """Raise BackendError if a package is missing or too old."""
        from snn2hw.exporters.onnx.packages import require

        require("onnx", "onnxruntime")

    def run(self, artefact: Path, samples: Samples, options: OnnxRun, progress: Progress) -> ir.Spikes:
        """Run the file in onnxruntime: the logits [N, K], and the spikes of every layer [N, T, *shape].

        They are had from the file as it is, whether it has outputs for them or not.
        """
        import torch

        from snn2hw.exporters.onnx.packages import require
        from snn2hw.files import sha256

        require("onnx", "onnxruntime")
        from snn2hw.exporters.onnx.run import read_file, run_file

        file, program = read_file(artefact), artefact.parent.parent / "program.npz"
        if file.program_sha256 != sha256(program):
            raise BundleError(f"{artefact}: it is of another program than {program}. Export the bundle again.")
        return run_file(file, samples, threads=options.threads or torch.get_num_threads(), progress=progress)


BACKEND = OnnxBackend()
