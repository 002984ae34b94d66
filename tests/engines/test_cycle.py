"""The cycle simulator against two witnesses: a few lines of numpy without cycles, and PyTorch with its integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import (
    GATES,
    GEOMETRIES,
    MORE,
    MULTI_STEP,
    NEURONS,
    compile_model,
    geometry_net,
    random_samples,
    residual_net,
    run_requantised,
)
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import input_payloads, simulate


def step_by_step(program: ir.Program, samples: Samples) -> ir.Spikes:
    """The same program sample by sample and step by step: no cycles, latencies, delays or reset offsets."""
    recorded: dict[str, list[list[np.ndarray]]] = {node.name: [] for node in program.graph.recorded}
    logits = []
    for payloads in input_payloads(program, samples):
        state: dict[str, Any] = {}
        runs: dict[str, list[np.ndarray]] = {name: [] for name in recorded}
        for payload in payloads:
            values: dict[str, np.ndarray] = {}
            for node in program.graph:
                x = sum((values[source] for source in node.inputs), np.zeros((), np.int64))
                values[node.name] = payload if isinstance(node, ir.Input) else respond(node, x, state)
            for name, run in runs.items():
                run.append(values[name])
        logits.append(state[program.graph.readout.name])
        for name, run in runs.items():
            recorded[name].append(np.stack(run))
    return {name: np.stack(values) for name, values in recorded.items()} | {"logits": np.stack(logits)}


def respond(node: ir.Node, x: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    match node:
        case ir.Conv():
            outputs, inputs = len(node.weight) // node.groups, len(x) // node.groups
            windows = windows_of(x, node.weight.shape[2:], node.stride, node.padding, node.dilation)
            groups = range(node.groups)
            kernels = [node.weight[g * outputs : (g + 1) * outputs].astype(np.int64) for g in groups]
            parts = [windows[g * inputs : (g + 1) * inputs] for g in groups]
            return np.concatenate(
                [np.einsum("chwij,ocij->ohw", part, kernel) for part, kernel in zip(parts, kernels, strict=True)]
            )
        case ir.SumPool():
            return windows_of(x, node.kernel, node.stride, node.padding, (1, 1)).sum((3, 4))
        case ir.Linear():
            return node.weight.astype(np.int64) @ x.ravel()
        case ir.Scale():
            return node.factor * x
        case ir.Threshold():
            return (x > node.threshold).astype(np.int64)
        case ir.Readout():
            state[node.name] = state.get(node.name, 0) + x + node.bias
        case ir.Neuron():
            u, v, owed = state.get(node.name, (np.zeros(node.shape, np.int64), np.zeros(node.shape, np.int64), 0))
            u = (
                np.sign(u) * (abs(u) * (4096 - node.current_decay) // 4096)
                + 64 * x
                + node.bias_mantissa * 2**node.bias_exponent
            )
            v = np.sign(v) * (abs(v) * (4096 - node.decay) // 4096) - owed
            v = v + u
            spike = (v > 64 * node.threshold).astype(np.int64)
            taken = 64 * node.reset_amount * spike
            v = {"zero": v * (1 - spike), "subtract": v - taken}.get(node.reset.value, v)
            state[node.name] = u, v, taken if node.reset.value == "subtract_late" else 0
            return spike
    return x


def windows_of(x: np.ndarray, kernel: Any, stride: ir.Pair, padding: ir.Pair, dilation: ir.Pair) -> np.ndarray:
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, span, (1, 2))
    return windows[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def assert_equal(actual: ir.Spikes, expected: ir.Spikes) -> None:
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(actual[name], values), name


@st.composite
def residual_nets(draw: st.DrawFn) -> nn.Module:
    gates = draw(st.lists(st.sampled_from(GATES), min_size=1, max_size=4))
    blocks = [(draw(st.integers(2, 4)), draw(st.sampled_from([1, 1, 2]))) for _ in gates]
    room_for_a_pool = sum(stride == 2 for _, stride in blocks) < 3
    return residual_net(
        gates,
        NEURONS[draw(st.sampled_from(list(NEURONS)))],
        blocks=blocks,
        max_pool=draw(st.sets(st.integers(0, len(gates) - 1), max_size=int(room_for_a_pool))),
        seed=draw(st.integers(0, 10_000)),
    )


@settings(max_examples=20 * MORE, deadline=None)
@given(residual_nets(), st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000))
def test_cycles_change_nothing(model: nn.Module, timesteps: int, count: int, seed: int) -> None:
    samples = random_samples(count, steps=timesteps, seed=seed)
    _, program = compile_model(model, samples, timesteps=timesteps)
    assert_equal(simulate(program, samples), step_by_step(program, samples))


@pytest.mark.parametrize("multi_step", [False, True])
def test_payloads_are_graded_where_blocks_add(multi_step: bool) -> None:
    model = residual_net("ADD", NEURONS["if-soft"], blocks=((4, 1), (4, 1)), max_pool=(0, 1), multi_step=multi_step)
    samples = random_samples(4)
    _, program = compile_model(model, samples, timesteps=4)
    spikes = simulate(program, samples)
    assert (spikes["pool0"].max(), spikes["block1.add"].max(), spikes["pool1"].max()) == (2, 3, 3)
    assert_equal(spikes, step_by_step(program, samples))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_layers_of_every_geometry(geometry: str) -> None:
    samples = random_samples(3)
    traced, program = compile_model(geometry_net(geometry), samples, timesteps=4)
    spikes = simulate(program, samples)
    assert_equal(spikes, step_by_step(program, samples))
    assert_requantised_equal(run_requantised(traced, program, samples), spikes)
    assert all(values.any() for values in spikes.values())


def assert_requantised_equal(requantised: ir.Spikes, program: ir.Spikes) -> None:
    """All that the model computes too: not the levels of graded pools."""
    compared = {name: program[name] for name in requantised.keys() & program.keys()}
    assert {name for name in program.keys() - requantised.keys() if ".level" not in name} == set()
    whole = np.rint(requantised["logits"])
    assert np.abs(requantised["logits"] - whole).max() < 1e-6
    assert_equal({name: requantised[name] for name in compared} | {"logits": whole}, compared)


@pytest.mark.parametrize(("neuron", "multi_step"), MULTI_STEP)
@pytest.mark.parametrize("gate", GATES)
def test_pytorch_with_the_integers_put_back_gives_the_same(gate: str, neuron: str, multi_step: bool) -> None:
    samples = random_samples(6, steps=4)
    model = residual_net(gate, NEURONS[neuron], multi_step=multi_step)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    traced, program = compile_model(model, samples, timesteps=4)
    assert_requantised_equal(run_requantised(traced, program, samples), simulate(program, samples))
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


@pytest.mark.parametrize("gate", GATES)
def test_samples_in_the_pipeline_do_not_touch_each_other(gate: str) -> None:
    samples = random_samples(5, steps=3)
    _, program = compile_model(residual_net(gate, NEURONS["leaky-if-none"]), samples, timesteps=3)
    together = simulate(program, samples)
    alone = [simulate(program, samples[at : at + 1]) for at in range(5)]
    assert_equal(together, {name: np.concatenate([one[name] for one in alone]) for name in together})
    backwards = simulate(program, Samples(samples.x[::-1].copy(), None, True))
    assert_equal({name: values[::-1] for name, values in backwards.items()}, together)


@pytest.mark.parametrize("gate", GATES)
def test_every_delay_and_every_reset_offset_matters(gate: str) -> None:
    samples = random_samples(6, steps=3)
    model = residual_net(gate, NEURONS["leaky-if-zero"], blocks=((4, 1), (4, 2)), max_pool=())
    _, program = compile_model(model, samples, timesteps=3)
    right, schedule = simulate(program, samples), program.schedule

    def differs(**changed: Any) -> bool:
        wrong = simulate(replace(program, schedule=replace(schedule, **changed)), samples)
        return any(not np.array_equal(wrong[name], right[name]) for name in right)

    joins = [(node.name, at) for node in program.graph if len(node.inputs) > 1 for at in range(len(node.inputs))]
    assert len(joins) == 4 and not differs()
    for name, at in joins:
        delays = list(schedule.delays[name])
        delays[at] += 1
        assert differs(delays=schedule.delays | {name: tuple(delays)}), f"delay {at} of {name}"
    for name, offset in schedule.reset_offset.items():
        assert differs(reset_offset=schedule.reset_offset | {name: (offset + 1) % 3}), f"reset offset of {name}"
