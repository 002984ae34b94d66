"""Events times prices: energy by component, layer and profile, and what the same network costs as an ANN."""

from __future__ import annotations

from dataclasses import dataclass

from snn2hw.report.events import Events, LayerEvents, SynapseEvents
from snn2hw.report.prices import COMPONENTS, MAPPED, REFINEMENTS, RULES, Profile, Rule

Joules = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ProfileEnergy:
    """What one sample costs under one profile, in joules; everything None or empty where it has no prices.

    by_rule: the total under each rule of counting graded spikes; `rule` is the profile's own and makes `total`.
    unpriced: what the total leaves out.
    """

    profile: str
    rule: Rule
    total: float | None
    by_rule: dict[Rule, float]
    components: Joules
    layers: tuple[LayerEnergy, ...]
    unpriced: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """Joules a sample of one layer, by component."""

    name: str
    components: Joules


def price_events(events: Events, profile: Profile, hops: tuple[float, float] | None = None) -> ProfileEnergy:
    """Energy of one sample under a profile.

    hops: of one sample's messages along the rows and columns of the chip's mesh; None if the layers have no places.
    """
    if profile.no_price is not None:
        return ProfileEnergy(
            profile=profile.name,
            rule=profile.graded,
            total=None,
            by_rule={},
            components={},
            layers=(),
            unpriced=(*profile.unpriced,),
        )
    layers = tuple(
        LayerEnergy(name=layer.name, components=_layer(layer, events, profile, profile.graded))
        for layer in events.layers
    )
    components: Joules = {}
    for layer in layers:
        for name, energy in layer.components.items():
            components[name] = components.get(name, 0.0) + energy
    travelled = 0.0 if hops is None else hops[0] * profile.price("hop_x") + hops[1] * profile.price("hop_y")
    if travelled:
        components["hops"] = travelled
    missing = [name for name in COMPONENTS if name not in profile.prices and name not in REFINEMENTS]
    placeless = [name for name in MAPPED if name in profile.prices and hops is None]
    return ProfileEnergy(
        profile=profile.name,
        rule=profile.graded,
        total=sum(components.values()),
        by_rule={rule: travelled + _total(events, profile, rule) for rule in RULES},
        components=components,
        layers=layers,
        unpriced=(
            *(f"{COMPONENTS[name]} ({name})" for name in missing),
            *(f"{COMPONENTS[name]} ({name}): the layers have no places on this chip" for name in sorted(placeless)),
            *profile.unpriced,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The same network without spikes, under the prices of one profile's arithmetic. Joules a sample.

    ann: one dense pass, every product priced. spiking: this network's synaptic operations under the same prices.
    break_even_rate: at which mean rate of input spikes a step both cost the same, if every operation behind the input
    layer were binary; None if nothing lies behind it, and if there is no such rate: the input layer alone costs more
    than the ANN, or a spike costs nothing. rate: what it is here, graded spikes by their value.
    """

    profile: str
    ann: float
    spiking: float
    break_even_rate: float | None
    rate: float | None


def baseline(events: Events, profile: Profile) -> Baseline:
    """The ANN twin under a profile's arithmetic."""
    steps, layers = events.timesteps, weighted(events)
    product, sum_only = profile.price("graded_operation"), profile.price("synaptic_operation")
    ann = product * sum(synapses.dense for _, synapses in layers)
    operations = [_operations(synapses, events, profile.graded) for _, synapses in layers]
    spiking = sum(
        count * (sum_only if synapses.carries == "binary" else product)
        for count, (_, synapses) in zip(operations, layers, strict=True)
    )
    given = [synapses for _, synapses in layers if synapses.carries == "input"]
    behind = [synapses for _, synapses in layers if synapses.carries != "input"]
    connections = steps * sum(synapses.dense for synapses in behind)
    at_input = product * sum(sum(synapses.operations) for synapses in given) / events.samples
    meets = connections and sum_only and at_input <= ann
    return Baseline(
        profile=profile.name,
        ann=ann,
        spiking=spiking,
        break_even_rate=(ann - at_input) / (sum_only * connections) if meets else None,
        rate=sum(sum(synapses.by_value) for synapses in behind) / (connections * events.samples)
        if connections
        else None,
    )


@dataclass(frozen=True, kw_only=True)
class PaperFormula:
    """E = MAC price x FLOPs of the first layer + AC price x sum of rate x T x FLOPs of the others, in joules a sample.

    FLOPs are multiplications of a dense pass, those with padding too; rates are shares of non-zero inputs.
    """

    profile: str
    first_layer_flops: int
    synaptic_operations: float
    energy: float


def paper_formula(events: Events, profile: Profile) -> PaperFormula:
    """The estimate that papers on spiking ResNets print: mean rates times dense operations, no events."""
    layers = weighted(events)
    first, others = layers[:1], layers[1:]
    operations = sum(
        input_rate(layer.synapses, events) * events.timesteps * layer.synapses.dense_with_padding
        for layer, _ in others
        if layer.synapses
    )
    flops = sum(synapses.dense_with_padding for _, synapses in first)
    return PaperFormula(
        profile=profile.name,
        first_layer_flops=flops,
        synaptic_operations=operations,
        energy=profile.price("graded_operation") * flops + profile.price("synaptic_operation") * operations,
    )


def weighted(events: Events) -> list[tuple[LayerEvents, SynapseEvents]]:
    """The layers with weights: convolutions and fully connected ones."""
    return [(layer, layer.synapses) for layer in events.layers if layer.kind in ("conv", "linear") and layer.synapses]


def input_rate(synapses: SynapseEvents, events: Events) -> float:
    """Share of a layer's inputs that are not zero, weighted by what they feed; 0 for a layer that feeds nothing."""
    possible = synapses.dense * events.timesteps * events.samples
    return sum(synapses.operations) / possible if possible else 0.0


def _layer(layer: LayerEvents, events: Events, profile: Profile, rule: Rule) -> Joules:
    """Joules a sample of one layer's priced components."""
    energies: Joules = {}
    if layer.synapses is not None:
        kind = f"synaptic_operation_{layer.kind}" if layer.kind in ("conv", "linear") else "synaptic_operation"
        carries = layer.synapses.carries
        binary = carries == "binary" or (carries == "graded" and rule == "value")
        product = "graded_operation" if "graded_operation" in profile.prices else kind
        count = _operations(layer.synapses, events, rule)
        energies[f"synapses_{carries}"] = count * profile.price(kind if binary else product)
        by_value = carries == "graded" and rule == "value"
        sent = layer.synapses.messages_by_value if by_value else layer.synapses.messages
        energies["messages"] = sum(sent) / events.samples * profile.price("message")
    if layer.unit is not None:
        updated = layer.kind in ("neuron", "threshold", "readout")
        fired = sum(layer.unit.spikes) if layer.kind in ("neuron", "threshold") else 0
        counts = {
            "neuron_active": sum(layer.unit.active) if updated else 0,
            "neuron_inactive": sum(layer.unit.inactive) if updated else 0,
            "spike": fired,
            "bias": sum(layer.unit.bias),
        }
        for name, count in counts.items():
            energies[name] = count / events.samples * profile.price(name)
    return {name: energy for name, energy in energies.items() if energy}


def _operations(synapses: SynapseEvents, events: Events, rule: Rule) -> float:
    """Operations a sample. The input of the network is always counted by its non-zero values."""
    if synapses.carries == "graded" and rule == "dense":
        return synapses.dense * events.timesteps
    counts = synapses.by_value if synapses.carries == "graded" and rule == "value" else synapses.operations
    return sum(counts) / events.samples


def _total(events: Events, profile: Profile, rule: Rule) -> float:
    return sum(sum(_layer(layer, events, profile, rule).values()) for layer in events.layers)
