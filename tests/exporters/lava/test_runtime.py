"""The run-time code in Lava: fused and structural processes against a model that knows no cycles."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from programs import Builder, make_bundle, save_samples

from snn2hw.errors import LavaError
from snn2hw.exporters.lava.environment import clean_variables, ensure_environment
from snn2hw.exporters.lava.host import run_lava

SAMPLES = 3


def chain(timesteps: int) -> Builder:
    """Input, layer, OR pool, layer, read-out; neurons without leak or bias."""
    builder = Builder(timesteps=timesteps, seed=1)
    last = builder.layer("stem", "x", 4, low=-9, high=6)
    last = builder.layer("second", builder.or_pool("pool", last), 6, reset="subtract")
    builder.readout(last)
    return builder


def sew(timesteps: int, gate: str, reset: str, style: str, *, shortcut_neuron: bool = True) -> Builder:
    """A block with a strided shortcut, then one whose shortcut is the identity."""
    builder = Builder(timesteps=timesteps, seed=2)
    last = builder.layer("stem", "x", 4, style=style)
    last = builder.sew_block(
        "down", last, 6, gate=gate, stride=2, reset=reset, style=style, shortcut_neuron=shortcut_neuron
    )
    last = builder.sew_block("same", last, 6, gate=gate, reset=reset, style=style)
    builder.readout(last)
    return builder


def graded(timesteps: int) -> Builder:
    """Three ADD blocks, so that payloads of up to 4 reach a sum pool and the read-out."""
    builder = Builder(timesteps=timesteps, seed=3)
    last = builder.layer("stem", "x", 4)
    for name in ("one", "two", "three"):
        last = builder.sew_block(name, last, 4, gate="ADD", style="leaky")
    last = builder.region("pool", "doubled", builder.merge("doubled", [last, last]))
    total = builder.pool("sum", last, 2, 2)
    builder.region("pool", "average", total, builder.merge("average", [total]))
    builder.readout("average")
    return builder


def joined(timesteps: int) -> Builder:
    """Branches that meet before the neuron, with every reset."""
    builder = Builder(timesteps=timesteps, seed=4)
    last = builder.layer("stem", "x", 4, style="full")
    for reset in ("zero", "subtract", "subtract_late", "none"):
        last = builder.joined_block(reset, last, reset=reset, style="channels")
    builder.readout(last)
    return builder


def currents(timesteps: int) -> Builder:
    """A residual stream of currents, and a layer that reads it as payloads of few bits."""
    builder = Builder(timesteps=timesteps, seed=8)
    stem = builder.conv("stem.conv", "x", 4, low=-9, high=9)
    last = builder.region("layer", "stem", stem, builder.relay("stem", [stem], shift=1, low=-90, high=90))
    last = builder.membrane_block("two", builder.membrane_block("one", last))
    payload = builder.relay("payload", [builder.scale("again", last, 1)], shift=4)
    builder.region("layer", "payload", "again", payload)
    last = builder.conv("after.conv", payload, 4, low=-9, high=9)
    last = builder.neuron("after", builder.pool("after.max", last, 3, 2, 1, kind="max_pool"), reset="subtract")
    builder.region("layer", "after", "after.conv", "after.max", "after")
    builder.readout(last)
    return builder


def unusual_convolutions(timesteps: int) -> Builder:
    """Groups, one group per channel (with two outputs each), dilation, even and 1x1 kernels, uneven sizes."""
    builder = Builder(timesteps=timesteps, shape=(4, 7, 10), seed=5)
    last = builder.layer("groups", "x", 6, groups=2)
    last = builder.layer("depthwise", last, 12, groups=6, low=5, high=40)
    last = builder.layer("dilated", last, 4, dilation=2, stride=2, reset="subtract_late")
    last = builder.layer("even", last, 5, kernel=2)
    last = builder.layer("point", last, 5, kernel=1, low=0, high=30)
    builder.readout(last)
    return builder


def vectors(timesteps: int) -> Builder:
    """No image anywhere: linear layers, and a block of them with a scaled shortcut."""
    builder = Builder(timesteps=timesteps, shape=(9,), seed=6)
    first = builder.linear("fc1", "x", 8)
    last = builder.region("layer", "l1", first, builder.neuron("sn1", first))
    branch = builder.neuron("sn2", builder.linear("fc2", last, 8), style="channels", reset="subtract")
    shortcut = builder.scale("shortcut", last, 300)
    join = builder.neuron("join", [shortcut, builder.linear("fc3", branch, 8)], style="full")
    builder.region("residual_block", "block", "fc2", "sn2", "shortcut", "fc3", join)
    builder.readout(join)
    return builder


PROGRAMS: dict[str, Callable[[], Builder]] = {
    "chain T=1": lambda: chain(1),
    "chain T=4": lambda: chain(4),
    "ADD T=4": lambda: sew(4, "ADD", "zero", "leaky"),
    "ADD T=1, shortcut without a neuron": lambda: sew(1, "ADD", "zero", "plain", shortcut_neuron=False),
    "AND T=4": lambda: sew(4, "AND", "subtract", "channels"),
    "IAND T=4": lambda: sew(4, "IAND", "subtract_late", "full"),
    "IAND T=1": lambda: sew(1, "IAND", "none", "plain"),
    "graded T=4": lambda: graded(4),
    "joined T=4": lambda: joined(4),
    "currents T=3": lambda: currents(3),
    "unusual convolutions T=2": lambda: unusual_convolutions(2),
    "vectors T=3": lambda: vectors(3),
}


def run(builder: Builder, folder: Path, **options: object) -> dict[str, np.ndarray]:
    run_lava(folder, folder / "x.npz", folder / "spikes.npz", deadline=120, **options)
    with np.load(folder / "spikes.npz") as archive:
        return dict(archive)


def assert_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_and_structural_processes_equal_the_model(name: str, tmp_path: Path) -> None:
    builder = PROGRAMS[name]()
    bundle = make_bundle(builder, tmp_path)
    expected = builder.expected(save_samples(builder, bundle, SAMPLES))
    for layer, spikes in expected.items():
        low, high = (0.02, 0.98) if spikes.dtype == np.uint8 else (spikes.min(), spikes.max())
        assert low < np.mean(spikes) < high, f"{layer} says too little: its mean is {np.mean(spikes)}"
    assert_equal(run(builder, bundle), expected)
    assert_equal(run(builder, bundle, processes="structural"), expected)


def blocks(timesteps: int) -> Builder:
    """Six regions behind one another."""
    builder = Builder(timesteps=timesteps, seed=7)
    last = builder.layer("stem", "x", 4)
    for number in range(3):
        last = builder.sew_block(f"block{number}", last, 4, gate="ADD", style="leaky")
    builder.readout(builder.or_pool("pool", last))
    return builder


@pytest.mark.parametrize("lava_processes", range(2, 8))
def test_which_regions_share_a_process_changes_nothing(lava_processes: int, tmp_path: Path) -> None:
    builder = blocks(3)
    bundle = make_bundle(builder, tmp_path)
    expected = builder.expected(save_samples(builder, bundle, SAMPLES))
    assert len(builder.regions) == 6
    assert_equal(run(builder, bundle, lava_processes=lava_processes), expected)


def test_static_samples_are_repeated_and_the_first_ones_can_be_chosen(tmp_path: Path) -> None:
    builder = chain(3)
    bundle = make_bundle(builder, tmp_path)
    x = save_samples(builder, bundle, SAMPLES, static=True)
    progress: list[tuple[int, int]] = []
    actual = run(builder, bundle, samples=2, on_progress=lambda done, total: progress.append((done, total)))
    assert_equal(actual, builder.expected(x[:2]))
    cycles = 2 * 3 + 4  # two samples of three steps, and four synapses to pass
    assert progress[-1] == (cycles, cycles)
    assert progress == sorted(progress)


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_a_wrong_delay_or_reset_offset_shows(processes: str, tmp_path: Path) -> None:
    builder = sew(4, "ADD", "zero", "leaky")
    bundle = make_bundle(builder, tmp_path)
    expected = builder.expected(save_samples(builder, bundle, SAMPLES))
    delay = next(edge for edge in builder.nodes["same"]["inputs"] if edge["delay"])
    delay["delay"] += 1
    builder.save(bundle / "delay.npz")
    delay["delay"] -= 1
    builder.nodes["down.sn2"]["reset_offset"] = (builder.nodes["down.sn2"]["reset_offset"] + 1) % 4
    builder.save(bundle / "offset.npz")
    for program, first_wrong in (("delay.npz", "same"), ("offset.npz", "down.sn2")):
        actual = run(builder, bundle, processes=processes, program=bundle / program)
        wrong = [name for name in expected if not np.array_equal(actual[name], expected[name])]
        assert wrong[0] == first_wrong


def single_neuron(*, weight: int, mantissa: int, timesteps: int) -> Builder:
    """x -> conv 1x1 -> a neuron that integrates for ever -> a long tail, so that many cycles belong to no sample."""
    builder = Builder(timesteps=timesteps, shape=(1, 2, 2), high=1)
    kernel = np.full((1, 1, 1, 1), weight)
    one = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    conv = builder.add("conv", "conv", (1, 2, 2), ["x"], weight=kernel, **one)
    parameters = {
        "threshold": 131071,
        "decay": 0,
        "current_decay": 4096,
        "bias_mantissa": mantissa,
        "bias_exponent": 7,
        "reset_amount": 0,
    }
    arrays = {key: np.asarray(value) for key, value in parameters.items()}
    neuron = builder.add("neuron", "neuron", (1, 2, 2), [conv], reset="none", **arrays)
    builder.region("layer", "layer", conv, neuron)
    last = neuron
    tail = [last := builder.scale(f"tail{number}", last, 1) for number in range(20)]
    builder.region("layer", "tail", *tail)
    builder.readout(last)
    return builder


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_an_overflow_inside_a_sample_ends_the_run(processes: str, tmp_path: Path) -> None:
    builder = single_neuron(weight=0, mantissa=4095, timesteps=20)
    bundle = make_bundle(builder, tmp_path)
    save_samples(builder, bundle, 1)
    # 524160 a step: the 17th step is the first beyond 2^23 - 1 = 8388607.
    message = r"layer neuron: sample 0, step 16: the membrane of neuron \[0, 0, 0\] is 8910720, .* \+-8388607"
    with pytest.raises(LavaError, match=message):
        run(builder, bundle, processes=processes)
    builder = single_neuron(weight=131072, mantissa=0, timesteps=2)
    builder.save(bundle / "program.npz")
    np.savez(bundle / "x.npz", x=np.ones((2, 1, 2, 2)) * [[[[0]]], [[[1]]]])
    message = r"layer neuron: sample 1, step 0: the summed input of neuron \[0, 0, 0\] is 131072, .* \+-131071"
    with pytest.raises(LavaError, match=message):
        run(builder, bundle, processes=processes)
    assert not (bundle / "spikes.npz").exists()


@pytest.mark.parametrize("processes", ["fused", "structural"])
def test_an_overflow_that_no_sample_sees_is_nothing(processes: str, tmp_path: Path) -> None:
    builder = single_neuron(weight=-8190, mantissa=4095, timesteps=20)  # an input of 1 cancels the bias exactly
    bundle = make_bundle(builder, tmp_path)
    x = np.ones((2, 1, 2, 2))
    np.savez(bundle / "x.npz", x=x)
    assert_equal(run(builder, bundle, processes=processes), builder.expected(x))


def test_structural_processes_are_stock_ones_where_those_are_exact(tmp_path: Path) -> None:
    builder = chain(4)
    bundle = make_bundle(builder, tmp_path)
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lava_import import make_lava_importable
make_lava_importable()
import numpy as np
from engine import Job
from network import RunConfig, build_network
from program_npz.reader import read_program
program = read_program(Path(sys.argv[2]))
source = build_network(Job(program, 1, {}), np.zeros((1, 1, 3, 8, 8), np.uint8))
for process in source.compile(RunConfig("structural")).proc_builders:
    print(type(process).__module__.split(".")[0], type(process).__name__, process.name)
"""
    command = [ensure_environment(), "-c", script, bundle / "lava", bundle / "program.npz"]
    done = subprocess.run(command, env=clean_variables(), capture_output=True, text=True, check=True)
    lines = sorted(line for line in done.stdout.splitlines() if "recorder" not in line)
    assert lines == [
        "lava Conv pool.sum",
        "lava Conv second.conv",
        "lava Conv stem.conv",
        "lava Dense fc",
        "lava LIFReset pool",
        "lava LIFReset stem",
        "processes Accumulator logits",
        "processes CheckedLIFReset second",  # its reset subtracts
        "processes Source x",
    ]


def test_a_bundle_runs_by_hand_from_its_own_folder_and_stays_as_it_is(tmp_path: Path) -> None:
    builder = chain(2)
    bundle = make_bundle(builder, tmp_path / "bundle")
    x = save_samples(builder, tmp_path, SAMPLES)
    before = sorted(bundle.rglob("*"))
    command = [ensure_environment(), "lava/run.py", "--input", "../x.npz", "--output", "../spikes.npz", "--saturate"]
    # The folder holds a folder named like the library, and this variable even puts it on the path.
    environment = {**clean_variables(), "PYTHONPATH": "."}
    done = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with np.load(tmp_path / "spikes.npz") as archive:
        assert_equal(dict(archive), builder.expected(x))
    assert sorted(bundle.rglob("*")) == before


@pytest.mark.parametrize("gate", ["ADD", "AND", "IAND"])
def test_lava_alone_equals_the_model(gate: str, tmp_path: Path) -> None:
    builder = sew(3, gate, "zero", "plain")
    bundle = make_bundle(builder, tmp_path)
    expected = builder.expected(save_samples(builder, bundle, SAMPLES))
    assert_equal(run(builder, bundle, processes="stock"), expected)


def test_what_lava_alone_cannot_do_is_refused(tmp_path: Path) -> None:
    builder = sew(3, "ADD", "subtract", "plain")
    bundle = make_bundle(builder, tmp_path)
    save_samples(builder, bundle, SAMPLES)
    why = r"--stock-only: layer down\.sn1, and 5 in all, cannot be a LIFReset of Lava: its reset is 'subtract'"
    with pytest.raises(LavaError, match=why):
        run(builder, bundle, processes="stock")
