"""Quantisation-aware training: forward with the integers that would be deployed, backward as if they were not rounded.

Before each step the model is compiled as `snn2hw export` compiles it, and the integers are put back into it in its
units, as `snn2hw verify` does. So training sees every rounding of weights, biases, thresholds and inputs that the chip
will see. Gradients pass the rounding straight through (Bengio et al. 2013, arXiv 1308.3432), also where BatchNorm is
folded (Jacob et al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.frontends.torch.requantise import requantise
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.ir.numerics import load_numerics
from snn2hw.network.integer_neuron import HALF_MEMBRANE_UNIT
from snn2hw.network.neuron_rule import rule_of
from snn2hw.network.write_integers import integer_graph
from snn2hw.passes.calibrate import calibrate
from snn2hw.passes.quantise import quantise


class QuantisationAware(nn.Module):
    """A model of this project's family that computes with its quantised parameters and learns its real ones.

    Only the neurons stay as they are: a leak is not truncated to 12 bits as the deployed one is. BatchNorm keeps its
    statistics, for what is folded must be what runs; `train` leaves the model in eval mode. Call `refresh` whenever the
    parameters have changed.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        *,
        timesteps: int,
        weight_bits: int,
        input_bits: int = 8,
        method: str = "max",
    ) -> None:
        """`samples` set the ranges, as for export; `method` is one of passes/weight_scales.py.

        Raises what trace, calibrate and quantise raise.
        """
        super().__init__()
        self.model = model.eval()  # BatchNorm keeps its statistics
        self.input_shape = samples.shape
        self.weight_bits, self.input_bits, self.method = weight_bits, input_bits, method
        self.calibration = calibrate(trace(model, samples.shape).network, samples, timesteps=timesteps)
        self.substitutes: dict[str, Tensor] = {}
        self.levels: dict[str, Tensor] = {}
        self.refresh()

    def refresh(self) -> None:
        """Quantise the parameters as they are now. Raises QuantisationError where they have no integer form."""
        traced = trace(self.model, self.input_shape, step_neurons=False)
        graph = quantise(
            traced.network,
            self.calibration,
            load_numerics(),
            weight_bits=self.weight_bits,
            input_bits=self.input_bits,
            method=self.method,
        )
        self.input = graph.input
        self.levels = _levels(traced, graph)
        targets = _parameters(self.model, traced, requantise(traced, integer_graph(graph)))
        known = dict(self.model.named_parameters())
        self.substitutes = {name: known[name] + (values - known[name]).detach() for name, values in targets.items()}

    def train(self, mode: bool = True) -> QuantisationAware:
        """Stay in eval mode: only the statistics of BatchNorm would change in the other."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """The logits [N,K] of one step x [N,*input_shape] in units of the real data, rounded to payloads."""
        payloads = (x / self.input.scale).round().clamp(self.input.low, self.input.high)
        with _thresholds(self.model, self.levels):
            logits: Tensor = functional_call(self.model, self.substitutes, (payloads * self.input.scale,))
        return logits


def _parameters(model: nn.Module, traced: Traced, quantised: Traced) -> dict[str, Tensor]:
    """What the parameters of each layer, with its BatchNorm, must be for `model` to compute what `quantised` does."""
    parameters: dict[str, Tensor] = {}
    for path, holder in traced.holders.items():
        layer: Any = model.get_submodule(path)
        weight, bias = quantised.substitutes[holder.calls[0]]
        if (norm_path := traced.norms.get(path)) is None:
            if layer.bias is not None:
                parameters[f"{path}.bias"] = bias
        else:
            norm: Any = model.get_submodule(norm_path)
            gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double()
            mean = norm.running_mean if layer.bias is None else norm.running_mean - layer.bias.detach()
            parameters[f"{norm_path}.bias"] = bias + mean * gain
            spread = gain.reshape(-1, *[1] * (weight.dim() - 1))
            weight = torch.where(spread == 0, layer.weight, weight / spread)
        parameters[f"{path}.weight"] = weight
    return {name: values.detach().to(torch.float32) for name, values in parameters.items()}


def _levels(traced: Traced, graph: ir.Graph) -> dict[str, Tensor]:
    """The threshold of each neuron layer in the model's units, half a membrane unit above the integer one, where
    no rounding of floats can change a decision; one number or one a channel.
    """
    levels = {}
    for node in graph:
        if isinstance(node, ir.Neuron):
            scale = np.array(node.scale).reshape(-1, *[1] * (len(node.shape) - 1))
            rest = rule_of(node.name, traced.network.nodes[node.name]).reset_value
            level = (node.threshold + HALF_MEMBRANE_UNIT) / scale + rest
            levels[node.name] = torch.tensor(level, dtype=torch.float32)
    return levels


@contextmanager
def _thresholds(model: nn.Module, levels: dict[str, Tensor]) -> Iterator[None]:
    """The model with other thresholds, for a while. snnTorch and SpikingJelly have different names for them."""
    neurons = {path: model.get_submodule(path) for path in levels}
    names = {path: "threshold" if hasattr(neuron, "threshold") else "v_threshold" for path, neuron in neurons.items()}
    originals = {path: getattr(neurons[path], names[path]) for path in levels}
    try:
        for path, level in levels.items():
            setattr(neurons[path], names[path], level)
        yield
    finally:
        for path, value in originals.items():
            setattr(neurons[path], names[path], value)
