"""Reading a model: its forward is captured, lowered to NIR, and stays at hand to be run beside what is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import nir
import torch
from torch import Tensor, nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import UnsupportedError
from snn2hw.frontends.checkpoints.checkpoint import check_finite
from snn2hw.frontends.neurons import is_spiking_neuron, reset_state
from snn2hw.frontends.neurons.against_rule import check_neurons_against_rules
from snn2hw.frontends.torch.builder import Holder
from snn2hw.frontends.torch.capture import Captured
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.emissions import Emission, Head
from snn2hw.frontends.torch.interpreter import Interpreter, Rounding
from snn2hw.frontends.torch.reading import Reading, captured, read, refuse_more_inputs, wrap_neurons
from snn2hw.frontends.torch.time_in import TimeIn
from snn2hw.frontends.torch.user_model import UserModel
from snn2hw.network.neuron_rule import Float


@dataclass(frozen=True, kw_only=True, eq=False)
class Traced:
    """A model, its NIR graph, and where the model computes what each spiking NIR node emits.

    module: a copy of the user's, whose neurons keep their states; it is run. source: the copy that was captured.
    origin: NIR node -> where the model computes the same spikes. neurons: paths of the neurons. holders: the NIR nodes
    of layers with weights. heads: where in what the model returns the logits lie. time: how the model takes time.
    steps: of a loop of its own over one input; None where the caller says how many. dtype: the model's arithmetic.
    user_model: the module that was traced, as it was. substitutes: calls of the captured graph that compute with
    another weight and bias. passed: calls that pass their input on. read, made: calls that round what they read, and
    what they compute. known: what was captured, by steps and samples.
    starts: by path the membranes [*shape] that the model itself starts a neuron from.
    """

    module: nn.Module
    source: nn.Module
    network: nir.NIRGraph
    origin: Mapping[str, list[Emission]]
    neurons: tuple[str, ...]
    holders: Mapping[str, Holder]
    heads: tuple[Head, ...]
    input_shape: Shape
    time: TimeIn
    steps: int | None
    dtype: torch.dtype
    user_model: UserModel
    substitutes: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    passed: frozenset[str] = frozenset()
    read: Mapping[str, Rounding] = field(default_factory=dict)
    made: Mapping[str, Rounding] = field(default_factory=dict)
    known: dict[tuple[int, int], Captured] = field(default_factory=dict)
    starts: Mapping[str, Float] = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """Names of the NIR nodes that hold a module's parameters: neurons and layers with weights."""
        return frozenset(self.neurons) | frozenset(self.holders)

    @property
    def multi_step(self) -> bool:
        """Whether one call of the model is all steps."""
        return self.time != "step"

    @property
    def norms(self) -> dict[str, str]:
        """Name of a layer -> path of the BatchNorm folded into it."""
        return {name: fold.norm for name, holder in self.holders.items() for fold in holder.folds if fold.norm}

    def run(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Run the model on x [T, N, *input shape]; yield per step what each node in `origin` emits, and "logits".

        The model starts from its initial state. Logits are the model's output of the step, [N, K]; of several heads,
        one behind the other.
        """
        with torch.no_grad():
            for run, steps in self.runs(x):
                for step in range(steps):
                    yield self._step(run, step, steps, x.shape[1])

    def runs(self, x: Tensor) -> Iterator[tuple[Interpreter, int]]:
        """Run the model on x [T, N, *input shape] from its initial state, once for each step or once for all; yields
        each run and the number of its steps.
        """
        reset_state(self.module)
        steps, samples = x.shape[:2]
        x = x.to(self.dtype).reshape(steps, samples, *self.input_shape)  # a line is an image of height 1 in the network
        if self.time == "step":
            for frame in x:
                yield self._run(frame, 1, samples), 1
        else:
            given = {"first": x, "second": x.transpose(0, 1), "inside": x[0]}[self.time]
            yield self._run(given, steps, samples), steps
        reset_state(self.module)

    def _run(self, given: Tensor, steps: int, samples: int) -> Interpreter:
        if (steps, samples) not in self.known:
            self.known.clear()
            self.known[steps, samples] = captured(self.source, self.input_shape, self.time, steps, samples)
        watched = {emission.call for emissions in self.origin.values() for emission in emissions}
        run = Interpreter(
            self.known[steps, samples],
            self.module,
            source=self.source,
            dtype=self.dtype,
            watched=watched,
            substitutes=self.substitutes,
            passed=self.passed,
            read=self.read,
            made=self.made,
        )
        run.run(given)
        return run

    def _step(self, run: Interpreter, step: int, steps: int, samples: int) -> dict[str, Tensor]:
        values = {name: _emitted(run.seen, emissions, step, steps, samples) for name, emissions in self.origin.items()}
        values["logits"] = torch.cat([_logits(run.returned, head, step) for head in self.heads], dim=1)
        return {name: value.to(self.dtype) for name, value in values.items()}


def _logits(returned: object, head: Head, step: int) -> Tensor:
    """The logits [N, K] of a head in a step."""
    part: object = returned
    for key in head.place:
        part = part[key]  # type: ignore[index]
    assert isinstance(part, Tensor)
    logits = part if head.time is None else part.select(head.time, step)
    return logits.reshape(len(logits), *head.shape)


def _emitted(seen: Mapping[str, Tensor], emissions: list[Emission], step: int, steps: int, samples: int) -> Tensor:
    """What a NIR node emits in a step, [N, *its shape]."""
    emission = next(emission for emission in emissions if step in emission.steps or emission.order != "n")
    values = seen[emission.call]
    match emission.order:
        case "tn":
            values = values.reshape(steps, samples, -1)[step]
        case "nt":
            values = values.reshape(samples, steps, -1)[:, step]
        case _:
            values = values.reshape(samples, -1)
    if emission.places is not None:
        values = values[:, torch.from_numpy(emission.places)]
    return values.reshape(samples, *emission.shape)


def trace(
    model: nn.Module,
    input_shape: Shape,
    *,
    timesteps: int | None = None,
    time: TimeIn | None = None,
    step_neurons: bool = True,
) -> Traced:
    """Read a model's forward and lower it to NIR.

    Args:
        model: any module whose forward takes one step [N, *input_shape], or all steps [T, N, *input_shape] or
            [N, T, *input_shape], or one input that it shows to its neurons in a loop of its own.
        input_shape: [C, H, W] or [K] of one step of one sample.
        timesteps: how many steps a model is given that takes all of them at once.
        time: how the model takes time; None to find out.
        step_neurons: run each neuron by itself beside the rule that was read from it (neuron-vs-rule); what traces one
            model again and again need not.
    Raises:
        UnsupportedError: with every construct that cannot be deployed, by layer path.
        ModelError: the model's code cannot be followed.
        DataError: it does not accept the input shape.
    """
    check_finite(model.state_dict())
    refuse_more_inputs(model)
    module = copy_of(model)
    wrap_neurons(module)
    reading: Reading = read(module, input_shape, timesteps, time)
    blockers = list(reading.blockers)
    paths = {path for path in reading.neurons if path in reading.network.nodes}
    if step_neurons:
        modules = dict(model.named_modules())
        blockers += check_neurons_against_rules(
            {path: modules[path] for path in paths & modules.keys()}, reading.network
        )
    if blockers:
        raise UnsupportedError(blockers)
    for path, start in reading.starts.items():  # the neuron itself, which was checked, knows nothing of it
        reading.network.nodes[path].v_reset = start
    return Traced(
        module=module,
        source=module,
        network=reading.network,
        origin=reading.origin,
        neurons=tuple(sorted(paths)),
        holders=reading.holders,
        heads=reading.heads,
        input_shape=input_shape,
        time=reading.time,
        steps=reading.steps if reading.time == "inside" else None,
        dtype=reading.dtype,
        user_model=UserModel(
            module=model,
            neurons=tuple(path for path in sorted(paths) if is_spiking_neuron(module.get_submodule(path))),
            time=reading.time,
            heads=reading.heads,
            input_shape=input_shape,
            orders={
                path: (emissions[0].shape, emissions[0].places)
                for path, emissions in reading.origin.items()
                if path in paths
            },
        ),
        known={(reading.steps, reading.samples): reading.captured},
        starts=reading.starts,
    )
