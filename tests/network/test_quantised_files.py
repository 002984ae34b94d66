"""Quantised .nir files: they mean what the program does, and compile to the same program again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import pytest
from cli import succeed
from nets import compile_model, random_samples, run_requantised, with_heads
from nir_graphs import IMAGE, STEPS, affine, beside, chain, conv, deploy, flat, full, if_, leaky, load
from torch import nn

from snn2hw import ir
from snn2hw.engines.cycle import simulate
from snn2hw.errors import QuantisationError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.ir.file import read_program
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.adopt import adopt
from snn2hw.network.nir_file import read_nir
from snn2hw.network.write_integers import integer_graph


def compiled(graph: nir.NIRGraph, folder: Path) -> ir.Program:
    """The program of a graph, compiled and executed as `deploy` does: every layer spikes, and none always."""
    program, spikes = deploy(load(graph, folder), STEPS)
    assert [name for name, values in spikes.items() if name != "logits" and not 0 < values.mean() < 1] == []
    return program


SOFT = {"reset": "subtract", "reset_amount": 1.0}


@pytest.mark.parametrize("metadata", [{}, SOFT], ids=["a hard reset", "a soft reset by one amount for all"])
def test_a_quantised_file_becomes_the_same_bundle_as_the_float_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    node = if_(4)
    node.metadata = dict(metadata)
    nir.write("net.nir", chain((4,), 2, a=affine(4, 4), n=node, b=affine(2, 4)))
    np.savez("x.npz", x=random_samples(5, shape=(4,)).x)
    known = ("--timesteps", STEPS, "--calibrate", "x.npz")
    succeed("export", "net.nir", "--target", "nir", "--quantised", "--allow-lossy", "-o", "whole.nir", *known)
    for name in ("net", "whole"):
        succeed("export", f"{name}.nir", "--target", "lava", "-o", f"{name}.lava", *known)
    programs = [read_program(Path(f"{name}.lava/program.npz")) for name in ("net", "whole")]
    assert str(programs[0]) == str(programs[1])


def padded(kind: type[nir.NIRNode], size: int, by: int) -> nir.NIRNode:
    return kind(kernel_size=np.array([size, size]), stride=np.array([2, 2]), padding=np.array([by, by]))


def drawn(*shape: int) -> nir.LIF:
    """Neurons whose membrane leaks to another value than it resets to, which is an input in every step.

    They remember nothing of the last step, so that Loihi's leak and NIR's are the same.
    """
    return leaky(
        tau=full(1e-4, *shape),
        r=full(1, *shape),
        v_leak=full(0.4, *shape),
        v_threshold=full(0.41, *shape),
        v_reset=full(0, *shape),
    )


POOLED: dict[str, Callable[[], nir.NIRGraph]] = {
    "a padded average": lambda: chain(
        IMAGE, 2, a=silent(3, 2), p=padded(nir.AvgPool2d, 3, 1), n=drawn(3, 3, 3), f=flat(3, 3, 3), c=affine(2, 27)
    ),
    "a padded sum": lambda: chain(
        IMAGE, 2, a=silent(3, 2), p=padded(nir.SumPool2d, 2, 1), n=drawn(3, 4, 4), f=flat(3, 4, 4), c=affine(2, 48)
    ),
    "one pool behind another": lambda: chain(
        IMAGE,
        2,
        a=silent(3, 2),
        p=padded(nir.AvgPool2d, 2, 1),
        q=padded(nir.AvgPool2d, 2, 0),
        n=drawn(3, 2, 2),
        f=flat(3, 2, 2),
        c=affine(2, 12),
    ),
    "a pool that leaves one pixel": lambda: chain(
        IMAGE, 2, a=silent(3, 2), p=padded(nir.AvgPool2d, 8, 1), f=flat(3, 1, 1), n=drawn(3), c=affine(2, 3)
    ),
    "a layer beside it": lambda: beside(
        chain(IMAGE, (3, 3, 3), a=silent(3, 2), p=padded(nir.AvgPool2d, 3, 1), n=drawn(3, 3, 3)),
        ("input", "b", "n"),
        conv(3, 2, 3, 3, stride=2, bias=np.float32([-1, -1.5, -0.5])),
    ),
}


def silent(outputs: int, inputs: int) -> nir.Conv2d:
    """A convolution without a bias, whose sums lie around 0."""
    made = conv(outputs, inputs, 3, 3, bias=full(0, outputs))
    made.weight -= made.weight.mean(axis=(1, 2, 3), keepdims=True)
    return made


@pytest.mark.parametrize("what", POOLED)
def test_what_a_membrane_leaks_to_reaches_the_neurons_behind_a_padded_pool(tmp_path: Path, what: str) -> None:
    """The zeros around the image have no part in a bias, so it must not stand before the pool."""
    program = compiled(POOLED[what](), tmp_path)
    write_graph(integer_graph(program.graph), tmp_path / "whole.nir")
    again = adopt(read_nir(tmp_path / "whole.nir"), load_numerics())
    assert sorted(map(ir.describe, again)) == sorted(map(ir.describe, program.graph))


def test_a_quantised_file_with_a_bias_before_a_padded_pool_is_refused(tmp_path: Path) -> None:
    """Windows at the border would get less of it: no program does that."""
    program = compiled(POOLED["a padded sum"](), tmp_path)
    graph = integer_graph(program.graph)
    graph.nodes["a"].bias, graph.nodes["p"] = graph.nodes["p"].bias / 4, padded(nir.SumPool2d, 2, 1)
    with pytest.raises(QuantisationError, match=r"p: a padded pool behind a, which has a bias\. Export it again"):
        adopt(graph, load_numerics())


def test_a_head_behind_a_padded_pool_needs_no_bias() -> None:
    layers = {"side": nn.Conv2d(4, 5, 3, bias=False), "padded": nn.AvgPool2d(6, padding=1)}
    model = with_heads(
        lambda net, middle, end: (net.fc(net.pool(end).flatten(1)), net.pool(net.padded(net.side(middle))).flatten(1)),
        **layers,
    )
    samples = random_samples(3)
    traced, program = compile_model(model, samples, timesteps=2)
    requantised, expected = run_requantised(traced, program, samples), simulate(program, samples)
    assert np.array_equal(np.rint(requantised["logits"]), expected["logits"]) and expected["logits"][:, 3:].any()
    graph = integer_graph(program.graph)
    assert np.any(graph.nodes["fc"].bias) and not np.any(graph.nodes["side"].bias)
