"""How often the layers of a net fire, and how much of the gradient reaches them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snn2hw.analysis.gradients import through_layers
from snn2hw.data.aliases import Progress
from snn2hw.data.samples import Samples
from snn2hw.errors import ModelError
from snn2hw.frontends.source import LoadedModel
from snn2hw.interop.load import is_spiking
from snn2hw.network.reference import Reference

BATCH = 32


@dataclass(frozen=True)
class LayerActivity:
    """Of one spiking layer or gate, by its name in the NIR graph.

    rate: the mean of what it emits, over neurons, steps and samples. silent: the share of its neurons that never
    emitted anything. gradient: the norm of the gradient of the largest logits' sum at what it emits, over that of the
    last layer of neurons, or None.
    """

    layer: str
    rate: float
    silent: float
    gradient: float | None


@dataclass
class _Sum:
    emitted: Tensor = field(default_factory=lambda: torch.zeros(()))
    count: int = 0

    def add(self, values: Tensor) -> None:
        """Values [N, *shape] of one step."""
        self.emitted = self.emitted + values.double().sum(dim=0)
        self.count += len(values)


def activity(loaded: LoadedModel, samples: Samples, progress: Progress | None = None) -> list[LayerActivity]:
    """The activity of every spiking layer of a model, from the first to the last, for some samples.

    Gradients are those of the model's surrogates, on the first BATCH samples; a .nir file has none. `progress(done,
    of)` is told samples. Raises ModelError for a model without spiking layers.
    """
    sums: dict[str, _Sum] = {}
    done = 0
    for part in samples.batches(BATCH):
        for emitted in _steps(loaded, torch.from_numpy(part.steps(loaded.timesteps))):
            for name, values in emitted.items():
                sums.setdefault(name, _Sum()).add(values)
        done += len(part)
        if progress is not None:
            progress(done, len(samples))
    if not sums:
        raise ModelError("the model has no spiking layer, so there is no activity to show.")
    frames = torch.from_numpy(samples[:BATCH].steps(loaded.timesteps))
    norms = {} if loaded.traced is None else through_layers(loaded.traced, frames)
    last = next((norms[name] for name in reversed(sums) if name in norms), 0.0)
    return [
        LayerActivity(
            layer=name,
            rate=(total.emitted.sum() / total.count / total.emitted.numel()).item(),
            silent=(total.emitted == 0).double().mean().item(),
            gradient=norms[name] / last if last and name in norms else None,
        )
        for name, total in sums.items()
    ]


def _steps(loaded: LoadedModel, x: Tensor) -> Iterator[dict[str, Tensor]]:
    """What every spiking layer emits, step by step."""
    if loaded.traced is not None:
        for step in loaded.traced.run(x.to(loaded.traced.dtype)):
            yield {name: values for name, values in step.items() if name in loaded.traced.origin}
        return
    spiking = {name for name, node in loaded.network.nodes.items() if is_spiking(node)}
    with torch.no_grad():
        for step in Reference(loaded.network).run(x):
            yield {name: values for name, values in step.items() if name in spiking}
