"""Random residual nets in three engines that share no code: cycle simulator, structural Lava, a few lines of numpy."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import NEURONS, compile_model, random_samples, residual_net
from programs import model

from snn2hw.deployment import Deployment, NetworkCheck, Source
from snn2hw.engines.cycle import simulate
from snn2hw.exporters.export import choose, export
from snn2hw.exporters.lava.host import run_lava

SAMPLES = 2


@st.composite
def nets(draw: st.DrawFn) -> dict[str, object]:
    """One to four blocks, each with its gate, strided or not; graded payloads where an ADD feeds the next block."""
    count = draw(st.integers(1, 4))
    gates = [draw(st.sampled_from(("ADD", "AND", "IAND", "SPIKING"))) for _ in range(count)]
    channels, blocks = 3, []
    for _ in gates:
        strided = draw(st.booleans())
        channels += strided
        blocks.append((channels, 2 if strided else 1))
    return {
        "gate": gates,
        "neuron": NEURONS[draw(st.sampled_from(("if", "lif", "lif-soft", "leaky-zero", "leaky-subtract", "if-reset")))],
        "blocks": blocks,
        "max_pool": draw(st.sampled_from(((), (0,)))),
        "seed": draw(st.integers(0, 2**16)),
    }


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(net=nets(), timesteps=st.integers(1, 4))
def test_cycle_simulator_structural_lava_and_numpy_agree_on_random_residual_nets(
    net: dict[str, object], timesteps: int
) -> None:
    samples = random_samples(SAMPLES)
    traced, program = compile_model(residual_net(**net), samples, timesteps=timesteps)  # type: ignore[arg-type]
    cycle = simulate(program, samples)
    with tempfile.TemporaryDirectory() as folder:
        bundle, given_file, made = Path(folder, "net.lava"), Path(folder, "x.npz"), Path(folder, "spikes.npz")
        source = Source(model="random", file=None, sha256=None, options={})
        export(
            Deployment(
                program=program,
                network=traced.network,
                network_check=NetworkCheck(samples=0, compared=0, ties=0, note=""),
                source=source,
                calibrated_on="random",
                calibration_samples=SAMPLES,
                conventions={},
            ),
            bundle,
            [choose("lava")],
        )
        np.savez(given_file, x=samples.x)
        run_lava(bundle, given_file, made, processes="structural", deadline=300)
        lava = dict(np.load(made))
        arrays = dict(np.load(bundle / "program.npz"))
    steps = model(json.loads(str(arrays.pop("program"))), arrays, samples.x)
    assert set(cycle) == set(lava) == set(steps)
    assert sum(int(cycle[name].sum()) for name in cycle if name != "logits") > 0
    for name in cycle:
        assert np.array_equal(cycle[name], lava[name]), name
        assert np.array_equal(cycle[name], steps[name]), name
