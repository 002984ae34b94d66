"""One file, several frameworks: identical spikes at every spiking node and step, and checks that can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from interop_nets import ALIKE, NETS, deployed_net, deployment, write
from nets import random_samples, two, with_heads
from nir_graphs import chain, full

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import simulate as run_program
from snn2hw.errors import DataError, ModelError, OptionError, UnsupportedError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.exporters.nir.profiles import portable
from snn2hw.interop import CLIENTS, load_in
from snn2hw.interop.load import find_client
from snn2hw.interop.simulate import REFERENCE, simulate
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.adopt import adopt
from snn2hw.passes.calibrate import UNCALIBRATED
from snn2hw.pipeline import Options, compile_calibrated
from snn2hw.verification.comparison import measure


def different(a: ir.Spikes, b: ir.Spikes) -> dict[str, int]:
    """Layers that differ, and in how many values. Every layer of `a` has to be there."""
    result = measure(a, b)
    assert not result.only_a, result.only_a
    return {layer.name: layer.mismatches for layer in result.layers if layer.mismatches}


@pytest.mark.parametrize("net", NETS)
def test_a_portable_quantised_file_gives_the_programs_spikes_in_every_client(tmp_path: Path, net: str) -> None:
    compiled, samples, expected = deployed_net(net)
    write(compiled, tmp_path / "net.nir", "portable", quantised=True)
    steps = compiled.program.schedule.timesteps
    for client in ALIKE:
        spikes = simulate(tmp_path / "net.nir", client, samples, steps)
        assert different(expected, spikes) == {}, client
    assert sum(bool(values.any()) for values in expected.values()) > 0.5 * len(expected)


@pytest.mark.parametrize("client", ALIKE)
def test_several_heads_come_out_of_every_client(tmp_path: Path, client: str) -> None:
    samples = random_samples(3)
    compiled = deployment(with_heads(two), samples, 3)
    write(compiled, tmp_path / "net.nir", "portable", quantised=True)
    expected = run_program(compiled.program, samples)
    assert {"logits.0", "logits.1"} < expected.keys() and all(
        np.unique(logits).size > 1 for logits in expected.values()
    )
    assert different(expected, simulate(tmp_path / "net.nir", client, samples, 3)) == {}


@pytest.mark.parametrize("net", [name for name in NETS if "digits" in name])
def test_a_portable_float_file_gives_the_references_spikes_in_every_client(tmp_path: Path, net: str) -> None:
    compiled, samples, _ = deployed_net(net)
    write(compiled, tmp_path / "net.nir", "portable")
    write(compiled, tmp_path / "plain.nir", "plain")
    steps = compiled.program.schedule.timesteps
    expected = simulate(tmp_path / "net.nir", REFERENCE, samples, steps)
    natural = simulate(tmp_path / "plain.nir", REFERENCE, samples, steps)
    compared = sum(values.size for values in expected.values())
    ties = sum(layer.mismatches for layer in measure(natural, expected).layers if layer.name != "logits")
    print(f"{net}: {ties} of {compared} spikes differ between plain and portable, where floats tie")
    for client in ALIKE:
        spikes = simulate(tmp_path / "net.nir", client, samples, steps)
        assert different(without_logits(expected), without_logits(spikes)) == {}, client


def without_logits(spikes: ir.Spikes) -> ir.Spikes:
    return {name: values for name, values in spikes.items() if name != "logits"}


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("net", ["digits add", "digits spiking"])
def test_a_legacy_file_runs_in_sinabs(tmp_path: Path, net: str, quantised: bool) -> None:
    compiled, samples, expected = deployed_net(net)
    write(compiled, tmp_path / "net.nir", "legacy", quantised=quantised)
    steps = compiled.program.schedule.timesteps
    spikes = simulate(tmp_path / "net.nir", "sinabs", samples, steps)
    if quantised:
        assert different(expected, spikes) == {}
    expected = simulate(tmp_path / "net.nir", REFERENCE, samples, steps)
    assert different(without_logits(expected), without_logits(spikes)) == {}


def test_a_wrong_threshold_is_seen(tmp_path: Path) -> None:
    compiled, samples, expected = deployed_net("digits add")
    write(compiled, tmp_path / "net.nir", "portable", quantised=True)
    graph = nir.read(tmp_path / "net.nir")
    node = graph.nodes["layer2.1.neuron1"]
    node.v_threshold = node.v_threshold + 1
    write_graph(graph, tmp_path / "net.nir")
    for client in ALIKE:
        differences = different(expected, simulate(tmp_path / "net.nir", client, samples, 4))
        assert differences["layer2.1.neuron1"] and "layer1.0.neuron2" not in differences


def test_norse_without_the_order_of_execution_loses_a_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, samples, expected = deployed_net("digits add")
    write(compiled, tmp_path / "net.nir", "portable", quantised=True)
    monkeypatch.setattr(find_client("norse"), "execute_in_order", lambda module, graph: None)
    module = load_in("norse", tmp_path / "net.nir")
    module(torch.from_numpy(np.moveaxis(samples.x[None].repeat(4, 0), 0, 0)))
    assert different_or_missing(expected, module)


def different_or_missing(expected: ir.Spikes, module: Any) -> bool:
    spikes = {name: values.numpy().swapaxes(0, 1) for name, values in module.spikes.items()}
    try:
        return bool(different(without_logits(expected), spikes))
    except (AssertionError, DataError):
        return True


def test_sinabs_without_its_patches_computes_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, samples, expected = deployed_net("digits spiking")
    write(compiled, tmp_path / "net.nir", "legacy", quantised=True)
    client: Any = find_client("sinabs")
    monkeypatch.setattr(client, "SingleSpike", client.IAFSqueeze(batch_size=1).spike_fn)
    assert different(expected, simulate(tmp_path / "net.nir", "sinabs", samples, 4))


def leaky_network(**metadata: Any) -> nir.NIRGraph:
    """One quantised neuron that halves its membrane in each step and fires above 2."""
    neuron = nir.LIF(
        tau=np.full(1, 2e-4),
        r=full(2, 1),
        v_leak=full(0, 1),
        v_threshold=full(2 + 1 / 128, 1),
        v_reset=full(0, 1),
        metadata={"scale": 1.0, "reset_amount": 2} | metadata,
    )
    one = nir.Affine(weight=np.eye(1, dtype=np.float32), bias=full(0, 1))
    graph = chain((1,), 1, weights=one, neuron=neuron, readout=one)
    graph.nodes["input"].metadata |= {"scale": 1.0, "low": -2, "high": 2}
    graph.nodes["output"].metadata |= {"scale": 1.0}
    return graph


INTEGER_LEAK = {"decay": np.array([2048]), "current_decay": np.array([4096])}
REMAINDER = [1, 1, 0, 0, 0, 0, 0, 0, 2]  # 2 + 3/256 in the end, 2 where a leak truncates to 1/64


@pytest.mark.parametrize("client", ALIKE)
def test_truncation_is_put_back_and_without_the_patch_it_is_missing(tmp_path: Path, client: str) -> None:
    graph = leaky_network(**INTEGER_LEAK)
    program = compile_calibrated(graph, UNCALIBRATED, Options(timesteps=len(REMAINDER)))
    samples = Samples(np.float32(REMAINDER).reshape(1, -1, 1), None, True)
    expected = run_program(program, samples)["neuron"].ravel().tolist()
    assert expected == [0] * 9
    write_graph(portable(graph, whole=True), tmp_path / "net.nir")
    x = torch.tensor(REMAINDER).reshape(-1, 1, 1)
    for patched, fires in ((True, [0] * 9), (False, [0] * 8 + [1])):
        module = load_in(client, tmp_path / "net.nir", patched=patched)
        assert module.patched == (("neuron",) if patched else ())
        for _ in range(2):  # each run starts from rest
            module(x)
            assert module.spikes["neuron"].ravel().tolist() == fires


@pytest.mark.parametrize("client", ALIKE)
@pytest.mark.parametrize("reset", ["subtract", "subtract_late", "none"])
def test_other_resets_are_put_back(tmp_path: Path, client: str, reset: str) -> None:
    graph = leaky_network(reset=reset, **INTEGER_LEAK)
    x = np.random.default_rng(0).integers(0, 3, (1, 40, 1))
    program = compile_calibrated(graph, UNCALIBRATED, Options(timesteps=40))
    expected = run_program(program, Samples(x.astype(np.float32), None, True))["neuron"].ravel()
    write_graph(portable(graph, whole=True), tmp_path / "net.nir")
    steps = torch.from_numpy(x[0]).reshape(40, 1, 1)
    for patched in (True, False):
        module = load_in(client, tmp_path / "net.nir", patched=patched)
        module(steps)
        assert np.array_equal(module.spikes["neuron"].ravel().numpy(), expected) == patched


def test_adopted_integers_are_those_of_the_file() -> None:
    (neuron,) = (node for node in adopt(leaky_network(**INTEGER_LEAK), load_numerics()) if isinstance(node, ir.Neuron))
    assert (int(neuron.threshold.item()), int(neuron.decay.item()), int(neuron.reset_amount.item())) == (2, 2048, 2)


@pytest.mark.parametrize("client", ALIKE)
def test_a_run_takes_any_number_of_samples_and_starts_from_rest(tmp_path: Path, client: str) -> None:
    compiled, samples, _ = deployed_net("digits iand")
    write(compiled, tmp_path / "net.nir", "portable")
    module = load_in(client, tmp_path / "net.nir")
    x = torch.from_numpy(samples.steps(4))
    whole = module(x[:, :7])
    spikes = module.spikes
    one = module(x[:, 2:3])
    assert torch.allclose(one, whole[:, 2:3], atol=1e-5)
    assert all(torch.equal(values, spikes[name][:, 2:3]) for name, values in module.spikes.items())
    with pytest.raises(DataError, match=r"x has shape \[4, 1, 8, 8\], but \[T, N, 1, 8, 8\] is needed"):
        module(x[:, 0])


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "snn2hw.interop.norse", None)
    with pytest.raises(OptionError, match=r"norse cannot be imported .*pip install 'snn2hw\[norse\]'"):
        load_in("norse", tmp_path / "net.nir")
    with pytest.raises(OptionError, match="client 'nest': choose norse, sinabs, snntorch, spikingjelly"):
        load_in("nest", tmp_path / "net.nir")


def test_a_file_that_a_client_refuses_is_told_with_the_profile_that_would_run(tmp_path: Path) -> None:
    compiled, _, _ = deployed_net("digits iand")
    write(compiled, tmp_path / "plain.nir", "plain")
    write(compiled, tmp_path / "portable.nir", "portable")
    for client in ("spikingjelly", "snntorch"):
        with pytest.raises(ModelError, match=rf"{client} refuses this file .*--profile portable"):
            load_in(client, tmp_path / "plain.nir")
    with pytest.raises(UnsupportedError, match=r"sinabs has no node for CubaLIF\. Export with --profile legacy"):
        load_in("sinabs", tmp_path / "portable.nir")


def test_every_client_has_a_module() -> None:
    assert set(CLIENTS) == {*ALIKE, "sinabs"}
    assert all(callable(find_client(name).build) for name in CLIENTS)
