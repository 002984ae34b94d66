"""Each witness can fail: a mistake planted in one part of snn2hw is found by exactly the comparisons that should."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cli
import nir
import numpy as np
import pytest
from cli import fail, succeed

from snn2hw.api import compiling
from snn2hw.deployment import NetworkCheck
from snn2hw.engines import fast
from snn2hw.exporters import bundle as lava_bundle
from snn2hw.exporters.lava import simulate as lava_engine
from snn2hw.exporters.lava.host import run_lava
from snn2hw.frontends.neurons import snntorch
from snn2hw.frontends.torch import weighted
from snn2hw.ir import fixed_point
from snn2hw.ir import nodes as ir
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes import currents
from snn2hw.verification import verify

NETWORK, INTEGERS, LAVA, TORCH = verify.NETWORK, verify.INTEGERS, "lava-vs-program", verify.REQUANTISED
EXPORT = ("export", "tiny.pt", "--target", "lava", "--calibrate", "samples.npz", "-o", "new.lava")

Patch = pytest.MonkeyPatch


def differing() -> set[str]:
    """Verify new.lava, and return the required comparisons that differ."""
    ended = cli.run("verify", "new.lava", "--data", "samples.npz", "--json", "verify.json")
    result = json.loads(Path("verify.json").read_text())
    assert ended.code == (0 if result["verdict"] == "exact" else 1), ended
    assert result["skipped"] == {}
    return {c["name"] for c in result["comparisons"] if c["exact_required"] and c["mismatches"]}


def unchecked(patch: Patch) -> None:
    """Let `export` write what it would refuse, so that `verify` has it to look at."""
    patch.setattr(
        compiling, "check_network", lambda *arguments: NetworkCheck(samples=2, compared=0, ties=0, note="not compared")
    )


@pytest.fixture(autouse=True)
def here(tiny: Path) -> Path:
    return tiny


def test_without_a_mistake_nothing_differs() -> None:
    succeed(*EXPORT)
    assert differing() == set()


def test_a_tracer_that_reads_weights_wrongly_is_refused_by_export_and_found_by_network_vs_torch(
    monkeypatch: Patch,
) -> None:
    right: Callable[..., Any] = weighted.as_array
    monkeypatch.setattr(weighted, "as_array", lambda tensor: 1.01 * right(tensor))
    message = fail(*EXPORT)
    assert "tiny.pt: the network made of it does something else: " in message
    assert "First: layer neuron1, sample 0, step " in message and "the model gives " in message
    unchecked(monkeypatch)
    succeed(*EXPORT)
    assert differing() == {NETWORK}


def test_a_neuron_reader_that_is_wrong_is_refused_at_load(monkeypatch: Patch) -> None:
    right: Callable[..., Any] = snntorch.write_neuron
    monkeypatch.setattr(
        snntorch, "write_neuron", lambda shape, dtype, **given: right(shape, dtype, **given | {"keep": np.array(0.75)})
    )
    assert "neuron1" in fail(*EXPORT)


@pytest.mark.parametrize("rounding", [np.floor, np.ceil], ids=["down", "up"])
def test_a_quantiser_that_rounds_wrongly_is_found_by_integers_vs_network_alone(
    rounding: Callable[[Any], Any], monkeypatch: Patch
) -> None:
    monkeypatch.setattr(currents, "round_to_int", lambda x: rounding(np.asarray(x, np.float64)).astype(np.int64))
    succeed(*EXPORT)
    assert differing() == {INTEGERS}


def test_a_writer_of_quantised_nir_that_is_wrong_is_found_by_both_that_read_the_file(monkeypatch: Patch) -> None:
    def wrong(graph: ir.Graph) -> Any:
        written = integer_graph(graph)
        weight = np.array(written.nodes["layer1.0.conv1"].weight)
        weight[0] += 3
        written.nodes["layer1.0.conv1"].weight = weight
        return written

    monkeypatch.setattr(lava_bundle, "integer_graph", wrong)
    succeed(*EXPORT)
    assert differing() == {INTEGERS, TORCH}


def test_a_fast_simulator_that_is_wrong_is_found_by_both_that_look_at_the_program(monkeypatch: Patch) -> None:
    succeed(*EXPORT)
    right: Callable[..., ir.Spikes] = fast.simulate

    def wrong(program: ir.Program, *arguments: Any, **options: Any) -> ir.Spikes:
        nodes = [
            replace(node, threshold=node.threshold // 2) if node.name == "layer1.0.neuron1" else node
            for node in program.graph
        ]
        return right(replace(program, graph=ir.Graph(tuple(nodes))), *arguments, **options)

    monkeypatch.setattr(fast, "simulate", wrong)
    assert differing() == {LAVA, TORCH}


def test_lava_that_computes_wrongly_is_found_by_lava_vs_program_alone(monkeypatch: Patch) -> None:
    succeed(*EXPORT)
    values = cli.arrays("new.lava/program.npz")
    values["layer1.0.neuron1:threshold"] //= 2
    np.savez("wrong.npz", **values)
    monkeypatch.setattr(lava_engine, "run_lava", partial(run_lava, program=Path("wrong.npz")))
    assert differing() == {LAVA}


@pytest.mark.parametrize("both", [False, True], ids=["program.npz alone", "both files alike"])
def test_a_decay_that_is_off_by_one_unit_is_found_though_no_sample_shows_it(both: bool) -> None:
    Path("leaky.py").write_text(
        "import snntorch, torch\nfrom torch import nn\n"
        "def net():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), snntorch.Leaky(0.9, init_hidden=True), "
        "nn.Linear(9, 4))\n"
    )
    model = ("leaky:net", "--input-shape", "1,6,6", "--timesteps", "1")
    succeed("export", *model, "--target", "lava", "--calibrate", "samples.npz", "-o", "new.lava")
    assert differing() == set()
    values = cli.arrays("new.lava/program.npz")
    values["2:decay"] += 1
    np.savez("new.lava/program.npz", **values)
    if both:
        graph = nir.read("new.lava/quantised.nir", type_check=False)
        node = graph.nodes["2"]
        decay = int(values["2:decay"].ravel()[0])
        node.metadata["decay"] = np.atleast_1d(decay)
        node.tau = np.full_like(node.tau, fixed_point.NO_MEMORY * 1e-4 / decay)
        node.r = node.tau / 1e-4
        nir.write("new.lava/quantised.nir", graph)
    lava_bundle.write_manifest(Path("new.lava"), json.loads(Path("new.lava/manifest.json").read_text()))
    assert differing() == {INTEGERS}
