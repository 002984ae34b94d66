""".nir files that are damaged, malformed or cannot be deployed: refused with the node and the numbers, and in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from nir_graphs import IMAGE, affine, beside, chain, conv, flat, full, if_, leaky, load, renamed, weights

from snn2hw.errors import ModelError, UnsupportedError
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import load_model


def pool(kernel: Any, stride: Any = 2, padding: Any = 0) -> nir.SumPool2d:
    return nir.SumPool2d(*(np.atleast_1d(value) for value in (kernel, stride, padding)))


def strideless() -> nir.Conv2d:
    layer = conv(2, 2, 3, 3)
    layer.stride = np.array([0, 0])
    return layer


def two_inputs() -> nir.NIRGraph:
    graph = chain((4,), 4, n=if_(4))
    return beside(graph, ("n", "second", "output"), nir.Input(input_type={"input": np.array([4])}))


REFUSED: dict[str, tuple[Callable[[], nir.NIRGraph], str]] = {
    "a delay": (lambda: chain((4,), 4, n=if_(4), d=nir.Delay(delay=full(1e-3, 4))), "d: it delays by up to 0.001 s"),
    "a leaky read-out": (
        lambda: chain((4,), 4, n=nir.LI(tau=full(1, 4), r=full(1, 4), v_leak=full(0, 4))),
        "n: NIR nodes of type LI are not supported. It passes a membrane on",
    ),
    "an integrator in the middle": (lambda: chain((4,), 4, i=nir.I(r=full(1, 4)), n=if_(4)), "i: NIR nodes of type I "),
    "a recurrent layer": (
        lambda: chain((4,), 4, rec=chain((4,), 4, ("w", "n"), n=if_(4), w=affine(4, 4))),
        r"cycle through rec\.n, rec\.w",
    ),
    "tau of 0": (lambda: chain((4,), 4, n=leaky(tau=full(0, 4))), "n: tau holds 0 s"),
    "a negative tau": (lambda: chain((4,), 4, n=leaky(tau=full(-2, 4))), "n: tau holds -2 s"),
    "an infinite tau": (lambda: chain((4,), 4, n=leaky(tau=full(np.inf, 4))), "n: .*without a leak is an IF"),
    "a tau below the step": (lambda: chain((4,), 4, n=leaky(tau=full(2e-5, 4))), "n: the time constant 2e-05 s"),
    "a threshold below the reset": (
        lambda: chain((4,), 4, n=leaky(v_threshold=full(-0.5, 4))),
        "n: the threshold lies 0.5 below the reset value",
    ),
    "a negative threshold": (
        lambda: chain((4,), 4, n=if_(4), t=nir.Threshold(threshold=full(-1, 4))),
        "t: the threshold -1 is below 0",
    ),
    "a stride of 0": (lambda: chain(IMAGE, IMAGE, c=strideless()), r"c: its stride is \[0, 0\]"),
    "a negative padding": (
        lambda: chain(IMAGE, IMAGE, c=conv(2, 2, 3, 3, padding=(0, -1))),
        r"c: its padding is \[0, -1",
    ),
    "3 groups": (lambda: chain(IMAGE, IMAGE, c=conv(2, 2, 3, 3, groups=3)), "c: has 2 kernels in 3 groups"),
    "half a kernel": (lambda: chain(IMAGE, IMAGE, p=pool(1.5)), r"p: its kernel_size is \[1.5\]"),
    "a pool that is mostly padding": (lambda: chain(IMAGE, IMAGE, p=pool(2, 2, 2)), "p: its padding .* more than half"),
    "a flatten of a part": (lambda: chain(IMAGE, 72, f=flat(*IMAGE, start_dim=1)), "f: it flattens dimensions 1 to -1"),
    "a matrix of three axes": (
        lambda: chain((4,), 4, a=nir.Linear(weight=weights(2, 2, 4))),
        "a: has weights of shape",
    ),
    "two inputs": (two_inputs, "2 Input nodes|feeds this Input"),
    "an inner graph without output": (
        lambda: chain((4,), 4, g=nir.NIRGraph(nodes={"n": if_(4)}, edges=[], type_check=False)),
        "g: this graph in the graph has 0 Input nodes",
    ),
    "a name twice": (
        lambda: renamed(chain((4,), 4, g=chain((4,), 4, n=if_(4)), other=if_(4)), other="g.n"),
        r"g\.n: two nodes have this name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_deployed_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    build, message = REFUSED[case]
    with pytest.raises(ModelError, match=message):
        load(build(), tmp_path)


def no_network(file: h5py.File) -> None:
    del file["node"]


def damaged(key: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if key in file["node/nodes"]:
            del file["node/nodes"][key]
        if value is not None:
            file["node/nodes"][key] = value

    return change


DAMAGED: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no network": (no_network, "not a readable NIR file"),
    "no parameter": (damaged("n/tau", None), "n: this LIF node lacks tau"),
    "a strange parameter": (damaged("n/gain", 1.0), "n: LIF nodes have no gain"),
    "words": (damaged("n/tau", "fast"), "n: tau holds no numbers"),
    "parameters of other shapes": (
        damaged("n/tau", np.ones(7)),
        r"n: its parameters have different shapes: .*tau \[7\]",
    ),
    "an unknown kind": (damaged("n/type", "Izhikevich"), "n: NIR nodes of type Izhikevich are not supported"),
    "no kind": (damaged("n/type", None), "this is no node|are not supported"),
    "a link elsewhere": (damaged("n/r", h5py.ExternalLink("other.nir", "/node")), "r is a link"),
    "a group in itself": (lambda file: file["node/nodes/n"].__setitem__("n", file["node/nodes"]), "nested more than"),
    "more than any memory": (
        lambda file: file["node/nodes/n"].create_dataset("w", (1 << 40,), "f4", chunks=(1024,)) and None,
        "it claims more than 256 MiB",
    ),
    "no edges": (lambda file: file["node"].__delitem__("edges"), "nothing feeds this"),
    "edges of three": (lambda file: file["node"].__setitem__("edges", [["a", "b", "c"]]), "pairs of names|readable"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_told(tmp_path: Path, case: str) -> None:
    change, message = DAMAGED[case]
    nir.write(tmp_path / "net.nir", chain((4,), 4, n=leaky()))
    with h5py.File(tmp_path / "net.nir", "r+") as file:
        if case == "edges of three":
            del file["node/edges"]
        change(file)
    with pytest.raises(ModelError, match=message) as raised:
        load_model(str(tmp_path / "net.nir"), ModelOptions(timesteps=1))
    assert isinstance(raised.value, UnsupportedError) or str(raised.value).startswith(str(tmp_path))


def test_a_very_deep_graph_is_read_in_time(tmp_path: Path) -> None:
    layers = {f"n{at:05d}": nir.Threshold(threshold=full(0, 2)) for at in range(800)}
    assert len(load(chain((2,), 2, **layers), tmp_path).network.nodes) == 802
