"""How a model takes time is found out by capturing it in each way that it could: one step a call, or all of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import nir
import torch
from torch import nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker, DataError, Snn2hwError, UnsupportedError
from snn2hw.frontends.neurons import is_multi_step, is_spiking_neuron, reader_of
from snn2hw.frontends.torch.builder import Holder
from snn2hw.frontends.torch.capture import NEURON, Captured, capture
from snn2hw.frontends.torch.emissions import Emission, Head
from snn2hw.frontends.torch.lower import Lowering
from snn2hw.frontends.torch.places import is_users, place_of
from snn2hw.frontends.torch.separate import drop_unused, separate_readers
from snn2hw.frontends.torch.time_in import TimeIn
from snn2hw.network.neuron_rule import Float

_SAMPLES = 2  # more than one, so that samples can be told apart
_STEPS = 4  # where nothing says how many there are


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A model read in one way: what came of it, and what is in the way.

    starts: by the path of a neuron the membranes [*shape] that its caller starts it from.
    """

    time: TimeIn
    steps: int
    samples: int
    captured: Captured
    network: nir.NIRGraph
    blockers: list[Blocker]
    origin: Mapping[str, list[Emission]]
    neurons: frozenset[str]
    holders: Mapping[str, Holder]
    heads: tuple[Head, ...]
    dtype: torch.dtype
    starts: Mapping[str, Float]

    @property
    def calls(self) -> int:
        """How often a neuron is called, at most."""
        return max(self.captured.calls.values(), default=0)

    @property
    def loops(self) -> bool:
        """Whether every neuron is called several times, as in a loop over time."""
        return min(self.captured.calls.values(), default=0) > 1


def read(module: nn.Module, input_shape: Shape, timesteps: int | None, time: TimeIn | None) -> Reading:
    """A model, wrapped (`wrap_neurons`), in the way `time` that it takes time, or in the first in which nothing is in
    the way.

    If the model cannot be captured in any, raises what says more than that it takes no such input, of the most natural
    way that has it.
    """
    steps = timesteps or _STEPS
    multi_step = is_multi_step(module)
    ways: list[TimeIn] = ["first", "second", "inside"] if multi_step else ["step", "inside", "first", "second"]
    if time is not None:
        return _read(module, input_shape, time, steps)
    readings: list[Reading] = []
    problems: list[Snn2hwError] = []
    for way in ways:
        if way == "inside" and not multi_step and (not readings or readings[0].calls < 2):
            continue
        try:
            reading = _read(module, input_shape, way, steps)
        except Snn2hwError as error:
            problems.append(error)
            continue
        if not reading.blockers or (way == "step" and reading.calls < 2):
            return reading
        readings.append(reading)
    if readings:
        return min(readings, key=_distance)
    raise next((problem for problem in problems if not isinstance(problem, DataError)), problems[0])


def _distance(reading: Reading) -> tuple[bool, int, int, bool]:
    """How far a reading is from what the model's author may have meant, more of it the larger."""
    is_step = reading.time == "step"
    return is_step and reading.loops, -len(reading.neurons), len(reading.blockers), is_step


def captured(module: nn.Module, input_shape: Shape, time: TimeIn, steps: int, samples: int) -> Captured:
    """A wrapped module's forward for so many steps and samples, in which every current has one reader."""
    leading = {"first": (steps, samples), "second": (samples, steps)}.get(time, (samples,))
    example = torch.zeros(*leading, *input_shape, dtype=dtype_of(module))
    taken = capture(module, example, leading=len(leading))
    drop_unused(taken.graph)
    separate_readers(taken.graph, taken.input)
    return taken


def dtype_of(module: nn.Module) -> torch.dtype:
    """A model's arithmetic."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _read(module: nn.Module, input_shape: Shape, time: TimeIn, steps: int) -> Reading:
    taken = captured(module, input_shape, time, steps, _SAMPLES)
    if time == "step":
        steps = 1
    elif time == "inside":
        steps = _steps_inside(module, taken)
    dtype = dtype_of(module)
    multi_step = is_multi_step(module)
    lowering = Lowering(module, taken, dtype=dtype, steps=steps, samples=_SAMPLES, multi_step=multi_step)
    network = lowering.run(input_shape, time)
    for blocker in lowering.blockers:
        if blocker.layer == "output" and not blocker.line:
            blocker.line = _line(module)
    return Reading(
        time=time,
        steps=steps,
        samples=_SAMPLES,
        captured=taken,
        network=network,
        blockers=lowering.blockers,
        origin=lowering.origin,
        neurons=frozenset(lowering.model.neurons),
        holders=lowering.model.builder.holders,
        heads=lowering.heads,
        dtype=dtype,
        starts={path: calls.start for path, calls in lowering.model.neurons.items() if calls.start is not None},
    )


def _steps_inside(module: nn.Module, taken: Captured) -> int:
    """The steps of a loop over one input, or of a dimension that the model adds."""
    for node in taken.graph.nodes:
        if node.target is NEURON and getattr(module.get_submodule(node.args[2]), "step_mode", "s") == "m":
            return int(node.args[0].meta["val"].shape[0])
    return max(taken.calls.values(), default=1)


def wrap_neurons(module: nn.Module) -> None:
    """Put in place of neurons that do not run step by step by themselves what does so for them."""
    for path, part in list(module.named_modules()):
        reader = reader_of(part) if is_spiking_neuron(part) else None
        if reader and reader.wrap and not reader.refused and path:
            parent, _, leaf = path.rpartition(".")
            setattr(module.get_submodule(parent), leaf, reader.wrap(part))


def refuse_more_inputs(model: nn.Module) -> None:
    """Refuse a forward that takes no input, or needs more than one."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    takes = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if len(needed) > 1:
        advice = "Give all but the first a default value, or write a forward that takes the input alone"
        problem = f"the model's forward takes {len(needed)} inputs: {', '.join(needed)}"
        raise UnsupportedError([Blocker(layer=needed[1], problem=problem, advice=advice, line=_line(model))])
    if not takes:
        problem = "the model's forward takes no input by its position"
        advice = "Write a forward that takes the input as its first argument: def forward(self, x)"
        raise UnsupportedError([Blocker(layer="input", problem=problem, advice=advice, line=_line(model))])


def _line(model: nn.Module) -> str:
    """FILE:LINE of a model's forward where the user wrote it; else ""."""
    code = getattr(inspect.unwrap(model.forward), "__code__", None)
    return place_of(code.co_filename, code.co_firstlineno) if code and is_users(code.co_filename) else ""
