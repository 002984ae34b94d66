"""Small NIR graphs to test with, as other tools may write them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from nets import random_samples

from snn2hw import ir
from snn2hw.engines.cycle import input_payloads, simulate
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel, load_model
from snn2hw.network.reference import Reference
from snn2hw.network.write_integers import integer_graph
from snn2hw.pipeline import Options, compile_network

STEPS = 4
IMAGE = (2, 6, 6)
RANDOM = np.random.default_rng(7)
START = RANDOM.bit_generator.state  # where every test begins, whichever ran before it (conftest.py)


def full(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.integers(-6, 10, shape) / 16).astype(np.float32)


def if_(*shape: int, r: float = 1e4, threshold: float = 0.99) -> nir.IF:
    return nir.IF(r=full(r, *shape), v_threshold=full(threshold, *shape), v_reset=full(0, *shape))


def conv(*shape: int, groups: int = 1, **changed: Any) -> nir.Conv1d | nir.Conv2d:
    kind = nir.Conv2d if len(shape) == 4 else nir.Conv1d
    given = (
        dict(
            input_shape=(6, 6) if len(shape) == 4 else 9,
            stride=1,
            padding=1,
            dilation=1,
            groups=groups,
            bias=weights(shape[0]),
        )
        | changed
    )
    return kind(weight=weights(*shape), **given)


def affine(outputs: int, inputs: int) -> nir.Affine:
    return nir.Affine(weight=weights(outputs, inputs), bias=weights(outputs))


def scale(values: Any, *shape: int) -> nir.Scale:
    return nir.Scale(scale=np.broadcast_to(np.asarray(values, np.float32), shape).copy())


def flat(*shape: int, **dims: int) -> nir.Flatten:
    return nir.Flatten(input_type={"input": np.array(shape)}, **({"start_dim": 0} | dims))


def chain(shape: tuple[int, ...], out: int | tuple[int, ...], *extra: tuple[str, str], **nodes: Any) -> nir.NIRGraph:
    """input -> nodes in their order -> output, and further edges."""
    ends = {"input": nir.Input(input_type={"input": np.array(shape)})} | nodes
    ends["output"] = nir.Output(output_type={"output": np.atleast_1d(out)})
    return nir.NIRGraph(nodes=ends, edges=[*pairwise(ends), *extra], type_check=False)


def inner(*shape: int) -> nir.NIRGraph:
    """A residual block as a graph: its input goes into a layer and past it."""
    return chain(shape, shape, ("input", "fire"), weigh=conv(shape[0], shape[0], 3, 3), fire=if_(*shape))


def beside(graph: nir.NIRGraph, path: tuple[str, ...], node: nir.NIRNode) -> nir.NIRGraph:
    """The graph with one more node, the middle one of `path`."""
    return nir.NIRGraph(nodes=graph.nodes | {path[1]: node}, edges=[*graph.edges, *pairwise(path)], type_check=False)


def renamed(graph: nir.NIRGraph, **names: str) -> nir.NIRGraph:
    nodes = {names.get(name, name): node for name, node in graph.nodes.items()}
    edges = [(names.get(a, a), names.get(b, b)) for a, b in graph.edges]
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def leaky(**changed: Any) -> nir.LIF:
    given = dict(tau=full(1e-3, 4), r=full(1, 4), v_leak=full(0, 4), v_threshold=full(1, 4), v_reset=full(0, 4))
    return nir.LIF(**(given | changed))


def load(graph: nir.NIRGraph, folder: Path, **options: Any) -> LoadedModel:
    nir.write(folder / "net.nir", graph)
    return load_model(str(folder / "net.nir"), ModelOptions(timesteps=STEPS, **options))


def deploy(loaded: LoadedModel, steps: int) -> tuple[ir.Program, ir.Spikes]:
    """A network's program and its spikes in the cycle simulator; its integers, run as plain NIR, give the same."""
    samples = random_samples(5, shape=loaded.input_shape)
    program = compile_network(loaded.network, samples, Options(timesteps=steps))
    expected = simulate(program, samples)
    payloads = torch.from_numpy(np.moveaxis(input_payloads(program, samples), 1, 0)).double()
    executed = list(Reference(integer_graph(program.graph), dtype=torch.float64).run(payloads))
    for name in expected.keys() - {"logits"}:
        assert np.array_equal(np.stack([step[name].numpy() for step in executed], axis=1), expected[name]), name
    assert np.array_equal(sum(step["output"].numpy() for step in executed), expected["logits"])
    return program, expected
