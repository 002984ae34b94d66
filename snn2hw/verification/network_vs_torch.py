"""network-vs-torch: the user's own module against the float network that was made of it, spike for spike.

Both run in float64. The network follows the same inputs with its weights and neurons; where one of its neurons
decides otherwise than the module's, the difference is excused only as a tie: its membrane lies within TIE of the
threshold, so that rounding alone may turn the decision. A tie is counted, and the network goes on with the module's
choice, so that it does not hide what follows. Everything else is a mismatch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce

import nir
import torch
from torch import Tensor

from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.deployment import NetworkCheck
from snn2hw.errors import NotTheModel, Snn2hwError
from snn2hw.frontends.source import LoadedModel
from snn2hw.frontends.torch.user_model import Recorded
from snn2hw.network.adopt import is_quantised, payloads_of
from snn2hw.network.heads import heads_of
from snn2hw.network.layout import only
from snn2hw.network.neuron_rule import Neuron
from snn2hw.verification.comparison import Comparison, joined
from snn2hw.verification.network_judge import Comparable, Judge, agree

BATCH_VALUES = 1 << 25  # of spikes, all layers and steps, that are held at a time


class CannotRun(Snn2hwError):
    """The user's module could not be run as users run it, so nothing was compared."""


CHECKED_SAMPLES = 2  # on which a network is compared with its model before it is compiled; verify takes more


def check_network(loaded: LoadedModel, samples: Samples, timesteps: int) -> NetworkCheck:
    """Compare a loaded model's network with the model on the first few of these samples.

    Raises NotTheModel, with the first difference, if the network does something else or the model cannot be run.
    """
    name, samples = loaded.source.model, samples[:CHECKED_SAMPLES]
    try:
        result = compare_network_on(loaded.network, loaded.model, samples, timesteps)
    except CannotRun as error:
        raise NotTheModel(
            f"{name}: the network made of it cannot be compared with it: {error} A model is called step by step with "
            "[N, *shape], or in SpikingJelly's multi-step mode with [T, N, *shape]."
        ) from None
    if result.mismatches and (first := result.first()):
        layer, where = first
        about = f" ({where.detail})" if where.detail else ""
        raise NotTheModel(
            f"{name}: the network made of it does something else: {result.mismatches:,} of {result.compared:,} values "
            f"differ. First: layer {layer}, sample {where.sample}, step {where.step}, index {list(where.index)}: the "
            f"model gives {where.expected:g}, the network {where.actual:g}{about}. Look in the model for what a trace "
            "of its forward does not show before this layer: hooks, operations in place, state outside the neurons."
        )
    return NetworkCheck(samples=len(samples), compared=result.compared, ties=result.ties, note=result.note)


def compare_network_on(
    network: nir.NIRGraph,
    model: Comparable,
    samples: Samples,
    timesteps: int,
    *,
    progress: Progress | None = None,
) -> Comparison:
    """`compare_network` on samples, some at a time, so that memory does not grow with their number."""
    neurons = sum(node.v_threshold.size for node in network.nodes.values() if isinstance(node, Neuron))
    size = max(2, min(len(samples), BATCH_VALUES // max(1, neurons * timesteps)))
    results: list[Comparison] = []
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        x = torch.from_numpy((payloads_of(network, part) if is_quantised(network) else part).steps(timesteps))
        results.append(_moved(compare_network(network, model, x), start))
        if progress:
            progress(start + len(part), len(samples))
    return reduce(joined, results)


def _moved(comparison: Comparison, start: int) -> Comparison:
    """A comparison of samples from `start` on."""
    layers = [
        replace(layer, first=layer.first and replace(layer.first, sample=start + (layer.first.sample or 0)))
        for layer in comparison.layers
    ]
    return replace(comparison, layers=tuple(layers))


def compare_network(network: nir.NIRGraph, model: Comparable, x: Tensor) -> Comparison:
    """Compare a float network with the module that it was made of, on x [T, N, *shape] in real units.

    The module runs twice, each time from its initial state, the second time with the samples in reverse order: what it
    keeps from one run to the next, or mixes between samples, shows. A single sample is run beside its mirror image.

    Raises CannotRun if the module cannot be copied, or raises an error.
    """
    if x.shape[1] == 1:
        x = torch.cat([x, x.flip(-1)], dim=1)
    try:
        return _compared_in(torch.float64, network, model, x)
    except _ModuleFailed as wide:
        try:
            result = _compared_in(torch.float32, network, model, x)
        except _ModuleFailed as narrow:
            raise CannotRun(f"the model, called as its users call it, ends in {narrow}.") from narrow
        return replace(result, note=f"in float32, since the model cannot run in float64 ({wide})")


class _ModuleFailed(Exception):
    """The user's code raised; the message says what."""


def _compared_in(dtype: torch.dtype, network: nir.NIRGraph, model: Comparable, x: Tensor) -> Comparison:
    x = x.to(dtype)
    first, again = _two_runs(dtype, network, model, x)
    judge = Judge(network, dtype)
    judge.compare(first, x)
    if again is None:
        judge.count_again()
    else:
        judge.compare(again, x)
    return judge.comparison(model, x)


def _two_runs(
    dtype: torch.dtype, network: nir.NIRGraph, model: Comparable, x: Tensor
) -> tuple[Recorded, Recorded | None]:
    """What the module does in two runs of x [T, N, *shape], one behind the other; None for a second like the first.

    The copy of the module, with the state of all its neurons, is gone when this returns: it takes much memory.
    """
    end = only(network, nir.Output)
    width = math.prod(int(size) for size in network.nodes[end].output_type["output"])
    sizes = [head.stop - head.start for head in heads_of(end, network.nodes[end])] or [width]
    try:
        with model.copied(dtype) as running:
            first = _with_logits_by_step(running.run(x), sizes, *x.shape[:2])
            again = _reversed(_with_logits_by_step(running.run(x.flip(1)), sizes, *x.shape[:2]))
    except _ModuleFailed:
        raise
    except Exception as error:  # the user's own code runs here: anything may be raised
        told = str(error).strip().splitlines() or [""]
        raise _ModuleFailed(f"{type(error).__name__}: {told[0]}") from error
    return first, None if _same(first, again) else again


def _with_logits_by_step(run: Recorded, sizes: list[int], steps: int, count: int) -> Recorded:
    """The run with the logits of each head as [T, N, K] or, where the module takes the mean over time, [N, K].

    sizes: K of each head.
    """
    heads = []
    for head, size in zip(run.logits, sizes, strict=True):
        if head.numel() not in (steps * count * size, count * size):
            raise _ModuleFailed(
                f"logits of shape {list(head.shape)} for {count} samples, {steps} steps and {size} classes"
            )
        whole = head.numel() == steps * count * size
        heads.append(head.reshape(steps, count, size) if whole else head.reshape(count, size))
    return replace(run, logits=heads)


def _reversed(run: Recorded) -> Recorded:
    """The results of samples that were run in reverse order."""
    return replace(
        run,
        spikes={path: spikes.flip(1) for path, spikes in run.spikes.items()},
        logits=[head.flip(-2) for head in run.logits],
    )


def _same(a: Recorded, b: Recorded) -> bool:
    """Whether two runs agree: every spike, and the logits up to rounding."""
    spikes = all(torch.equal(a.spikes[path], b.spikes[path]) for path in a.spikes)
    return spikes and all(agree(one, other).all() for one, other in zip(a.logits, b.logits, strict=True))
