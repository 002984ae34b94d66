"""The trained nets for a chip without Loihi's formats: exact in every engine, and with nothing lost to the biases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli import succeed

from snn2hw import ir
from snn2hw.data.load import load_samples
from snn2hw.exporters.export import choose, export
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.ir.file import read_program
from snn2hw.ir.fixed_point import join_bias
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.neuron_rule import rule_of
from snn2hw.pipeline import Options, deploy
from snn2hw.verification import verify
from snn2hw.verification.network_vs_torch import check_network

TRAINED = Path(__file__).parents[2] / "examples" / "digits"
NETS = ("add", "and", "iand", "spiking")
CHIP = "generic-int8"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Exports a trained net for a chip, once."""
    folder = tmp_path_factory.mktemp("chips")

    def bundle(net: str, chip: str) -> Path:
        place = folder / f"{net}-{chip}.lava"
        if not place.exists():
            loaded = load_model(str(TRAINED / f"{net}.pt"), ModelOptions())
            samples = load_samples("digits", loaded.input_shape, split="train")
            checked = check_network(loaded, samples, loaded.timesteps)
            deployment = deploy(loaded, samples, Options(timesteps=loaded.timesteps, chip=chip), checked)
            export(deployment, place, [choose("lava")])
        return place

    return bundle


@pytest.mark.parametrize(("processes", "samples"), [("fused", 5), ("structural", 2)])
@pytest.mark.parametrize("net", NETS)
def test_a_trained_net_is_exact_on_a_chip_without_loihis_formats(
    net: str, processes: str, samples: int, exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    bundle, result = exported(net, CHIP), tmp_path / "verify.json"
    assert read_program(bundle / "program.npz").numerics == load_numerics(CHIP)
    options = ("--samples", samples, "--processes", processes, "--json", result)
    succeed("verify", bundle, "--data", "digits", *options)
    found = json.loads(result.read_text())
    required = {c["name"]: c["mismatches"] for c in found["comparisons"] if c["exact_required"]}
    assert found["verdict"] == "exact" and not any(required.values())
    assert required.keys() == {verify.NETWORK, verify.INTEGERS, "lava-vs-program", verify.REQUANTISED}


@pytest.mark.parametrize("net", NETS)
def test_nothing_is_lost_to_the_format_of_biases(net: str, exported: Callable[[str, str], Path]) -> None:
    """Every bias is the nearest whole number, which Loihi's are not; weights of the first layer use all their bits."""
    network = load_model(str(TRAINED / f"{net}.pt"), ModelOptions()).network
    plain, loihi = (read_program(exported(net, chip) / "program.npz").graph for chip in (CHIP, "loihi2"))
    first = next(node for node in plain if isinstance(node, ir.Conv | ir.Linear))
    assert int(np.abs(first.weight).max()) == 127
    rounded = 0
    for node in plain:
        other = loihi[node.name]
        if isinstance(node, ir.Neuron) and isinstance(other, ir.Neuron) and np.any(node.bias_mantissa):
            layers = (network.nodes[name] for name in node.inputs if name in network.nodes)
            bias = sum(np.asarray(layer.bias, np.float64) for layer in layers)
            gain = rule_of(node.name, network.nodes[node.name]).gain.flat[0]
            real = 64 * node.largest_scale * gain * bias
            assert np.array_equal(join_bias(node.bias_mantissa, node.bias_exponent).ravel(), np.rint(real))
            rounded += int(
                np.count_nonzero(join_bias(other.bias_mantissa, other.bias_exponent).ravel() != np.rint(real))
            )
    assert rounded > 0
