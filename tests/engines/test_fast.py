"""The fast simulator gives what the cycle simulator gives, and each of its kernels is checked, not trusted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hand_made_graphs import program_of
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import (
    GATES,
    GEOMETRIES,
    MORE,
    NEURONS,
    compile_model,
    geometry_net,
    random_samples,
    residual_net,
)
from test_cycle import assert_equal, residual_nets
from test_cycle_edges import OVERFLOWS, overflowing, wide_neuron
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import batches, cycle, fast, layers, synapse_kernels
from snn2hw.engines.layers import Layers
from snn2hw.errors import DataError, FixedPointOverflow, OptionError
from snn2hw.ir.fixed_point import NO_MEMORY, Reset
from snn2hw.ir.numerics import load_numerics


def run_plain(program: ir.Program, samples: Samples) -> ir.Spikes:
    """The engine as a GPU runs it, on the CPU: the kernels in plain torch."""
    spikes: ir.Spikes = {}
    engine = Layers(program, plain=True)
    assert {synapse.kernel for synapse in engine.synapses.values()} <= {"float32", "float64"}
    logits = engine.run(
        batches.payloads(program, samples),
        lambda name, values: spikes.update({name: batches.as_recorded(values, program, name)}),
    )
    return {**spikes, "logits": logits}


@settings(max_examples=20 * MORE, deadline=None)
@given(residual_nets(), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 1000))
def test_fast_equals_cycle(model: nn.Module, timesteps: int, count: int, batch: int, static: bool, seed: int) -> None:
    samples = random_samples(count, steps=0 if static else timesteps, seed=seed)
    _, program = compile_model(model, samples, timesteps=timesteps)
    expected = cycle.simulate(program, samples)
    assert_equal(fast.simulate(program, samples, batch=batch), expected)
    assert_equal(run_plain(program, samples), expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_layers_of_every_geometry(geometry: str) -> None:
    samples = random_samples(3)
    _, program = compile_model(geometry_net(geometry), samples, timesteps=4)
    expected = cycle.simulate(program, samples)
    assert_equal(fast.simulate(program, samples), expected)
    assert_equal(run_plain(program, samples), expected)


@st.composite
def integer_programs(draw: st.DrawFn) -> ir.Program:
    """Two layers and a gate with integers of any size that the format allows, and payloads of either sign."""
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    low, high = draw(st.sampled_from([(0, 1), (0, 255), (-128, 127), (-3, 2), (-127, 127), (0, 300), (-500, 400)]))
    largest = draw(st.sampled_from([1, 127, 128, 3000]))
    groups = draw(st.sampled_from([1, 2]))
    stride, dilation = draw(st.sampled_from([(1, 1), (2, 1), (1, 2)])), draw(st.sampled_from([(1, 1), (1, 2)]))
    channels, extent = draw(st.sampled_from([4, 6])), 5

    def weights(*shape: int) -> np.ndarray:
        extreme = random.choice([-largest, 0, largest - (largest == 128)], shape)
        return np.where(random.random(shape) < 0.5, extreme, random.integers(-largest, largest, shape))

    def neuron(name: str, inputs: tuple[str, ...], shape: ir.Shape) -> ir.Neuron:
        per = draw(st.sampled_from([(), (shape[0], 1, 1), shape]))
        small = draw(st.booleans())
        return ir.Neuron(
            name=name,
            inputs=inputs,
            shape=shape,
            threshold=random.integers(-5, 2000 if small else 1 << 17, per),
            decay=random.integers(0, draw(st.sampled_from([1, 4096])), per),
            current_decay=random.integers(*draw(st.sampled_from([(NO_MEMORY, NO_MEMORY + 1), (0, NO_MEMORY)])), per),
            bias_mantissa=random.integers(-4095, 4096, per),
            bias_exponent=random.integers(0, 8 if not small else 2, per),
            reset=draw(st.sampled_from(list(Reset))),
            reset_amount=random.integers(0, 3000, per),
            scale=1.0,
        )

    shape = (channels, extent, extent)
    conv = {"padding": (1, 1), "dilation": (1, 1), "groups": 1}
    wide = (extent + 2 - 2 * dilation[0] - 1) // stride[0] + 1, (extent + 2 - 2 * dilation[1] - 1) // stride[1] + 1
    first = ir.Conv(name="c1", inputs=("x",), shape=shape, weight=weights(channels, 3, 3, 3), stride=(1, 1), **conv)
    a = neuron("a", ("c1",), shape)
    second = ir.Conv(
        name="c2",
        inputs=("a",),
        shape=(channels, *wide),
        weight=weights(channels, channels // groups, 3, 3),
        stride=stride,
        **(conv | {"dilation": dilation, "groups": groups}),
    )
    shortcut = ir.Conv(
        name="c3",
        inputs=("x",),
        shape=(channels, *wide),
        weight=weights(channels, 3, extent - wide[0] + 1, extent - wide[1] + 1),
        stride=(1, 1),
        **(conv | {"padding": (0, 0)}),
    )
    nodes: list[ir.Node] = [
        ir.Input(name="x", shape=(3, extent, extent), scale=1.0, low=low, high=high),
        *(first, a, second, shortcut),
    ]
    gate = draw(st.sampled_from(["ADD", "AND", "IAND", "JOIN", "MINUS", "RELAY"]))
    if gate == "RELAY":
        bias = random.integers(-(1 << 20), 1 << 20, draw(st.sampled_from([(), (channels, 1, 1), second.shape])))
        high = draw(st.sampled_from([100, 1 << 24]))
        shift, least = draw(st.integers(0, 20)), draw(st.sampled_from([0, -high]))
        relay = {"bias": bias, "shift": shift, "low": least, "high": high, "scale": 1.0}
        nodes.append(ir.Relay(name="out", inputs=("c2", "c3"), shape=second.shape, **relay))
    elif gate == "JOIN":
        nodes += [neuron("out", ("c2", "c3"), second.shape)]
    else:
        nodes += [neuron("s", ("c3",), second.shape), neuron("b", ("c2",), second.shape)]
        if gate in ("IAND", "MINUS"):
            nodes.append(ir.Scale(name="minus", inputs=("b",), shape=second.shape, factor=-1 if gate == "IAND" else -3))
            inputs = ("minus", "s") if draw(st.booleans()) else ("s", "minus")
        else:
            inputs = ("b", "s")
        if gate in ("ADD", "MINUS"):
            nodes.append(ir.Merge(name="out", inputs=inputs, shape=second.shape))
        else:
            nodes.append(ir.Threshold(name="out", inputs=inputs, shape=second.shape, threshold=int(gate == "AND")))
    pooled = (channels, *((size + 2 - 2) // 2 + 1 for size in wide))
    nodes += [
        ir.SumPool(name="p", inputs=("out",), shape=pooled, kernel=(2, 2), stride=(2, 2), padding=(1, 1)),
        ir.Threshold(name="or", inputs=("p",), shape=pooled, threshold=0),
        draw(st.sampled_from([ir.SumPool, ir.MaxPool]))(
            name="q", inputs=("out",), shape=pooled, kernel=(2, 2), stride=(2, 2), padding=(1, 1)
        ),
        ir.Linear(name="l", inputs=("q",), shape=(5,), weight=weights(5, int(np.prod(pooled)))),
        ir.Linear(name="m", inputs=("or",), shape=(5,), weight=weights(5, int(np.prod(pooled)))),
        ir.Readout(name="y", inputs=("l", "m"), shape=(5,), bias=random.integers(-9, 9, 5), scale=1.0),
    ]
    return program_of(ir.Graph(tuple(nodes)), load_numerics(), timesteps=draw(st.integers(1, 4)))


def outcome(simulate: Callable[[], ir.Spikes]) -> ir.Spikes | None:
    try:
        return simulate()
    except FixedPointOverflow:
        return None


@settings(max_examples=50 * MORE, deadline=None)
@given(integer_programs(), st.booleans(), st.integers(0, 1000))
def test_integers_of_every_size(program: ir.Program, static: bool, seed: int) -> None:
    """Both engines tell an overflow, or neither does and the spikes are the same."""
    node, random = program.graph.input, np.random.default_rng(seed)
    shape = (2, *([] if static else [program.schedule.timesteps]), *node.shape)
    x = np.where(random.random(shape) < 0.6, random.choice([node.low, node.high], shape), random.integers(-9, 9, shape))
    samples = Samples(x.astype(np.float32), None, not static)
    expected = outcome(lambda: cycle.simulate(program, samples))
    for actual in (outcome(lambda: fast.simulate(program, samples)), outcome(lambda: run_plain(program, samples))):
        assert (actual is None) == (expected is None)
        if actual is not None and expected is not None:
            assert_equal(actual, expected)


@pytest.mark.parametrize("what", OVERFLOWS)
def test_an_overflow_is_told_as_the_cycle_simulator_tells_it(what: str) -> None:
    program, samples = wide_neuron(1.0, timesteps=4), overflowing(what)
    with pytest.raises(FixedPointOverflow) as expected:
        cycle.simulate(program, samples)
    for batch in (1, 2):
        with pytest.raises(FixedPointOverflow) as told:
            fast.simulate(program, samples, batch=batch)
        assert str(told.value) == str(expected.value)


def test_only_what_is_asked_for_is_recorded() -> None:
    samples = random_samples(5)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=3)
    everything = fast.simulate(program, samples)
    assert fast.simulate(program, samples, record=()).keys() == {"logits"}
    some = fast.simulate(program, samples, record=("block0.add",))
    assert_equal(some, {name: everything[name] for name in ("block0.add", "logits")})


def linear_program(payload: int, weight: int, inputs: int, timesteps: int = 1) -> ir.Program:
    nodes = (
        ir.Input(name="x", shape=(inputs,), scale=1.0, low=0, high=payload),
        ir.Linear(name="l", inputs=("x",), shape=(2,), weight=np.array([[weight] * inputs, [-weight] * inputs])),
        ir.Readout(name="y", inputs=("l",), shape=(2,), bias=np.zeros(2, np.int64), scale=1.0),
    )
    return program_of(ir.Graph(nodes), load_numerics(), timesteps=timesteps)


@pytest.mark.parametrize(
    ("payload", "weight", "inputs", "expected"),
    [
        (255, 127, 10, "int8"),
        (256, 127, 10, "float32"),
        (255, 128, 10, "float32"),
        (255, 127, (1 << 24) // (255 * 127), "int8"),
        (255, 127, (1 << 24) // (255 * 127) + 1, "float64"),
        (1000, 1 << 20, 10, "float64"),
    ],
)
def test_the_kernel_follows_from_the_bounds(payload: int, weight: int, inputs: int, expected: str) -> None:
    program = linear_program(payload, weight, inputs)
    kernels = synapse_kernels.kernels_for(program.graph["l"], program, plain=False, checked_later=False)
    if not synapse_kernels.has_int8():
        expected = expected.replace("int8", "float32")
    assert kernels[0] == expected and kernels[-1] == "float64"
    most = Samples(np.full((1, inputs), payload, np.float32), None, False)
    assert fast.simulate(program, most)["logits"].tolist() == [[payload * weight * inputs, -payload * weight * inputs]]


def test_sums_that_no_kernel_holds_are_refused() -> None:
    program = linear_program(1 << 20, 1 << 30, 1 << 5)
    with pytest.raises(FixedPointOverflow, match=r"^l: its sums can reach 3\.6e\+16, and no kernel computes exactly"):
        fast.simulate(program, Samples(np.zeros((1, 32), np.float32), None, False))


@pytest.mark.parametrize("broken", [("int8",), ("int8", "float32")])
def test_an_inexact_kernel_is_replaced(broken: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_samples(4)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=3)
    expected = cycle.simulate(program, samples)
    _break(monkeypatch, broken)
    engine = Layers(program)
    assert_equal(
        {"logits": engine.run(batches.payloads(program, samples), lambda *_: None)}, {"logits": expected["logits"]}
    )
    left = {"int8", "float32", "float64"} - set(broken)
    assert {synapse.kernel for synapse in engine.synapses.values()} <= left


def test_without_an_exact_kernel_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_samples(4)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=3)
    _break(monkeypatch, ("int8", "float32", "float64"))
    with pytest.raises(FixedPointOverflow, match="float64 is not exact for it on this machine"):
        fast.simulate(program, samples)


def _break(monkeypatch: pytest.MonkeyPatch, kernels: tuple[str, ...]) -> None:
    """Kernels that lose the lowest bit of large sums, as those of fewer bits do."""
    right = synapse_kernels.Synapse.make_rule

    def make_rule(self: Any) -> Any:
        rule = right(self)
        if self.kernel not in kernels:
            return rule
        return lambda x: torch.where((y := rule(x)).abs() > 100, y - y % 2, y)

    monkeypatch.setattr(synapse_kernels.Synapse, "make_rule", make_rule)


@pytest.mark.parametrize("field", ["delays", "latency", "reset_offset"])
def test_a_schedule_that_does_not_balance_is_refused(field: str) -> None:
    samples = random_samples(2)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=3)
    values = getattr(program.schedule, field)
    name = next(name for name in values if values[name])
    wrong = values | {name: (1,) if field == "delays" else values[name] + 1}
    with pytest.raises(OptionError, match="do not line up"):
        fast.simulate(replace(program, schedule=replace(program.schedule, **{field: wrong})), samples)


def test_where_memory_runs_out_batches_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_samples(11)
    _, program = compile_model(residual_net("AND", NEURONS["if-soft"]), samples, timesteps=3)
    expected = fast.simulate(program, samples)
    right, sizes, notes = layers.Layers.run, [], []

    def run(self: Any, payloads: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(payloads))
        if len(payloads) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return right(self, payloads, *arguments, **options)

    monkeypatch.setattr(layers.Layers, "run", run)
    assert_equal(fast.simulate(program, samples, batch=8, note=notes.append), expected)
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1]
    assert notes == [
        "memory ran out with 8 samples at once; going on with 4.",
        "memory ran out with 4 samples at once; going on with 2.",
    ]


def test_samples_that_do_not_fit_are_told() -> None:
    samples = random_samples(2, steps=3)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=3)
    with pytest.raises(DataError, match="2 time steps, but 3 are asked for"):
        fast.simulate(program, random_samples(2, steps=2))
    with pytest.raises(DataError, match=r"shape \[1, 8, 8\], but the model takes \[2, 8, 8\]"):
        fast.simulate(program, random_samples(2, shape=(1, 8, 8)))


@pytest.mark.parametrize("gate", GATES)
def test_samples_run_batch_by_batch(gate: str) -> None:
    samples = random_samples(7)
    _, program = compile_model(residual_net(gate, NEURONS["lif"]), samples, timesteps=3)
    expected, done = fast.simulate(program, samples), []
    parts = list(fast.stream(program, samples, batch=3, progress=lambda a, b: done.append((a, b))))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 3), (3, 6), (6, 7)]
    assert done == [(3, 7), (6, 7), (7, 7)]
    for part, spikes in parts:
        assert_equal(spikes, {name: values[part] for name, values in expected.items()})


def test_a_process_that_is_ended_from_outside_is_told() -> None:
    samples = random_samples(500)  # so many that the other process cannot have computed them all before the first ends
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples[:12], timesteps=3)

    def end_one(done: int, total: int) -> None:
        os.kill(active_children()[0].pid or 0, signal.SIGKILL)

    with pytest.raises(OptionError, match=r"one of the 2 processes was ended from outside.* Use fewer --jobs"):
        fast.simulate(program, samples, jobs=2, batch=1, progress=end_one)
    assert not active_children()


def test_what_a_process_cannot_compute_is_told_with_the_samples_own_number() -> None:
    program = wide_neuron(1.0, timesteps=4)
    frames = np.zeros((5, 4, 100), np.float32)
    frames[3, 2:, :50] = 1 / 3
    with pytest.raises(FixedPointOverflow, match=r"^1, sample 3, step 2, cycle 16: the summed input"):
        fast.simulate(program, Samples(frames, None, True), jobs=2, batch=2)


ONE_THREAD = """
import torch
torch.set_num_threads(1)
import numba
from nets import NEURONS, compile_model, random_samples, residual_net
from snn2hw.engines import fast
samples = random_samples(2)
_, program = compile_model(residual_net("ADD", next(iter(NEURONS.values()))), samples, timesteps=2)
fast.simulate(program, samples)
print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_it_takes_no_more_threads_than_torch_has_and_leaves_torch_its_own() -> None:
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run([sys.executable, "-c", ONE_THREAD], env=variables, capture_output=True, text=True)
    assert ended.stdout == "1 1\n", ended.stderr
