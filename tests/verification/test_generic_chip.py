"""The trained nets for a chip without Loihi's formats: exact in every engine, and with nothing lost to the biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trained_nets import NETS, PROCESSES, TRAINED, exported, verified

from snn2hw import ir
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model
from snn2hw.ir.file import read_program
from snn2hw.ir.fixed_point import join_bias
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.neuron_rule import rule_of
from snn2hw.verification import verify

CHIP = "generic-int8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chips")


@pytest.mark.parametrize("net", NETS)
@PROCESSES
def test_a_trained_net_is_exact_on_a_chip_without_loihis_formats(
    net: str, processes: str, samples: int, folder: Path
) -> None:
    bundle = exported(folder, net, chip=CHIP)
    assert read_program(bundle / "program.npz").numerics == load_numerics(CHIP)
    result = verified(bundle, processes=processes, samples=samples)
    required = {c["name"]: c["mismatches"] for c in result["comparisons"] if c["exact_required"]}
    assert result["verdict"] == "exact" and not any(required.values())
    assert required.keys() == {verify.NETWORK, verify.INTEGERS, "lava-vs-program", verify.REQUANTISED}


@pytest.mark.parametrize("net", NETS)
def test_nothing_is_lost_to_the_format_of_biases(net: str, folder: Path) -> None:
    """Every bias is the nearest whole number, which Loihi's are not; weights of the first layer use all their bits."""
    network = load_model(str(TRAINED / f"{net}.pt"), ModelOptions()).network
    plain, loihi = (read_program(exported(folder, net, chip=chip) / "program.npz").graph for chip in (CHIP, "loihi2"))
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
