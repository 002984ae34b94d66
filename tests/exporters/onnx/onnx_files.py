"""Programs as .onnx files, run in onnxruntime."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.exporters.onnx.graph import build_model
from snn2hw.exporters.onnx.run import read_file, run_file


def run_model(model: onnx.ModelProto, samples: Samples) -> ir.Spikes:
    """The spikes of a model, written and read."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "net.onnx")
        onnx.save(model, place)
        return run_file(read_file(place), samples, threads=1, progress=lambda done, total: None)


def run_onnx(program: ir.Program, samples: Samples, *, payloads: bool = False, spikes: bool = False) -> ir.Spikes:
    """The spikes of a program in onnxruntime; its file keeps to the standard."""
    model = build_model(program, payloads=payloads, spikes=spikes, conventions={})
    onnx.checker.check_model(model, full_check=True)
    return run_model(model, samples)
