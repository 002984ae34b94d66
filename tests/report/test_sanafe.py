"""Energy under SANA-FE's prices is what SANA-FE itself spends on the same network, component by component.

SANA-FE (GPL) is installed by `make` into a separate folder, which only a script in another process imports from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_nets import count, counted_on
from hand_made_graphs import program_of
from test_event_counts import connections

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.ir.fixed_point import Reset, join_bias
from snn2hw.ir.numerics import load_numerics
from snn2hw.mapping.place import place
from snn2hw.mapping.traffic import traffic
from snn2hw.report.energy import price_events
from snn2hw.report.prices import load_profiles
from snn2hw.targets import load_target

SCRIPT = Path(__file__).with_name("in_sanafe.py")
PINNED = Path(sys.prefix, "sanafe")  # where `make` installs requirements-sanafe.txt
STEPS = 12
ON_ONE_TILE = {
    "x": 0,
    "a": 1,
    "b": 2,
    "hidden": 3,
    "logits": 0,
}  # one tile, so no hops; layers that share a spike are apart
SANAFE_HEIGHT = 4  # its tiles are numbered down the columns of its mesh
NEVER = 1e9


def memoryless(name: str, source: str, shape: ir.Shape, *, threshold: list[int], bias: list[int]) -> ir.Neuron:
    """Neurons that forget at once, so that the steps in which SANA-FE fills and empties its pipeline change no spike.

    threshold and bias: of each channel. Those without a bias take weights from 0 and fire at whatever is above 0, so
    their membranes are 0 between steps: SANA-FE counts an update as active where the membrane is not.
    """
    per_channel = (len(bias), *(1 for _ in shape[1:]))
    return ir.Neuron(
        name=name,
        inputs=(source,),
        shape=shape,
        threshold=np.array(threshold).reshape(per_channel),
        decay=np.array(4095),
        bias_mantissa=64 * np.array(bias).reshape(per_channel),
        bias_exponent=np.array(0),
        reset=Reset.ZERO,
        reset_amount=np.array(0),
        scale=1.0,
    )


def branching_net() -> ir.Program:
    """Two branches of convolutions that meet in a graded sum, which a matrix reads; then the read-out."""
    random = np.random.default_rng(0)
    geometry: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
    unbiased = np.array([[0, 1, 2], [1, 3, 0], [2, 0, 1]]).reshape(1, 1, 3, 3)
    biased = np.array([[-1, 2, 0], [3, 2, -2], [0, 1, -3]]).reshape(1, 1, 3, 3)
    thresholds = {"threshold": [0, 2], "bias": [0, 1]}
    nodes: tuple[ir.Node, ...] = (
        ir.Input(name="x", shape=(1, 4, 4), scale=1.0, low=0, high=1),
        ir.Conv(
            name="conv_a",
            inputs=("x",),
            shape=(2, 4, 4),
            weight=np.concatenate([unbiased, biased]),
            padding=(1, 1),
            **geometry,
        ),
        memoryless("a", "conv_a", (2, 4, 4), **thresholds),
        ir.Conv(
            name="conv_b",
            inputs=("x",),
            shape=(2, 4, 4),
            weight=np.array([1, 3]).reshape(2, 1, 1, 1),
            padding=(0, 0),
            **geometry,
        ),
        memoryless("b", "conv_b", (2, 4, 4), **thresholds),
        ir.Merge(name="sum", inputs=("a", "b"), shape=(2, 4, 4)),
        ir.Linear(
            name="matrix",
            inputs=("sum",),
            shape=(5,),
            weight=np.concatenate([random.integers(0, 2, (2, 32)), random.integers(-2, 3, (3, 32))]),
        ),
        memoryless("hidden", "matrix", (5,), threshold=[0, 0, 4, 4, 4], bias=[0, 0, 2, -1, 3]),
        ir.Linear(name="out", inputs=("hidden",), shape=(3,), weight=random.integers(-4, 5, (3, 5))),
        ir.Readout(name="logits", inputs=("out",), shape=(3,), bias=np.array([1, -2, 3]), scale=1.0),
    )
    return program_of(ir.Graph(nodes), load_numerics(), timesteps=STEPS)


def bias_of(node: ir.Neuron | ir.Readout) -> np.ndarray[Any, Any]:
    """The bias of every unit in input units."""
    bias = node.bias if isinstance(node, ir.Readout) else join_bias(node.bias_mantissa, node.bias_exponent) / 64
    return np.broadcast_to(bias, node.shape).ravel()


def sanafe_net(program: ir.Program, x: np.ndarray[Any, Any], cores: dict[str, int] = ON_ONE_TILE) -> dict[str, Any]:
    """The same neurons and connections, one by one. Each branch of a sum is connected to what reads it."""
    graph = program.graph
    groups: list[dict[str, Any]] = []
    wires: list[tuple[str, str, list[tuple[int, int, int]]]] = []
    for node in graph:
        if isinstance(node, ir.Input):
            trains = x.reshape(STEPS, -1).T.astype(int).tolist()
            group = {"name": node.name, "size": len(trains), "spikes": trains, "synapses": ""}
        elif isinstance(node, ir.Neuron | ir.Readout):
            synapse = graph[node.inputs[0]]
            limits = np.full(node.shape, NEVER) if isinstance(node, ir.Readout) else node.threshold
            group = {
                "name": node.name,
                "size": int(np.prod(node.shape)),
                "threshold": np.broadcast_to(limits, node.shape).ravel().tolist(),
                "bias": bias_of(node).tolist(),
                "synapses": "loihi_conv_synapse" if isinstance(synapse, ir.Conv) else "loihi_dense_synapse",
            }
            shape = graph.input_shape(synapse)
            edges = [
                (int(np.ravel_multi_index(source, shape)), int(np.ravel_multi_index(target, node.shape)), weight)
                for source, reached in connections(synapse, shape).items()
                for target, weight in reached
            ]
            read = graph[synapse.inputs[0]]
            wires += [(s, node.name, edges) for s in (read.inputs if isinstance(read, ir.Merge) else synapse.inputs)]
        else:
            continue
        groups.append(group | {"core": cores[node.name]})
    return {"groups": groups, "connections": wires, "steps": STEPS + depth(program)}


def depth(program: ir.Program) -> int:
    """Steps that the last layer of SANA-FE is behind the first: one a layer of neurons."""
    return program.schedule.depth


def spend(net: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What SANA-FE's simulation of a network says."""
    assert (PINNED / "sanafe").is_dir(), f"{PINNED} is missing: `make setup` installs SANA-FE there"
    (folder / "net.json").write_text(json.dumps(net))
    command = [sys.executable, str(SCRIPT), "net.json", "result.json"]
    environment = os.environ | {"PYTHONPATH": str(PINNED)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


@pytest.mark.parametrize("density", [0.05, 0.2])
def test_every_component_is_what_sanafe_spends(tmp_path: Path, density: float) -> None:
    program = branching_net()
    x = np.random.default_rng(1).random((1, STEPS, 1, 4, 4)) < density
    events = count(program, Samples(x.astype(np.float32), None, True))
    units = [layer.unit for layer in events.layers if layer.kind == "neuron" and layer.unit]
    assert all(min(sum(unit.spikes), sum(unit.active), sum(unit.inactive)) > 0 for unit in units)
    graded = events["matrix"].synapses
    assert graded is not None and sum(graded.by_value) > sum(graded.operations) > 0
    (profile,) = load_profiles(("loihi1-sanafe",))
    ours = price_events(events, profile).components

    spent = spend(sanafe_net(program, x[0]), tmp_path)
    neurons = [node for node in program.graph if isinstance(node, ir.Neuron | ir.Readout)]
    biased = sum(int(np.count_nonzero(bias_of(node))) for node in neurons)
    others = sum(int(np.prod(node.shape)) for node in neurons) - biased
    filling = depth(program) * (
        biased * profile.price("neuron_active") + others * profile.price("neuron_inactive")
    )  # SANA-FE updates every neuron while its pipeline fills and empties too
    synapses = sum(energy for name, energy in ours.items() if name.startswith("synapses_"))
    soma = sum(ours[name] for name in ("neuron_active", "neuron_inactive", "spike"))
    energy = spent["energy"]
    assert energy["synapse"] == pytest.approx(synapses, rel=1e-9)
    assert energy["soma"] == pytest.approx(soma + filling, rel=1e-9)
    assert energy["network"] == pytest.approx(ours["messages"], rel=1e-9)
    assert energy["total"] == pytest.approx(sum(ours.values()) + filling, rel=1e-9)
    fired = sum(sum(unit.spikes) for unit in units)
    assert spent["neurons_fired"] == fired + int(x.sum())


def test_hops_are_those_of_sanafe(tmp_path: Path) -> None:
    """One tile for each layer, two tiles in a row, so that messages go along rows and columns."""
    program = branching_net()
    x = np.random.default_rng(1).random((1, STEPS, 1, 4, 4)) < 0.2
    counter = counted_on(program, Samples(x.astype(np.float32), None, True))
    events = counter.events()
    chip = replace(load_target("loihi1"), cores_per_tile=1, mesh_width=2)
    placed = place(program, chip)
    tiles = {layer.name: (layer.cores[0].x, layer.cores[0].y) for layer in placed.layers}
    assert len(set(tiles.values())) == placed.cores == len(tiles)
    messages = traffic(placed, counter.spikes())
    hops = (float(messages.total("hops_x")), float(messages.total("hops_y")))
    assert min(hops) > 0
    (profile,) = load_profiles(("loihi1-sanafe",))
    ours = price_events(events, profile, hops).components
    ours["hops"] += sum(  # the input enters at the tile of layer a; for the report it comes from outside
        sum(events[synapse].synapses.messages) * abs(tiles[layer][axis] - tiles["a"][axis]) * profile.price(price)  # type: ignore[union-attr]
        for synapse, layer in (("conv_a", "a"), ("conv_b", "b"))
        for axis, price in enumerate(("hop_x", "hop_y"))
    )
    cores = {name: (tile_x * SANAFE_HEIGHT + tile_y) * 4 for name, (tile_x, tile_y) in tiles.items()}
    energy = spend(sanafe_net(program, x[0], cores | {"x": cores["a"] + 1}), tmp_path)["energy"]
    assert energy["network"] == pytest.approx(ours["messages"] + ours["hops"], rel=1e-9)


def test_a_spike_more_would_be_seen(tmp_path: Path) -> None:
    """The comparison can fail: one more input spike changes every component."""
    program = branching_net()
    x = np.random.default_rng(1).random((1, STEPS, 1, 4, 4)) < 0.2
    more = x.copy()
    more[0, 3, 0, 1, 1] = not more[0, 3, 0, 1, 1]
    before, after = (spend(sanafe_net(program, each[0]), tmp_path)["energy"] for each in (x, more))
    assert all(abs(before[part] - after[part]) > 1e-9 * before[part] for part in ("synapse", "soma", "network"))
