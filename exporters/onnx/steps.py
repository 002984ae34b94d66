"""The steps of a neuron one after the other: written out where they are few, a `Scan` where they are many.

Written out they are the faster ones, SEW-ResNet-18 at 32x32 by a tenth; but onnxruntime takes the longer to start the
more nodes a file has: for a digits net 0.04 s with 4 steps, 1 s with 16, 79 s with 256; with a `Scan` always 0.1 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from onnx import helper

from snn2hw.exporters.onnx.writer import Value, Writer

MOST_WRITTEN_OUT = 8


class Step(Protocol):
    """Writes one step that begins with states, none in the first step of all, and receives a charge: the states after
    it, and what it reached, by name. After a last step no states are needed.
    """

    def __call__(
        self, before: dict[str, str], charge: str, is_last: bool, /
    ) -> tuple[dict[str, str], dict[str, str]]: ...


def run_steps(
    writer: Writer, charge: Value, step: Step, states: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, str]:
    """Write all steps of a charge. states: the type of each. wanted: of what a step reaches, what is returned, and
    its type: tensors [samples, T, *shape] by name.
    """
    by_sample = writer.by_sample(charge)
    if writer.timesteps > MOST_WRITTEN_OUT:
        return _scan(writer, charge, by_sample, step, states, wanted)
    reached: dict[str, list[str]] = {name: [] for name in wanted}
    before: dict[str, str] = {}
    for number, arriving in enumerate(_split(writer, by_sample), 1):
        before, made = step(before, arriving, number == writer.timesteps)
        for name in wanted:
            reached[name].append(made[name])
    return {name: _joined(writer, steps) for name, steps in reached.items()}


def _split(writer: Writer, tensor: str) -> list[str]:
    """The tensors [samples, 1, *shape] of each step."""
    if writer.timesteps == 1:
        return [tensor]
    return writer.apply_several("Split", [tensor], writer.timesteps, axis=1, num_outputs=writer.timesteps)


def _joined(writer: Writer, steps: list[str]) -> str:
    return steps[0] if len(steps) == 1 else writer.apply("Concat", *steps, axis=1)


def _scan(
    writer: Writer, charge: Value, by_sample: str, step: Step, states: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, str]:
    """A loop over the steps whose states begin as zeros [samples, *shape]."""
    sizes = writer.apply("Concat", writer.samples, writer.shape(*charge.shape), axis=0)
    starts = [writer.apply("Expand", writer.constant(np.zeros((), dtype), "start"), sizes) for dtype in states.values()]
    before = {name: writer.name(f"{name} before") for name in states}
    arriving = writer.name("charge")
    with writer.nodes_apart() as body:
        after, made = step(before, arriving, False)
        outputs = [writer.apply("Identity", after[name]) for name in states]
        outputs += [writer.apply("Identity", made[name]) for name in wanted]
    types = [*states.values(), *wanted.values()]
    graph = helper.make_graph(
        body,
        writer.name("step"),
        [
            _typed(name, dtype)
            for name, dtype in zip([*before.values(), arriving], [*states.values(), charge.dtype], strict=True)
        ],
        [_typed(name, dtype) for name, dtype in zip(outputs, types, strict=True)],
    )
    results = writer.apply_several(
        "Scan",
        [*starts, by_sample],
        len(outputs),
        body=graph,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1] * len(wanted),
    )
    return dict(zip(wanted, results[len(states) :], strict=True))


def _typed(name: str, dtype: Any) -> Any:
    """A tensor of any shape in the body of a loop."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
