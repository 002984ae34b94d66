"""Sums and products of spikes, as threshold units where NIR has no node.

SEW ResNet's connect functions need nothing special: ADD is a sum of spikes; AND and IAND are products of binary values,
and a product of k binary values is the threshold unit "their sum exceeds k - 1/2" (Fang et al. 2021, section 3.2).
Graded spikes are the sum of their levels: the binary values "x >= 1", "x >= 2" and so on.
"""

from __future__ import annotations

import nir

from snn2hw.frontends.torch.builder import Builder, Refused, everywhere
from snn2hw.frontends.torch.values import Value, combine


def plus(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """a + b. A sum of spikes gets a node; currents stay open, for the next layer or neuron adds them up."""
    _require_same_shape(name, a, b)
    total = combine(a, b)
    plain = all(factor == 1 for _, factor in total.terms) and total.constant == 0
    if total.is_integer and plain and len(total.terms) > 1:
        return builder.merge(name, total)
    return total


def times(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """a * b for spikes, of which one at least is binary: for each level of the other, the unit "both fire"."""
    _require_same_shape(name, a, b)
    binary, other = (a, b) if a.is_binary else (b, a)
    if not binary.is_binary or not other.is_integer or (other.low or 0) < 0:
        what = f"values from {other.low} to {other.high}" if other.is_integer else "analog values"
        raise Refused(
            name,
            f"a product with {what}",
            "Of a product (AND, IAND) one factor must be binary and the other spikes; use ADD, or a neuron before",
        )
    products = []
    for suffix, level in levels(builder, name, other):
        total = combine(binary, level)
        if not total.terms:
            raise Refused(name, "the product of spikes and their negation, which is always 0", "Leave it out")
        products.append(_exceeds(builder, name, f"{name}{suffix}", total, 1.5))
    return sum_of_levels(builder, name, products)


def rectify(builder: Builder, name: str, value: Value) -> Value:
    """max(x, 0) over spikes and their differences: the sum of the levels x >= 1, x >= 2 and so on."""
    if not value.is_integer or value.low is None or value.high is None:
        raise Refused(name, "ReLU over values that are not spikes", "Put a spiking neuron in its place")
    if value.low >= 0:
        return value
    if value.high <= 0:
        raise Refused(name, "ReLU over values that are never positive, which is always 0", "Leave it out")
    if value.constant > 0:
        problem = f"ReLU over {value.constant} minus spikes, which is positive without any spike"
        raise Refused(name, problem, "Use products with 1 - x (IAND)")
    return sum_of_levels(builder, name, [level for _, level in levels(builder, name, value)])


def levels(builder: Builder, name: str, value: Value) -> list[tuple[str, Value]]:
    """Graded spikes as the binary ones value >= 1, value >= 2, ... that add up to them, with suffixes for names."""
    if value.is_binary or value.high is None:
        return [("", value)]
    return [
        (f".level{number}", _exceeds(builder, name, f"{name}.level{number}.reached", value, number - 0.5))
        for number in range(1, value.high + 1)
    ]


def sum_of_levels(builder: Builder, name: str, values: list[Value]) -> Value:
    """What was computed level by level, added up in a node; a single level needs none."""
    total = values[0]
    for value in values[1:]:
        total = combine(total, value)
    return total if len(values) == 1 else builder.merge(name, total)


def _exceeds(builder: Builder, layer: str, name: str, value: Value, bound: float) -> Value:
    """The threshold unit `value > bound`, called `name`; a refusal names `layer`."""
    if bound < value.constant:
        raise Refused(
            layer,
            "a product of negations (as NOR), which is positive where nothing spikes",
            "Threshold units answer spikes: multiply by a factor that is no negation, or put a neuron with a bias "
            "in its place",
        )
    unit = nir.Threshold(threshold=everywhere(bound - value.constant, value.shape))
    terms = Value(terms=value.terms, shape=value.shape, low=value.low, high=value.high)
    return builder.add_spiking(name, unit, terms)


def _require_same_shape(name: str, a: Value, b: Value) -> None:
    if a.shape != b.shape:
        raise Refused(
            name,
            f"values of shapes {list(a.shape)} and {list(b.shape)} are combined",
            "Both branches must have the same shape; broadcasting has no counterpart on the chip",
        )
