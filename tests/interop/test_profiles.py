"""What each profile writes and refuses: every rule by itself, and the same spikes as the graph it was made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from interop_nets import ALIKE, deployed_net, deployment
from nets import NEURONS, SHAPE, random_samples, residual_net
from nir_graphs import IMAGE, affine, beside, chain, conv, flat, full, if_, leaky, load, scale

from snn2hw.errors import OptionError, UnsupportedError
from snn2hw.exporters.export import choose, export
from snn2hw.exporters.nir.files import write_graph
from snn2hw.exporters.nir.profiles import PROFILES, legacy, portable
from snn2hw.interop import load_in
from snn2hw.network.layout import lay_out
from snn2hw.network.reference import Reference


def pool(kernel: int, stride: int, padding: int = 0, *, kind: Any = nir.SumPool2d) -> nir.NIRNode:
    return kind(*(np.array([value, value]) for value in (kernel, stride, padding)))


def cuba(**changed: Any) -> nir.CubaLIF:
    given = dict(tau_syn=2e-4, tau_mem=4e-4, r=4, v_leak=0, v_threshold=0.7, w_in=2, v_reset=0) | changed
    return nir.CubaLIF(**{key: full(value, 4) for key, value in given.items()})


PORTABLE: dict[str, Callable[[], nir.NIRGraph]] = {
    "groups and uneven kernels": lambda: chain(
        IMAGE, (4, 6, 6), a=conv(4, 1, 3, 1, groups=2, padding=(1, 0)), n=if_(4, 6, 6)
    ),
    "a padded pool": lambda: chain(IMAGE, (2, 3, 3), n=if_(*IMAGE, threshold=0.5), p=pool(3, 2, 1), m=if_(2, 3, 3)),
    "pools of 4 and of 9": lambda: chain(
        IMAGE, (2, 1, 1), n=if_(*IMAGE, threshold=0.5), p=pool(2, 2), m=if_(2, 3, 3, threshold=1.5), q=pool(3, 3)
    ),
    "an average in front of a matrix": lambda: chain(
        IMAGE, 3, n=if_(*IMAGE, threshold=0.5), p=pool(3, 3, kind=nir.AvgPool2d), f=flat(2, 2, 2), a=affine(3, 8)
    ),
    "vectors": lambda: chain((4,), 3, n=if_(4, threshold=0.5), s=scale(2, 4), a=affine(3, 4), m=if_(3)),
    "matrices behind an image": lambda: chain(
        IMAGE, 3, n=if_(*IMAGE, threshold=0.5), f=flat(*IMAGE), a=affine(5, 72), m=if_(5), b=affine(3, 5)
    ),
    "a gate over a difference": lambda: beside(
        chain(
            IMAGE, IMAGE, n=if_(*IMAGE, threshold=0.3), s=scale(-1, *IMAGE), t=nir.Threshold(threshold=full(0, *IMAGE))
        ),
        ("input", "m", "t"),
        if_(*IMAGE, threshold=0.2),
    ),
    "two edges into the output": lambda: beside(
        chain(IMAGE, IMAGE, n=if_(*IMAGE, threshold=0.5)), ("input", "m", "output"), if_(*IMAGE, threshold=0.4)
    ),
    "a gain, a reset value and a leak elsewhere": lambda: chain(
        (4,),
        4,
        a=affine(4, 4),
        n=leaky(r=full(3, 4), v_threshold=full(0.5, 4), v_reset=full(-0.25, 4), v_leak=full(0.125, 4)),
    ),
    "a current with a memory": lambda: chain((4,), 4, a=affine(4, 4), n=cuba()),
    "names that clients write alike": lambda: chain(
        (4,), 4, **{"a.b": if_(4, threshold=0.4), "a_b": if_(4), "keys": if_(4)}
    ),
}


@pytest.mark.parametrize("what", PORTABLE)
def test_a_portable_graph_spikes_as_the_one_it_was_made_from_in_every_client(tmp_path: Path, what: str) -> None:
    loaded = load(PORTABLE[what](), tmp_path)
    graph = portable(loaded.network, whole=False)
    write_graph(graph, tmp_path / "net.nir")
    random = np.random.default_rng(5)
    x = torch.from_numpy(random.integers(-2, 9, (6, 3, *loaded.input_shape)) / 8).float()
    steps = list(Reference(loaded.network).run(x))
    spiking = [
        name
        for name, node in loaded.network.nodes.items()
        if isinstance(node, nir.IF | nir.LIF | nir.CubaLIF | nir.Threshold)
    ]
    order = {
        name: new
        for name, new in zip(lay_out(loaded.network).order, _encoded_names(loaded.network, graph), strict=True)
        if new
    }
    for client in ALIKE:
        module = load_in(client, tmp_path / "net.nir")
        out = module(x)
        for name in spiking:
            expected = torch.stack([step[name] for step in steps])
            spikes = module.spikes[order[name]]
            assert torch.equal(spikes.reshape(expected.shape), expected), (client, name)
            assert expected.any(), name
        expected = torch.stack([step["output"] for step in steps])
        assert torch.allclose(out.reshape(expected.shape), expected, atol=1e-4), client


def _encoded_names(network: nir.NIRGraph, graph: nir.NIRGraph) -> list[str | None]:
    """The name in `graph` of each node of `network`, in order: some get an underscore, flattens are gone."""
    names: list[str | None] = []
    for name in lay_out(network).order:
        alike = [new for new in graph.nodes if new == name or (new.rstrip("_") == name and new not in network.nodes)]
        names.append(alike[0] if alike else None)
    return names


def each(values: list[float], **more: Any) -> nir.IF:
    node = if_(4, **more)
    node.v_threshold = np.float32(values)
    return node


REFUSED: dict[str, tuple[Callable[[], nir.NIRGraph], Any, str]] = {
    "thresholds that differ": (
        lambda: chain((4,), 4, n=each([1, 2, 1, 1])),
        portable,
        "n: its neurons differ (their threshold goes from 1 to 2); SpikingJelly and snnTorch take one",
    ),
    "time constants that differ": (
        lambda: chain((4,), 4, n=leaky(tau=np.float32([1, 2, 3, 4]) * 1e-3, r=np.float32([1, 2, 3, 4]))),
        portable,
        "n: its neurons differ (their keep goes from",
    ),
    "a negative gain": (lambda: chain((4,), 4, n=if_(4, r=-1e4)), portable, "n: its input has the factor -1"),
    "a leak to elsewhere without a layer": (
        lambda: chain((4,), 4, n=leaky(v_leak=full(0.5, 4))),
        portable,
        "n: its v_leak differs from v_reset, and no layer of its own can carry it as a bias",
    ),
    "a gate for sinabs": (
        lambda: chain((4,), 4, n=if_(4), t=nir.Threshold(threshold=full(0.5, 4))),
        legacy,
        "t: a gate or max pool: sinabs has no memoryless unit",
    ),
    "a leak for sinabs": (lambda: chain((4,), 4, n=leaky()), legacy, "n: a neuron with a leak, which sinabs computes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_profile_cannot_carry_is_refused_by_name(case: str) -> None:
    build, profile, message = REFUSED[case]
    with pytest.raises(UnsupportedError) as raised:
        profile(build(), whole=False)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("neuron", "quantised", "differs"),
    [
        ("if-soft", False, "a spike subtracts an amount from the membrane; NIR resets it to v_reset"),
        ("leaky-subtract", False, "a spike subtracts an amount in the next step; NIR resets to v_reset at once"),
        ("leaky-if-none", True, "a spike leaves the membrane as it is; NIR resets it to v_reset"),
        ("plif", True, "its integer leak truncates towards zero; NIR's does not"),
    ],
)
@pytest.mark.parametrize("profile", ["plain", "portable"])
def test_what_nir_has_no_word_for_is_refused_or_told(
    tmp_path: Path, neuron: str, quantised: bool, differs: str, profile: str
) -> None:
    compiled = deployment(residual_net("ADD", NEURONS[neuron]), random_samples(3), 2)
    path = tmp_path / "net.nir"
    with pytest.raises(UnsupportedError) as raised:
        export(compiled, path, [choose("nir", profile=profile, quantised=quantised)])
    assert not path.exists()
    told = raised.value.blockers
    assert {blocker.problem for blocker in told} == {differs}
    assert all("--allow-lossy" in blocker.advice for blocker in told)
    lines = export(compiled, path, [choose("nir", profile=profile, quantised=quantised, allow_lossy=True)])
    assert [line.partition(":")[0] for line in lines if differs in line] == [blocker.layer for blocker in told]
    assert "snn2hw.interop.load_in(client, file)" in lines[0]


def test_nothing_is_lost_where_nir_has_the_words(tmp_path: Path) -> None:
    compiled = deployment(residual_net("IAND", NEURONS["if-reset"]), random_samples(3), 2)
    for profile in ("plain", "portable"):
        assert export(compiled, tmp_path / "net.nir", [choose("nir", profile=profile)]) == []


def test_a_profile_that_is_none_is_refused() -> None:
    compiled, _, _ = deployed_net("digits add")
    with pytest.raises(OptionError, match="--profile best: choose plain, portable, legacy"):
        export(compiled, Path("net.nir"), [choose("nir", profile="best")])
    assert set(PROFILES) == {"plain", "portable", "legacy"} and SHAPE == (2, 8, 8)
