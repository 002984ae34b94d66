"""Bound, balance delays, partition: each pass against what it promises, and the text of every stage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hand_made_graphs import program_of
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import GATES, NEURONS, SHAPE, compile_model, random_samples, residual_net
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle
from snn2hw.frontends.torch.trace import trace
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.passes.balance_delays import balance_delays
from snn2hw.passes.calibrate import UNCALIBRATED, Calibration
from snn2hw.passes.partition import partition
from snn2hw.pipeline import Options, compile_calibrated

LOIHI2 = load_numerics("loihi2")
GOLDEN = Path(__file__).parents[1] / "golden"
LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
UPDATE = "SNN2HW_UPDATE_GOLDEN"  # set to 1, the tests write the golden files instead of comparing

random_nets = st.fixed_dictionaries(
    {
        "gate": st.sampled_from(GATES),
        "neuron": st.sampled_from(list(NEURONS)).map(NEURONS.__getitem__),
        "blocks": st.sampled_from([((3, 1),), ((3, 2),), ((3, 1), (5, 2)), ((2, 2), (2, 1), (4, 2))]),
        "max_pool": st.sampled_from([(), (0,)]),
        "seed": st.integers(0, 1000),
    }
)


def reached(program: ir.Program, samples: Samples) -> dict[tuple[str, str], int]:
    """The largest input and membrane of each neuron, payload of each recorded node and logit, in the simulator."""
    largest: dict[tuple[str, str], int] = {}

    def note(values: np.ndarray, limit: int, what: str, where: str) -> None:
        key = where.partition(",")[0], "accumulator" if limit == LOIHI2.input_limit else "membrane"
        largest[key] = max(largest.get(key, 0), int(np.abs(values).max()))

    with mock.patch.object(cycle, "check_range", note):
        spikes = cycle.simulate(program, samples)
    logits = int(np.abs(spikes.pop("logits")).max())
    payloads = {(name, "payload"): int(values.max()) for name, values in spikes.items()}
    return largest | payloads | {(program.graph.readout.name, "accumulator"): logits}


@settings(max_examples=25, deadline=None)
@given(random_nets, st.integers(1, 5), st.integers(0, 1000))
def test_nothing_ever_exceeds_its_bound(net: dict[str, Any], timesteps: int, seed: int) -> None:
    _, program = compile_model(residual_net(**net), random_samples(4), timesteps=timesteps)
    x = np.random.default_rng(seed).choice([-5.0, 0, 0.2, 1, 5], (3, timesteps, *SHAPE)).astype(np.float32)
    peaks = reached(program, Samples(x, None, True))
    neurons = [node for node in program.graph if isinstance(node, ir.Neuron)]
    assert {(node.name, what) for node in neurons for what in ("accumulator", "membrane", "payload")} <= peaks.keys()
    for (name, what), largest in peaks.items():
        assert largest <= getattr(program.bounds[name], what), f"{name}: {what}"


def one_neuron(reset: Reset, weight: Sequence[int] = (2, -1), *, high: int = 5, **changes: Any) -> ir.Graph:
    """input from 0 to `high` -> linear -> neuron with threshold 10 and reset amount 5 -> read-out."""
    parameters = dict(threshold=10, decay=0, bias_mantissa=0, bias_exponent=0, reset_amount=5) | changes
    arrays = {name: np.array([value]) for name, value in parameters.items()}
    size = len(weight)
    return ir.Graph(
        (
            ir.Input(name="x", shape=(size,), scale=1.0, low=0, high=high),
            ir.Linear(name="fc", inputs=("x",), shape=(1,), weight=np.array([weight])),
            ir.Neuron(name="n", inputs=("fc",), shape=(1,), reset=reset, scale=1.0, **arrays),
            ir.Scale(name="sum", inputs=("n",), shape=(1,), factor=-7),
            ir.Readout(name="out", inputs=("sum",), shape=(1,), bias=np.array([-2]), scale=1.0),
        )
    )


def build(graph: ir.Graph, *, timesteps: int, calibration: Calibration = UNCALIBRATED) -> ir.Program:
    return program_of(graph, LOIHI2, timesteps=timesteps, calibration=calibration)


def frames(*steps: Sequence[float]) -> Samples:
    """One sample of these steps."""
    return Samples(np.array([steps], np.float32), None, True)


@pytest.mark.parametrize(
    ("reset", "membrane"),
    [(Reset.NONE, 30), (Reset.ZERO, 20), (Reset.SUBTRACT, 25), (Reset.SUBTRACT_LATE, 30)],
)
def test_the_bound_is_what_the_worst_input_reaches(reset: Reset, membrane: int) -> None:
    """2 * 5 a step, for three steps; only a late subtraction is bounded as if it never came."""
    program = build(one_neuron(reset), timesteps=3)
    assert program.bounds["n"] == ir.Bound(
        kind="proved", accumulator=10, membrane=64 * membrane, payload=1, observed=0.0
    )
    peaks = reached(program, frames((5, 0), (5, 0), (5, 0)))
    assert peaks[("n", "accumulator")] == 10
    assert peaks[("n", "membrane")] == 64 * (membrane - (5 if reset is Reset.SUBTRACT_LATE else 0))
    assert peaks[("out", "accumulator")] == {Reset.ZERO: 7 + 6}.get(reset, 2 * 7 + 6)
    assert program.bounds["out"].accumulator == 3 * (7 + 2)


def test_the_bound_counts_bias_decay_and_negative_membranes() -> None:
    graph = one_neuron(Reset.NONE, (-4, 0), decay=2048, bias_mantissa=-3, bias_exponent=2)
    program = build(graph, timesteps=2)
    first = 64 * -20 - 12
    assert program.bounds["n"].membrane == -(first // 2 + first)
    assert reached(program, frames((5, 0), (5, 0)))[("n", "membrane")] == program.bounds["n"].membrane


def test_the_bound_counts_what_is_subtracted_late() -> None:
    """It fires at 10, and the next step takes 100 off."""
    program = build(one_neuron(Reset.SUBTRACT_LATE, threshold=0, reset_amount=100), timesteps=2)
    peaks = reached(program, frames((5, 0), (0, 5)))
    assert peaks[("n", "membrane")] == 64 * 95 <= program.bounds["n"].membrane


def test_synapses_are_bounded_with_every_partial_sum() -> None:
    bounds = build(one_neuron(Reset.ZERO), timesteps=3).bounds
    assert bounds["fc"].accumulator == (2 + 1) * 5  # not 10: the terms may be added in any order
    assert (bounds["sum"].accumulator, bounds["sum"].signed, bounds["x"].signed) == (7, True, False)


@pytest.mark.parametrize(
    ("width", "timesteps", "kind"), [(200, 1, "proved"), (210, 1, "calibrated"), (110, 2, "calibrated")]
)
def test_where_the_worst_case_breaks_a_limit_calibration_decides(width: int, timesteps: int, kind: str) -> None:
    """127 * 5 * 210 > 2^17; twice 127 * 5 * 110 as well, times 64 beyond 2^23."""
    calibration = Calibration(input_range=(0, 5), lattice=1, current={"n": 1000.0}, membrane={"n": 50_000.0}, samples=1)
    graph = one_neuron(Reset.NONE, [127] * width)
    bound_of_n = build(graph, timesteps=timesteps, calibration=calibration).bounds["n"]
    assert bound_of_n.kind == kind and bound_of_n.observed == round(50_000 * 64 / LOIHI2.membrane_limit, 6)
    beyond = bound_of_n.accumulator >= LOIHI2.input_limit or bound_of_n.membrane >= LOIHI2.membrane_limit
    assert beyond == (kind == "calibrated")


@pytest.mark.parametrize("gate", ["ADD", "AND"])
def test_added_spikes_reach_the_payload_they_are_bounded_by(gate: str) -> None:
    _, program = compile_model(residual_net(gate, NEURONS["if"]), random_samples(8), timesteps=3)
    joined = {"ADD": "block1.add", "AND": "block1.and"}[gate]
    assert program.bounds[joined].payload == (2 if gate == "ADD" else 1)
    assert reached(program, random_samples(8))[(joined, "payload")] == program.bounds[joined].payload


@settings(max_examples=25, deadline=None)
@given(random_nets, st.integers(1, 7))
def test_delays_make_every_branch_arrive_at_once(net: dict[str, Any], timesteps: int) -> None:
    network = trace(residual_net(**net), SHAPE).network
    graph = compile_calibrated(network, UNCALIBRATED, Options(timesteps=timesteps)).graph
    schedule = balance_delays(graph, timesteps=timesteps)
    longest: dict[str, int] = {}
    for node in graph:
        synapse = int(isinstance(node, ir.Conv | ir.Linear | ir.Scale | ir.SumPool))
        longest[node.name] = max((longest[source] for source in node.inputs), default=0) + synapse
        delays = schedule.delays[node.name]
        arrivals = {longest[source] + delay for source, delay in zip(node.inputs, delays, strict=True)}
        assert arrivals <= {longest[node.name] - synapse} and min(delays, default=0) == 0
    assert schedule.latency == longest and schedule.depth == max(longest.values())
    stateful = {node.name for node in graph if isinstance(node, ir.Neuron | ir.Readout)}
    assert schedule.reset_offset == {name: (longest[name] + 1) % timesteps for name in stateful}


@settings(max_examples=25, deadline=None)
@given(random_nets)
def test_regions_hold_every_node_once_with_one_entry_and_one_exit(net: dict[str, Any]) -> None:
    graph = compile_calibrated(trace(residual_net(**net), SHAPE).network, UNCALIBRATED, Options(timesteps=1)).graph
    regions = partition(graph)
    assert [name for region in regions for name in region.nodes] == [node.name for node in graph][1:]
    previous = graph.input.name
    for region in regions:
        inside = set(region.nodes)
        assert {source for name in region.nodes for source in graph[name].inputs} - inside == {previous}
        read_outside = {s for node in graph if node.name not in inside for s in node.inputs} & inside
        previous = region.nodes[-1]
        assert region.name == previous and read_outside <= {previous}
    kinds = [region.kind for region in regions]
    blocks, pools = len(net["blocks"]), len(net["max_pool"])
    assert sorted(kinds) == sorted(["layer", "readout"] + ["residual_block"] * blocks + ["pool"] * pools)


def fixed_net(gate: str) -> nn.Module:
    """A net whose weights do not come from a random generator: eighths but for the first, so they lie on no grid."""
    net = residual_net(gate, NEURONS["leaky-zero"], blocks=((2, 1), (3, 2)), classes=2)
    with torch.no_grad():
        for layer in net.modules():
            for name, values in layer.state_dict().items() if isinstance(layer, LAYERS) else ():
                pattern = ((torch.arange(values.numel()) * 7 + 3) % 11 - 4) / 8
                if values.dim() > 1:
                    pattern[0] *= 1 + 2**-20
                values.copy_(torch.ones(()) if name == "running_var" else pattern.view_as(values))
    return net


def stages(gate: str) -> str:
    """Every stage of a compilation as text."""
    seen: dict[str, Any] = {}
    network = trace(fixed_net(gate), SHAPE).network
    facts = dict(input_range=(0.0, 1.0), lattice=16, current={}, membrane={}, samples=1)
    program = compile_calibrated(network, Calibration(**facts), Options(timesteps=4), observe=seen.__setitem__)
    assert list(seen) == ["quantise", "bound", "balance_delays", "partition"]
    schedule = seen["balance_delays"]
    lines = ["== quantise", str(seen["quantise"]), "", "== bound"]
    for name, limits in seen["bound"].items():
        sign = " signed" if limits.signed else ""
        lines.append(f"{name}: {limits.kind} a={limits.accumulator} v={limits.membrane} payload={limits.payload}{sign}")
    lines += ["", "== balance_delays"]
    for name, latency in schedule.latency.items():
        delays = ",".join(map(str, schedule.delays[name])) or "-"
        lines.append(f"{name}: latency={latency} delays={delays} reset={schedule.reset_offset.get(name, '-')}")
    lines += ["", "== partition", *(f"{r.kind} {r.name}: {' '.join(r.nodes)}" for r in seen["partition"])]
    return "\n".join([*lines, "", "== program", str(program), ""])


@pytest.mark.parametrize("gate", GATES)
def test_every_stage_says_what_it_said_before(gate: str) -> None:
    text, path = stages(gate), GOLDEN / f"{gate.lower()}.txt"
    assert text == stages(gate)
    if os.environ.get(UPDATE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"If the change is meant, run the tests once with {UPDATE}=1."
