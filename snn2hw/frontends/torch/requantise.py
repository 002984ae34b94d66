"""Put the integers back into the user's own model: the PyTorch side of the proof of exactness.

The weights come from the integer NIR graph, not from the Program, so that the two are independent witnesses. A model
works in its own real numbers, so every whole weight is divided by its layer's unit, in float64. All currents then are
whole numbers divided by the neuron's scale, up to float64's rounding (below 1e-9 units), and the thresholds lie half a
membrane unit (1/128) between two such numbers: no rounding can change a decision. What relays round on the chip, the
calls beside them round here. Neurons with a leak, a soft reset or
a shifted reset follow Loihi's truncating rule, which float arithmetic cannot; they are replaced by IntegerNeuron.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw.errors import BundleError
from snn2hw.frontends import neurons
from snn2hw.frontends.neurons.integer import IntegerNeuron
from snn2hw.frontends.torch.builder import Holder
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.interpreter import Rounding
from snn2hw.frontends.torch.trace import Traced
from snn2hw.ir.fixed_point import Int, Reset
from snn2hw.network.groups import without_groups
from snn2hw.network.heads import placed_rows
from snn2hw.network.integer_neuron import HALF_MEMBRANE_UNIT, integer_rule
from snn2hw.network.layout import emits_integers, lay_out, pair
from snn2hw.network.metadata import HIGH, LOW, SCALE, SHIFT
from snn2hw.network.neuron_rule import Float, Neuron, rule_of


def requantise(traced: Traced, integers: nir.NIRGraph) -> Traced:
    """The traced model with the parameters of the integer graph, in float64. The user's model is not touched.

    Raises BundleError if the integer graph does not belong to the model.
    """
    module = copy_of(traced.module)
    neurons.reset_state(module)
    units = _Units(traced.network, integers)
    biases = _biases(traced, integers, units)
    substitutes: dict[str, tuple[Tensor, Tensor]] = {}
    read: dict[str, Rounding] = {}
    made: dict[str, Rounding] = {}
    passed = set(traced.passed)
    for name in sorted(traced.layers):
        if name not in integers.nodes:
            raise BundleError(
                f"{name}: the model has this layer, but quantised.nir has not. The bundle is of another model."
            )
        if name in traced.neurons:
            _set_neuron(module, name, integers.nodes[name], units)
            continue
        holder = traced.holders[name]
        parameters = _parameters(holder, name, integers.nodes[name], units, biases[name])
        substitutes |= dict.fromkeys(holder.calls, parameters)
        if (rounding := units.rounding_before(name)) is not None:
            read |= dict.fromkeys(holder.calls, rounding)
        if (rounding := units.rounding_behind(name)) is not None:
            left = float(_left(holder))
            made |= dict.fromkeys(holder.calls, replace(rounding, lattice=rounding.lattice * left))
        passed |= holder.folded
    return replace(
        traced,
        module=module,
        dtype=torch.float64,
        substitutes=substitutes,
        passed=frozenset(passed),
        read=read,
        made=made,
    )


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
        if SHIFT in node.metadata:
            return 1.0 / _number(node, SCALE)
        return self.emitted(self.sources[name][0]) / self._divisor(name)

    def output(self, name: str) -> Float:
        """Input units of the consumer per unit of the real output of layer `name`, one number or one a channel."""
        if emits_integers(self.network, name):
            return np.array([1.0 / self.emitted(name)])
        divisor = 1.0
        target = self.targets[name][0]
        while target != self.consumer(name):
            divisor *= self._divisor(target)
            target = self.targets[target][0]
        scale: Float = np.asarray(self.integers.nodes[target].metadata[SCALE], np.float64)
        if SHIFT in self.integers.nodes[target].metadata:
            return np.array([float(scale) * (1 << int(_number(self.integers.nodes[target], SHIFT))) / divisor])
        consumer = self.network.nodes[target]
        gain = rule_of(target, consumer).gain if isinstance(consumer, Neuron) else np.ones(1)
        per_channel = gain.reshape(len(gain), -1)[:, 0]
        return scale * per_channel / divisor

    def consumer(self, name: str) -> str:
        """What takes the current of layer `name`: behind pools and flattening."""
        target = self.targets[name][0]
        while isinstance(self.integers.nodes[target], nir.SumPool2d | nir.Flatten | nir.Affine):
            target = self.targets[target][0]
        return target

    def rounding_before(self, name: str) -> Rounding | None:
        """What stands before layer `name` in the integer graph alone, or rounds there: the relay that it reads."""
        source = self.sources[name][0]
        while isinstance(self.integers.nodes[source], nir.Flatten):
            source = self.sources[source][0]
        return _rounding(self.integers.nodes[source])

    def rounding_behind(self, name: str) -> Rounding | None:
        """The relay right behind layer `name` that the float network does not have: its weights were finer."""
        target = self.targets[name][0]
        return None if target in self.network.nodes else _rounding(self.integers.nodes[target])

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


def _biases(traced: Traced, integers: nir.NIRGraph, units: _Units) -> dict[str, Float]:
    """The bias of each layer with weights, in its real units, on the rows that it computes itself.

    The integer graph has the bias of a neuron on the first of the layers that feed it, which may be another one's.
    """
    biases: dict[str, Float] = {}
    missing: dict[str, Float] = {}
    computed: dict[str, NDArray[np.bool_]] = {}
    for name, holder in traced.holders.items():
        if name not in integers.nodes:
            continue
        rows, scales = units.rows(name), units.output(name)
        bias = np.asarray(integers.nodes[name].bias, np.float64)[rows]
        biases[name] = np.array(bias / (scales[rows] if scales.size > 1 else scales))
        own_rows = getattr(holder.form, "rows", None)
        computed[name] = np.ones(len(bias), bool) if own_rows is None else own_rows >= 0
        if not computed[name].all():
            missing[name] = np.where(computed[name], 0, biases[name])
    for name, rest in missing.items():
        biases[name] = biases[name] - rest
        left: Float = rest
        for other in biases:
            if other != name and units.consumer(other) == units.consumer(name) and len(biases[other]) == len(left):
                biases[other] = biases[other] + np.where(computed[other], left, 0)
                left = np.where(computed[other], 0, left)
    return biases


def _parameters(holder: Holder, name: str, node: Any, units: _Units, bias: Float) -> tuple[Tensor, Tensor]:
    """The weight and bias with which the model's own call computes what the integer node does, in real numbers."""
    rows, scales = units.rows(name), units.output(name)
    left = _left(holder)
    out = np.array(scales[rows] if scales.size > 1 else scales) * left  # by `left` other calls of the model multiply
    weight: Float = np.asarray(node.weight, np.float64)[rows]
    if weight.ndim == 4:
        weight = without_groups(weight, int(node.groups))
    expected = holder.form.node_shape()
    if tuple(weight.shape) != expected:
        raise BundleError(
            f"{name}: the model's weights have shape {list(expected)}, quantised.nir has {list(weight.shape)}. The "
            "bundle is of another model."
        )
    weight = weight / units.emitted(units.sources[name][0]) / out.reshape(-1, *[1] * (weight.ndim - 1))
    bias = bias / left
    weight, bias = holder.form.restored(weight, bias)
    return torch.from_numpy(np.array(weight, order="C")), torch.from_numpy(np.array(bias, order="C"))


def _left(holder: Holder) -> Float:
    """By what other calls of the model multiply what a layer computes."""
    return math.prod((fold.gain for fold in holder.folds if not fold.call), start=np.array(float(holder.factor)))


def _rounding(node: nir.NIRNode) -> Rounding | None:
    """What a node of the integer graph rounds, if it is a relay."""
    if SHIFT not in node.metadata:
        return None
    shift, low, high = (int(_number(node, key)) for key in (SHIFT, LOW, HIGH))
    return Rounding(lattice=_number(node, SCALE) * (1 << shift), shift=shift, low=low, high=high)


def _number(node: nir.NIRNode, key: str) -> float:
    return float(np.asarray(node.metadata[key]).item())


def _set_neuron(module: nn.Module, path: str, node: Neuron, units: _Units) -> None:
    neuron: Any = module.get_submodule(path)
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
        replacement: Any = copy.deepcopy(neuron).double()
        if isinstance(getattr(neuron, "threshold", None), Tensor):
            _assign(replacement, "threshold", torch.tensor(between, dtype=torch.float64))
        else:
            replacement.v_threshold = between
        _put(module, path, replacement)
        return
    replacement = IntegerNeuron(
        path,
        rule,
        lattice=lattice,
        multi_step=getattr(neuron, "step_mode", "s") == "m",
        returns_state=neurons.returns_state(neuron),
    )
    _put(module, path, replacement)


def _put(module: nn.Module, path: str, replacement: nn.Module) -> None:
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
