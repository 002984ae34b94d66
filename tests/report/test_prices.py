"""Price profiles: what ships has sources, what is wrong in a file is named, and joules are counts times prices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from counted_nets import counted, counted_on

from snn2hw.errors import OptionError
from snn2hw.mapping.place import place
from snn2hw.page.quantity import large, quantity
from snn2hw.report.energy import baseline, paper_formula, price_events
from snn2hw.report.latency import latency
from snn2hw.report.mapping import map_to_chips
from snn2hw.report.prices import RULES, Profile, known_profiles, load_profiles
from snn2hw.targets import load_target

MINE = """
title = "Mine"
source = "a data sheet"
evidence = "measured"
graded = "count"
unpriced = ["static power"]

[prices]
synaptic_operation = { value = 2.0, unit = "pJ", source = "page 1", evidence = "measured" }
message = { value = 1.0, unit = "nJ", source = "page 2", evidence = "measured" }
"""


def profile(name: str) -> Profile:
    (loaded,) = load_profiles((name,))
    return loaded


def read(folder: Path, text: str) -> Profile:
    file = folder / "mine.toml"
    file.write_text(text)
    return load_profiles(("loihi2",), file)[1]


def refused(folder: Path, text: str) -> str:
    with pytest.raises(OptionError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert message.startswith(str(folder / "mine.toml"))
    return message.removeprefix(f"{folder / 'mine.toml'}: ")


@pytest.mark.parametrize("name", known_profiles())
def test_every_shipped_figure_says_where_it_is_from(name: str) -> None:
    prices = profile(name)
    assert prices.title and prices.source and prices.evidence and prices.unpriced
    for figure in (*prices.prices.values(), *prices.times.values()):
        assert figure.source and figure.evidence and figure.si > 0


def test_loihi_2_has_no_price() -> None:
    events = counted("digits add").events
    energy = price_events(events, profile("loihi2"))
    assert (energy.total, energy.components, energy.by_rule) == (None, {}, {})
    assert "no public energy per operation of Loihi 2" in str(profile("loihi2").no_price)


def test_davies_prices_are_those_of_his_table() -> None:
    davies = profile("loihi1-davies")
    picojoules = {name: round(1e12 * figure.si, 6) for name, figure in davies.prices.items()}
    assert picojoules == {
        "synaptic_operation": 23.6,
        "neuron_active": 81.0,
        "neuron_inactive": 52.0,
        "message": 1.7,
        "hop_x": 3.0,
        "hop_y": 4.0,
    }


@pytest.mark.parametrize("rule", RULES)
def test_joules_are_counts_times_prices(tmp_path: Path, rule: str) -> None:
    events = counted("digits add").events
    energy = price_events(events, read(tmp_path, MINE.replace('graded = "count"', f'graded = "{rule}"')))
    expected = 0.0
    for layer in events.layers:
        synapses = layer.synapses
        if synapses is None:
            continue
        operations, messages = sum(synapses.operations), sum(synapses.messages)
        if synapses.carries == "graded" and rule == "value":
            operations, messages = sum(synapses.by_value), sum(synapses.messages_by_value)
        if synapses.carries == "graded" and rule == "dense":
            operations = synapses.dense * events.timesteps * events.samples
        expected += 2e-12 * operations + 1e-9 * messages
    assert energy.total == pytest.approx(expected / events.samples, rel=1e-12)
    assert energy.total == pytest.approx(energy.by_rule[energy.rule], rel=1e-12)
    assert energy.total == pytest.approx(sum(sum(layer.components.values()) for layer in energy.layers), rel=1e-12)


def test_the_rules_of_counting_differ_on_graded_spikes_alone() -> None:
    events = counted("digits add").events
    by_rule = [price_events(events, replace(profile("45nm-fp32"), graded=rule)).layers for rule in RULES]
    for one, two, three in zip(*by_rule, strict=True):
        synapses = events[one.name].synapses
        graded = synapses is not None and synapses.carries == "graded"
        assert (one == two == three) is not graded, one.name
    assert price_events(events, profile("45nm-fp32")).by_rule == {
        rule: pytest.approx(sum(sum(layer.components.values()) for layer in layers), rel=1e-12)
        for rule, layers in zip(RULES, by_rule, strict=True)
    }


def test_what_has_no_price_is_listed(tmp_path: Path) -> None:
    unpriced = price_events(counted("digits add").events, read(tmp_path, MINE)).unpriced
    assert "static power" in unpriced
    assert "a neuron firing (spike)" in unpriced
    assert not any("(message)" in item or "synaptic_operation" in item for item in unpriced)


def test_baselines_are_the_dense_pass_and_the_formula_of_the_papers() -> None:
    events = counted("digits spiking").events
    layers = [layer.synapses for layer in events.layers if layer.kind in ("conv", "linear") and layer.synapses]
    fp32 = profile("45nm-fp32")
    twin = baseline(events, fp32)
    assert twin.ann == pytest.approx(4.6e-12 * sum(layer.dense for layer in layers), rel=1e-12)
    assert twin.break_even_rate is not None and twin.rate is not None
    behind = events.timesteps * sum(layer.dense for layer in layers[1:])
    at_input = 4.6e-12 * sum(layers[0].operations) / events.samples
    assert at_input + 0.9e-12 * twin.break_even_rate * behind == pytest.approx(twin.ann, rel=1e-12)
    formula = paper_formula(events, fp32)
    sums = sum(
        sum(layer.operations) / (layer.dense * events.timesteps * events.samples) * 4 * layer.dense_with_padding
        for layer in layers[1:]
    )
    assert formula.energy == pytest.approx(4.6e-12 * layers[0].dense_with_padding + 0.9e-12 * sums, rel=1e-12)


@pytest.mark.parametrize("times", [1, 1000])
def test_there_is_no_break_even_where_the_input_alone_costs_more_than_the_ann(times: int) -> None:
    """No rate of spikes behind the first layer can then save what it costs."""
    events = counted("digits spiking").events
    layers = tuple(
        replace(layer, synapses=replace(layer.synapses, operations=tuple(times * n for n in layer.synapses.operations)))
        if layer.synapses and layer.synapses.carries == "input"
        else layer
        for layer in events.layers
    )
    twin = baseline(replace(events, layers=layers), profile("45nm-fp32"))
    assert twin.rate is not None and 0 < twin.rate < 1
    assert (twin.break_even_rate is None) == (times > 1)


def test_the_input_is_counted_by_its_values_that_are_not_0_under_every_rule() -> None:
    """docs/report.md: it is no spike, and nothing says how a chip without graded spikes would take it in."""
    events = counted("digits add").events
    (given,) = (layer.name for layer in events.layers if layer.synapses and layer.synapses.carries == "input")
    operations = events[given].synapses.operations  # type: ignore[union-attr]
    for rule in RULES:
        priced = price_events(events, replace(profile("45nm-fp32"), graded=rule))
        components = next(layer.components for layer in priced.layers if layer.name == given)
        assert components["synapses_input"] == pytest.approx(4.6e-12 * sum(operations) / events.samples, rel=1e-12)


def test_latency_is_the_schedule_and_the_slowest_layer() -> None:
    net = counted("digits add")
    davies, fp32 = profile("loihi1-davies"), profile("45nm-fp32")
    times = latency(net.program, net.events, (davies, fp32), {})
    assert (times.one_shot_cycles, times.pipelined_cycles) == (4 + net.program.schedule.depth, 4)
    assert times.untimed == ("45nm-fp32",)
    (step,) = times.steps
    slowest = max(step.layers, key=lambda layer: layer.seconds)
    assert step.bottleneck == slowest.name
    assert step.step[1] - step.step[0] == pytest.approx((465 - 113) * 1e-9)
    assert step.one_shot[0] == pytest.approx(times.one_shot_cycles * (slowest.seconds + 113e-9))
    names = {layer.name for layer in step.layers}
    assert names == {layer.name for layer in net.events.layers if layer.kind in ("neuron", "threshold", "readout")}
    total = sum(layer.seconds * layer.cores for layer in step.layers) * net.events.samples * net.events.timesteps
    counts = {"synaptic_operation": 0, "message": 0, "neuron_active": 0, "neuron_inactive": 0}
    for layer in net.events.layers:
        if layer.synapses:
            graded = layer.synapses.carries == "graded"
            counts["synaptic_operation"] += sum(layer.synapses.by_value if graded else layer.synapses.operations)
            counts["message"] += sum(layer.synapses.messages_by_value if graded else layer.synapses.messages)
        if layer.unit and layer.name in names:
            counts["neuron_active"] += sum(layer.unit.active)
            counts["neuron_inactive"] += sum(layer.unit.inactive)
    assert total == pytest.approx(sum(count * davies.time(name) for name, count in counts.items()), rel=1e-9)


def test_the_fullest_core_of_a_layer_sets_its_time() -> None:
    net = counted("SEW-ResNet-18 ADD")
    davies = profile("loihi1-davies")
    placed = place(net.program, load_target("loihi1"))
    spikes = counted_on(net.program, net.samples).spikes()
    mappings = map_to_chips(net.program, spikes, samples=len(net.samples))
    spreads = {each.chip: each.spreads() for each in mappings}["loihi1"]
    (evenly,) = latency(net.program, net.events, (davies,), {"loihi2": spreads}).steps
    (time,) = latency(net.program, net.events, (davies,), {"loihi1": spreads}).steps
    work = {layer.name: layer.seconds * layer.cores for layer in evenly.layers}  # of one core that would do it all
    done = dict.fromkeys(work, 0.0)
    for layer in time.layers:
        cores = [core.neurons for core in placed.by_name[layer.name].cores]
        assert layer.cores == len(cores)
        reader = (
            "output" if layer.name == "avgpool" else layer.name
        )  # a relay, placed apart from the read-out behind it
        done[reader] += layer.seconds * sum(cores) / max(cores)
    assert done == pytest.approx(work, rel=1e-12)
    assert {layer.name for layer in time.layers} == {*work, "avgpool"} == {layer.name for layer in placed.layers}
    assert any(layer.cores > 1 for layer in time.layers)


def test_quantities_have_three_digits_and_a_prefix() -> None:
    values = (0.0, 1.5e-8, 9.996e-7, 1.0, 2.5e-3, 3e-13, 0.9999)
    texts = ["0 J", "15 nJ", "1 µJ", "1 J", "2.5 mJ", "0.3 pJ", "1 J"]
    assert [quantity(value, "J") for value in values] == texts


def test_large_counts_take_few_characters() -> None:
    counts = (0.0, 999.5, 999_999, 1_000_000, 999_999_999, 16_716_194_896, 2.5e15)
    assert [large(count) for count in counts] == ["0", "1,000", "1 M", "1 M", "1 G", "16.7 G", "2.5e+03 T"]


def test_an_unknown_profile_is_named_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"--profile loihi9: there is no such price profile\. Known are 45nm-fp32,"):
        load_profiles(("loihi1-davies", "loihi9"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.toml: there is no such file of prices\."):
        load_profiles((), tmp_path / "none.toml")


def test_a_file_named_like_a_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "truenorth.toml"
    file.write_text(MINE)
    with pytest.raises(OptionError, match="a profile named truenorth is there already"):
        load_profiles((), file)


MISTAKES = {
    ("value = 2.0", "value = -2.0"): "prices.synaptic_operation: value = -2.0; give a number from 0.",
    ("value = 2.0", "value = nan"): "prices.synaptic_operation: value = nan; give a number from 0.",
    ("value = 2.0", 'value = "2"'): "prices.synaptic_operation: value = '2'; give a number from 0.",
    ("value = 2.0, ", ""): "prices.synaptic_operation: value is missing.",
    ("synaptic_operation =", "spike ="): "prices.synaptic_operation is missing.",
    ("synaptic_operation =", "synop ="): "prices.synop: there is no such figure.",
    ('unit = "pJ"', 'unit = "kJ"'): "prices.synaptic_operation: unit = 'kJ'; choose fJ, pJ",
    (', source = "page 1"', ""): "prices.synaptic_operation: source is missing.",
    ('source = "page 1"', 'source = ""'): "prices.synaptic_operation: source is missing.",
    (', evidence = "measured" }\nmessage', " }\nmessage"): "prices.synaptic_operation: evidence is missing.",
    ('title = "Mine"', ""): "title is missing.",
    ('graded = "count"', 'graded = "some"'): "graded = 'some'; choose count, value, dense.",
    ('graded = "count"', 'no_price = "secret"\ngraded = "count"'): "no_price says that there are no figures",
    ('["static power"]', '"static power"'): "unpriced must be a list of texts",
    ("[prices]", "[costs]"): "costs: there is no such entry.",
    ("[prices]", "[prices"): "not a readable TOML file",
    ("[prices]", "[times]\nspike = 3\n[prices]"): "times.neurons_per_core is missing",
    ("[prices]", "[times]\nneurons_per_core = 0\n[prices]"): "times.neurons_per_core = 0; give a whole number",
    ("[prices]", "[times]\nneurons_per_core = 8\nspike = 3\n[prices]"): "times.spike: value is missing.",
}
"""What in a file is replaced by what, and the message."""


@pytest.mark.parametrize(("change", "message"), MISTAKES.items())
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in MINE
    assert refused(tmp_path, MINE.replace(*change, 1)).startswith(message)
