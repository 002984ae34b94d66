"""A chip whose neurons hold more than Lava's: run in Lava all the same, and told where 32 bits end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand_made_graphs import program_of

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import simulate
from snn2hw.errors import LavaError
from snn2hw.exporters.lava.host import Processes, run_lava
from snn2hw.exporters.lava.run_time import copy_run_time
from snn2hw.ir.file import write_program
from snn2hw.ir.fixed_point import Reset
from snn2hw.ir.numerics import load_numerics

GENERIC = load_numerics("generic-int8")


def integrator(folder: Path) -> ir.Program:
    """A neuron that adds up 127 * 157 times its input, from -1000 to 1000, and a bias of 30 bits; and its bundle."""
    parameters = {"threshold": 8_000_000, "decay": 0, "bias_mantissa": 1 << 29, "bias_exponent": 0, "reset_amount": 0}
    graph = ir.Graph(
        (
            ir.Input(name="x", shape=(157,), scale=1.0, low=-1000, high=1000),
            ir.Linear(name="fc", inputs=("x",), shape=(1,), weight=np.full((1, 157), 127)),
            ir.Neuron(
                name="n",
                inputs=("fc",),
                shape=(1,),
                reset=Reset.NONE,
                scale=1.0,
                **{name: np.array([value]) for name, value in parameters.items()},
            ),
            ir.Scale(name="sum", inputs=("n",), shape=(1,), factor=1),
            ir.Readout(name="out", inputs=("sum",), shape=(1,), bias=np.array([0]), scale=1.0),
        )
    )
    program = program_of(graph, GENERIC, timesteps=4)
    copy_run_time(folder / "lava")
    write_program(program, folder / "program.npz")
    return program


def run(folder: Path, processes: Processes, *steps: float) -> np.ndarray:
    """The neuron's spikes [4] in Lava for one sample, whose inputs are all the same in a step."""
    np.savez(folder / "x.npz", x=frames(*steps).x)
    run_lava(folder, folder / "x.npz", folder / "spikes.npz", processes=processes, deadline=300)
    with np.load(folder / "spikes.npz") as file:
        spikes: np.ndarray = file["n"].ravel()
    return spikes


def frames(*steps: float) -> Samples:
    return Samples(np.array([[[value] * 157 for value in steps]], np.float32), None, True)


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_membranes_and_biases_of_32_bits_run_in_lava(tmp_path: Path, processes: Processes) -> None:
    program = integrator(tmp_path)
    steps = (-400, 800, -900, -300)
    expected = simulate(program, frames(*steps))["n"].ravel()
    assert set(expected.tolist()) == {0, 1}
    assert run(tmp_path, processes, *steps).tolist() == expected.tolist()


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_what_leaves_32_bits_is_told_by_lava_too(tmp_path: Path, processes: Processes) -> None:
    """64 * 127 * 157 * 1000 + 2^29 twice is 3.6e9, which 32 bits would show as -6.7e8."""
    integrator(tmp_path)
    with pytest.raises(LavaError, match=r"layer n: sample 0, step 1: the membrane .* outside the limit of .-214748"):
        run(tmp_path, processes, 1000, 1000, 0, 0)
