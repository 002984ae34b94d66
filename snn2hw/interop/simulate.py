"""A .nir file run on samples: by one of the clients, or by snn2hw's reference executor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import torch
from torch import Tensor

from snn2hw import ir
from snn2hw.data.aliases import Progress, Shape
from snn2hw.data.samples import Samples, check_labels
from snn2hw.errors import OptionError
from snn2hw.interop.load import CLIENTS, is_spiking, load_in
from snn2hw.network.adopt import is_quantised, payloads_of
from snn2hw.network.heads import heads_of
from snn2hw.network.layout import only
from snn2hw.network.nir_file import read_nir
from snn2hw.network.reference import Reference

REFERENCE = "reference"
ENGINES = (*CLIENTS, REFERENCE)
BATCH = 64

Run = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


def simulate(
    path: Path,
    engine: str,
    samples: Samples,
    timesteps: int,
    *,
    progress: Progress | None = None,
) -> ir.Spikes:
    """What spikes.npz holds: every spiking node's spikes [N, T, *shape] under its name, and the summed logits [N, K].

    Of several heads each also as `logits.<head>`. The file of a quantised network gets the samples as integer payloads.

    Raises:
        ModelError, UnsupportedError: the file, or what the client makes of it.
        DataError, OptionError: samples or engine do not fit.
    """
    run, graph = _runner(path, engine)
    end = only(graph, nir.Output)
    heads = heads_of(end, graph.nodes[end])
    x = torch.from_numpy(input_steps(graph, samples, timesteps))
    batches: list[dict[str, np.ndarray]] = []
    for start in range(0, x.shape[1], BATCH):
        out, spikes = run(x[:, start : start + BATCH])
        arrays = {name: values.numpy().swapaxes(0, 1) for name, values in spikes.items()}
        arrays["logits"] = out.double().sum(0).flatten(1).numpy()
        arrays |= {f"logits.{head.name}": arrays["logits"][:, head.start : head.stop] for head in heads}
        batches.append(arrays)
        if progress:
            progress(min(start + BATCH, x.shape[1]), x.shape[1])
    check_labels(samples, heads[0].stop if heads else batches[0]["logits"].shape[1])
    return {name: _smallest(np.concatenate([batch[name] for batch in batches])) for name in batches[0]}


def _runner(path: Path, engine: str) -> tuple[Run, nir.NIRGraph]:
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r}: for a .nir file choose {', '.join(ENGINES)}.")
    if engine != REFERENCE:
        module = load_in(engine, path)
        return lambda x: (module(x), module.spikes), module.graph
    graph = read_nir(path)
    reference = Reference(graph)
    spiking = [name for name, node in graph.nodes.items() if is_spiking(node)]
    end = only(graph, nir.Output)

    def run(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        steps = list(reference.run(x))
        spikes = {name: torch.stack([step[name] for step in steps]) for name in spiking}
        return torch.stack([step[end] for step in steps]), spikes

    return run, graph


def input_shape(graph: nir.NIRGraph) -> Shape:
    """Shape of one step of one sample."""
    return tuple(int(n) for n in np.ravel(graph.nodes[only(graph, nir.Input)].input_type["input"]))


def output_shape(graph: nir.NIRGraph) -> Shape:
    """Shape of what the network gives for one sample, [K] or [K, ...]."""
    return tuple(int(n) for n in np.ravel(graph.nodes[only(graph, nir.Output)].output_type["output"]))


def input_steps(graph: nir.NIRGraph, samples: Samples, timesteps: int) -> np.ndarray:
    """The samples [T, N, *shape] as the network takes them: as they are, or as a quantised network's payloads."""
    return (payloads_of(graph, samples) if is_quantised(graph) else samples).steps(timesteps)


def _smallest(values: np.ndarray) -> np.ndarray:
    """Whole numbers as the types in which our engines store them."""
    if not np.array_equal(values, np.rint(values)):
        return values
    if values.ndim == 2:
        return values.astype(np.int64)
    binary = values.size == 0 or (values.min() >= 0 and values.max() <= np.iinfo(np.uint8).max)
    return values.astype(np.uint8 if binary else np.int32)
