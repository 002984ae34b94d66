"""Writes the folder of the C back end, and says what stands in its way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw.deployment import Deployment
from snn2hw.errors import Blocker
from snn2hw.exporters.c.generate import Sources
from snn2hw.exporters.c.memory import Memory, measure, total_type
from snn2hw.exporters.c.plan import Convolved, Plan, plan
from snn2hw.exporters.c.run import SCHEMA
from snn2hw.exporters.c.vectors import Vectors, lines_up, make_vectors

TEMPLATES = ("network.h", "network.c", "kernels.h", "kernels.c", "host.c", "selftest.c", "Makefile", "CMakeLists.txt")
LARGEST = 5
"""So many of the largest layers are named where a program is too large."""
INT64 = 1 << 63


def find_blockers(deployment: Deployment, *, flash: int | None, ram: int | None, kernels: str) -> list[Blocker]:
    """What cannot be written as C, or is larger than the target's memory (in bytes)."""
    program = deployment.program
    blockers = [
        Blocker(
            layer=name,
            problem=f"its sums may reach {bound.accumulator}, and C has whole numbers of 64 bits",
            advice="Use fewer weight bits or input bits",
        )
        for name, bound in program.bounds.items()
        if bound.accumulator >= INT64
    ]
    if not lines_up(program):
        blockers.append(
            Blocker(
                layer=program.graph.input.name,
                problem="the program's delays are not those of its graph, so its steps do not line up",
                advice="Compile the model again",
            )
        )
    if blockers or (flash is None and ram is None):
        return blockers
    made, memory = plan_of(deployment, make_vectors(deployment), kernels)
    return [
        Blocker(
            layer=made.program.graph.readout.name,
            problem=f"the program needs {needed:,} bytes of {name}, and there are {given:,}",
            advice=f"The largest layers are {_largest(memory, name)}. Use a smaller net or a larger target",
        )
        for name, needed, given in (("flash", memory.flash, flash), ("RAM", memory.ram, ram))
        if given is not None and needed > given
    ]


def plan_of(deployment: Deployment, vectors: Vectors, kernels: str) -> tuple[Plan, Memory]:
    """The plan of a deployment's program, with kernels as its layers fire for the vectors, and its memory."""
    made = plan(deployment.program, _activity(deployment, vectors), kernels)
    return made, measure(made)


def _activity(deployment: Deployment, vectors: Vectors) -> dict[str, float]:
    """The mean size of the values of each layer that spikes, and of the input."""
    return vectors.activity() | {deployment.program.graph.input.name: float(np.abs(vectors.payloads).mean())}


def write_folder(
    deployment: Deployment, place: Path, *, prefix: str, kernels: str, more: Iterable[str] = ()
) -> Sources:
    """Write the sources to a new folder `place`, whole or not at all. more: further templates."""
    vectors = make_vectors(deployment)
    made, memory = plan_of(deployment, vectors, kernels)
    sources = Sources(plan=made, memory=memory, prefix=prefix, title=deployment.source.model)
    few = vectors.few(made)
    written = {
        "title": sources.title,
        "prefix": prefix,
        "kernels": kernels,
        "activity": _activity(deployment, vectors),
    }
    place.mkdir()
    try:
        for template in (*TEMPLATES, *more):
            (place / template).write_text(sources.render(template))
        (place / "parameters.h").write_text(sources.parameters_header())
        (place / "vectors.h").write_text(sources.vectors_header(few))
        for name, parts in (("parameters.c", sources.parameters()), ("vectors.c", sources.vectors(few))):
            with (place / name).open("w") as file:
                file.writelines(parts)
        (place / "layers.json").write_text(json.dumps(_description(sources) | {"written": written}, indent=1) + "\n")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return sources


def _description(sources: Sources) -> dict[str, Any]:
    """layers.json: what who runs the network must know of it."""
    made, graph = sources.plan, sources.plan.program.graph
    return {
        "schema": SCHEMA,
        "prefix": sources.prefix,
        "steps": made.program.schedule.timesteps,
        "input": {
            "shape": list(graph.input.shape),
            "dtype": _numpy(made.input.ctype),
            "scale": graph.input.scale,
            "low": graph.input.low,
            "high": graph.input.high,
        },
        "logits": {"shape": list(graph.readout.shape), "dtype": _numpy(total_type(made, made.readout))},
        "heads": {head.name: [head.start, head.stop] for head in graph.readout.heads},
        "flash": sources.memory.flash,
        "ram": sources.memory.ram,
        "layers": [
            {
                "name": use.stage.name,
                "shape": list(use.stage.node.shape) if use.stage.node else None,
                "dtype": _numpy(use.stage.result.ctype) if use.stage in made.recorded and use.stage.result else "",
                "flash": use.constants,
                "ram": use.states,
            }
            for use in sources.memory.uses
        ],
    }


def _numpy(ctype: str) -> str:
    """The name of a C type as numpy calls it."""
    return ctype.removesuffix("_t")


def _largest(memory: Memory, name: str) -> str:
    """The largest layers in flash or RAM, each with its bytes."""
    sizes = [(use.constants if name == "flash" else use.states, use.stage.name) for use in memory.uses]
    return ", ".join(f"{layer} ({size:,})" for size, layer in sorted(sizes, reverse=True)[:LARGEST] if size)


def lines_of(sources: Sources) -> list[str]:
    """What people are told of what was written."""
    memory = sources.memory
    terms = [term for stage in sources.plan.stages for term in stage.terms if isinstance(term, Convolved)]
    kernels = [term.kernel for term in terms]
    events = kernels.count("events")
    return [
        f"Flash: {memory.flash:,} bytes at most ({memory.constants:,} constants, the rest code). RAM: {memory.ram:,} "
        f"bytes ({memory.states:,} states, {memory.values:,} values of a step, {memory.working:,} working memory).",
        f"{events} layers add the weights of spikes, {len(kernels) - events} multiply.",
    ]
