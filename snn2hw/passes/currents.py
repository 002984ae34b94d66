"""What flows along the edges while a graph is quantised: integers with a unit, or currents that wait for a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import nir
import numpy as np

from snn2hw import ir
from snn2hw.errors import QuantisationError
from snn2hw.ir.fixed_point import Int, round_to_int
from snn2hw.network.groups import with_groups, without_groups
from snn2hw.network.heads import placed_rows
from snn2hw.network.layout import conv_padding, pair, takes_largest
from snn2hw.network.neuron_rule import Float

Holds = Literal["spikes", "current", "payloads"]
FEWEST_FINER, MOST_FINER = 2, 6  # bits that are worth a relay of their own, and that sums have room for
LARGEST_PAYLOAD = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class PoolStep:
    """A pool behind a layer; `unit` is that of the integers it emits. largest: it takes the largest, not the sum."""

    name: str
    kernel: ir.Pair
    stride: ir.Pair
    padding: ir.Pair
    shape: ir.Shape
    unit: float
    largest: bool = False

    def node(self, sources: tuple[str, ...]) -> ir.SumPool | ir.MaxPool:
        return (ir.MaxPool if self.largest else ir.SumPool)(
            name=self.name,
            inputs=sources,
            shape=self.shape,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
        )


def _pool_step(name: str, node: nir.SumPool2d | nir.AvgPool2d, shape: ir.Shape, unit: float) -> PoolStep:
    kernel = pair(node.kernel_size)
    if isinstance(node, nir.AvgPool2d):
        unit /= kernel[0] * kernel[1]
    return PoolStep(
        name=name,
        kernel=kernel,
        stride=pair(node.stride),
        padding=pair(node.padding),
        shape=shape,
        unit=unit,
        largest=takes_largest(node),
    )


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """The sum of nodes that emit integers of one unit.

    holds: what these are: spikes and sums of them, currents that a relay hands on as they are, or the payloads of few
    bits that layers take. peak: the largest current that calibration saw, in real units.
    """

    sources: tuple[str, ...]
    shape: ir.Shape
    unit: float
    flat: bool = False
    holds: Holds = "spikes"
    peak: float = 0.0

    def through_weights(self, name: str, node: nir.Conv2d | nir.Affine | nir.Linear, shape: ir.Shape) -> Current:
        bias = np.zeros(shape[0]) if isinstance(node, nir.Linear) else np.asarray(node.bias, np.float64)
        weight, groups = node.weight, 1
        if isinstance(node, nir.Conv2d):  # NIR holds grouped kernels as dense ones
            weight, groups = with_groups(weight) if int(node.groups) == 1 else (weight, int(node.groups))
        return Current(
            name=name,
            sources=self.sources,
            layer=node,
            groups=groups,
            weight=np.asarray(weight, np.float64) * self.unit,
            written=weight,
            unit=self.unit,
            layer_shape=shape,
            shape=shape,
            bias=bias.reshape(-1, *[1] * (len(shape) - 1)),
            of_payloads=self.holds == "payloads",
        )

    def pooled(self, name: str, node: nir.SumPool2d | nir.AvgPool2d, shape: ir.Shape) -> PoolStep | Current:
        return _pool_step(name, node, shape, self.unit)

    def flattened(self, name: str, shape: ir.Shape) -> Emitted:
        return replace(self, shape=shape, flat=True)

    def as_current(self, name: str) -> Current:
        """These integers fed one-to-one into a neuron or read-out, by a synapse named `name`."""
        if self.flat:  # a one-to-one synapse keeps the shape; a matrix does not mind
            eye = nir.Linear(weight=np.eye(int(np.prod(self.shape))))
            return self.through_weights(name, eye, self.shape)
        return Current(
            name=name,
            sources=self.sources,
            layer=None,
            weight=np.array(self.unit),
            written=np.ones(()),
            unit=self.unit,
            layer_shape=self.shape,
            shape=self.shape,
            bias=np.array(0.0),
            relayed=self.holds == "current",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Current:
    """The output of a layer whose integer weights wait for the scale of the neuron they feed.

    weight: real contribution of one integer unit of the source, divisors of pools behind it included; the weights as
    the network has them, `written`, times `unit`. layer: the NIR node it comes from, with `groups` in its kernel; None
    for a one-to-one synapse. bias: real, broadcasts to the shape. pools: sum pools behind it. relayed: it is what a
    relay hands on, whose unit its reader takes over. of_payloads: the layer reads payloads of currents. finer: by how
    many bits its weights are finer than its reader's unit; a relay behind it divides by 2^finer, and takes up its bias.
    """

    name: str
    sources: tuple[str, ...]
    layer: nir.Conv2d | nir.Affine | nir.Linear | None
    weight: Float
    written: Float
    unit: float
    layer_shape: ir.Shape
    shape: ir.Shape
    bias: Float
    groups: int = 1
    pools: tuple[PoolStep, ...] = ()
    relayed: bool = False
    of_payloads: bool = False
    finer: int = 0

    @property
    def carried_bias(self) -> Float:
        """The bias that its reader must take up; broadcasts to [*shape]."""
        return np.zeros(()) if self.finer else self.bias

    def brought_to(self, scale: Float, gain: Float, most: int) -> Current:
        """The current with finer weights, where those of a layer over payloads would lose several bits at `scale`.

        scale, gain: of the reader, each one number or one a channel. most: the largest weight.
        """
        if not self.of_payloads or self.pools or np.size(scale) > 1 or np.unique(gain).size > 1:
            return self
        largest = float(np.abs(scale * self.gained(gain)).max()) if self.layer is not None else 0.0
        bits = int(np.floor(np.log2(most / largest))) if largest > 0 else 0
        return replace(self, finer=min(bits, MOST_FINER)) if bits >= FEWEST_FINER else self

    def identity_step(self, gain: Float) -> float | None:
        """Of a one-to-one synapse what a unit adds, one number, which the scale must turn into a whole weight."""
        return None if self.layer is not None else float(self.gained(gain))

    def through_weights(self, name: str, node: nir.Conv2d | nir.Affine | nir.Linear, shape: ir.Shape) -> Current:
        if (rows := placed_rows(node)) is not None:
            return self._placed(rows, shape[0])
        raise QuantisationError.at(
            name,
            f"it reads the current of {self.name} with no neuron between",
            "Put a spiking neuron there, or multiply the two layers into one",
        )

    def pooled(self, name: str, node: nir.SumPool2d | nir.AvgPool2d, shape: ir.Shape) -> Current:
        step = _pool_step(name, node, shape, 1.0)
        if step.padding != (0, 0) and not step.largest and np.any(self.bias != 0):
            raise QuantisationError.at(
                name, f"a padded pool behind {self.name}, which has a bias", "Pool without padding"
            )
        window = step.kernel[0] * step.kernel[1]
        bias = self.bias if step.largest or isinstance(node, nir.AvgPool2d) else self.bias * window
        return replace(
            self,
            weight=self.weight * step.unit,
            unit=self.unit * step.unit,
            bias=bias,
            shape=shape,
            pools=(*self.pools, step),
        )

    def flattened(self, name: str, shape: ir.Shape) -> Current:
        if self.shape[1:] not in ((), (1, 1)):
            raise QuantisationError.at(
                name,
                f"the currents of {self.name}, {list(self.shape)}, are flattened",
                "Put a spiking neuron before the flatten, or average over space first",
            )
        flat = PoolStep(name=name, kernel=(1, 1), stride=(1, 1), padding=(0, 0), shape=shape, unit=1.0)
        return (
            self
            if self.shape == shape
            else replace(self, shape=shape, bias=self.bias.reshape(-1), pools=(*self.pools, flat))
        )

    def _placed(self, rows: Int, width: int) -> Current:
        """The same values in these rows of a vector: its weights take up the zeros, so that no layer is added."""

        def among(values: Float) -> Float:
            larger = np.zeros((width, *values.shape[1:]))
            larger[rows] = values
            return larger

        return replace(
            self,
            weight=among(without_groups(self.weight, self.groups)),
            written=among(without_groups(self.written, self.groups)),
            groups=1,
            bias=among(np.broadcast_to(self.bias.reshape(-1), rows.shape)),
            layer_shape=(width, *self.layer_shape[1:]),
            shape=(width,),
            pools=tuple(replace(step, shape=(width, *step.shape[1:])) for step in self.pools),
        )

    def as_current(self, name: str) -> Current:
        return self

    def nodes(self, scale: Float, gain: Float, lowest: Int, largest: int) -> list[ir.Node]:
        """The integer nodes of this current at `scale`, one number or one a channel: the synapse and its pools.

        Weights below `lowest`, one number or one a channel, or above `largest` saturate.
        """
        if self.relayed and self.layer is None:
            scaled: Float = np.asarray(1.0)  # its unit is its reader's
        else:
            scaled = scale * self.gained(gain) if scale.size == 1 else self.gained(gain * scale)
        least = lowest.reshape(-1, *[1] * (scaled.ndim - 1)) if lowest.size > 1 else lowest
        weight = np.clip(round_to_int(scaled * (1 << self.finer)), least, largest)
        chain: list[ir.Node] = [self._synapse(weight)]
        if self.finer:
            chain.append(self._relay(float(scale) * float(gain.flat[0])))
        for step in self.pools:
            if len(step.shape) == 1:  # the flatten behind a global pool
                eye = np.eye(step.shape[0], dtype=np.int64)
                chain.append(ir.Linear(name=step.name, inputs=(chain[-1].name,), shape=step.shape, weight=eye))
            else:
                chain.append(step.node((chain[-1].name,)))
        return chain

    def _relay(self, scale: float) -> ir.Relay:
        """The relay behind a layer with finer weights; its payloads have the reader's unit."""
        return ir.Relay(
            name=f"{self.name}.relay",
            inputs=(self.name,),
            shape=self.layer_shape,
            bias=round_to_int(scale * (1 << self.finer) * self.bias),
            shift=self.finer,
            low=-LARGEST_PAYLOAD,
            high=LARGEST_PAYLOAD,
            scale=scale,
        )

    def as_integers(self) -> ir.Synapse:
        """The synapse of a layer whose weights are whole, over spikes: what it emits are whole numbers of them."""
        return self._synapse(round_to_int(self.weight))

    def _synapse(self, weight: np.ndarray) -> ir.Synapse:
        match self.layer:
            case None:
                return ir.Scale(name=self.name, inputs=self.sources, shape=self.layer_shape, factor=int(weight))
            case nir.Conv2d():
                return ir.Conv(
                    name=self.name,
                    inputs=self.sources,
                    shape=self.layer_shape,
                    weight=weight,
                    stride=pair(self.layer.stride),
                    padding=conv_padding(self.name, self.layer),
                    dilation=pair(self.layer.dilation),
                    groups=self.groups,
                )
            case _:
                return ir.Linear(name=self.name, inputs=self.sources, shape=self.layer_shape, weight=weight)

    def gained(self, gain: Float) -> Float:
        """The weights times the neuron's gain, which must be one number, or one a channel."""
        channels = gain.reshape(gain.shape[0], -1)
        if np.any(channels != channels[:, :1]):
            raise QuantisationError.at(
                self.name,
                "it feeds neurons whose time constants differ within a channel",
                "Give the neurons of a channel one time constant",
            )
        per_channel = channels[:, 0]
        if np.all(per_channel == per_channel[0]):
            return self.weight * float(per_channel[0])
        if self.layer is None:
            raise QuantisationError.at(
                self.name,
                "a shortcut feeds neurons whose time constants differ by channel",
                "Put a 1x1 convolution into the shortcut, or give all channels one time constant",
            )
        spread: Float = per_channel.reshape(-1, *[1] * (self.weight.ndim - 1))
        return self.weight * spread


Flow = Emitted | Current


def align(name: str, incoming: Sequence[Flow]) -> Emitted | Current:
    """The sum of flows that enter a node other than a neuron. Raises QuantisationError if they do not add up."""
    if len(incoming) == 1:
        return incoming[0]
    emitted = [flow for flow in incoming if isinstance(flow, Emitted)]
    if len(emitted) < len(incoming) or len({flow.holds for flow in emitted}) > 1:
        raise QuantisationError.at(name, "weighted sums are added before it", "Put a spiking neuron behind the sum")
    if len({flow.unit for flow in emitted}) > 1 or len({flow.flat for flow in emitted}) > 1:
        raise QuantisationError.at(name, "spikes and averages are added before it", "Put a neuron behind the average")
    sources = tuple(source for flow in emitted for source in flow.sources)
    return replace(emitted[0], sources=sources)
