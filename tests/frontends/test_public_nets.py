"""Public nets: each is read, and deploys exactly or is refused by layer and operation, as docs/frameworks.md says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import run_requantised
from public_nets import PUBLIC_NETS, Outcome, outcome, table

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines.cycle import simulate
from snn2hw.frontends.torch.trace import Traced
from snn2hw.network.neuron_rule import Neuron
from snn2hw.verification.network_vs_torch import compare_network

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/frameworks.md"
CALLED = {
    "product": "mul",
    "padded pool": "avgpool",
    "compares": "gt",
    "what feeds this neuron": "neuron",
    "used twice": "neuron",
}
"""How messages call an operation that they do not name by its class or ATen name."""


@pytest.mark.parametrize("name", PUBLIC_NETS)
def test_each_net_deploys_exactly_or_is_refused_by_layer_and_operation(name: str) -> None:
    result = outcome(name)
    if result.traced is None or result.program is None:
        assert_refused_by_layer_and_operation(result)
        return
    x = torch.from_numpy(result.samples.steps(PUBLIC_NETS[name].timesteps)).double()
    comparison = compare_network(result.traced.network, result.traced.user_model, x)
    assert (comparison.mismatches, comparison.ties, comparison.note) == (0, 0, ""), comparison.first()
    assert comparison.compared
    assert_program_is_model(result.traced, result.program, result.samples)


def assert_program_is_model(traced: Traced, program: ir.Program, samples: Samples) -> None:
    """The program does what the model does with the program's integers put back into it, and every layer spikes."""
    spikes, expected = simulate(program, samples), run_requantised(traced, program, samples)
    for layer, emitted in spikes.items():
        if layer == "logits":
            np.testing.assert_array_equal(emitted, np.rint(expected[layer]), layer)
        elif layer in expected:
            np.testing.assert_array_equal(emitted, expected[layer], layer)
    neurons = {layer for layer, node in traced.network.nodes.items() if isinstance(node, Neuron)}
    assert neurons and neurons <= expected.keys()
    assert [layer for layer in neurons if not spikes[layer].any()] == []


def assert_refused_by_layer_and_operation(result: Outcome) -> None:
    modules = dict(result.model.named_modules())
    known = {plain(type(module).__name__) for module in modules.values()} | {plain(name) for name in result.operations}
    assert result.blockers
    for blocker in result.blockers:
        path, _, suffix = blocker.layer.rpartition(".")
        assert blocker.layer in (*modules, "model", "output") or (path in (*modules, "model") and suffix), blocker
        named = {plain(word) for word in re.findall(r"\w+", blocker.problem)}
        named |= {operation for phrase, operation in CALLED.items() if phrase in blocker.problem}
        assert named & known, str(blocker)


def plain(name: str) -> str:
    """A layer's or operation's name as all write it: MaxPool2d, max_pool2d and MaxPool."""
    return re.sub(r"[123]d$", "", name.replace("_", "").lower())


def test_the_table_of_public_nets_is_what_comes_of_them() -> None:
    assert table() in DOCUMENT.read_text(), "python tests/public_nets.py prints the table for docs/frameworks.md"
