"""Put the integers back into the user's own model: the PyTorch side of the proof of exactness.

The weights come from the integer NIR graph, not from the Program, so that the two are independent witnesses. A model
works in its own real numbers, so every whole weight is divided by its layer's unit, in float64. All currents then are
whole numbers divided by the neuron's scale, up to float64's rounding (below 1e-9 units), and the thresholds lie half a
membrane unit (1/128) between two such numbers: no rounding can change a decision. Neurons with a leak, a soft reset or
a shifted reset follow Loihi's truncating rule, which float arithmetic cannot; they are replaced by IntegerNeuron.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.errors import BundleError
from snn2hw.frontends import neurons
from snn2hw.frontends.neurons.integer import IntegerNeuron
from snn2hw.frontends.torch.call import Kernel
from snn2hw.frontends.torch.trace import Traced
from snn2hw.ir.fixed_point import Int, Reset
from snn2hw.network.groups import only_groups, without_groups
from snn2hw.network.heads import placed_rows
from snn2hw.network.integer_neuron import HALF_MEMBRANE_UNIT, integer_rule
from snn2hw.network.layout import emits_integers, lay_out, pair
from snn2hw.network.metadata import SCALE
from snn2hw.network.neuron_rule import Float, Neuron, rule_of


def requantise(traced: Traced, integers: nir.NIRGraph) -> Traced:
    """The traced model with the parameters of the integer graph, in float64. The user's model is not touched.

    Raises BundleError if the integer graph does not belong to the model.
    """
    module = copy.deepcopy(traced.module).double()
    neurons.reset_state(module)
    units = _Units(traced.network, integers)
    for path in traced.layers:
        if path not in integers.nodes:
            raise BundleError(
                f"{path}: the model has this layer, but quantised.nir has not. The bundle is of another model."
            )
        node, layer = integers.nodes[path], module.get_submodule(path)
        if isinstance(node, Neuron):
            _set_neuron(module, path, node, units)
        else:
            norm = traced.norms.get(path)
            kernel = _own_kernel(layer, node, units.rows(path), traced.kernels.get(path))
            _set_weights(layer, None if norm is None else module.get_submodule(norm), path, node, kernel, units)
    return replace(traced, module=module, dtype=torch.float64)


class _Units:
    """For each layer, how many input units of the neuron it feeds one unit of its real output is."""

    def __init__(self, network: nir.NIRGraph, integers: nir.NIRGraph) -> None:
        self.network, self.integers = network, integers
        self.sources = lay_out(integers).sources
        self.targets: dict[str, list[str]] = {name: [] for name in integers.nodes}
        for source, target in integers.edges:
            self.targets[source].append(target)

    def emitted(self, name: str) -> float:
        """The real value of one integer unit that `name` emits."""
        node = self.integers.nodes[name]
        if isinstance(node, nir.Input):
            return float(node.metadata[SCALE])
        if isinstance(node, Neuron | nir.Threshold):
            return 1.0
        return self.emitted(self.sources[name][0]) / self._divisor(name)

    def output(self, name: str) -> Float:
        """Input units of the consumer per unit of the real output of layer `name`, one number or one a channel."""
        if emits_integers(self.network, name):
            return np.array([1.0 / self.emitted(name)])
        divisor = 1.0
        target = self.targets[name][0]
        while isinstance(self.integers.nodes[target], nir.SumPool2d | nir.Flatten | nir.Affine):
            divisor *= self._divisor(target)
            target = self.targets[target][0]
        scale: Float = np.asarray(self.integers.nodes[target].metadata[SCALE], np.float64)
        consumer = self.network.nodes[target]
        gain = rule_of(target, consumer).gain if isinstance(consumer, Neuron) else np.ones(1)
        per_channel = gain.reshape(len(gain), -1)[:, 0]
        return scale * per_channel / divisor

    def rows(self, name: str) -> Int | slice:
        """The rows of the integer layer that the model's layer `name` fills: those of its head, or all."""
        readers = [target for source, target in self.network.edges if source == name]
        while readers and isinstance(self.network.nodes[readers[0]], nir.SumPool2d | nir.AvgPool2d | nir.Flatten):
            readers = [target for source, target in self.network.edges if source == readers[0]]
        rows = placed_rows(self.network.nodes[readers[0]]) if readers else None
        return slice(None) if rows is None or readers[0] in self.integers.nodes else rows

    def _divisor(self, name: str) -> float:
        """By what an average pool of the model divides, which the integer graph leaves to the units."""
        node = self.network.nodes.get(name)
        return float(np.prod(pair(node.kernel_size))) if isinstance(node, nir.AvgPool2d) else 1.0


def _own_kernel(layer: nn.Module, node: Any, rows: Int | slice, taps: Kernel | None) -> Float:
    """The part of a node's weights that the model's layer holds: no other heads' rows, no zeros between groups, none
    for uneven padding.
    """
    weight = np.asarray(node.weight, np.float64)[rows]
    if isinstance(layer, nn.Conv2d):
        weight = only_groups(without_groups(weight, int(node.groups)), layer.groups)
    return weight if taps is None else weight[:, :, taps[0], taps[1]]


def _set_weights(layer: Any, norm: nn.Module | None, path: str, node: Any, kernel: Float, units: _Units) -> None:
    rows, scales = units.rows(path), units.output(path)
    out = torch.from_numpy(np.array(scales[rows] if scales.size > 1 else scales))
    weight = torch.from_numpy(np.array(kernel, order="C")) / units.emitted(units.sources[path][0])
    weight = weight / out.reshape(-1, *[1] * (weight.dim() - 1))
    bias = torch.from_numpy(np.array(node.bias, np.float64)[rows]) / out
    if tuple(layer.weight.shape) != tuple(weight.shape):
        raise BundleError(
            f"{path}: the model's weights have shape {list(layer.weight.shape)}, quantised.nir has "
            f"{list(weight.shape)}. "
            "The bundle is of another model."
        )
    _assign(layer, "weight", weight)
    if norm is not None:
        _make_identity(norm, bias)
        bias = torch.zeros_like(bias)
    if layer.bias is not None or bool(bias.any()):
        _assign(layer, "bias", bias.expand(weight.shape[0]).clone())


def _make_identity(norm: Any, bias: Tensor) -> None:
    """BatchNorm2d as y = x + bias: the folded convolution holds the rest."""
    norm.running_mean = torch.zeros_like(bias)
    norm.running_var = torch.ones_like(bias)
    norm.eps = 0.0
    _assign(norm, "weight", torch.ones_like(bias))
    _assign(norm, "bias", bias)


def _set_neuron(module: nn.Module, path: str, node: Neuron, units: _Units) -> None:
    own: Any = module.get_submodule(path)
    float_rule = rule_of(path, units.network.nodes[path])
    scale = _each_channel(node.metadata[SCALE], len(np.shape(node.v_threshold)))
    rule = integer_rule(path, node)
    threshold = rule.threshold.ravel()
    lattice = scale * float_rule.gain
    plain = (
        isinstance(node, nir.IF)
        and float_rule.reset is Reset.ZERO
        and not np.any(float_rule.reset_value)
        and np.all(threshold == threshold[0])
        and scale.size == 1
        and np.all(lattice == scale)
    )
    if plain:
        between = float((int(threshold[0]) + HALF_MEMBRANE_UNIT) / scale)
        if isinstance(getattr(own, "threshold", None), Tensor):
            _assign(own, "threshold", torch.tensor(between, dtype=torch.float64))
        else:
            own.v_threshold = between
        return
    replacement = IntegerNeuron(
        path,
        rule,
        lattice=lattice,
        multi_step=getattr(own, "step_mode", "s") == "m",
        returns_state=neurons.returns_state(own),
    )
    parent, _, leaf = path.rpartition(".")
    setattr(module.get_submodule(parent), leaf, replacement)


def _each_channel(scale: Any, axes: int) -> Float:
    """One scale, or one for each channel, so that it broadcasts to neurons [C, ...]."""
    values: Float = np.asarray(scale, np.float64)
    return values.reshape(()) if values.size == 1 else values.reshape(-1, *[1] * (axes - 1))


def _assign(module: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer, whichever it was."""
    if name in module._buffers:
        module._buffers[name] = value
    else:
        setattr(module, name, nn.Parameter(value, requires_grad=False))
