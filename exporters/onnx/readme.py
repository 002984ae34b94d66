"""How an .onnx file is run by hand: its part of a bundle's README.md."""

from __future__ import annotations

from pathlib import Path

from snn2hw import ir
from snn2hw.exporters.onnx.graph import OPSET
from snn2hw.exporters.onnx.packages import OLDEST


def readme(program: ir.Program, place: Path) -> str:
    """The text for people who have the file alone. place: of the file, relative to the bundle."""
    node, steps = program.graph.input, program.schedule.timesteps
    shape, logits = (", ".join(map(str, sizes)) for sizes in (node.shape, program.graph.readout.shape))
    oldest = ".".join(map(str, OLDEST["onnxruntime"]))
    return f"""# The network for ONNX

{place} is the integer program in standard operators (opset {OPSET}). onnxruntime {oldest} or later runs it, snn2hw is
not needed:

    import numpy, onnxruntime
    session = onnxruntime.InferenceSession("{place}")
    (logits,) = session.run(["logits"], {{"x": x}})

- `x` is [N, 1, {shape}], shown at each of {steps} steps, or [N, {steps}, {shape}], one frame a step: real values,
  float32, of which the file makes clip(rint(x / {node.scale:.9g}), {node.low}, {node.high}). A file that was exported
  with `--takes-payloads` takes those integers, int32.
- `logits` is int64 [N, {logits}]; of several heads each is also `logits.<head>`. With `--layer-spikes` the spikes of
  every layer are outputs [N, {steps}, ...] under its name.
- `peaks`, where there is such an output, is int64 [N, {steps}, numbers]: the largest sizes that the numbers in the
  metadata's `snn2hw.watched` reached. A sample in which one reaches its `limit` there has no valid result.
- The metadata `snn2hw.*` hold the program's sha256, the steps, the scale of the input and of the logits, the layers
  and the conventions of the neurons, as JSON.
"""
