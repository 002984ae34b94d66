"""The cores of a report are those of the placement, its messages those of the spikes, and its hops are priced."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cli
import numpy as np
import pytest
from browser import opened
from counted_nets import counted, counted_on

from snn2hw.errors import OptionError
from snn2hw.mapping.place import place
from snn2hw.mapping.traffic import traffic
from snn2hw.report import mapping as mappings
from snn2hw.report.energy import price_events
from snn2hw.report.mapping import map_to_chips
from snn2hw.report.page.core_map import Mesh, core_map
from snn2hw.report.prices import load_profiles
from snn2hw.report.reading import read_report
from snn2hw.targets import Target, known_chips, load_target


def test_layers_are_placed_on_every_chip_and_their_spikes_counted_there() -> None:
    net = counted("SEW-ResNet-18 ADD")
    counter = counted_on(net.program, net.samples)
    mappings = {each.chip: each for each in map_to_chips(net.program, counter.spikes(), samples=len(net.samples))}
    assert tuple(mappings) == known_chips()
    for name, each in mappings.items():
        placed = place(net.program, load_target(name))
        messages = traffic(placed, counter.spikes())
        assert each.placement == placed.summary()
        whole = messages.as_dict()
        assert each.traffic == {"received_most": max(whole.pop("received")), **whole}
        single = [core for layer in placed.layers for core in layer.cores]
        listed = [kind for kind, cores in each.ranges() for _ in range(cores)]
        assert [(part.layer, part.needs) for part in listed] == [(core.layer, core.needs) for core in single]
        assert each.hops == tuple(messages.total(hops) / len(net.samples) for hops in ("hops_x", "hops_y"))
        assert min(each.hops or (0,)) > 0


def test_counted_spikes_are_those_of_the_simulation() -> None:
    net = counted("digits add")
    spikes = counted_on(net.program, net.samples).spikes()
    for layer in net.events.layers:
        if layer.unit and layer.kind != "readout":
            assert spikes[layer.name].shape == layer.shape
            assert spikes[layer.name].sum() == sum(layer.unit.spikes), layer.name


def test_hops_are_priced_where_the_layers_have_places() -> None:
    events = counted("digits add").events
    (profile,) = load_profiles(("loihi1-davies",))
    without, travelled = price_events(events, profile), price_events(events, profile, (1000.0, 10.0))
    assert travelled.components["hops"] == pytest.approx(1000 * 3.0e-12 + 10 * 4.0e-12)
    assert travelled.total is not None and without.total is not None
    assert travelled.total - without.total == pytest.approx(travelled.components["hops"], rel=1e-6)
    assert [item for item in without.unpriced if "no places" in item] and "hops" not in without.components
    assert not [item for item in travelled.unpriced if "no places" in item]


@pytest.mark.parametrize("chip", known_chips())
def test_the_map_shows_every_core_once(chip: str) -> None:
    net = counted("SEW-ResNet-18 ADD")
    spikes = counted_on(net.program, net.samples).spikes()
    mapping = next(each for each in map_to_chips(net.program, spikes, samples=1) if each.chip == chip)
    assert mapping.placement is not None
    mesh = Mesh(mapping)
    single = [core for layer in place(net.program, load_target(chip)).layers for core in layer.cores]
    side = math.ceil(math.sqrt(mapping.mesh[2]))
    for number, core in enumerate(single):
        x, y = mesh.place(number)
        corner = mesh.corner(core.chip)
        assert ((x - corner[0]) // side, (y - corner[1]) // mesh.tile_high) == (core.x, core.y)
    places = [mesh.place(number) for number in range(len(single))]
    drawn = [(piece.x + shift, piece.y) for piece in mesh.pieces() for shift in range(piece.width)]
    assert sorted(drawn) == sorted(places) and len(set(places)) == len(single)
    svg = ElementTree.fromstring(core_map(mapping))
    titles = [title.text or "" for title in svg.iter("title")]
    assert sum(int(text.split(": ")[1].split(" cores")[0].replace(",", "")) for text in titles) == len(single)


def test_a_layer_that_fits_no_core_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tight(name: str) -> Target:
        chip = load_target(name)
        return replace(chip, weight_bytes_per_core=8) if name == "loihi1" else chip

    monkeypatch.setattr(mappings, "load_target", tight)
    cli.succeed("report", "tiny.lava", "--data", "samples.npz", "-o", "out")
    one, two = read_report(Path("out")).mappings
    assert one.placement is one.traffic is one.hops is None
    assert one.does_not_fit is not None and "bytes of weights" in one.does_not_fit
    assert two.does_not_fit is None and two.placement is not None
    davies = next(energy for energy in read_report(Path("out")).energy if energy.profile == "loihi1-davies")
    assert [item for item in davies.unpriced if "no places" in item]
    with opened(Path("out/report.html")) as seen:
        text = seen.page.inner_text("body")
        assert f"Does not fit: {one.does_not_fit}" in text
        assert seen.page.locator("svg.drawing").count() == 1
        assert "Loihi 2" in (seen.page.get_attribute("svg.drawing", "aria-label") or "")
        assert seen.complaints == []


def test_prices_of_an_unknown_chip_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    shipped = Path(load_target.__code__.co_filename).with_name("prices") / "loihi1-davies.toml"
    file.write_text(shipped.read_text().replace('chip = "loihi1"', 'chip = "loihi9"'))
    with pytest.raises(OptionError, match=r"chip = 'loihi9'; there is no such chip\. Known are loihi1, loihi2\."):
        load_profiles((), file)


def test_a_silent_network_sends_no_message() -> None:
    net = counted("digits add")
    silent = {node.name: np.zeros(node.shape, np.int64) for node in net.program.graph.recorded}
    for mapping in map_to_chips(net.program, silent, samples=1):
        assert mapping.hops == (0.0, 0.0)
        assert mapping.traffic is not None and mapping.traffic["totals"]["messages"] == 0
