"""The edges of the cycle simulator: overflow, what lies outside the samples, large and negative spikes, bad samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_made_graphs import program_of
from nets import NEURONS, compile_model, leaky, random_samples, residual_net
from torch import nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import simulate
from snn2hw.errors import DataError, FixedPointOverflow
from snn2hw.frontends.torch.requantise import requantise
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.write_integers import integer_graph


def wide_neuron(weight: float, *, timesteps: int) -> ir.Program:
    """Calibrated on inputs that cancel: 50 that add and 50 that subtract."""
    model = nn.Sequential(nn.Linear(100, 1, bias=False), leaky(1.0, "none", threshold=5.0)(), nn.Linear(1, 2))
    half = torch.tensor([weight] * 49 + [1.0002 * weight])  # on no grid, so the scale is that of the calibrated range
    model[0].weight.data.copy_(torch.cat([half, -half]))
    model[2].weight.data.fill_(1)
    return compile_model(model, Samples(np.full((1, 100), 1 / 3, np.float32), None, False), timesteps=timesteps)[1]


OVERFLOWS = {"the membrane": (1, 10), "the summed input": (2, 50)}
"""What leaves its range in step 2: from which step on, and how many of the inputs that add, `overflowing` shows."""


def overflowing(what: str) -> Samples:
    """For a wide neuron: the first sample is silent; in the second all is well until step 2."""
    frames = np.zeros((2, 4, 100), np.float32)
    first, active = OVERFLOWS[what]
    frames[1, first:, :active] = 1 / 3
    return Samples(frames, None, True)


@pytest.mark.parametrize("what", OVERFLOWS)
def test_an_overflow_is_told_with_its_place(what: str) -> None:
    with pytest.raises(FixedPointOverflow, match=rf"^1, sample 1, step 2, cycle 8: {what}.* reaches \d+, the limit is"):
        simulate(wide_neuron(1.0, timesteps=4), overflowing(what))


@pytest.mark.parametrize("drive", [-1.0, 1.0])
def test_what_calibration_saw_never_overflows(drive: float) -> None:
    """Membranes that no spike resets grow for sixteen steps, far beyond the current of one."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), leaky(1.0, "none")(), nn.Linear(1, 2))
    model[0].weight.data.copy_(torch.tensor([[drive, 0.5002 * drive]]))  # on no grid
    samples = random_samples(4, shape=(2,))
    _, program = compile_model(model, samples, timesteps=16)
    spikes = simulate(program, samples)
    assert program.bounds["1"].observed == pytest.approx(0.5, abs=0.01) and spikes["1"].any() == (drive > 0)


def test_a_model_without_the_integers_is_told_in_one_line() -> None:
    samples = random_samples(2)
    traced, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=2)
    integers = integer_graph(program.graph)
    integers.nodes["0"].weight = integers.nodes["0"].weight + 0.25
    requantised = requantise(traced, integers)
    with pytest.raises(
        FixedPointOverflow, match=r"^2: a current of .* is not a whole number.*with the model\.$"
    ) as told:
        list(requantised.run(torch.from_numpy(samples.steps(2) * 1.0).double()))
    assert len(str(told.value).splitlines()) == 1


def hand_made(*nodes: ir.Node, timesteps: int, weight: int, bias: tuple[int, int]) -> ir.Program:
    """input 0 or 1 -> times `weight` -> neuron n, which fires above 0 and never resets -> `nodes`."""
    mantissa, exponent = bias
    one = {name: np.zeros(1) for name in ("threshold", "decay", "reset_amount")}
    one |= {"bias_mantissa": np.array([mantissa]), "bias_exponent": np.array([exponent])}
    graph = ir.Graph(
        (
            ir.Input(name="x", shape=(1,), scale=1.0, low=0, high=1),
            ir.Scale(name="s", inputs=("x",), shape=(1,), factor=weight),
            ir.Neuron(name="n", inputs=("s",), shape=(1,), reset=Reset.NONE, scale=1.0, **one),
            *nodes,
        )
    )
    return program_of(graph, load_numerics(), timesteps=timesteps)


def readout(*inputs: str) -> ir.Readout:
    return ir.Readout(name="out", inputs=inputs, shape=(1,), bias=np.zeros(1), scale=1.0)


ONES = Samples(np.ones((2, 1), np.float32), None, False)


def test_what_happens_outside_the_samples_is_no_overflow() -> None:
    """The input cancels the bias. Behind the last sample it is gone, and the membrane passes its limit."""
    chain = [ir.Scale(name=f"s{n}", inputs=(f"s{n - 1}" if n else "n",), shape=(1,), factor=1) for n in range(20)]
    program = hand_made(*chain, readout("s19"), timesteps=20, weight=-8190, bias=(4095, 7))
    assert not simulate(program, ONES)["n"].any()
    with pytest.raises(FixedPointOverflow, match=r"^n, sample 0, step 16, "):
        simulate(program, Samples(np.zeros((1, 1), np.float32), None, False))


def test_graded_spikes_are_recorded_as_they_are() -> None:
    program = hand_made(
        ir.Scale(name="large", inputs=("n",), shape=(1,), factor=200),
        ir.Scale(name="negative", inputs=("n",), shape=(1,), factor=-7),
        ir.Merge(name="above", inputs=("large", "large"), shape=(1,)),
        ir.Merge(name="below", inputs=("negative",), shape=(1,)),
        readout("above", "below"),
        timesteps=2,
        weight=1,
        bias=(0, 0),
    )
    emitted = simulate(program, ONES[:1])
    assert {name: (values.ravel().tolist(), values.dtype.name) for name, values in emitted.items()} == {
        "n": ([1, 1], "uint8"),
        "above": ([400, 400], "int32"),
        "below": ([-7, -7], "int32"),
        "logits": ([786], "int64"),
    }


def test_samples_that_do_not_fit_are_refused() -> None:
    _, program = compile_model(residual_net("ADD", NEURONS["if"]), random_samples(2), timesteps=2)
    with pytest.raises(DataError, match=r"has shape \[2, 8, 9\], but the model takes \[2, 8, 8\]"):
        simulate(program, random_samples(2, shape=(2, 8, 9)))
    with pytest.raises(DataError, match="3 time steps, but 2 are asked for"):
        simulate(program, random_samples(2, steps=3))


def test_progress_counts_every_cycle() -> None:
    _, program = compile_model(residual_net("AND", NEURONS["if"]), random_samples(2), timesteps=3)
    told: list[tuple[int, int]] = []
    simulate(program, random_samples(2), progress=lambda *at: told.append(at))
    total = 2 * 3 + program.schedule.depth
    assert told == [(cycle, total) for cycle in range(1, total + 1)]


def test_static_samples_and_frames_of_the_same_image_give_the_same() -> None:
    samples = random_samples(2)
    frames = Samples(np.repeat(samples.x[:, None], 3, axis=1), None, True)
    _, program = compile_model(residual_net("ADD", NEURONS["lif"]), samples, timesteps=3)
    assert np.array_equal(simulate(program, samples)["logits"], simulate(program, frames)["logits"])
