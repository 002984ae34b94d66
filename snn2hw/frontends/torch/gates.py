"""Sums and products of spikes, as threshold units where NIR has no node.

SEW ResNet's connect functions need nothing special: ADD is a sum of spikes; AND and IAND are products of binary values,
and a product of k binary values is the threshold unit "their sum exceeds k - 1/2" (Fang et al. 2021, section 3.2).
Graded spikes are the sum of their levels: the binary values "x >= 1", "x >= 2" and so on.
"""

from __future__ import annotations

from dataclasses import replace

import nir

from snn2hw.frontends.torch.arrange import same_places
from snn2hw.frontends.torch.builder import Builder, Refused, everywhere
from snn2hw.frontends.torch.values import Value, as_integer, combine, times_constant


def plus(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """a + b. A sum of spikes gets a node; currents stay open, for the next layer or neuron adds them up."""
    require_same_places(name, a, b)
    total = combine(a, b)
    plain = all(factor == 1 for _, factor in total.terms) and total.constant == 0
    if total.is_integer and plain and len(total.terms) > 1:
        return builder.merge(name, total)
    return total


def times(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """a * b for spikes, of which one at least is binary: for each level of the other, the unit "both fire"."""
    require_same_places(name, a, b)
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
        products.append(exceeds(builder, name, f"{name}{suffix}", total, 1.5))
    return sum_of_levels(builder, name, products)


def either(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """max(a, b) of spikes: for each level k the unit "a >= k or b >= k", which is that their sum exceeds 1/2."""
    require_same_places(name, a, b)
    _require_spikes(name, "maximum", a, b)
    more, fewer = (a, b) if (a.high or 0) >= (b.high or 0) else (b, a)
    reached = [level for _, level in levels(builder, f"{name}.b", fewer)]
    maxima = []
    for number, (suffix, level) in enumerate(levels(builder, f"{name}.a" if len(reached) > 1 else name, more)):
        total = combine(level, reached[number]) if number < len(reached) else None
        maxima.append(level if total is None else exceeds(builder, name, f"{name}{suffix}", total, 0.5))
    return sum_of_levels(builder, name, maxima)


def both(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """min(a, b) of spikes: for each level k the unit "a >= k and b >= k"."""
    require_same_places(name, a, b)
    _require_spikes(name, "minimum", a, b)
    if a.is_binary and b.is_binary:
        return times(builder, name, a, b)
    pairs = zip(levels(builder, f"{name}.a", a), levels(builder, f"{name}.b", b), strict=False)
    minima = [
        exceeds(builder, name, f"{name}.level{number}", combine(one, other), 1.5)
        for number, ((_, one), (_, other)) in enumerate(pairs, 1)
    ]
    return sum_of_levels(builder, name, minima)


def one_of(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """a XOR b of binary spikes: a + b - 2 (a AND b)."""
    if not a.is_binary or not b.is_binary:
        problem = "an exclusive or of values that are not binary spikes"
        raise Refused(name, problem, "Put a neuron before, so that both are spikes of 0 or 1")
    twice = times_constant(times(builder, f"{name}.and", a, b), -2)
    return as_integer(combine(combine(a, b), twice), 0, 1)


def _require_spikes(name: str, what: str, a: Value, b: Value) -> None:
    if any(value.low is None or value.low < 0 for value in (a, b)):
        raise Refused(name, f"a {what} of values that are not spikes", "Put a neuron before, so that both are spikes")


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
        (f".level{number}", exceeds(builder, name, f"{name}.level{number}.reached", value, number - 0.5))
        for number in range(1, value.high + 1)
    ]


def sum_of_levels(builder: Builder, name: str, values: list[Value]) -> Value:
    """What was computed level by level, added up in a node; a single level needs none."""
    total = values[0]
    for value in values[1:]:
        total = combine(total, value)
    return total if len(values) == 1 else builder.merge(name, total)


def exceeds(builder: Builder, layer: str, name: str, value: Value, bound: float) -> Value:
    """The threshold unit `value > bound`, called `name`; a refusal names `layer`."""
    if bound < value.constant:
        raise Refused(
            layer,
            "a product of negations (as NOR), which is positive where nothing spikes",
            "Threshold units answer spikes: multiply by a factor that is no negation, or put a neuron with a bias "
            "in its place",
        )
    unit = nir.Threshold(threshold=everywhere(bound - value.constant, value.shape))
    terms = replace(value, constant=0)
    if value.low is not None and value.high is not None:
        terms = as_integer(terms, value.low, value.high)
    return builder.add_spiking(name, unit, terms, bound - value.constant)


def require_same_places(name: str, a: Value, b: Value) -> None:
    """Refuse to combine values of which not each element has its counterpart."""
    if a.at.numbers.shape != b.at.numbers.shape:
        raise Refused(
            name,
            f"values of shapes {list(a.at.numbers.shape)} and {list(b.at.numbers.shape)} are combined",
            "Both branches must have the same shape; broadcasting has no counterpart on the chip",
        )
    if a.is_mean != b.is_mean:
        raise Refused(name, "a mean over time is combined with single steps", "Take the mean of both, at the end")
    if not same_places(a.at, b.at) or a.shape != b.shape:
        raise Refused(
            name,
            "values are combined whose elements stand in different order, or belong to different steps or samples",
            "Combine values that were moved in the same way",
        )
